//! The numbers that actor and critic report of themselves.

use crate::family::moment::{Moment, moment};
use crate::family::policy::off_policy::numbers::{CompletionNumbers, OffPolicyNumbers, off_policy};
use crate::family::policy::outside::OutsideNumbers;
use crate::family::policy::rejection::numbers::{RejectionNumbers, rejection};
use crate::family::policy::staleness::StalenessNumbers;
use crate::family::policy::{Broadcast, Policy, Scores};
use crate::family::thresholds::KlKind;
use crate::family::tokens::token_totals::{TokenNumbers, TokenRange};
use crate::stat::Moments;

/// Ratios of current to behaviour policy, over tokens: e^(current - old), the difference within [-60, 60].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioNumbers {
    /// Mean ratio over tokens.
    pub mean: f64,
    /// The smallest ratio of any token.
    pub min: f64,
    /// The largest ratio of any token.
    pub max: f64,
    /// mean(r)^2 / mean(r^2): the effective sample size over the number of tokens (Kong, 1992).
    pub effective: f64,
    /// mean(r^2) - 1, the estimate of the chi-square divergence.
    pub chi_square: f64,
}

/// Estimates of a KL divergence per token, by d = log p - log q of a token of p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlNumbers {
    /// Mean of d.
    pub k1: f64,
    /// Mean of d * d / 2.
    pub k2: f64,
    /// Mean of e^-d + d - 1.
    pub k3: f64,
}

/// What [`crate::shard::Detail::Policy`] adds; `None` throughout where it was not asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyNumbers {
    /// KL of current to reference policy.
    pub reference: Option<KlNumbers>,
    /// The same as verl's actor takes it, by the estimator chosen: a token's k3 is at most 10.
    pub kl_loss: Option<f64>,
    /// KL of behaviour to current policy, of records that have a behaviour policy.
    pub behaviour: Option<KlNumbers>,
    /// Its k1 as verl's actor takes it: a token's log-ratio is within 20 on either side, and 0 where a record has no
    /// behaviour policy.
    pub ppo_kl: Option<f64>,
    /// Ratios of current to behaviour policy, of records that have a behaviour policy.
    pub ratio: Option<RatioNumbers>,
    /// Over tokens; a completion's advantage stands for each of its counted tokens where they have none of their own.
    pub advantages: Option<TokenNumbers>,
    /// Rewards of completions that were not broken off: by `aborted`, or, in records without it, those of no tokens.
    pub scores: Option<CompletionNumbers>,
    /// Whether completions were counted with a KL penalty inside their rewards.
    pub is_penalised: bool,
    /// Rewards less the KL penalty, of such completions; `None` where there is none.
    pub penalised: Option<Moment>,
    /// 1 - var(returns - values) / (var(returns) + 1e-5), sample variances over tokens.
    pub explained_variance: Option<f64>,
    /// Sample standard deviation over tokens of |e^old - e^sampling|.
    pub probability_difference_std: Option<f64>,
    /// What losses clip that do not go by the side of the range and the sign of the advantage; empty where no record has
    /// `old_token_logps`.
    pub outside: OutsideNumbers,
    /// How far the sampler is from the policy that is trained; `None` where no token has both log-probabilities.
    pub off_policy: Option<OffPolicyNumbers>,
    /// What rejection sampling leaves out; `None` where none was asked for, or no token has both log-probabilities.
    pub rejection: Option<RejectionNumbers>,
    /// How old the weights are that completions were sampled with.
    pub staleness: StalenessNumbers,
}

impl PolicyNumbers {
    /// `probabilities`: those of behaviour policy and sampler.
    pub(crate) fn of(policy: &Policy, probabilities: &TokenRange, kl_kind: KlKind) -> Self {
        let reference = policy.reference.means();
        let behaviour = policy.behaviour.means();
        Self {
            reference: reference.map(|[k1, _, k2, k3, _]| KlNumbers { k1, k2, k3 }),
            kl_loss: reference.map(|[k1, abs, k2, _, k3]| match kl_kind {
                KlKind::K1 => k1,
                KlKind::Abs => abs,
                KlKind::K2 => k2,
                KlKind::K3 => k3,
            }),
            behaviour: behaviour.map(|[k1, k2, k3, _, _]| KlNumbers { k1, k2, k3 }),
            ppo_kl: policy.ppo_kl.means().map(|[k1]| k1),
            ratio: ratio(policy),
            advantages: broadcast(&policy.advantages),
            scores: scores(&policy.scores),
            // With a penalty every completion is counted there, if only as absent.
            is_penalised: policy.penalised.census.seen() > 0,
            penalised: moment(&policy.penalised),
            explained_variance: explained(&policy.returns, &policy.errors),
            probability_difference_std: difference_std(policy, probabilities),
            outside: OutsideNumbers::of(&policy.outside),
            off_policy: policy.apart.as_deref().and_then(off_policy),
            rejection: policy.rejection.as_deref().and_then(rejection),
            staleness: StalenessNumbers::default(),
        }
    }
}

fn ratio(policy: &Policy) -> Option<RatioNumbers> {
    let (min, max) = policy.ratio_extent.range()?;
    let [_, _, _, mean, square] = policy.behaviour.means()?;
    (square > 0.0).then(|| RatioNumbers {
        mean,
        min,
        max,
        effective: mean * mean / square,
        chi_square: square - 1.0,
    })
}

/// From the sums of |e^old - e^sampling| and of its squares; 0 where all are the same.
fn difference_std(policy: &Policy, differences: &TokenRange) -> Option<f64> {
    let (min, max) = differences.extent.range()?;
    let n = differences.total.census.used;
    let others = n.checked_sub(1).filter(|&others| others > 0)?;
    let mean = differences.total.sum.divided(n);
    let square = policy.probability_difference_squares.divided(n);
    let variance = (square - mean * mean).max(0.0) * n as f64 / others as f64;
    Some(if min == max { 0.0 } else { variance.sqrt() })
}

fn scores(scores: &Scores) -> Option<CompletionNumbers> {
    let (min, max) = scores.extent.range()?;
    let mean = scores.sum.divided(scores.completions);
    Some(CompletionNumbers { mean, min, max })
}

fn broadcast(values: &Broadcast) -> Option<TokenNumbers> {
    let (min, max) = values.extent.range()?;
    Some(TokenNumbers {
        mean: values.sum.divided(values.tokens),
        min,
        max,
    })
}

/// Against a constant return the small term in the denominator keeps the share finite, as in verl.
fn explained(returns: &Moments, errors: &Moments) -> Option<f64> {
    let variance = |moments: &Moments| moments.sample_std().map(|std| std * std);
    Some(1.0 - variance(errors)? / (variance(returns)? + 1e-5))
}
