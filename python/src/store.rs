//! `Store`: the embedded store, by the operations of the `EvSys` gateway.

use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use grpo_metrics::export::{Export, Format, Layout};
use grpo_metrics::row::Row;
use grpo_metrics::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Prediction, Run, RunPatch, RunSpec,
    Split, Sqlite, Store,
};
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{self, guarded};

/// An embedded store; `grpo_metrics.Store` gives its operations their Python signatures.
#[pyclass(module = "grpo_metrics._core", frozen)]
pub struct Sqlite3 {
    /// `None` once let go of.
    store: Option<Mutex<Sqlite>>,
    /// The process that opened it: a database's connections do not survive a fork, not even being closed in the child.
    process: u32,
}

impl Sqlite3 {
    fn of(store: Sqlite) -> Self {
        Self {
            store: Some(Mutex::new(store)),
            process: process::id(),
        }
    }

    pub fn store(&self) -> PyResult<MutexGuard<'_, Sqlite>> {
        let here = process::id() == self.process;
        let store = self.store.as_ref().filter(|_| here).ok_or_else(|| {
            error::store(format!(
                "process {} opened the store, and this one was forked from it: open another here",
                self.process
            ))
        })?;
        Ok(store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Sqlite3 {
    fn drop(&mut self) {
        if process::id() != self.process {
            std::mem::forget(self.store.take());
        }
    }
}

#[pymethods]
impl Sqlite3 {
    #[new]
    #[pyo3(signature = (path, *, read_only=false))]
    fn new(py: Python<'_>, path: PathBuf, read_only: bool) -> PyResult<Self> {
        guarded(|| {
            py.detach(|| {
                let opened = if read_only {
                    Sqlite::open_read_only(path)
                } else {
                    Sqlite::open(path)
                };
                opened.map(Self::of).map_err(error::store)
            })
        })
    }

    /// One operation of the gateway: its arguments and its result as JSON.
    fn call(&self, py: Python<'_>, op: &str, args: &str) -> PyResult<String> {
        guarded(|| {
            py.detach(|| {
                let mut store = self.store()?;
                if op == "open_run" {
                    return open_run(&mut store, args);
                }
                operate(&mut *store, op, args)
            })
        })
    }

    /// Writes metrics of one step; how many were NaN and left out.
    fn log_metrics(
        &self,
        py: Python<'_>,
        run_id: &str,
        step: u64,
        metrics: Vec<(String, f64)>,
        split: &str,
    ) -> PyResult<u64> {
        guarded(|| {
            py.detach(|| {
                let split = split.parse::<Split>().map_err(error::store)?;
                let metrics: Vec<(&str, f64)> = metrics
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value))
                    .collect();
                let logged = self.store()?.log_metrics(run_id, step, &metrics, split);
                logged.map(|logged| logged.nan).map_err(error::write)
            })
        })
    }

    /// Writes an engine's row, which may be over several steps and cut short; how many were NaN and left out.
    fn log_window(
        &self,
        py: Python<'_>,
        run_id: &str,
        step: u64,
        metrics: Vec<(String, f64)>,
        steps: u64,
        cut: bool,
    ) -> PyResult<u64> {
        guarded(|| {
            py.detach(|| {
                let row = row_of(step, metrics, steps, cut);
                let logged = self.store()?.log_windows(run_id, &[row], Split::Train);
                logged.map(|logged| logged.nan).map_err(error::write)
            })
        })
    }

    /// Writes runs as a table to a file; how many lines it has.
    fn export(
        &self,
        py: Python<'_>,
        path: PathBuf,
        runs: Option<Vec<String>>,
        long: bool,
        force: bool,
    ) -> PyResult<u64> {
        guarded(|| {
            py.detach(|| {
                let ending = path.extension().unwrap_or_default().to_string_lossy();
                let format = ending.parse::<Format>().map_err(error::store)?;
                let store = self.store()?;
                let runs = match runs {
                    Some(runs) => runs,
                    None => store.run_names().map_err(error::store)?,
                };
                let layout = if long { Layout::Long } else { Layout::Wide };
                let export = Export::of(&store, runs).layout(layout);
                let written = export.write_file(format, &path, force);
                written.map(|written| written.rows).map_err(error::store)
            })
        })
    }

    /// The numbers of a run; not as JSON, which has no word for an infinity.
    fn get_metrics(
        &self,
        py: Python<'_>,
        run_id: &str,
        name: Option<&str>,
        split: Option<&str>,
    ) -> PyResult<Vec<MetricRow>> {
        guarded(|| py.detach(|| numbers_of(&*self.store()?, run_id, name, split)))
    }
}

