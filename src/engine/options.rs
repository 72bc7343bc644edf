//! What an engine can be told: the one table, which the builder, the command, Python, files and the documents read.

mod check;
mod declared;
mod table;
mod value;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::batch::scalars::ClipRange;
use crate::batch::{Batch, Place};
use crate::dialect::Dialect;
use crate::gather::Gather;
use crate::row::cadence::{Cadence, Strategy};
use crate::row::filter::Mode;
use crate::row::health::Limits;
use crate::row::run::RunMetadata;
use crate::row::window::Windowing;
use crate::shard::{KlKind, KlPenalty, Rejection, Retain, Shard, Success, Thresholds};
use crate::sink::Fanout;
use crate::summary::{DeclaredFolds, HIGH_KL, Reading, Schedule};

pub use check::OptionError;
pub use declared::{OptionGroup, OptionInfo};
use declared::{given, options, unless};
pub use value::{Given, OptionKind, OptionValue};

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

options! {
    Rows {
        /// Names of the metrics
        dialect: Dialect = Dialect::MaxEnt;
        /// Keys to keep: full or slim
        mode: Option<Mode> = None, none "MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE, else full";
        /// Epoch, where none is reported: step / this
        steps_per_epoch: Option<f64> = None, none "not known", unit "steps", within FINITE;
        /// Epoch, else: step / this
        num_generations: Option<f64> = None, none "not known", unit "steps", within FINITE;
        /// Epoch, else: step * this / `total_training_steps`
        num_epochs: Option<f64> = None, none "not known", unit "epochs", within FINITE, needs "total_training_steps";
        /// The divisor for `num_epochs`
        total_training_steps: Option<f64> = None, none "not known", unit "steps", within FINITE, needs "num_epochs";
        /// The ratio to the behaviour policy as a weight in trl's kl
        kl_bias_correction: bool = true;
        /// Estimator of verl's `actor/kl_loss`
        kl_kind: KlKind = KlKind::K3;
        /// How many devices train, for verl's `perf/throughput`
        devices: Option<u32> = None, none "not known: the key is left out", within COUNT;
        /// From where on a token's KL to the reference (k3) counts as high
        high_kl: f64 = HIGH_KL, unit "nats", within FINITE, needs "extended";
        /// The k of pass@k
        pass_k: Option<BTreeSet<u32>> = None, none "1, 2, 4, ... up to the largest group", within COUNTS, needs "extended";
        /// Beyond which number a flag of health rises
        limits: Limits = Limits::default(), also "limit", needs "extended";
        /// How a metric of your own folds over ranks and windows: mean, min, max, sum, last, `mean_by_tokens`, `mean_by_completions`;
        /// or two folds, one over ranks and one over a window
        folds: DeclaredFolds = DeclaredFolds::new(), none "each by mean", also "fold";
    }
    Windows {
        /// Steps between rows
        logging_steps: i64 = 1, unit "steps", within COUNT, also "every";
        /// What decides that a row goes out: steps, epoch, no
        logging_strategy: Strategy = Strategy::Steps;
        /// A row at step 0
        logging_first_step: bool = true;
        /// A last row for the steps left over at the end
        emit_partial: bool = true;
        /// How the steps between two rows become one
        window: Windowing = Windowing::Mean;
        /// Texts of the run, which go out with its first row: `git_sha`, `recipe_path`, `method_name`, `method_family`,
        /// `method_backend`, `method_slug`
        metadata: Option<RunMetadata> = None, none "none; of the command, what the environment and git say", may change;
    }
    Counting {
        /// The extended metrics too: distributions, uncertainty, splits by tag, health
        extended: bool = false;
        /// Below and above 1, where a token's ratio counts as clipped, if no snapshot of a controller says so
        clip_range: Option<ClipRange> = None, none "0.2 either side";
        /// Cap of the importance ratio to the sampler
        is_ratio_cap: Option<f64> = None, none "no cap", within POSITIVE;
        /// Below it that ratio counts as too low: of a loss that leaves such tokens out, where it begins to
        is_ratio_floor: Option<f64> = None, none "1 / `is_ratio_cap`", within POSITIVE, needs "is_ratio_cap";
        /// What a rejection by the sampler's ratio leaves out, by verl's names: of a k1 the lower and upper ratio of the
        /// sampler's to the trained probability, of another the upper bound
        rollout_rs: Rejection = Rejection::default(), none "nothing is left out", within BOUNDS;
        /// Coefficient of the KL penalty that the training takes off its rewards, for verl's `critic/rewards`
        kl_penalty: Option<f64> = None, none "no penalty", within NOT_NEGATIVE;
        /// Estimator of that penalty
        kl_penalty_kind: KlKind = KlKind::K1, needs "kl_penalty";
        /// Reward component that says whether a completion succeeds, for pass@k
        success: Option<String> = None, none "the total reward", also "success_component", needs "extended";
        /// From this value on a completion succeeds
        success_threshold: f64 = Success::default().threshold, unit "reward", within FINITE, needs "extended";
        /// How rewards are kept for their quantiles: exact, or sketch (within 1 %, in memory that does not grow)
        retain: Retain = Retain::Exact;
    }
    Ranks {
        /// Whose data to use: all ranks', or rank 0's alone
        scope: Scope = Scope::Global;
        /// What becomes of a step in which a rank has failed or was not heard: fail, or go on without the rank
        policy: OnFailure = OnFailure::Fail, may change;
    }
}

