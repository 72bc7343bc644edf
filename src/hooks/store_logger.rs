//! The callback that keeps everything: a training's records, to any store.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::job::{Job, What};
use super::outbox::{Open, Outbox, ToStore};
use super::{
    Artifacts, BenchmarkResult, Callback, CheckpointRow, Ending, Ids, LogContext, LoopState,
    Outcome,
};
use crate::batch::Batch;
use crate::row::Metrics;
use crate::sink::Queue;
use crate::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Prediction, Run, RunPatch, Split, Status, Store,
    StoreError,
};

/// How many records wait for a store at most, unless said otherwise.
const CAPACITY: u64 = 100_000;

/// Stores everything that the hooks tell: the experiment, its groups and runs, every step's row (split train), every
/// evaluation within the loop as `{eval_name}/{key}` (split val), checkpoints, benchmarks with their predictions, and how
/// each run ended.
///
/// No hook waits for the store: each hands its records to a queue in memory and returns. A thread of its own stores them in
/// order. While the store fails they stay there and are tried again, with pauses from 0.1 s to 30 s; what the store
/// refuses for good, or what finds no room, is dropped, logged and counted. [`StoreLogger::outbox`] says what became of
/// every record. Dropping the logger waits for the store, but no longer than [`StoreLogger::close_within`]. For what must
/// outlive a crash give it a store or sink that keeps a journal.
///
/// A store that failed after it did what it was asked is asked again: metrics are replaced, other records are then twice.
///
/// If the context has a store, the experiment writes already, and the logger switches itself off with a warning.
pub struct StoreLogger {
    /// Until the worker starts, at the first record.
    open: Option<Open>,
    queue: Queue<Job>,
    project_id: Option<String>,
    flush_every: u64,
    close_within: Duration,
    off: bool,
    buffer: Buffer,
}

/// Rows that wait for the next flush, all of one run.
#[derive(Default)]
struct Buffer {
    ids: Ids,
    train: Vec<(u64, Metrics)>,
    val: Vec<(u64, Metrics)>,
}

impl StoreLogger {
    /// Logs to `store`.
    #[must_use]
    pub fn over(store: impl Store + 'static) -> Self {
        let mut store = Some(Box::new(store) as Box<dyn Store>);
        // The worker keeps an open store, so this is called once.
        Self::opening(move || {
            store.take().ok_or_else(|| StoreError::Unknown {
                what: "store that was not taken yet".to_owned(),
            })
        })
    }

    /// Logs to the store that `open` makes: at the first need, on the logger's own thread, and again after it failed.
    #[must_use]
    pub fn opening(
        open: impl FnMut() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
    ) -> Self {
        Self {
            open: Some(Box::new(open)),
            queue: Queue::new("store logger", CAPACITY),
            project_id: None,
            flush_every: 1,
            close_within: Duration::from_secs(30),
            off: false,
            buffer: Buffer::default(),
        }
    }

    /// The project that experiments belong to.
    #[must_use]
    pub fn project_id(mut self, id: impl Into<String>) -> Self {
        self.project_id = Some(id.into());
        self
    }

    /// Steps whose rows go to the store together; 1 by default, which 0 counts as.
    #[must_use]
    pub fn flush_every(mut self, steps: u64) -> Self {
        self.flush_every = steps.max(1);
        self
    }

    /// How many records may wait for the store; 100,000 by default.
    #[must_use]
    pub fn capacity(self, records: u64) -> Self {
        self.queue.set_capacity(records);
        self
    }

    /// How long dropping the logger waits for the store; 30 s by default.
    #[must_use]
    pub fn close_within(mut self, time: Duration) -> Self {
        self.close_within = time;
        self
    }

    /// A view of the queue, to ask what became of the records or to wait for them.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox(self.queue.clone())
    }

    /// Whether to keep still, as the experiment writes by itself.
    fn is_off(&mut self, ctx: &LogContext) -> bool {
        if ctx.store.is_some() && !self.off {
            tracing::warn!("the experiment writes to its store already: the store logger is off");
            self.off = true;
        }
        self.off
    }

    fn push(&mut self, ids: &Ids, what: What) -> Outcome {
        self.push_all(ids, [what])
    }

    fn push_all(&mut self, ids: &Ids, records: impl IntoIterator<Item = What>) -> Outcome {
        let job = |what| Job {
            ids: ids.clone(),
            what,
        };
        let mut jobs = records.into_iter().map(job).peekable();
        if jobs.peek().is_none() {
            return Ok(());
        }
        if let Some(open) = self.open.take() {
            self.queue.start(ToStore::opening(open))?;
        }
        // What finds no room is in the receipt, and costs the training nothing.
        if let Err(error) = self.queue.push(jobs) {
            tracing::error!("the store logger dropped records: {error}");
        }
        Ok(())
    }

    /// Buffers a row of the run that `ids` are of; what another run left goes out first.
    fn buffer(&mut self, ids: &Ids, split: Split, step: u64, metrics: Metrics) -> Outcome {
        if !self.buffer.ids.is(ids) {
            self.flush()?;
            self.buffer.ids = ids.clone();
        }
        let rows = match split {
            Split::Train => &mut self.buffer.train,
            Split::Val => &mut self.buffer.val,
        };
        rows.push((step, metrics));
        Ok(())
    }

    /// Hands what is buffered to the queue.
    fn flush(&mut self) -> Outcome {
        let Buffer { ids, train, val } = std::mem::take(&mut self.buffer);
        let rows = |split, rows: Vec<(u64, Metrics)>| {
            let row = move |(step, metrics)| What::Row(split, step, metrics);
            rows.into_iter().map(row)
        };
        let records = rows(Split::Train, train).chain(rows(Split::Val, val));
        self.buffer.ids = ids.clone();
        self.push_all(&ids, records)
    }

    fn experiment(&self, ctx: &LogContext) -> Experiment {
        let metadata = &ctx.config["metadata"];
        let tags = metadata["tags"].as_array().into_iter().flatten();
        Experiment {
            experiment_name: text(&metadata["name"]).unwrap_or_else(|| "unnamed".to_owned()),
            project_id: self.project_id.clone(),
            hypothesis: text(&metadata["hypothesis"]),
            tags: tags.filter_map(text).collect(),
            status: Status::Running,
            ..Experiment::default()
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

impl fmt::Debug for StoreLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLogger")
            .field("queue", &self.queue)
            .field("off", &self.off)
            .finish_non_exhaustive()
    }
}

