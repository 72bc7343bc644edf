//! Ends a training that no longer gets better.

use super::{Callback, LoopState, Outcome};
use crate::batch::Batch;
use crate::row::Metrics;

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// Smaller is better.
    Min,
    /// Larger is better.
    #[default]
    Max,
}

/// Asks the loop to stop once a metric has come `patience` times in a row without getting better.
///
/// Better is better than the best so far by more than `min_delta`; a value that is no finite number is no better. A row
/// without the metric does not count.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    metric: String,
    eval_name: Option<String>,
    patience: u32,
    goal: Goal,
    min_delta: f64,
    best: Option<f64>,
    waited: u32,
}

impl EarlyStopping {
    /// Watches `metric` in the steps' rows, the larger the better; a `patience` of 0 counts as 1.
    #[must_use]
    pub fn new(metric: impl Into<String>, patience: u32) -> Self {
        Self {
            metric: metric.into(),
            eval_name: None,
            patience: patience.max(1),
            goal: Goal::Max,
            min_delta: 0.0,
            best: None,
            waited: 0,
        }
    }

    /// Watches the results of the evaluation called `name` instead of the steps' rows.
    #[must_use]
    pub fn of_eval(mut self, name: impl Into<String>) -> Self {
        self.eval_name = Some(name.into());
        self
    }

    /// Which way is better.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// By how much better counts; its size is taken, and 0 if it is no finite number.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.min_delta = if delta.is_finite() { delta.abs() } else { 0.0 };
        self
    }

    /// The best value so far.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    fn take(&mut self, state: &mut LoopState, step: u64, metrics: &Metrics) {
        let Some(value) = metrics.get(&self.metric) else {
            return;
        };
        if self.is_better(value) {
            (self.best, self.waited) = (Some(value), 0);
            return;
        }
        self.waited += 1;
        if self.waited >= self.patience && !state.stop_requested() {
            tracing::info!(step, metric = %self.metric, best = ?self.best, "no better: asking the training to stop");
            state.request_stop();
        }
    }

    fn is_better(&self, value: f64) -> bool {
        let gain = |best: f64| match self.goal {
            Goal::Min => best - value,
            Goal::Max => value - best,
        };
        value.is_finite() && self.best.is_none_or(|best| gain(best) > self.min_delta)
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &'static str {
        "early stopping"
    }

    fn on_step_end(
        &mut self,
        state: &mut LoopState,
        step: u64,
        _batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        if self.eval_name.is_none() {
            self.take(state, step, metrics);
        }
        Ok(())
    }

    fn on_eval(
        &mut self,
        state: &mut LoopState,
        step: u64,
        eval_name: &str,
        metrics: &Metrics,
    ) -> Outcome {
        if self.eval_name.as_deref() == Some(eval_name) {
            self.take(state, step, metrics);
        }
        Ok(())
    }
}
