//! `Engine`.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};

use grpo_metrics::batch::{Batch, Place};
use grpo_metrics::engine::Engine as CoreEngine;
use grpo_metrics::metrics::Metrics;
use grpo_metrics::recording::{Record, Recorder};
use grpo_metrics::scalars::{ClipRange, Scalars, Weighting};
use grpo_metrics::sink::Receipt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::batch::with_batch;
use crate::column::Read;
use crate::error::{self, GrpoMetricsError, guarded};
use crate::options::Options;
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

/// What one call at a time may change.
struct Running {
    /// `None` once finished.
    engine: Option<CoreEngine>,
    /// This rank and how many there are.
    place: (u32, u32),
    recording: Option<Recording>,
    last_row: Option<Metrics>,
    receipts: Vec<Receipt>,
    /// What went wrong without stopping the step, to be said once the GIL is back.
    warnings: Vec<String>,
}

/// What was observed of the step that is not over, to be written down when its number is known.
struct Recording {
    recorder: Recorder,
    pending: Vec<Record>,
}

impl Running {
    fn engine(&mut self) -> PyResult<&mut CoreEngine> {
        self.engine
            .as_mut()
            .ok_or_else(|| GrpoMetricsError::new_err("the engine has been finished"))
    }

    fn observe(&mut self, batch: &Batch<'_>) -> PyResult<()> {
        self.engine()?.observe(batch).map_err(error::step)?;
        let (rank, _) = self.place;
        if let Some(recording) = &mut self.recording {
            let next = || Place {
                rank,
                micro: u32::try_from(recording.pending.len()).unwrap_or(u32::MAX),
            };
            let place = batch.place().unwrap_or_else(next);
            recording.pending.push(Record::of(0, 1, place, batch));
        }
        Ok(())
    }

    /// Says that this rank has no part in the step, where there are others that would not notice.
    fn fail(&mut self, reason: &str) {
        if let (Some(engine), true) = (&mut self.engine, self.place.1 > 1) {
            engine.fail(reason);
        }
    }

    fn step(
        &mut self,
        step: u64,
        scalars: Scalars,
        weighting: Option<Weighting>,
    ) -> PyResult<Option<Metrics>> {
        if let Some(recording) = &mut self.recording {
            let world_size = self.place.1;
            let outcome = recording.write(step, world_size, &scalars, weighting.as_ref());
            self.warnings.extend(outcome.err());
        }
        let engine = self.engine()?;
        if !scalars.is_empty() || weighting.is_some() {
            engine.report(scalars, weighting);
        }
        let row = engine.step(step).map_err(error::step)?;
        let failed = engine.sink_error();
        self.warnings.extend(failed.map(|error| error.to_string()));
        if let Some(row) = &row {
            self.last_row = Some(row.metrics.clone());
        }
        Ok(row.map(|row| row.metrics))
    }

    fn finish(&mut self) {
        if let Some(engine) = self.engine.take() {
            let (row, receipts) = engine.finish_with_row();
            if let Some(row) = row {
                self.last_row = Some(row.metrics);
            }
            let failed = receipts.iter().filter_map(|receipt| receipt.error.clone());
            self.warnings.extend(failed);
            self.receipts = receipts;
        }
    }
}

impl Recording {
    /// Writes the step's records; what the step reported at its end joins the last one.
    fn write(
        &mut self,
        step: u64,
        world_size: u32,
        scalars: &Scalars,
        weighting: Option<&Weighting>,
    ) -> Result<(), String> {
        let mut records = std::mem::take(&mut self.pending);
        if let Some(last) = records.last_mut() {
            for (name, value) in scalars.iter() {
                last.scalars.set(name, value);
            }
            last.weighting = weighting.cloned().or(last.weighting.take());
        }
        let ranks = records.iter().map(|record| record.rank.saturating_add(1));
        let world_size = ranks.max().unwrap_or(1).max(world_size);
        for record in &records {
            let batch = record.batch().map_err(|error| error.to_string())?;
            self.recorder
                .write(step, world_size, &batch)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
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
            let options = Options::of(options)?;
            let recorder = options.recorder()?;
            Ok(Self {
                running: Mutex::new(Running {
                    engine: Some(options.engine()?),
                    place: options.place()?,
                    recording: recorder.map(|recorder| Recording {
                        recorder,
                        pending: Vec::new(),
                    }),
                    last_row: None,
                    receipts: Vec::new(),
                    warnings: Vec::new(),
                }),
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

    /// Ends the run: the steps left over go out as a last row, the sinks are closed. One receipt a sink; the same when called again.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guarded(|| {
            let receipts = self.run(py, |running| {
                running.finish();
                Ok(running.receipts.clone())
            })?;
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

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.finish(py).map(drop)
    }
}
