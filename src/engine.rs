//! The façade that a training loop calls, and the only file that names every room: it walks each step down the corridor.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::batch::{Batch, Place};
use crate::cadence::{Cadence, Schedule, Strategy};
use crate::dialect::Dialect;
use crate::filter::Mode;
use crate::metrics::{Metrics, Row};
use crate::run::RunMetadata;
use crate::scalars::{ClipRange, Fold, Scalar, Scalars, Weighting, WindowFold};
use crate::shard::{MergeError, Shard, Thresholds};
use crate::sink::{Fanout, Receipt, Sink, SinkError};
use crate::stat::{Census, Statistic};
use crate::summary::{DeclaredFolds, Summary};
use crate::window::{MeanWindow, Reduction};

/// Whose data a row is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All ranks'.
    #[default]
    Global,
    /// Rank 0's alone; nothing is gathered.
    Local,
}

/// What an engine can be told; each field is documented at the builder's method of its name.
#[derive(Clone, Debug)]
struct Options {
    dialect: Dialect,
    mode: Mode,
    window: Reduction,
    scope: Scope,
    emit_partial: bool,
    schedule: Schedule,
    kl_bias_correction: bool,
    ratio_cap: Option<f64>,
    clip_range: Option<ClipRange>,
    folds: DeclaredFolds,
    metadata: Option<RunMetadata>,
}

/// Builds an [`Engine`]; every option has the default that METRICS.md names.
#[derive(Debug)]
pub struct EngineBuilder {
    options: Options,
    cadence: Cadence,
    sinks: Fanout,
}

/// Why a step has no row. The step's data is gone; the engine goes on with the next.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(
        "step {step}: tokens were counted against the clip range {counted:?}, but the controller's snapshot says {snapshot:?}: give the snapshot with the batches, or the range in the engine's options"
    )]
    ClipRange {
        step: u64,
        counted: ClipRange,
        snapshot: ClipRange,
    },
}

/// Computes a row of metrics every so many optimizer steps and hands it to its sinks.
///
/// ```
/// use grpo_metrics::batch::{Batch, Columns};
/// use grpo_metrics::engine::Engine;
/// use grpo_metrics::group::Grouping;
///
/// let mut engine = Engine::builder().build();
/// let batch = Batch::of(Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]))?;
/// engine.observe(&batch)?;
/// let row = engine.step(1)?.expect("a row every step by default");
/// assert_eq!(row.metrics.get("train/reward"), Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    options: Options,
    cadence: Cadence,
    sinks: Fanout,
    /// What has been observed of the step that is not over.
    pending: Shard,
    next_micro: u32,
    /// The clip range of the last snapshot seen here.
    known_range: Option<ClipRange>,
    /// The clip range of this step, where the caller has said it.
    expected_range: Option<ClipRange>,
    averaged: MeanWindow,
    pooled: Shard,
    last_step: Option<LastStep>,
    previous: (Option<f64>, Option<f64>),
    rows: u64,
    census: BTreeMap<String, Census>,
    sink_error: Option<SinkError>,
}

/// What a row that goes out later must know of its last step.
#[derive(Clone, Debug)]
struct LastStep {
    step: u64,
    tau: Option<f64>,
    beta: Option<f64>,
}

impl EngineBuilder {
    fn new() -> Self {
        Self {
            options: Options {
                dialect: Dialect::default(),
                mode: Mode::default(),
                window: Reduction::default(),
                scope: Scope::default(),
                emit_partial: true,
                schedule: Schedule::default(),
                kl_bias_correction: true,
                ratio_cap: None,
                clip_range: None,
                folds: DeclaredFolds::new(),
                metadata: None,
            },
            cadence: Cadence::new(Strategy::Steps, 1, true),
            sinks: Fanout::default(),
        }
    }