/// Builds an [`Engine`](super::Engine): its options, its sinks and its gather. Every option has its default (docs/OPTIONS.md).
#[derive(Debug)]
pub struct EngineBuilder {
    pub(super) options: EngineOptions,
    pub(super) sinks: Fanout,
    pub(super) gather: Box<dyn Gather>,
    pub(super) replica: bool,
}

impl EngineOptions {
    /// These with what was given by name, in whatever order; what is [`Given::Nothing`] was not. A `success` may be a pair, of the
    /// component or nothing and the threshold.
    ///
    /// # Errors
    /// If a name is unknown or there twice, or a value is none that its option takes. Whether numbers make sense is looked at when
    /// the engine is built, or by [`EngineOptions::check`].
    pub fn with(
        mut self,
        given: impl IntoIterator<Item = (String, Given)>,
    ) -> Result<Self, OptionError> {
        let mut seen = BTreeSet::new();
        for (name, given) in given {
            let option = OptionInfo::named(&name).ok_or_else(|| {
                let known = OPTIONS.iter().flat_map(OptionInfo::names);
                OptionError::Unknown(unknown_name("option", &name, known))
            })?;
            if given == Given::Nothing {
                continue;
            }
            if !seen.insert(option.name) {
                return Err(OptionError::Twice(option.name));
            }
            let set = match (option.name, given) {
                ("success", Given::List(pair)) if pair.len() == 2 => {
                    let mut pair = pair.into_iter();
                    ["success", "success_threshold"]
                        .into_iter()
                        .zip(&mut pair)
                        .try_for_each(|(name, given)| self.set(name, given))
                }
                (name, given) => self.set(name, given),
            };
            set.map_err(|reason| OptionError::Value {
                option: option.name,
                reason,
            })?;
        }
        Ok(self)
    }

