//! Early stopping: whether a metric still gets better.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use grpo_metrics::hooks::{Callback as _, EarlyStopping, Goal, LoopState};
use pyo3::prelude::*;

use crate::error::{self, guarded};
use crate::step::Step;

/// Watches one metric; `grpo_metrics.EarlyStopping` hands it rows.
#[pyclass(module = "grpo_metrics._core", frozen)]
pub struct Stopping(Mutex<(EarlyStopping, LoopState)>);

#[pymethods]
impl Stopping {
    #[new]
    fn new(metric: String, patience: u32, goal: &str, min_delta: f64) -> PyResult<Self> {
        guarded(|| {
            let goal = match goal {
                "max" => Goal::Max,
                "min" => Goal::Min,
                _ => {
                    return Err(error::option(format!(
                        "`goal`: expected max or min, found `{goal}`"
                    )));
                }
            };
            let watch = EarlyStopping::new(metric, patience);
            let watch = watch.goal(goal).min_delta(min_delta);
            Ok(Self(Mutex::new((watch, LoopState::default()))))
        })
    }

    /// Takes a row of a step; whether the training is to stop.
    fn take(&self, step: Step, row: BTreeMap<String, f64>) -> PyResult<bool> {
        guarded(|| {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (watch, state) = &mut *held;
            let metrics = row.into_iter().collect();
            let taken = watch.on_step_end(state, step.0, None, &metrics);
            taken.map_err(error::step)?;
            Ok(state.stop_requested())
        })
    }

    /// The best value so far; `None` before the first.
    #[getter]
    fn best(&self) -> Option<f64> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.best()
    }
}
