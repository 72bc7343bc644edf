//! A Python object as a sink.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use grpo_metrics::row::run::Ending;
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{Receipt, Recovered, Sink, SinkError, Tally, Target};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error;
use crate::interruption::Noted;

/// The sink that a text or a path names; `None` for anything else. A path is of JSON lines, whatever its name looks like.
pub fn target(named: &Bound<'_, PyAny>) -> PyResult<Option<Target>> {
    let Ok(path) = named.extract::<PathBuf>().noted() else {
        return Ok(None);
    };
    let target = match named.extract::<String>() {
        Ok(text) => text.parse(),
        Err(_) => Target::jsonl(path),
    };
    let target = target.map_err(|e| error::option(format!("`sinks`: {e}")))?;
    Ok(Some(target))
}

/// Hands every row to an object's `write(row)`, and calls its `flush()`, `ended(status, error)` and `close()` where it has them.
pub struct PythonSink {
    object: Py<PyAny>,
    kind: String,
    run: Option<String>,
    tally: Tally,
}

impl PythonSink {
    pub fn over(object: &Bound<'_, PyAny>) -> Self {
        Self {
            kind: crate::column::kind_of(object),
            object: object.clone().unbind(),
            run: None,
            tally: Tally::default(),
        }
    }

    /// Says which run the object writes.
    pub fn of_run(mut self, run: String) -> Self {
        self.run = Some(run);
        self
    }

    fn call(
        &self,
        act: &'static str,
        work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
    ) -> Result<(), SinkError> {
        let called = Python::try_attach(|py| {
            let outcome = work(self.object.bind(py)).noted();
            outcome.map_err(|raised| {
                let source = io::Error::other(raised.to_string());
                let error = SinkError::Io {
                    sink: "python",
                    act,
                    target: self.kind.clone(),
                    source,
                };
                if is_final(&raised.into_value(py).into_bound(py)) {
                    return SinkError::refused(error.to_string());
                }
                error
            })
        });
        called.unwrap_or_else(|| Err(SinkError::other("the interpreter has ended")))
    }

    /// Calls a method that an object need not have.
    fn call_optional(&self, method: &'static str) -> Result<(), SinkError> {
        self.call(method, |object| {
            if object.hasattr(method)? {
                object.call_method0(method)?;
            }
            Ok(())
        })
    }
}

/// Whether the same row would be refused whenever it came; not where that cannot be told.
fn is_final(raised: &Bound<'_, PyAny>) -> bool {
    let module = raised.py().import("grpo_metrics._objects");
    let told = module.and_then(|module| module.call_method1("is_final", (raised,))?.is_truthy());
    told.noted().unwrap_or(false)
}

impl fmt::Debug for PythonSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonSink").field(&self.kind).finish()
    }
}

impl Sink for PythonSink {
    fn name(&self) -> &'static str {
        "python"
    }

    fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// A store that is an object writes that run then; a sink knows of no runs.
    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        if self.run.is_none() {
            return Ok(());
        }
        self.call("turn to the run of", |object| {
            object.call_method1("turn_to", (run.or(self.run.as_deref()),))?;
            Ok(())
        })
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.call("write to", |object| {
            object.call_method1("write", (nested(object.py(), row)?,))?;
            Ok(())
        });
        self.tally.count(outcome)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.call_optional("flush");
        self.tally.note(outcome)
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        if !ending.status.is_final() {
            return Ok(());
        }
        let outcome = self.call("end the run of", |object| {
            if object.hasattr("ended")? {
                let told = (ending.status.as_str(), ending.error_message.as_deref());
                object.call_method1("ended", told)?;
            }
            Ok(())
        });
        self.tally.note(outcome)
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // What fails here is in the receipt.
        let _ = self.flush();
        let outcome = self.call_optional("close");
        let _ = self.tally.note(outcome);
        self.tally.receipt(&self.kind)
    }
}

/// A row's numbers as a dictionary, in order.
pub fn numbers<'py>(py: Python<'py>, metrics: &Metrics) -> PyResult<Bound<'py, PyDict>> {
    let numbers = PyDict::new(py);
    for (key, value) in metrics.iter() {
        numbers.set_item(key, value)?;
    }
    Ok(numbers)
}

/// A row in the nested form of EVSYS.md: `ts`, `step`, `metrics`, and `run` on the row that carries the run's texts; `steps` where
/// it is over several, `cut` where the engine began or ended within its window, and `again` where the run had that step before.
fn nested<'py>(py: Python<'py>, row: &Row) -> PyResult<Bound<'py, PyDict>> {
    let nested = PyDict::new(py);
    nested.set_item("ts", row.timestamp)?;
    nested.set_item("step", row.step)?;
    nested.set_item("metrics", numbers(py, &row.metrics)?)?;
    if row.steps > 1 {
        nested.set_item("steps", row.steps)?;
    }
    if row.cut {
        nested.set_item("cut", true)?;
    }
    if row.again {
        nested.set_item("again", true)?;
    }
    if !row.text.is_empty() {
        let texts = PyDict::new(py);
        for (key, text) in &row.text {
            texts.set_item(key, text)?;
        }
        nested.set_item("run", texts)?;
    }
    Ok(nested)
}

/// What became of a sink's rows, as a dictionary.
pub fn receipt<'py>(py: Python<'py>, receipt: &Receipt) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("sink", &receipt.sink)?;
    dict.set_item("accepted", receipt.accepted)?;
    dict.set_item("written", receipt.written)?;
    dict.set_item("dropped", receipt.dropped)?;
    dict.set_item("pending", receipt.pending)?;
    dict.set_item("error", receipt.error.as_deref())?;
    Ok(dict)
}

/// What the journal in a folder held of an earlier process, as a dictionary.
pub fn recovered<'py>(
    py: Python<'py>,
    journal: &Path,
    found: &Recovered,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("journal", journal.display().to_string())?;
    dict.set_item("pending", found.pending)?;
    dict.set_item("torn_bytes", found.torn_bytes)?;
    dict.set_item("dropped", found.dropped)?;
    dict.set_item("error", found.dropped_for.as_deref())?;
    Ok(dict)
}
