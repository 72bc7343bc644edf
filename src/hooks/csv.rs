//! The steps' rows as a table: a sink that is a callback too.

use super::{Artifacts, Callback, LoopState, Outcome};
use crate::batch::Batch;
use crate::row::{Metrics, Row};
use crate::sink::{Csv, Sink};

/// Writes every step's row, and every evaluation's as `{eval_name}/{key}`.
impl Callback for Csv {
    fn name(&self) -> &'static str {
        Sink::name(self)
    }

    fn on_step_end(
        &mut self,
        _state: &mut LoopState,
        step: u64,
        _batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        let metrics = metrics.clone();
        Ok(self.write(&Row {
            step,
            metrics,
            ..Row::default()
        })?)
    }

    fn on_eval(
        &mut self,
        _state: &mut LoopState,
        step: u64,
        eval_name: &str,
        metrics: &Metrics,
    ) -> Outcome {
        let named = |(key, value)| (format!("{eval_name}/{key}"), value);
        let metrics = metrics.iter().map(named).collect();
        Ok(self.write(&Row {
            step,
            metrics,
            ..Row::default()
        })?)
    }

    fn on_train_end(&mut self, _state: &mut LoopState, _artifacts: &Artifacts) -> Outcome {
        Ok(self.flush()?)
    }
}