    /// Every option that is not none, by its name.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, Given)> {
        let all = OPTIONS.iter().filter_map(|option| {
            let given = self.get(option.name)?;
            Some((option.name, given))
        });
        all.filter(|(_, given)| *given != Given::Nothing)
    }

    /// The options that decide which rows a run has and what stands in them, by name, where they are not as by default; the dialect
    /// always. A store keeps them with the run, and refuses to go on with it by others (`RunSpec::options`).
    #[must_use]
    pub fn deciding(&self) -> serde_json::Map<String, serde_json::Value> {
        let untold = Self::default();
        let mode = Mode::resolve(self.mode, |name| std::env::var(name).ok());
        let told = Self {
            // What the environment says is said; one that names no mode is refused elsewhere.
            mode: mode.ok().filter(|mode| *mode != Mode::Full),
            ..self.clone()
        };
        let decide = OPTIONS.iter().filter(|option| option.decides);
        let decide = decide.filter(|option| {
            option.name == "dialect" || told.get(option.name) != untold.get(option.name)
        });
        decide
            .filter_map(|option| {
                let value = serde_json::to_value(told.get(option.name)?).ok()?;
                Some((option.name.to_owned(), value))
            })
            .collect()
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The first that makes none: negative, infinite or NaN where it may not be.
    pub fn check(&self) -> Result<(), OptionError> {
        check::check(self)
    }

    /// What a record's completions are counted into, as an engine with these options does: against the range that is told first
    /// of: the caller's, the record's snapshot's, the option's, the default.
    #[must_use]
    pub fn count(&self, batch: &Batch<'_>, place: Place, clip_range: Option<ClipRange>) -> Shard {
        let snapshot = batch.columns().weighting.as_ref();
        let clip_range = clip_range
            .or_else(|| snapshot.map(crate::batch::scalars::Weighting::clip_range))
            .or(self.clip_range);
        let mut shard = Shard::counted(batch, place, &self.thresholds(clip_range));
        if self.retain == Retain::Sketch {
            shard.sketch();
        }
        shard
    }

    fn thresholds(&self, clip_range: Option<ClipRange>) -> Thresholds {
        Thresholds {
            clip_range: clip_range.unwrap_or_default(),
            ratio_cap: self.is_ratio_cap,
            ratio_floor: self.is_ratio_floor,
            rejection: self.rollout_rs.clone(),
            detail: self.dialect.detail(self.extended),
            kl_penalty: self.kl_penalty.map(|coefficient| KlPenalty {
                coefficient,
                kind: self.kl_penalty_kind,
            }),
            success: Success {
                component: self.success.clone(),
                threshold: self.success_threshold,
            },
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading {
            schedule: Schedule {
                steps_per_epoch: self.steps_per_epoch,
                num_generations: self.num_generations,
                num_epochs: self.num_epochs,
                total_training_steps: self.total_training_steps,
            },
            kl_bias_correction: self.kl_bias_correction,
            kl_kind: self.kl_kind,
            devices: self.devices,
            high_kl: self.high_kl,
            pass_k: self.pass_k.clone(),
            folds: self.folds.clone(),
        }
    }

    pub(super) fn cadence(&self) -> Cadence {
        Cadence::new(
            self.logging_strategy,
            self.logging_steps,
            self.logging_first_step,
        )
    }
}

/// As a table of what is not none.
impl Serialize for EngineOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.given())
    }
}

impl<'de> Deserialize<'de> for EngineOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = BTreeMap::<String, Given>::deserialize(deserializer)?;
        Self::default().with(given).map_err(de::Error::custom)
    }
}

/// `name` is none of `known`: says so, and which of them it may have been meant for. `what` is what they are names of.
pub fn unknown_name<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let closest = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance * 2 < known.len().max(name.len()));
    match closest {
        Some((_, known)) => format!("unknown {what} `{name}`; did you mean `{known}`?"),
        None => format!("unknown {what} `{name}`"),
    }
}