/// The numbers of a run: all, or those of one name or split.
pub fn numbers_of(
    store: &impl Store,
    run_id: &str,
    name: Option<&str>,
    split: Option<&str>,
) -> PyResult<Vec<MetricRow>> {
    let split = split.map(str::parse::<Split>).transpose();
    let metrics = store.get_metrics(run_id, name, split.map_err(error::store)?);
    let rows = metrics.map_err(error::store)?.into_iter();
    Ok(rows
        .map(|m| (m.step, m.name, m.value, m.split.as_str()))
        .collect())
}

/// A row of a step.
pub fn row_of(step: u64, metrics: Vec<(String, f64)>, steps: u64, cut: bool) -> Row {
    Row {
        step,
        steps,
        cut,
        metrics: metrics.into_iter().collect(),
        ..Row::default()
    }
}

/// Step, name, value and split of one number.
pub type MetricRow = (u64, String, f64, &'static str);

/// Arguments of an operation, by name.
struct Args(Map<String, Value>);

impl Args {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn needed(&self, name: &str) -> PyResult<&str> {
        self.text(name)
            .ok_or_else(|| error::store(format!("`{name}` is missing: expected a text")))
    }

    /// All of them as one record.
    fn record<T: DeserializeOwned>(self) -> PyResult<T> {
        serde_json::from_value(Value::Object(self.0)).map_err(error::store)
    }

    fn patch<T: DeserializeOwned>(&self) -> PyResult<T> {
        let patch = self.0.get("patch").cloned().unwrap_or_default();
        serde_json::from_value(patch).map_err(error::store)
    }
}

/// Opens a run by its name, which the embedded store alone can.
fn open_run(store: &mut Sqlite, args: &str) -> PyResult<String> {
    let args = Args(serde_json::from_str(args).map_err(error::store)?);
    let mut spec = RunSpec::new(args.text("name").unwrap_or_default());
    spec.id = args.text("id").map(str::to_owned);
    let resume = args.text("resume").map(str::parse).transpose();
    spec.resume = resume.map_err(error::store)?.unwrap_or_default();
    spec.experiment = args.text("experiment").map(str::to_owned);
    spec.group = args.text("group").map(str::to_owned);
    spec.seed = args.0.get("seed").and_then(Value::as_i64);
    spec.config = args.0.get("config").cloned().unwrap_or_default();
    let opened = store.open_run(&spec).map_err(error::store)?;
    opened.tell();
    told(Ok::<_, String>(opened.run))
}

/// One operation of the gateway, by a store: its arguments and its result as JSON.
pub fn operate(store: &mut dyn Store, op: &str, args: &str) -> PyResult<String> {
    let args = Args(serde_json::from_str(args).map_err(error::store)?);
    match op {
        "create_experiment" => told(store.create_experiment(&args.record::<Experiment>()?)),
        "update_experiment" => {
            let patch: ExperimentPatch = args.patch()?;
            told(store.update_experiment(args.needed("experiment_id")?, &patch))
        }
        "create_group" => told(store.create_group(&args.record::<Group>()?)),
        "create_run" => told(store.create_run(&args.record::<Run>()?)),
        "update_run" => {
            let patch: RunPatch = args.patch()?;
            told(store.update_run(args.needed("run_id")?, &patch))
        }
        "touch_run" => told(store.touch_run(args.needed("run_id")?)),
        "add_checkpoint" => told(store.add_checkpoint(&args.record::<Checkpoint>()?)),
        "create_eval" => told(store.create_eval(&args.record::<Eval>()?)),
        "add_prediction" => told(store.add_prediction(&args.record::<Prediction>()?)),
        "log_predictions" => {
            let predictions = args.0.get("predictions").cloned().unwrap_or_default();
            let predictions: Vec<Prediction> =
                serde_json::from_value(predictions).map_err(error::store)?;
            told(store.log_predictions(&predictions))
        }
        "get_experiment" => told(store.get_experiment(args.needed("experiment_id")?)),
        "get_run" => told(store.get_run(args.needed("run_id")?)),
        "list_experiments" => told(store.list_experiments()),
        "list_groups" => told(store.list_groups(args.needed("experiment_id")?)),
        "list_runs" => told(store.list_runs(args.text("experiment_id"), args.text("group_id"))),
        "list_checkpoints" => told(store.list_checkpoints(args.needed("run_id")?)),
        "list_evals" => told(store.list_evals(args.needed("run_id")?)),
        "list_predictions" => {
            told(store.list_predictions(args.needed("run_id")?, args.text("kind")))
        }
        _ => Err(error::store(format!("unknown operation `{op}`"))),
    }
}

fn told<T: Serialize, E: std::fmt::Display>(outcome: Result<T, E>) -> PyResult<String> {
    serde_json::to_string(&outcome.map_err(error::store)?).map_err(error::store)
}
