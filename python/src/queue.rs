//! Python's calls on a thread of their own.

use std::time::Duration;

use grpo_metrics::sink::{Delivery, Outlet, Queue, Receipt, SinkError};
use pyo3::prelude::*;

use crate::error::{self, guarded};
use crate::interruption::Noted;

/// Calls that wait at most.
const CAPACITY: u64 = 100_000;

/// Makes calls in order on a thread of its own. One that raises is made again, at growing intervals; but one whose error `is_final`
/// is dropped.
///
/// In a process that was forked from the queue's own, calls are not taken and nothing is waited for.
#[pyclass(frozen, module = "grpo_metrics._core")]
pub struct CallQueue(Queue<Py<PyAny>>);

#[pymethods]
impl CallQueue {
    #[new]
    #[pyo3(signature = (is_final=None))]
    fn new(is_final: Option<Py<PyAny>>) -> PyResult<Self> {
        let queue = Queue::new("python", CAPACITY);
        queue.start(Calls { is_final }).map_err(error::sink)?;
        Ok(Self(queue))
    }

    /// Takes calls; those that find no room (100,000 wait) are dropped.
    fn push(&self, calls: Vec<Py<PyAny>>) -> PyResult<()> {
        guarded(|| {
            match self.0.push(calls) {
                Ok(()) | Err(SinkError::Inherited { .. }) => {}
                Err(error) => tracing::warn!("{error}"),
            }
            Ok(())
        })
    }

    /// Waits until every call is made, one of them fails, or the time is over; whether all are made.
    fn attempt(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        guarded(|| {
            if self.0.is_inherited() {
                return Ok(false);
            }
            let within = Duration::try_from_secs_f64(seconds)
                .map_err(|e| error::option(format!("`seconds`: {e}")))?;
            let mut called_off = Ok(());
            let receipt = py.detach(|| {
                let goes_on = || {
                    called_off = Python::attach(|py| py.check_signals().noted());
                    called_off.is_ok()
                };
                self.0.attempt(within, goes_on)
            });
            called_off?;
            Ok(receipt.pending == 0)
        })
    }

    /// Whether this process was forked from the queue's own.
    #[getter]
    fn is_inherited(&self) -> bool {
        self.0.is_inherited()
    }

    /// Calls that have not succeeded yet.
    #[getter]
    fn pending(&self) -> u64 {
        self.receipt().pending
    }

    /// Calls that were dropped.
    #[getter]
    fn dropped(&self) -> u64 {
        self.receipt().dropped
    }

    /// The last error, if there was one.
    #[getter]
    fn error(&self) -> Option<String> {
        self.receipt().error
    }
}

impl CallQueue {
    fn receipt(&self) -> Receipt {
        self.0.receipt()
    }
}

/// Makes the calls.
struct Calls {
    is_final: Option<Py<PyAny>>,
}

impl Calls {
    fn make(&self, call: &Py<PyAny>) -> Result<(), SinkError> {
        let made = Python::try_attach(|py| {
            let made = call.bind(py).call0().noted();
            made.map(drop).map_err(|raised| {
                let text = raised.to_string();
                if self.is_final(&raised.into_value(py).into_bound(py)) {
                    SinkError::refused(text)
                } else {
                    SinkError::other(text)
                }
            })
        });
        made.unwrap_or_else(|| Err(SinkError::other("the interpreter has ended")))
    }

    /// Not where that cannot be told.
    fn is_final(&self, raised: &Bound<'_, PyAny>) -> bool {
        let asked = self.is_final.as_ref().map(|is_final| {
            let told = is_final.bind(raised.py()).call1((raised,));
            told.and_then(|told| told.is_truthy()).noted()
        });
        matches!(asked, Some(Ok(true)))
    }
}

impl Outlet<Py<PyAny>> for Calls {
    fn name(&self) -> &'static str {
        "python"
    }

    fn take(&mut self, calls: &[Py<PyAny>]) -> Delivery {
        Delivery::of(calls, |_| 1, |call| self.make(&call[0]))
    }
}
