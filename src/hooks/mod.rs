//! What happens in a training, told to whoever wants to know: the hooks of a training loop, and who answers them.

mod context;
mod csv;
mod early_stopping;
pub mod event;
mod job;
mod outbox;
mod progress;
pub mod samples;
mod store_logger;

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use serde_json::Value;

use crate::batch::Batch;
use crate::row::Metrics;
use crate::sink::said;
use crate::store::Prediction;

pub use crate::row::run::Ending;
pub use crate::sink::Csv;
use context::{EXPERIMENT_ID, RUN_ID};
pub use context::{Ids, LogContext, LoopState, SharedStore};
pub use early_stopping::{EarlyStopping, Goal};
pub use outbox::Outbox;
pub use progress::Progress;
pub use store_logger::StoreLogger;

/// What a hook comes to; an error is logged and costs nobody else anything.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Weights that the loop wrote down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckpointRow {
    /// Where the weights for sampling are.
    pub sampler_path: Option<String>,
    /// Where the whole state is, to go on from.
    pub state_path: Option<String>,
    /// What people call it; `None` if it has no name.
    pub label: Option<String>,
    /// The step it was taken at; the loop's, if it does not say.
    pub step: Option<u64>,
    /// The model that the training began with; `None` where the loop does not say.
    pub base_model: Option<String>,
    /// Whether it is the training's last one.
    pub is_final: bool,
}

/// What a benchmark came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BenchmarkResult {
    /// Which benchmark it was.
    pub benchmark_id: String,
    /// The id that the store gave the checkpoint that was evaluated; `None` where it was no stored one.
    pub checkpoint_id: Option<String>,
    /// The model that was evaluated, in the caller's own words; `None` where nobody says.
    pub model_ref: Option<String>,
    /// Any JSON.
    pub metrics: Value,
    /// Any JSON.
    pub breakdowns: Value,
}

/// What a training left behind: where each thing is, by its name.
pub type Artifacts = BTreeMap<String, String>;

/// Something that wants to know what happens in a training. Every hook does nothing unless it is written.
#[allow(unused_variables)]
pub trait Callback: Send {
    /// The callback's name in the log.
    fn name(&self) -> &'static str;

    /// Before the first step.
    fn on_train_start(&mut self, state: &mut LoopState) -> Outcome {
        Ok(())
    }

    /// After the last step, also if the loop was asked to stop.
    fn on_train_end(&mut self, state: &mut LoopState, artifacts: &Artifacts) -> Outcome {
        Ok(())
    }

    /// After every step's row; `batch` is what the step was of, where the loop still has it.
    fn on_step_end(
        &mut self,
        state: &mut LoopState,
        step: u64,
        batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        Ok(())
    }

    /// After a checkpoint was written.
    fn on_checkpoint(&mut self, state: &mut LoopState, row: &CheckpointRow) -> Outcome {
        Ok(())
    }

    /// After an evaluation within the loop.
    fn on_eval(
        &mut self,
        state: &mut LoopState,
        step: u64,
        eval_name: &str,
        metrics: &Metrics,
    ) -> Outcome {
        Ok(())
    }

    /// Before an experiment's first group.
    fn on_experiment_start(&mut self, ctx: &mut LogContext) -> Outcome {
        Ok(())
    }

    /// Before a group's first run.
    fn on_group_start(&mut self, ctx: &mut LogContext, group_name: &str) -> Outcome {
        Ok(())
    }

    /// Before a run's training.
    fn on_run_start(&mut self, ctx: &mut LogContext) -> Outcome {
        Ok(())
    }

    /// After a benchmark; the predictions' run and evaluation are set by who stores them.
    fn on_benchmark_eval(
        &mut self,
        ctx: &mut LogContext,
        result: &BenchmarkResult,
        predictions: &[Prediction],
        step: Option<u64>,
    ) -> Outcome {
        Ok(())
    }

    /// After a run, which is one arm of the experiment.
    fn on_run_end(&mut self, ctx: &mut LogContext, result: &Ending, arm: &str) -> Outcome {
        Ok(())
    }

    /// After an experiment's last run.
    fn on_experiment_end(&mut self, ctx: &mut LogContext, result: &Ending) -> Outcome {
        Ok(())
    }
}

