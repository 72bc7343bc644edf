//! Numbers of the step as its ranks report them, each with the way it folds; and the controller's snapshot.

mod loss;
mod meant;
mod snapshot;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use loss::{
    ClipRange, DUAL_CLIP, ImportanceLevel, LossType, RangeError, RewardScale, WordError,
};
pub use snapshot::{FieldInfo, FieldKind, Meta, Weighting};

/// How the reports of one step's ranks and micro-batches become one number (RECORDING.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fold {
    /// Weighted by `num_completion_tokens` over all reporting records where each gives it, else [`Fold::Mean`].
    MeanByTokens,
    /// Weighted by the record's completions.
    MeanByCompletions,
    /// A rank's micro-batches that report it first, then the ranks that do.
    Mean,
    /// The largest report.
    Max,
    /// The smallest report.
    Min,
    /// The sum of all reports.
    Sum,
    /// The sum over ranks of each one's last micro-batch that reports it.
    SumOfLasts,
    /// The last micro-batch of the lowest rank that reports it.
    LowestRank,
}

/// How the numbers of a window's steps become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowFold {
    /// In a pooled window as within a step, over all of its records at once; in an averaged one the mean.
    Same,
    /// The mean of the steps' numbers.
    #[default]
    Mean,
    /// The largest of the steps' numbers.
    Max,
    /// The smallest of the steps' numbers.
    Min,
    /// The sum of the steps' numbers.
    Sum,
    /// The number of the last step that has one.
    Last,
}

impl WindowFold {
    /// One word for the key table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::Last => "last",
        }
    }
}

macro_rules! scalars {
    ($(
        $(#[doc = $meaning:literal])+
        $variant:ident $name:literal in $unit:literal, $fold:ident $window:ident $(, also $($also:literal)+)?;
    )*) => {
        /// The scalars that dialects know, in RECORDING.md's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scalar { $(
            $(#[doc = $meaning])+
            #[doc = concat!("\n\nUnit: ", $unit, ".")]
            $variant,
        )* }

        impl Scalar {
            /// All of them, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The field's name in a record.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii(),)* }
            }

            /// Its unit; `1` of a plain number.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// Names by which trainers have it too, which are taken for it.
            #[must_use]
            pub const fn also(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($($also),+)?],)* }
            }

            /// How it folds over ranks and micro-batches, and over a pooled window.
            #[must_use]
            pub const fn folds(self) -> (Fold, WindowFold) {
                match self { $(Self::$variant => (Fold::$fold, WindowFold::$window),)* }
            }
        }
    };
}

scalars! {
    /// The loss that the trainer minimises.
    TotalLoss "total_loss" in "nats", MeanByTokens Same, also "loss";
    /// The part of the loss that comes from the policy gradient.
    PolicyLoss "policy_loss" in "nats", MeanByTokens Same, also "pg_loss";
    /// The KL to the reference policy; stands in for `train/kl` without token columns.
    KlLoss "kl_loss" in "nats", MeanByTokens Same;
    /// The KL loss times its weight.
    WeightedKlLoss "weighted_kl_loss" in "nats", MeanByTokens Same;
    /// The loss's clip term.
    ClipLoss "clip_loss" in "nats", MeanByTokens Same;
    /// The optimizer's learning rate.
    LearningRate "learning_rate" in "1", LowestRank Last, also "lr";
    /// The epoch that the step is in, with its fraction.
    Epoch "epoch" in "epochs", LowestRank Last;
    /// The coefficient of the entropy bonus.
    EntropyBonusCoef "entropy_bonus_coef" in "1", LowestRank Last;
    /// The norm of the gradient.
    GradNorm "grad_norm" in "1", Mean Mean;
    /// Standard deviation of the entropy bonus.
    EntropyBonusRewardStd "entropy_bonus_reward_std" in "reward", Mean Mean;
    /// Mean entropy of the policy; where reported, `train/policy_entropy` is this.
    PolicyEntropy "policy_entropy" in "nats a token", Mean Mean;
    /// Share of the value losses that are clipped, 0 to 1.
    VfClipfrac "vf_clipfrac" in "share", Mean Mean;
    /// How long generation took.
    VllmLatencyMs "vllm_latency_ms" in "ms", Max Mean;
    /// How long the actor waited for data.
    ActorDequeueTime "actor_dequeue_time" in "s", Max Mean;
    /// How long the step took.
    StepTimeSec "step_time_sec" in "s", Max Mean, also "step_time";
    /// Mean log-probability under the reference policy; where reported, `train/ref_logp_mean` is this.
    RefLogpMean "ref_logp_mean" in "nats a token", MeanByCompletions Same;
    /// Mean length of completions; where reported, `train/avg_completion_tokens` is this.
    AvgCompletionTokens "avg_completion_tokens" in "tokens", MeanByCompletions Same;
    /// Tokens of the record's completions; weighs the losses where every report has it.
    NumCompletionTokens "num_completion_tokens" in "tokens", Sum Sum;
    /// Prompt and completion tokens seen so far.
    NumInputTokens "num_input_tokens" in "tokens", SumOfLasts Last, also "num_tokens" "num_input_tokens_seen";
    /// Floating-point operations of the step.
    TflopsPerStep "tflops_per_step" in "1e12 operations", Sum Mean;
    /// How many parameters the model has.
    ModelParams "model_params" in "parameters", LowestRank Last;
    /// Version of the weights that the step trains, counted as `weight_versions` counts.
    WeightVersion "weight_version" in "versions", Max Last;
    /// Sampled completions that the step trains on.
    SamplesKept "samples_kept" in "completions", Sum Sum;
    /// Sampled completions that were dropped before the step: too old, filtered out or failed.
    SamplesDropped "samples_dropped" in "completions", Sum Sum;
}