impl Drop for StoreLogger {
    fn drop(&mut self) {
        let flushed = self.flush();
        if self.open.is_some() {
            // Nothing was ever stored.
            return;
        }
        let receipt = self.queue.close(self.close_within);
        if receipt.written < receipt.accepted || flushed.is_err() {
            tracing::error!(?receipt, "the store logger ends before its store has all");
        }
    }
}

/// `None` where it has not ended: it stays as it stands.
fn final_status(ending: &Ending) -> Option<Status> {
    Some(ending.status).filter(|status| status.is_final())
}

impl Callback for StoreLogger {
    fn name(&self) -> &'static str {
        "store logger"
    }

    fn on_experiment_start(&mut self, ctx: &mut LogContext) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        let experiment = self.experiment(ctx);
        self.push(&ctx.ids, What::Experiment(experiment))
    }

    fn on_group_start(&mut self, ctx: &mut LogContext, group_name: &str) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        self.push(&ctx.ids, What::Group(group_name.to_owned()))
    }

    fn on_run_start(&mut self, ctx: &mut LogContext) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        let config = &ctx.run_config;
        let run = Run {
            seed: config["seed"].as_i64(),
            recipe_kind: text(&config["recipe_kind"]).or_else(|| text(&config["recipe"]["kind"])),
            run_config: config.clone(),
            status: Status::Running,
            wandb_run_url: ctx.extras.get("wandb_url").and_then(text),
            ..Run::default()
        };
        let what = What::Run(run, ctx.group_name.clone(), self.experiment(ctx));
        self.push(&ctx.ids, what)
    }

    fn on_step_end(
        &mut self,
        state: &mut LoopState,
        step: u64,
        _batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        if self.is_off(&state.ctx) {
            return Ok(());
        }
        self.buffer(&state.ctx.ids, Split::Train, step, metrics.clone())?;
        if self.buffer.train.len() as u64 >= self.flush_every {
            self.flush()?;
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
        if self.is_off(&state.ctx) {
            return Ok(());
        }
        let named = |(key, value)| (format!("{eval_name}/{key}"), value);
        let metrics = metrics.iter().map(named).collect();
        self.buffer(&state.ctx.ids, Split::Val, step, metrics)
    }

    fn on_train_end(&mut self, _state: &mut LoopState, _artifacts: &Artifacts) -> Outcome {
        self.flush()
    }

    fn on_checkpoint(&mut self, state: &mut LoopState, row: &CheckpointRow) -> Outcome {
        if self.is_off(&state.ctx) {
            return Ok(());
        }
        let uri = row.sampler_path.clone().or_else(|| row.state_path.clone());
        let checkpoint = Checkpoint {
            uri: uri
                .ok_or("a checkpoint: expected a sampler path or a state path, found neither")?,
            label: row.label.clone(),
            step: row.step.or(Some(state.step)),
            base_model: row.base_model.clone(),
            is_final: row.is_final,
            ..Checkpoint::default()
        };
        self.push(&state.ctx.ids, What::Checkpoint(checkpoint))
    }

    fn on_benchmark_eval(
        &mut self,
        ctx: &mut LogContext,
        result: &BenchmarkResult,
        predictions: &[Prediction],
        step: Option<u64>,
    ) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        let eval = Eval {
            benchmark_id: result.benchmark_id.clone(),
            checkpoint_id: result.checkpoint_id.clone(),
            model_ref: result.model_ref.clone(),
            step,
            metrics: result.metrics.clone(),
            breakdowns: result.breakdowns.clone(),
            sdk_version: Some(concat!("grpo-metrics ", env!("CARGO_PKG_VERSION")).to_owned()),
            ..Eval::default()
        };
        let own = Ids::default();
        self.push(&ctx.ids, What::Eval(eval, own.clone()))?;
        let of_eval = |prediction: &Prediction| What::Prediction(prediction.clone(), own.clone());
        self.push_all(&ctx.ids, predictions.iter().map(of_eval))
    }

    fn on_run_end(&mut self, ctx: &mut LogContext, result: &Ending, _arm: &str) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        self.flush()?;
        let patch = RunPatch {
            status: final_status(result),
            error_message: result.error_message.clone(),
            ..RunPatch::default()
        };
        self.push(&ctx.ids, What::RunPatch(patch))
    }

    fn on_experiment_end(&mut self, ctx: &mut LogContext, result: &Ending) -> Outcome {
        if self.is_off(ctx) {
            return Ok(());
        }
        self.flush()?;
        let patch = ExperimentPatch {
            status: final_status(result),
            conclusion: result.conclusion.clone(),
            error_message: result.error_message.clone(),
            ..ExperimentPatch::default()
        };
        self.push(&ctx.ids, What::ExperimentPatch(patch))
    }
}