/// No step has the reward component that says whether a completion succeeds; `there` are those that some step has.
pub(crate) fn no_component(name: &str, there: &[&str]) -> String {
    let unknown = unknown_name("reward component", name, there.iter().copied());
    let there: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
    let there = match there.as_slice() {
        [] => "there are none".to_owned(),
        [only] => format!("there is only {only}"),
        several => format!("there are {}", several.join(", ")),
    };
    format!("`success`: {unknown} ({there})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{RejectionBounds, RejectionStatistic};

    #[test]
    fn a_shard_is_read_by_itself_as_by_an_engine_that_was_told_nothing() {
        assert_eq!(EngineOptions::default().reading(), Reading::default());
    }

    #[test]
    fn options_are_read_as_they_are_written_and_need_nothing_but_their_names() {
        let all = serde_json::json!({
            "dialect": "verl", "mode": "slim", "kl_kind": "abs", "devices": 4, "limits": {"kl": 0.5, "entropy_steps": 2},
            "folds": {"mine": "sum", "other": ["sum_of_lasts", "last"]}, "metadata": {"git_sha": "abc"}, "every": 7,
            "clip_range": [0.2, 0.28], "success": [null, 0.5], "policy": "go-on", "emit_partial": false,
            "rollout_rs": {"token_k1": 2, "seq-max-k3": 0.1},
        });
        let read: EngineOptions = serde_json::from_value(all).unwrap();
        assert_eq!((read.logging_steps, read.success_threshold), (7, 0.5));
        assert_eq!(read.limits.entropy_steps, 2);
        let rejected = Rejection::default()
            .by(RejectionStatistic::TokenK1, RejectionBounds::up_to(2.0))
            .by(RejectionStatistic::MaxK3, RejectionBounds::up_to(0.1));
        assert_eq!(read.rollout_rs, rejected);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<EngineOptions>(&written).unwrap(),
            read
        );
        let untold = serde_json::from_str::<EngineOptions>("{}").unwrap();
        assert_eq!(untold, EngineOptions::default());
    }

    #[test]
    fn what_an_option_does_not_take_is_refused_with_what_it_takes() {
        for (given, message) in [
            (
                r#"{"mod": "full"}"#,
                "unknown option `mod`; did you mean `mode`?",
            ),
            (
                r#"{"every": 2, "logging_steps": 2}"#,
                "`logging_steps`: expected it once, found it under two names",
            ),
            (
                r#"{"devices": -1}"#,
                "`devices`: expected a whole number, found -1",
            ),
            (
                r#"{"devices": 1.5}"#,
                "`devices`: expected a whole number, found 1.5",
            ),
            (
                r#"{"extended": 1}"#,
                "`extended`: expected true or false, found 1",
            ),
            (
                r#"{"window": "sum"}"#,
                "`window`: expected mean or pooled, found `sum`",
            ),
            (
                r#"{"clip_range": 0.2}"#,
                "`clip_range`: expected two numbers, (low, high), found 0.2",
            ),
            (
                r#"{"limits": {"clip": 1}}"#,
                "`limits`: unknown name `clip`; did you mean `clipped`?",
            ),
            (
                r#"{"limits": {"kl": "much"}}"#,
                "`limits`: `kl`: expected a number, found `much`",
            ),
            (
                r#"{"limits": {"entropy_steps": 1.5}}"#,
                "`limits`: `entropy_steps`: expected a whole number of steps, at least 1, found 1.5",
            ),
            (
                r#"{"rollout_rs": {"token_k4": 2}}"#,
                "`rollout_rs`: unknown name `token_k4`; did you mean `token_k1`?",
            ),
            (
                r#"{"rollout_rs": {"token_k1": [2.0, 0.5]}}"#,
                "`rollout_rs`: `token_k1`: expected a bound, or (lower, upper), found (2, 0.5)",
            ),
            (
                r#"{"rollout_rs": {"seq_max_k2": [0.5, 2]}}"#,
                "`rollout_rs`: `seq_max_k2`: expected a number, found (0.5, 2)",
            ),
            (
                r#"{"folds": {"grad_norm": "max"}}"#,
                "`folds`: expected a metric of your own, found `grad_norm`, whose fold is given",
            ),
            (
                r#"{"metadata": {"git": "x"}}"#,
                "`metadata`: unknown name `git`",
            ),
        ] {
            let error = serde_json::from_str::<EngineOptions>(given)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn what_decides_a_run_is_all_that_is_not_as_by_default_but_for_texts_and_what_becomes_of_failures()
     {
        let all = serde_json::json!({
            "dialect": "maxent", "mode": "slim", "logging_steps": 7, "clip_range": [0.2, 0.28], "policy": "go-on", "extended": false,
            "metadata": {"git_sha": "abc"}, "limits": {"kl": 0.5},
        });
        let read: EngineOptions = serde_json::from_value(all).unwrap();
        let mut decide = read.deciding();
        assert_eq!(decide.remove("limits").unwrap()["kl"], 0.5);
        let expected = serde_json::json!({
            "dialect": "maxent", "mode": "slim", "logging_steps": 7, "clip_range": [0.2, 0.28],
        });
        assert_eq!(serde_json::Value::Object(decide), expected);
        let may_change = OPTIONS.iter().filter(|option| !option.decides);
        let may_change: Vec<_> = may_change.map(|option| option.name).collect();
        assert_eq!(may_change, ["metadata", "policy"]);
    }

    #[test]
    fn every_limit_sets_its_own_and_no_other() {
        for (name, ..) in Limits::default().numbers() {
            let given = [(name.to_owned(), Given::Number(7.0))];
            let told = Limits::read(Given::Table(given.into())).unwrap();
            let changed = told.numbers().into_iter().zip(Limits::default().numbers());
            let changed: Vec<_> = changed.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
            assert_eq!(changed.len(), 1);
            assert_eq!((changed[0].0, changed[0].1), (name, 7.0));
        }
    }
}
