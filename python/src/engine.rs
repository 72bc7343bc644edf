//! `Engine`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use grpo_metrics::batch::scalars::{Scalars, Weighting};
use grpo_metrics::gather::Part;
use grpo_metrics::row::run::Ending;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::batch::with_batch;
use crate::calls::{self, Calls};
use crate::column::Read;
use crate::ending;
use crate::error::{self, guarded};
use crate::interruption;
use crate::options::{Options, clip_range};
use crate::row;
use crate::running::Running;
use crate::samples::{self, Samples};
use crate::shard::Shard;
use crate::sink::{receipt, recovered};
use crate::step::Step;
use crate::termination;

/// Computes a row of metrics every so many optimizer steps and hands it to its sinks.
///
/// Any thread may use it; calls wait for each other.
#[pyclass(module = "grpo_metrics._core", frozen, subclass)]
pub struct Engine(Arc<Calls>);

impl Drop for Engine {
    fn drop(&mut self) {
        calls::let_go(&self.0);
    }
}

impl Engine {
    /// A call of `step` cannot be: other ranks do not wait for this one.
    fn sit_out(&self, py: Python<'_>, reason: &str) {
        let sat_out = self.0.run(py, |running| {
            if let Ok(engine) = running.engine() {
                engine.sit_out(reason);
            }
            Ok(())
        });
        if let Err(error) = sat_out {
            tracing::warn!("other ranks may wait for this one: {error}");
        }
    }
}

