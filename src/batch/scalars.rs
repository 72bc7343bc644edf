//! Numbers of the step as its ranks report them, each with the way it folds; and the controller's snapshot.

mod loss;
mod snapshot;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use loss::{ClipRange, ImportanceLevel, LossType, RangeError, RewardScale, WordError};
pub use snapshot::{Meta, Weighting};

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
    ($($(#[$doc:meta])* $variant:ident $name:literal $fold:ident $window:ident;)*) => {
        /// The scalars that dialects know, in RECORDING.md's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scalar { $($(#[$doc])* $variant,)* }

        impl Scalar {
            /// All of them, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The field's name in a record.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
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
    /// The loss that the trainer minimises, in nats.
    TotalLoss "total_loss" MeanByTokens Same;
    /// The part of the loss that comes from the policy gradient, in nats.
    PolicyLoss "policy_loss" MeanByTokens Same;
    /// The KL to the reference policy, in nats; stands in for `train/kl` without token columns.
    KlLoss "kl_loss" MeanByTokens Same;
    /// The KL loss times its weight, in nats.
    WeightedKlLoss "weighted_kl_loss" MeanByTokens Same;
    /// The loss's clip term, in nats.
    ClipLoss "clip_loss" MeanByTokens Same;
    /// The optimizer's learning rate.
    LearningRate "learning_rate" LowestRank Last;
    /// The epoch that the step is in, with its fraction.
    Epoch "epoch" LowestRank Last;
    /// The coefficient of the entropy bonus.
    EntropyBonusCoef "entropy_bonus_coef" LowestRank Last;
    /// The norm of the gradient.
    GradNorm "grad_norm" Mean Mean;
    /// Standard deviation of the entropy bonus, in units of reward.
    EntropyBonusRewardStd "entropy_bonus_reward_std" Mean Mean;
    /// Mean entropy of the policy, in nats a token; where reported, `train/policy_entropy` is this.
    PolicyEntropy "policy_entropy" Mean Mean;
    /// Share of the value losses that are clipped, 0 to 1.
    VfClipfrac "vf_clipfrac" Mean Mean;
    /// How long generation took, in milliseconds.
    VllmLatencyMs "vllm_latency_ms" Max Mean;
    /// How long the actor waited for data, in seconds.
    ActorDequeueTime "actor_dequeue_time" Max Mean;
    /// How long the step took, in seconds.
    StepTimeSec "step_time_sec" Max Mean;
    /// Mean log-probability under the reference policy, in nats a token; where reported, `train/ref_logp_mean` is this.
    RefLogpMean "ref_logp_mean" MeanByCompletions Same;
    /// Mean length of completions, in tokens; where reported, `train/avg_completion_tokens` is this.
    AvgCompletionTokens "avg_completion_tokens" MeanByCompletions Same;
    /// Tokens of the record's completions; weighs the losses where every report has it.
    NumCompletionTokens "num_completion_tokens" Sum Sum;
    /// Prompt and completion tokens seen so far.
    NumInputTokens "num_input_tokens" SumOfLasts Last;
    /// Floating-point operations of the step, in units of 1e12.
    TflopsPerStep "tflops_per_step" Sum Mean;
    /// How many parameters the model has.
    ModelParams "model_params" LowestRank Last;
}

impl Scalar {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The scalar that a record's field names, or `None` for a user's own metric.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }
}

/// The scalars of one record. What is not set was not reported; a non-finite number is counted and not used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scalars {
    known: [Option<f64>; Scalar::COUNT],
    /// Metrics under names of the user's own.
    own: BTreeMap<String, f64>,
}

impl Scalars {
    /// Sets a known scalar.
    #[must_use]
    pub fn with(mut self, scalar: Scalar, value: f64) -> Self {
        self.known[scalar as usize] = Some(value);
        self
    }

    /// Sets the scalar that `name` names: a known one, else a metric of the user's own.
    pub fn set(&mut self, name: &str, value: f64) {
        match Scalar::of(name) {
            Some(scalar) => self.known[scalar as usize] = Some(value),
            None => {
                self.own.insert(name.to_owned(), value);
            }
        }
    }

    /// A known scalar, if it was reported (finite or not).
    #[must_use]
    pub fn get(&self, scalar: Scalar) -> Option<f64> {
        self.known[scalar as usize]
    }

    /// The user's own metrics by name.
    pub fn own(&self) -> impl Iterator<Item = (&str, f64)> {
        self.own.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The user's own metric of this name.
    #[must_use]
    pub fn own_named(&self, name: &str) -> Option<f64> {
        self.own.get(name).copied()
    }

    /// Everything reported, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let known = Scalar::ALL
            .iter()
            .filter_map(|s| self.get(*s).map(|value| (s.name(), value)));
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