    /// The names of the row's numbers; `maxent` by default.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.options.dialect = dialect;
        self
    }

    /// Which keys are kept; all by default. [`Mode::resolve`] reads the environment.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// How the steps between two rows become one; the mean by default.
    #[must_use]
    pub fn window(mut self, window: Reduction) -> Self {
        self.options.window = window;
        self
    }

    /// Whose data the rows are over; all ranks' by default.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.options.scope = scope;
        self
    }

    /// Steps between rows; 1 by default, which 0 or less counts as.
    #[must_use]
    pub fn logging_steps(mut self, steps: i64) -> Self {
        self.cadence.steps = steps;
        self
    }

    /// What decides that a row goes out; [`Strategy::Steps`] by default.
    #[must_use]
    pub fn logging_strategy(mut self, strategy: Strategy) -> Self {
        self.cadence.strategy = strategy;
        self
    }

    /// Whether step 0 has a row; it has by default.
    #[must_use]
    pub fn logging_first_step(mut self, first: bool) -> Self {
        self.cadence.first_step = first;
        self
    }

    /// Whether the steps left over at the end go out as a last row; they do by default.
    #[must_use]
    pub fn emit_partial(mut self, emit: bool) -> Self {
        self.options.emit_partial = emit;
        self
    }

    /// What the epoch follows from where none is reported.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.options.schedule = schedule;
        self
    }

    /// Whether trl's `kl` is weighted by the ratio to the behaviour policy; it is by default, as in TRL.
    #[must_use]
    pub fn kl_bias_correction(mut self, correct: bool) -> Self {
        self.options.kl_bias_correction = correct;
        self
    }

    /// The cap of the sampler's importance ratio; none by default.
    #[must_use]
    pub fn ratio_cap(mut self, cap: f64) -> Self {
        self.options.ratio_cap = Some(cap);
        self
    }

    /// What tokens are counted against where no snapshot has said; 0.2 either side by default. Every rank needs the same.
    #[must_use]
    pub fn clip_range(mut self, range: ClipRange) -> Self {
        self.options.clip_range = Some(range);
        self
    }

    /// Declares how a metric of your own folds over ranks and micro-batches, and over a pooled window; by mean otherwise.
    #[must_use]
    pub fn fold(mut self, name: impl Into<String>, fold: Fold, window: WindowFold) -> Self {
        self.options.folds.insert(name.into(), (fold, window));
        self
    }

    /// The texts of the run, which go out with its first row; none by default.
    #[must_use]
    pub fn metadata(mut self, metadata: RunMetadata) -> Self {
        self.options.metadata = Some(metadata);
        self
    }

    /// Adds a sink; every row goes to all of them, and one that fails does not stop the others.
    #[must_use]
    pub fn sink(mut self, sink: impl Sink + 'static) -> Self {
        self.sinks = self.sinks.with(sink);
        self
    }

    /// The engine.
    #[must_use]
    pub fn build(self) -> Engine {
        Engine {
            options: self.options,
            cadence: self.cadence,
            sinks: self.sinks,
            pending: Shard::default(),
            next_micro: 0,
            known_range: None,
            expected_range: None,
            averaged: MeanWindow::default(),
            pooled: Shard::default(),
            last_step: None,
            previous: (None, None),
            rows: 0,
            census: BTreeMap::new(),
            sink_error: None,
        }
    }
}

impl Engine {
    /// An engine with the defaults of METRICS.md, to be changed.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// Takes in one micro-batch. Never communicates; nothing of the batch is kept but numbers.
    ///
    /// A batch that says its place ([`Batch::at`]) is of that rank and micro-batch; any other is this rank's next one.
    ///
    /// # Errors
    /// If the same rank and micro-batch was observed before in this step, or its tokens were counted against another
    /// clip range. The batch is then left out, the rest of the step stands.
    pub fn observe(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let place = batch.place().unwrap_or(Place {
            rank: 0,
            micro: self.next_micro,
        });
        if self.options.scope == Scope::Local && place.rank != 0 {
            return Ok(());
        }
        let thresholds = self.thresholds(batch);
        let shard = Shard::counted(batch, place, &thresholds);
        self.pending.merge(shard)?;
        self.next_micro = self.next_micro.max(place.micro + 1);
        Ok(())
    }

    /// Says what the tokens of the step now beginning are counted against, whatever its records' own snapshots say: the
    /// range of the step's snapshot, which is the lowest reporting rank's last. For a caller that knows it beforehand, as
    /// a replay does; elsewhere every rank observes with a snapshot, or the range stands in the options.
    pub fn expect_clip_range(&mut self, range: ClipRange) {
        self.expected_range = Some(range);
    }

    /// Adds scalars and the controller's snapshot that are known only when the step is over.
    pub fn report(&mut self, scalars: Scalars, weighting: Option<Weighting>) {
        if let Some(weighting) = &weighting {
            self.known_range = Some(weighting.clip_range());
        }
        self.pending.report(0, scalars, weighting);
    }