/// What was given as this argument, if it was.
fn read<'py, T: Read<'py>>(name: &str, given: Option<&Bound<'py, PyAny>>) -> PyResult<Option<T>> {
    given.map(|given| Read::read(name, given)).transpose()
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        guarded(|| {
            let running = Running::of(&Options::of(options)?)?;
            let engine = Self(Calls::to(running));
            termination::listen(py)?;
            Ok(engine)
        })
    }

    /// Takes in one micro-batch. Nothing of it is kept but numbers. Among other ranks, one whose batch is refused has no part
    /// in the step, and rank 0 is told why.
    #[pyo3(signature = (**columns))]
    fn observe(&self, py: Python<'_>, columns: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let observed = guarded(|| {
            if self.0.is_left_alone() {
                return Ok(());
            }
            with_batch(py, columns, |batch| {
                self.0.exclusively(|running| running.observe(&batch))
            })
        });
        if let Err(error) = &observed {
            let reason = if interruption::is_one(py, error) {
                ending::text(error.value(py))
            } else {
                error.value(py).to_string()
            };
            self.fail(py, &reason)?;
        }
        observed
    }

    /// Takes in what is a shard already, such as what a worker has returned. `missing` are ranks whose shards were to come too, each
    /// with the reason: by the engine's `policy` the step fails of them, or its row says so.
    #[pyo3(signature = (shard, missing=None))]
    fn join(
        &self,
        py: Python<'_>,
        shard: &Bound<'_, Shard>,
        missing: Option<BTreeMap<u32, String>>,
    ) -> PyResult<()> {
        guarded(|| {
            let shard = shard.get();
            self.0.run(py, |running| {
                running.join(Part {
                    shard: shard.copied(),
                    failures: missing.unwrap_or_default(),
                    conflict: None,
                })
            })
        })
    }

    /// Says that this rank has no part in the step that is not over, where there are other ranks. The step still ends on all
    /// of them, and rank 0 learns the reason.
    fn fail(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        guarded(|| {
            self.0.run(py, |running| {
                running.fail(reason);
                Ok(())
            })
        })
    }

    /// Says what the tokens of the step now beginning are counted against, whatever its records' own snapshots say.
    fn expect_clip_range(&self, py: Python<'_>, low: f64, high: f64) -> PyResult<()> {
        guarded(|| {
            let range = clip_range(low, high)?;
            self.0.run(py, |running| {
                running
                    .engine()
                    .map(|engine| engine.expect_clip_range(range))
            })
        })
    }

    /// Ends an optimizer step: the row as a dictionary, if one goes out at this step. The sinks have it by then. `goes_out` says
    /// whether one does, over the steps since the last; without it the cadence decides.
    #[pyo3(signature = (step, *, scalars=None, weighting=None, goes_out=None))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        step: &Bound<'py, PyAny>,
        scalars: Option<&Bound<'py, PyAny>>,
        weighting: Option<&Bound<'py, PyAny>>,
        goes_out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        guarded(|| {
            let read = || {
                let step: Step = step.extract()?;
                let scalars: Option<Scalars> = read("scalars", scalars)?;
                let weighting: Option<Weighting> = read("weighting", weighting)?;
                let goes_out: Option<bool> = read("goes_out", goes_out)?;
                Ok((step.0, scalars.unwrap_or_default(), weighting, goes_out))
            };
            let (step, scalars, weighting, goes_out) = read().inspect_err(|error: &PyErr| {
                if !interruption::is_one(py, error) {
                    self.sit_out(py, &error.value(py).to_string());
                }
            })?;
            let row = self.0.run(py, |running| {
                running.step(step, scalars, weighting, goes_out)
            })?;
            row.map(|metrics| row::of(py, &metrics)).transpose()
        })
    }

    /// Says that the training goes back within this process: to a checkpoint, or to the beginning of another one. The next step may
    /// have any number. The steps left over go out as a last row before it, which is given; rows of steps that were reached before are
    /// marked `"again"`.
    fn rewind<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        guarded(|| {
            let row = self.0.run(py, Running::rewind)?;
            row.map(|metrics| row::of(py, &metrics)).transpose()
        })
    }

    /// Hands the sinks numbers that were computed elsewhere as a row of their own; keys under `eval/` are stored in split val.
    fn log(&self, py: Python<'_>, step: Step, metrics: BTreeMap<String, f64>) -> PyResult<()> {
        guarded(|| self.0.run(py, |running| running.log(step.0, metrics)))
    }

    /// Keeps completions to read: of every step whose number `every` divides, `at_most` of this rank's, with their texts, rewards, ranks
    /// and advantages, as far as `observe` has them. No step waits for it. docs/STORE.md, "Samples", says what is kept where.
    #[pyo3(signature = (every=50, *, at_most=16, max_bytes=1 << 20, store=None, file=None, to=None))]
    #[allow(clippy::too_many_arguments)]
    fn samples(
        &self,
        py: Python<'_>,
        every: u64,
        at_most: usize,
        max_bytes: usize,
        store: Option<bool>,
        file: Option<PathBuf>,
        to: Option<Vec<Py<PyAny>>>,
    ) -> PyResult<()> {
        guarded(|| {
            if every == 0 || at_most == 0 {
                return Err(error::option(
                    "`every`, `at_most`: expected whole numbers from 1 on, found 0",
                ));
            }
            let tables: Vec<_> = to.unwrap_or_default();
            let tables: Vec<_> = tables
                .into_iter()
                .map(|logger| samples::showing(py, logger))
                .collect::<PyResult<_>>()?;
            let sample = Samples::new(every, at_most, max_bytes);
            self.0
                .run(py, |running| running.sample(sample, store, file, tables))
        })
    }

    /// Whether `samples` was called, so that texts are of use.
    #[getter]
    fn keeps_samples(&self, py: Python<'_>) -> PyResult<bool> {
        guarded(|| self.0.run(py, |running| Ok(running.samples.is_some())))
    }

    /// Whether rows have a number of this engine's own under `key`.
    fn computes(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        guarded(|| {
            self.0
                .run(py, |running| Ok(running.engine()?.computes(key)))
        })
    }

    /// Ends the run as `status` (completed, failed or cancelled), for the reason `error`: the steps left over go out as a last
    /// row, the sinks are closed. One receipt a sink; the same when called again.
    #[pyo3(signature = (status="completed", error=None))]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        status: &str,
        error: Option<String>,
    ) -> PyResult<Bound<'py, PyList>> {
        guarded(|| {
            let ending = ending::of(status, error)?;
            let receipts = self.0.end(py, &ending)?;
            let receipts: Vec<_> = receipts
                .iter()
                .map(|one| receipt(py, one))
                .collect::<PyResult<_>>()?;
            PyList::new(py, receipts)
        })
    }

    /// `finish()`, by the name that files have for it.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.finish(py, "completed", None)
    }

    /// The last row that went out; `None` before the first.
    #[getter]
    fn last_row<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        guarded(|| {
            let last = self.0.run(py, |running| Ok(running.last_row.clone()))?;
            last.map(|metrics| row::of(py, &metrics)).transpose()
        })
    }

    /// The id of the run that rows are stored under: its name, with a number where another run has that. `None` without a store, and
    /// on a rank that has no rows.
    #[getter]
    fn run(&self, py: Python<'_>) -> PyResult<Option<String>> {
        guarded(|| self.0.run(py, |running| Ok(running.run.clone())))
    }

    /// What its journals held of an earlier process when they were opened, one dictionary a journal that held anything: rows that
    /// are delivered first, bytes of a row that was never taken, and rows that were dropped with nobody left to be told.
    #[getter]
    fn recovered<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guarded(|| {
            let found = self.0.run(py, |running| Ok(running.recovered.clone()))?;
            let found: Vec<_> = found
                .iter()
                .map(|(journal, found)| recovered(py, journal, found))
                .collect::<PyResult<_>>()?;
            PyList::new(py, found)
        })
    }

    /// What every family of columns has seen so far, also once the run has ended: name -> seen, used, absent, nonfinite.
    fn census<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let census = self.0.run(py, |running| Ok(running.census()))?;
            let dict = PyDict::new(py);
            for (family, census) in &census {
                let counts = PyDict::new(py);
                counts.set_item("seen", census.seen())?;
                counts.set_item("used", census.used)?;
                counts.set_item("absent", census.absent)?;
                counts.set_item("nonfinite", census.nonfinite)?;
                dict.set_item(family, counts)?;
            }
            Ok(dict)
        })
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Ends the run as what left the block says: nothing, an error, or a wish to stop. What was raised goes on unchanged.
    #[pyo3(signature = (_kind=None, raised=None, _traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: Option<&Bound<'_, PyAny>>,
        raised: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let outcome = guarded(|| {
            let ending = raised.map_or_else(Ending::completed, ending::of_raised);
            self.0.end(py, &ending).map(drop)
        });
        match outcome {
            // What ended the block is more than what failed while it was noted.
            Err(error) if raised.is_some() && !interruption::is_one(py, &error) => {
                tracing::warn!("the engine could not be finished: {error}");
                guarded(|| Ok(()))
            }
            outcome => outcome,
        }
    }
}
