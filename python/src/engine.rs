//! `Engine`.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};

use grpo_metrics::run::Ending;
use grpo_metrics::scalars::{ClipRange, Scalars, Weighting};
use grpo_metrics::sink::Receipt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::batch::with_batch;
use crate::column::Read;
use crate::ending;
use crate::error::{GrpoMetricsError, guarded};
use crate::options::Options;
use crate::running::Running;
use crate::sink::{numbers, receipt};
use crate::threads::within_pool;

/// Computes a row of metrics every so many optimizer steps and hands it to its sinks.
///
/// Any thread may use it; calls wait for each other.
#[pyclass(module = "grpo_metrics", frozen)]
pub struct Engine {
    running: Mutex<Running>,
    /// The thread that is within a call, so that a sink that calls back is told instead of waiting for itself.
    held_by: Mutex<Option<ThreadId>>,
}

impl Engine {
    /// Runs `work` on the engine, one call at a time. The caller has let go of the GIL: who waits here must not hold it, for
    /// the call that is waited for may need it.
    fn exclusively<T: Send>(
        &self,
        work: impl FnOnce(&mut Running) -> PyResult<T> + Send,
    ) -> PyResult<T> {
        let mut running = self.lock()?;
        *self.held_by() = Some(thread::current().id());
        let _held = Held(self);
        let running = &mut *running;
        within_pool(|| work(running))?
    }

    /// Runs `work` without the GIL, then tells what went wrong on the side.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Running) -> PyResult<T> + Send,
    ) -> PyResult<T> {
        let (outcome, warnings) = py.detach(|| {
            self.exclusively(|running| {
                let outcome = work(running);
                Ok((outcome, std::mem::take(&mut running.warnings)))
            })
        })?;
        for warning in warnings {
            let logger = py
                .import("logging")?
                .call_method1("getLogger", ("grpo_metrics",))?;
            logger.call_method1("warning", ("%s", warning))?;
        }
        outcome
    }

    fn end(&self, py: Python<'_>, ending: &Ending) -> PyResult<Vec<Receipt>> {
        self.run(py, |running| {
            running.finish(ending);
            Ok(running.receipts.clone())
        })
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Running>> {
        match self.running.try_lock() {
            Ok(running) => Ok(running),
            // What a panic left behind is numbers that may be missing, not memory that may not be read.
            Err(TryLockError::Poisoned(running)) => Ok(running.into_inner()),
            Err(TryLockError::WouldBlock) => {
                if *self.held_by() == Some(thread::current().id()) {
                    return Err(GrpoMetricsError::new_err(
                        "the engine is in the middle of a call; a sink cannot call it back",
                    ));
                }
                Ok(self.running.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    fn held_by(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.held_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets who is within a call when the call ends, however it ends.
struct Held<'a>(&'a Engine);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.0.held_by() = None;
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        guarded(|| {
            let running = Running::of(&Options::of(options)?)?;
            Ok(Self {
                running: Mutex::new(running),
                held_by: Mutex::new(None),
            })
        })
    }

    /// Takes in one micro-batch. Nothing of it is kept but numbers. Among other ranks, one whose batch is refused has no part
    /// in the step, and rank 0 is told why.
    #[pyo3(signature = (**columns))]
    fn observe(&self, py: Python<'_>, columns: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let observed = guarded(|| {
            with_batch(py, columns, |batch| {
                self.exclusively(|running| running.observe(&batch))
            })
        });
        if let Err(error) = &observed {
            self.fail(py, &error.value(py).to_string())?;
        }
        observed
    }

    /// Says that this rank has no part in the step that is not over, where there are other ranks. The step still ends on all
    /// of them, and rank 0 learns the reason.
    fn fail(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        guarded(|| {
            self.run(py, |running| {
                running.fail(reason);
                Ok(())
            })
        })
    }

    /// Says what the tokens of the step now beginning are counted against, whatever its records' own snapshots say.
    fn expect_clip_range(&self, py: Python<'_>, low: f64, high: f64) -> PyResult<()> {
        guarded(|| {
            self.run(py, |running| {
                let range = ClipRange::new(low, high);
                running
                    .engine()
                    .map(|engine| engine.expect_clip_range(range))
            })
        })
    }

    /// Ends an optimizer step: the row as a dictionary, if one goes out at this step. The sinks have it by then.
    #[pyo3(signature = (step, *, scalars=None, weighting=None))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        step: u64,
        scalars: Option<&Bound<'py, PyAny>>,
        weighting: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        guarded(|| {
            let scalars: Option<Scalars> = scalars
                .map(|given| Read::read("scalars", given))
                .transpose()?;
            let weighting: Option<Weighting> = weighting
                .map(|given| Read::read("weighting", given))
                .transpose()?;
            let scalars = scalars.unwrap_or_default();
            let row = self.run(py, |running| running.step(step, scalars, weighting))?;
            row.map(|row| numbers(py, &row)).transpose()
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
            let receipts = self.end(py, &ending)?;
            let receipts: Vec<_> = receipts
                .iter()
                .map(|one| receipt(py, one))
                .collect::<PyResult<_>>()?;
            PyList::new(py, receipts)
        })
    }

    /// The last row that went out; `None` before the first.
    #[getter]
    fn last_row<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        guarded(|| {
            let row = self.run(py, |running| Ok(running.last_row.clone()))?;
            row.map(|row| numbers(py, &row)).transpose()
        })
    }

    /// What every family of columns has seen so far: name -> seen, used, absent, nonfinite.
    fn census<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let census = self.run(py, |running| Ok(running.engine()?.census().clone()))?;
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
        let ending = raised.map_or_else(Ending::completed, ending::of_raised);
        guarded(|| self.end(py, &ending).map(drop))
    }
}
