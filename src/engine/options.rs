//! What an engine can be told.

mod check;

use crate::batch::scalars::{ClipRange, Fold, WindowFold};
use crate::dialect::Dialect;
use crate::gather::{Alone, Gather};
use crate::row::cadence::{Cadence, Schedule, Strategy};
use crate::row::filter::Mode;
use crate::row::health::Limits;
use crate::row::run::RunMetadata;
use crate::row::window::Windowing;
use crate::shard::{KlKind, KlPenalty, Retain, Success};
use crate::sink::{Fanout, Sink};
use crate::summary::{DeclaredFolds, HIGH_KL};

use super::Engine;
pub use check::OptionError;
use check::check;

/// Whose data a row is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All ranks'.
    #[default]
    Global,
    /// Rank 0's alone; nothing is gathered.
    Local,
}

/// What becomes of a step in which a rank has failed or was not heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It has no row but an error that names the ranks.
    #[default]
    Fail,
    /// Its row is over the other ranks; the next row that goes out says so in its texts, `failed/step 7/rank 3`.
    GoOn,
}

/// What an engine can be told; each field is documented at the builder's method of its name.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub dialect: Dialect,
    pub mode: Mode,
    pub window: Windowing,
    pub scope: Scope,
    pub emit_partial: bool,
    pub schedule: Schedule,
    pub kl_bias_correction: bool,
    pub ratio_cap: Option<f64>,
    pub kl_penalty: Option<KlPenalty>,
    pub extended: bool,
    pub success: Success,
    pub high_kl: f64,
    pub limits: Limits,
    pub kl_kind: KlKind,
    pub devices: Option<u32>,
    pub clip_range: Option<ClipRange>,
    pub folds: DeclaredFolds,
    pub metadata: Option<RunMetadata>,
    pub policy: OnFailure,
    pub retain: Retain,
}

/// Builds an [`Engine`]; every option has the default that METRICS.md names.
#[derive(Debug)]
pub struct EngineBuilder {
    pub(super) options: Options,
    mode: Option<Mode>,
    pub(super) cadence: Cadence,
    pub(super) sinks: Fanout,
    pub(super) gather: Box<dyn Gather>,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: Options {
                dialect: Dialect::default(),
                mode: Mode::default(),
                window: Windowing::default(),
                scope: Scope::default(),
                emit_partial: true,
                schedule: Schedule::default(),
                kl_bias_correction: true,
                ratio_cap: None,
                kl_penalty: None,
                extended: false,
                success: Success::default(),
                high_kl: HIGH_KL,
                limits: Limits::default(),
                kl_kind: KlKind::default(),
                devices: None,
                clip_range: None,
                folds: DeclaredFolds::new(),
                metadata: None,
                policy: OnFailure::default(),
                retain: Retain::default(),
            },
            mode: None,
            cadence: Cadence::new(Strategy::Steps, 1, true),
            sinks: Fanout::default(),
            gather: Box::new(Alone),
        }
    }

    /// The names of the row's numbers; `maxent` by default.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.options.dialect = dialect;
        self
    }

    /// Which keys are kept; where this is not said, the environment decides ([`Mode::resolve`]), and failing that all are.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How the steps between two rows become one; the mean by default.
    #[must_use]
    pub fn window(mut self, window: Windowing) -> Self {
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

    /// Whether rows also have the extended metrics: distributions, uncertainty, splits, health. They have not by default,
    /// and nothing of them is computed then. Every rank needs the same.
    #[must_use]
    pub fn extended(mut self, extended: bool) -> Self {
        self.options.extended = extended;
        self
    }

    /// When a completion counts as a success, for pass@k; a total reward of at least 1 by default. Every rank needs the same.
    #[must_use]
    pub fn success(mut self, success: Success) -> Self {
        self.options.success = success;
        self
    }

    /// The k3 to the reference, in nats, above which a token's KL counts as high; 0.1 by default.
    #[must_use]
    pub fn high_kl(mut self, nats: f64) -> Self {
        self.options.high_kl = nats;
        self
    }

    /// From where on the flags of health are up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// The KL penalty inside the trainer's rewards, for verl's `critic/rewards`; none by default.
    #[must_use]
    pub fn kl_penalty(mut self, penalty: KlPenalty) -> Self {
        self.options.kl_penalty = Some(penalty);
        self
    }

    /// The estimator of verl's `actor/kl_loss`; [`KlKind::K3`] by default.
    #[must_use]
    pub fn kl_kind(mut self, kind: KlKind) -> Self {
        self.options.kl_kind = kind;
        self
    }

    /// How many devices train, for verl's `perf/throughput`; unknown by default, which leaves it out.
    #[must_use]
    pub fn devices(mut self, devices: u32) -> Self {
        self.options.devices = Some(devices);
        self
    }

    /// What tokens are counted against where no snapshot has said; 0.2 either side by default. Every rank needs the same.
    #[must_use]
    pub fn clip_range(mut self, range: ClipRange) -> Self {
        self.options.clip_range = Some(range);
        self
    }

    /// Declares how a metric of your own folds over ranks and micro-batches, and over a window; by mean otherwise.
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
    ///
    /// Rows are the root's: the engine of any other rank drops the sink when it is built, neither written to nor closed.
    #[must_use]
    pub fn sink(mut self, sink: impl Sink + 'static) -> Self {
        self.sinks = self.sinks.with(sink);
        self
    }

    /// Adds the sink that `open` gives, which is called at the root alone: for what ranks share and one of them opens, such as a
    /// store's run, a file or a journal. The [gather](Self::gather) comes first: it says which rank this is.
    ///
    /// # Errors
    /// What `open` fails with.
    pub fn sink_at_root<S: Sink + 'static, E>(
        self,
        open: impl FnOnce() -> Result<S, E>,
    ) -> Result<Self, E> {
        Ok(if self.gather.rank() == 0 {
            self.sink(open()?)
        } else {
            self
        })
    }

    /// What brings the ranks' parts together; [`Alone`] by default. How long it waits for a rank is the gather's own option.
    #[must_use]
    pub fn gather(mut self, gather: impl Gather + 'static) -> Self {
        self.gather = Box::new(gather);
        self
    }

    /// What becomes of a step in which a rank has failed or was not heard; it fails by default.
    #[must_use]
    pub fn policy(mut self, policy: OnFailure) -> Self {
        self.options.policy = policy;
        self
    }

    /// How reward columns are kept for their quantiles; exactly by default. Every rank needs the same.
    #[must_use]
    pub fn retain(mut self, retain: Retain) -> Self {
        self.options.retain = retain;
        self
    }

    /// Whether the numbers that it was told make sense, as [`EngineBuilder::build`] would say: for a caller that opens sinks next.
    ///
    /// # Errors
    /// The first that makes none: negative, infinite or NaN where it may not be.
    pub fn check(&self) -> Result<(), OptionError> {
        check(&self.options)
    }

    /// The engine.
    ///
    /// # Errors
    /// As [`EngineBuilder::check`], or if no mode was chosen and the environment names one that there is not.
    pub fn build(mut self) -> Result<Engine, OptionError> {
        self.check()?;
        self.options.mode = Mode::resolve(self.mode, |name| std::env::var(name).ok())?;
        Ok(Engine::of(self))
    }
}