/// Calls every callback, in the order they were added. One that fails or panics is logged, is asked again at the next hook,
/// and stops neither the others nor the training.
#[derive(Default)]
pub struct Callbacks {
    callbacks: Vec<Box<dyn Callback>>,
}

impl Callbacks {
    /// No callbacks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a callback.
    #[must_use]
    pub fn with(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// See [`Callback::on_train_start`].
    pub fn on_train_start(&mut self, state: &mut LoopState) {
        self.each("on_train_start", |callback| callback.on_train_start(state));
    }

    /// See [`Callback::on_train_end`].
    pub fn on_train_end(&mut self, state: &mut LoopState, artifacts: &Artifacts) {
        self.each("on_train_end", |callback| {
            callback.on_train_end(state, artifacts)
        });
    }

    /// See [`Callback::on_step_end`].
    pub fn on_step_end(
        &mut self,
        state: &mut LoopState,
        step: u64,
        batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) {
        self.each("on_step_end", |callback| {
            callback.on_step_end(state, step, batch, metrics)
        });
    }

    /// See [`Callback::on_checkpoint`].
    pub fn on_checkpoint(&mut self, state: &mut LoopState, row: &CheckpointRow) {
        self.each("on_checkpoint", |callback| {
            callback.on_checkpoint(state, row)
        });
    }

    /// See [`Callback::on_eval`].
    pub fn on_eval(
        &mut self,
        state: &mut LoopState,
        step: u64,
        eval_name: &str,
        metrics: &Metrics,
    ) {
        self.each("on_eval", |callback| {
            callback.on_eval(state, step, eval_name, metrics)
        });
    }

    /// See [`Callback::on_experiment_start`].
    pub fn on_experiment_start(&mut self, ctx: &mut LogContext) {
        self.each("on_experiment_start", |callback| {
            callback.on_experiment_start(ctx)
        });
    }

    /// See [`Callback::on_group_start`].
    pub fn on_group_start(&mut self, ctx: &mut LogContext, group_name: &str) {
        self.each("on_group_start", |callback| {
            callback.on_group_start(ctx, group_name)
        });
    }

    /// See [`Callback::on_run_start`].
    pub fn on_run_start(&mut self, ctx: &mut LogContext) {
        self.each("on_run_start", |callback| callback.on_run_start(ctx));
    }

    /// See [`Callback::on_benchmark_eval`].
    pub fn on_benchmark_eval(
        &mut self,
        ctx: &mut LogContext,
        result: &BenchmarkResult,
        predictions: &[Prediction],
        step: Option<u64>,
    ) {
        self.each("on_benchmark_eval", |callback| {
            callback.on_benchmark_eval(ctx, result, predictions, step)
        });
    }

    /// See [`Callback::on_run_end`].
    pub fn on_run_end(&mut self, ctx: &mut LogContext, result: &Ending, arm: &str) {
        self.each("on_run_end", |callback| {
            callback.on_run_end(ctx, result, arm)
        });
    }

    /// See [`Callback::on_experiment_end`].
    pub fn on_experiment_end(&mut self, ctx: &mut LogContext, result: &Ending) {
        self.each("on_experiment_end", |callback| {
            callback.on_experiment_end(ctx, result)
        });
    }

    fn each(&mut self, hook: &'static str, mut act: impl FnMut(&mut dyn Callback) -> Outcome) {
        for callback in &mut self.callbacks {
            let guarded = AssertUnwindSafe(|| (callback.name(), act(callback.as_mut())));
            match panic::catch_unwind(guarded) {
                Ok((_, Ok(()))) => {}
                Ok((name, Err(error))) => {
                    tracing::error!(callback = name, hook, %error, "a callback failed");
                }
                Err(payload) => panicked(hook, payload.as_ref()),
            }
        }
    }
}

/// The callback's name is not asked for again: it may be what panicked.
fn panicked(hook: &'static str, payload: &(dyn Any + Send)) {
    let reason = said(payload);
    tracing::error!(hook, reason, "a callback panicked");
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("callbacks", &self.callbacks.len())
            .finish()
    }
}