impl Scalar {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The scalar that a record's field names, by its own name or another that is taken for it; `None` for a user's own metric.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let names = |scalar: &Self| scalar.name() == name || scalar.also().contains(&name);
        Self::ALL.iter().copied().find(names)
    }
}

/// The scalars of one record. What is not set was not reported; a non-finite number is counted and not used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scalars {
    known: [Option<f64>; Scalar::COUNT],
    /// Under every other name: metrics of the user's own, and what a known scalar is called besides.
    own: BTreeMap<String, f64>,
}

impl Scalars {
    /// Sets a known scalar.
    #[must_use]
    pub fn with(mut self, scalar: Scalar, value: f64) -> Self {
        self.known[scalar as usize] = Some(value);
        self
    }

    /// Sets the scalar that `name` names: a known one, by whatever name is taken for it, else a metric of the user's own.
    pub fn set(&mut self, name: &str, value: f64) {
        match Scalar::ALL.iter().find(|scalar| scalar.name() == name) {
            Some(scalar) => self.known[*scalar as usize] = Some(value),
            None => {
                self.own.insert(name.to_owned(), value);
            }
        }
    }

    /// A known scalar, if it was reported (finite or not): under its own name, else under another that is taken for it, in the
    /// order of [`Scalar::also`].
    #[must_use]
    pub fn get(&self, scalar: Scalar) -> Option<f64> {
        let also = || scalar.also().iter().find_map(|name| self.own.get(*name));
        self.known[scalar as usize].or_else(|| also().copied())
    }

    /// What was reported under names that are no known scalar's own, by name: the user's metrics, and what is taken for a scalar.
    pub fn own(&self) -> impl Iterator<Item = (&str, f64)> {
        self.own.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// What was reported under this name, if it is no known scalar's own.
    #[must_use]
    pub fn own_named(&self, name: &str) -> Option<f64> {
        self.own.get(name).copied()
    }

    /// Whether the scalar was reported under two names, of which `name` is not the one that counts.
    pub(crate) fn is_beside(&self, scalar: Scalar, name: &str) -> bool {
        let names = [scalar.name()]
            .into_iter()
            .chain(scalar.also().iter().copied());
        let there = |name: &str| {
            let known = self.known[scalar as usize].filter(|_| name == scalar.name());
            known.is_some() || self.own.contains_key(name)
        };
        there(name) && names.take_while(|first| *first != name).any(there)
    }

    /// Everything reported, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let known = Scalar::ALL
            .iter()
            .filter_map(|s| Some((s.name(), self.known[*s as usize]?)));
        known.chain(self.own())
    }

    /// Takes over what `later` reports, keeping what only `self` does.
    pub(crate) fn update(&mut self, later: Self) {
        for (mine, theirs) in self.known.iter_mut().zip(later.known) {
            *mine = theirs.or(*mine);
        }
        self.own.extend(later.own);
    }

    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.known.iter().all(Option::is_none)
    }
}
