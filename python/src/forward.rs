//! The forwarder, from Python: to a store of ours, or to an object with the gateway's `log_metrics`.

use std::path::PathBuf;

use grpo_metrics::forward::{self, Recipient};
use grpo_metrics::row::Row;
use grpo_metrics::store::{Logged, Split, StoreError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::guarded;
use crate::interruption;
use crate::sink::numbers;
use crate::store::Sqlite3;

/// Forwards what is new in a metrics file; the rows that the store took. `name` tells the store from others in what is remembered
/// beside the file.
#[pyfunction]
pub fn _forward(
    py: Python<'_>,
    store: &Bound<'_, PyAny>,
    name: &str,
    run_id: &Bound<'_, PyAny>,
    run_dir: PathBuf,
    metrics_file: &str,
) -> PyResult<u64> {
    let run = run_id.str()?.to_string();
    let mut recipient: Box<dyn Recipient> = match store.cast::<Sqlite3>() {
        Ok(store) => Box::new(Ours(store.clone().unbind())),
        Err(_) => Box::new(Theirs {
            kind: crate::column::kind_of(store),
            store: store.clone().unbind(),
            run: run_id.clone().unbind(),
            is_over: false,
        }),
    };
    guarded(|| {
        Ok(py.detach(|| {
            let to: &mut dyn Recipient = &mut *recipient;
            forward::forward_step_metrics(Some(to), name, &run, &run_dir, metrics_file)
        }))
    })
}

/// A store of ours, which others may use between two batches.
struct Ours(Py<Sqlite3>);

impl Recipient for Ours {
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError> {
        let store = self.0.get().store();
        let mut store = store.map_err(|raised| refused(raised, "the store"))?;
        Recipient::log_rows(&mut *store, run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        let store = self.0.get().store();
        store.map_or(1, |store| Recipient::rows_at_once(&*store))
    }
}

/// Any other object, which takes a row a call.
struct Theirs {
    store: Py<PyAny>,
    kind: String,
    /// As it was handed in: an id need not be a text.
    run: Py<PyAny>,
    /// Somebody wishes to stop, as by Ctrl-C.
    is_over: bool,
}

impl Theirs {
    fn call(&mut self, py: Python<'_>, row: &Row, split: Split) -> PyResult<()> {
        let args = PyDict::new(py);
        args.set_item("run_id", &self.run)?;
        args.set_item("step", row.step)?;
        args.set_item("metrics", numbers(py, &row.metrics)?)?;
        if split == Split::Val {
            args.set_item("split", split.as_str())?;
        }
        let called = self
            .store
            .bind(py)
            .call_method("log_metrics", (), Some(&args));
        called.map(drop).inspect_err(|raised| {
            self.is_over |= interruption::is_one(py, raised);
            interruption::note(raised);
        })
    }
}

impl Recipient for Theirs {
    fn log_rows(
        &mut self,
        _run_id: &str,
        rows: &[Row],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let mut logged = Logged::default();
        for row in rows {
            let called = Python::try_attach(|py| {
                let called = self.call(py, row, split);
                called.map_err(|raised| raised.to_string())
            });
            match called {
                Some(Ok(())) => logged.written += row.metrics.len() as u64,
                Some(Err(raised)) => return Err(refused(raised, &self.kind)),
                None => {
                    self.is_over = true;
                    return Err(refused("the interpreter has ended", &self.kind));
                }
            }
        }
        Ok(logged)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

fn refused(reason: impl ToString, kind: &str) -> StoreError {
    StoreError::Backend {
        place: kind.to_owned(),
        act: "take a row",
        source: reason.to_string().into(),
    }
}
