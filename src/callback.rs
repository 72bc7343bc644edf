//! What happens in a training, told to whoever wants to know: the hooks of a training loop, and who answers them.

mod csv;
mod early_stopping;
mod job;
mod outbox;
mod progress;
mod store_logger;

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::sink::said;
use crate::store::{Prediction, Status, Store};

pub use csv::Csv;
pub use early_stopping::{EarlyStopping, Goal};
pub use outbox::{Delivery, Outbox};
pub use progress::Progress;
pub use store_logger::StoreLogger;

/// A store that a training and its callbacks share.
pub type SharedStore = Arc<Mutex<dyn Store>>;

/// What a hook comes to; an error is logged and costs nobody else anything.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// The ids that a store gave the records of a training: `experiment_id`, `group:<name>` and `run_id`.
///
/// A clone is the same list. A logger that works in the background writes an id when the store has given it, so that a
/// hook may come before the id does.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    own: Arc<Mutex<BTreeMap<String, String>>>,
    /// The experiment's ids, where these are a run's.
    outer: Option<Box<Ids>>,
}

impl Ids {
    /// The id called `name`, if it is known by now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let own = self.lock().get(name).cloned();
        let outer = self.outer.as_ref().filter(|_| name != RUN_ID);
        own.or_else(|| outer.and_then(|outer| outer.get(name)))
    }

    /// Sets the id called `name`.
    pub fn set(&self, name: impl Into<String>, id: impl Into<String>) {
        self.lock().insert(name.into(), id.into());
    }

    /// Whether both are the same list.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of the ids of an experiment and of a run.
const EXPERIMENT_ID: &str = "experiment_id";
const RUN_ID: &str = "run_id";

/// What an experiment's or a run's hooks are told.
///
/// A clone shares `ids` and `store` with its original; a second run begins with [`LogContext::of_run`], whose ids are its own.
#[derive(Clone, Default)]
pub struct LogContext {
    pub output_dir: Option<PathBuf>,
    /// The experiment's configuration. The store logger reads `metadata.name`, `metadata.hypothesis` and `metadata.tags`.
    pub config: Value,
    /// The store that the experiment itself writes to, if it does: a store logger then keeps still.
    pub store: Option<SharedStore>,
    pub run_key: String,
    /// The run's configuration. The store logger reads `recipe_kind` (else `recipe.kind`) and `seed`.
    pub run_config: Value,
    pub group_name: Option<String>,
    pub ids: Ids,
    /// Whatever else callbacks tell each other. The store logger reads `wandb_url`.
    pub extras: Map<String, Value>,
}

impl LogContext {
    /// The context of a run of this experiment: it knows the ids of the experiment and its groups, also those that come
    /// later, and no other run's.
    #[must_use]
    pub fn of_run(&self, run_key: impl Into<String>, run_config: Value) -> Self {
        Self {
            run_key: run_key.into(),
            run_config,
            ids: Ids {
                own: Arc::default(),
                outer: Some(Box::new(self.ids.clone())),
            },
            ..self.clone()
        }
    }
}

impl fmt::Debug for LogContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A configuration may hold what should not be in a log.
        f.debug_struct("LogContext")
            .field("run_key", &self.run_key)
            .field("group_name", &self.group_name)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

/// Where a training loop stands.
#[derive(Clone, Default)]
pub struct LoopState {
    pub step: u64,
    /// How many steps there will be, if that is known.
    pub num_steps: Option<u64>,
    pub output_dir: Option<PathBuf>,
    /// The store that the loop logs to, if it has one of its own.
    pub log_store: Option<SharedStore>,
    pub ctx: LogContext,
    stop_requested: bool,
}

impl LoopState {
    /// Before the first step, of a run's context.
    #[must_use]
    pub fn of(ctx: LogContext) -> Self {
        Self {
            ctx,
            ..Self::default()
        }
    }

    /// Asks the loop to end after this step; it looks at [`LoopState::stop_requested`].
    pub fn request_stop(&mut self) {
        self.stop_requested = true;
    }

    /// Whether a callback has asked the loop to end.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.stop_requested
    }
}

impl fmt::Debug for LoopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopState")
            .field("step", &self.step)
            .field("num_steps", &self.num_steps)
            .field("stop_requested", &self.stop_requested)
            .field("ctx", &self.ctx)
            .finish_non_exhaustive()
    }
}

/// Weights that the loop wrote down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckpointRow {
    /// Where the weights for sampling are.
    pub sampler_path: Option<String>,
    /// Where the whole state is, to go on from.
    pub state_path: Option<String>,
    pub label: Option<String>,
    /// The step it was taken at; the loop's, if it does not say.
    pub step: Option<u64>,
    pub base_model: Option<String>,
    pub is_final: bool,
}

/// What a benchmark came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BenchmarkResult {
    pub benchmark_id: String,
    pub checkpoint_id: Option<String>,
    pub model_ref: Option<String>,
    /// Any JSON.
    pub metrics: Value,
    /// Any JSON.
    pub breakdowns: Value,
}

/// How a run or an experiment ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ending {
    /// Completed, failed or cancelled.
    pub status: Status,
    pub error_message: Option<String>,
    /// What an experiment has shown.
    pub conclusion: Option<String>,
}

impl Ending {
    /// Ended as it should.
    #[must_use]
    pub fn completed() -> Self {
        Self {
            status: Status::Completed,
            ..Self::default()
        }
    }

    /// Ended by an error.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            error_message: Some(error.into()),
            ..Self::default()
        }
    }
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