    /// Ends an optimizer step: the row, if one goes out at this step. The sinks have it by then.
    ///
    /// A sink that fails does not fail the step: its error is kept ([`Engine::sink_error`]) and counted in its receipt.
    ///
    /// # Errors
    /// If the step's parts do not belong together.
    pub fn step(&mut self, step: u64) -> Result<Option<Row>, EngineError> {
        let mut shard = std::mem::take(&mut self.pending);
        self.next_micro = 0;
        self.expected_range = None;
        let counted = shard.thresholds();
        shard.close(step)?;
        let mut summary = Summary::folded(&shard, &self.options.folds);
        summary.step = step;
        check_range(&summary, counted)?;
        let epoch = summary
            .scalar(Scalar::Epoch)
            .unwrap_or_else(|| self.options.schedule.epoch(step));
        self.last_step = Some(LastStep {
            step,
            tau: summary.weighting.as_ref().and_then(|w| w.tau),
            beta: summary.weighting.as_ref().and_then(|w| w.beta),
        });
        for (family, census) in &summary.census {
            self.census.entry(family.clone()).or_default().merge(census);
        }
        match self.options.window {
            Reduction::Mean => {
                let metrics = self.named(summary);
                self.averaged.push(metrics);
            }
            Reduction::Pooled => self.pooled.merge(shard)?,
        }
        if self.cadence.take(step, epoch) {
            return Ok(Some(self.emit(step)));
        }
        Ok(None)
    }

    /// Ends the run: the steps left over go out as a last row, the sinks are closed. One receipt a sink.
    #[must_use]
    pub fn finish(mut self) -> Vec<Receipt> {
        self.emit_left_over();
        self.sinks.close_each()
    }

    /// As [`Engine::finish`], for a caller that wants the last row too.
    #[must_use]
    pub fn finish_with_row(mut self) -> (Option<Row>, Vec<Receipt>) {
        let row = self.emit_left_over();
        (row, self.sinks.close_each())
    }

    fn emit_left_over(&mut self) -> Option<Row> {
        let step = self.last_step.as_ref()?.step;
        let left_over = !self.averaged.is_empty() || !self.pooled.is_empty();
        (self.options.emit_partial && left_over).then(|| self.emit(step))
    }

    /// What every family of every step has seen so far, by name.
    #[must_use]
    pub fn census(&self) -> &BTreeMap<String, Census> {
        &self.census
    }

    /// The last error of a sink, if there was one since this was last asked.
    pub fn sink_error(&mut self) -> Option<SinkError> {
        self.sink_error.take()
    }

    /// What the caller has said of the step decides, then the record's own snapshot, then the last one seen here, then the options, then the default.
    fn thresholds(&mut self, batch: &Batch<'_>) -> Thresholds {
        if let Some(weighting) = &batch.columns().weighting {
            self.known_range = Some(weighting.clip_range());
        }
        Thresholds {
            clip_range: self
                .expected_range
                .or(self.known_range)
                .or(self.options.clip_range)
                .unwrap_or_default(),
            ratio_cap: self.options.ratio_cap,
        }
    }

    /// A summary's row, filtered.
    fn named(&self, mut summary: Summary) -> Metrics {
        summary.context.epoch = self.options.schedule.epoch(summary.step);
        (summary.context.previous_tau, summary.context.previous_beta) = self.previous;
        summary.context.kl_bias_correction = self.options.kl_bias_correction;
        let mut metrics = self.options.dialect.row(&summary);
        self.options.mode.apply(&mut metrics);
        metrics
    }

    /// The window's row goes out.
    fn emit(&mut self, step: u64) -> Row {
        let metrics = match self.options.window {
            Reduction::Mean => self.averaged.take(self.options.dialect.of_last_step()),
            Reduction::Pooled => {
                let window = std::mem::take(&mut self.pooled);
                let mut summary = Summary::folded(&window, &self.options.folds);
                summary.step = step;
                self.named(summary)
            }
        };
        if let Some(last) = &self.last_step {
            self.previous = (last.tau, last.beta);
        }
        let metadata = self.options.metadata.as_ref().filter(|_| self.rows == 0);
        let row = Row {
            step,
            timestamp: now(),
            metrics,
            text: metadata.map(RunMetadata::text).unwrap_or_default(),
        };
        self.rows += 1;
        if let Err(error) = self.sinks.write(&row) {
            tracing::warn!(step, %error, "a sink could not take the row");
            self.sink_error = Some(error);
        }
        row
    }
}

/// What tokens were counted against must be what the step's snapshot says.
fn check_range(summary: &Summary, counted: Option<Thresholds>) -> Result<(), EngineError> {
    let (
        Some(weighting),
        Some(Thresholds {
            clip_range: counted,
            ..
        }),
    ) = (&summary.weighting, counted)
    else {
        return Ok(());
    };
    let snapshot = weighting.clip_range();
    if snapshot == counted {
        return Ok(());
    }
    Err(EngineError::ClipRange {
        step: summary.step,
        counted,
        snapshot,
    })
}

/// Seconds since the Unix epoch; 0 on a machine whose clock stands before it.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
