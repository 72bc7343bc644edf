//! What actor and critic report of themselves, beyond the token pass: read only where [`super::Detail`] asks for it.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::groups::{Spread, count};
use super::{KlKind, KlPenalty};
use crate::batch::Batch;
use crate::kernel::exp::{EXPONENT_LIMIT, exp};
use crate::kernel::tokens::Completion;
use crate::stat::{ExactSum, Extent, Moments, Statistic};

/// The estimates of one KL divergence, over tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Divergence {
    pub tokens: u64,
    /// In the order of [`KlKind::ALL`].
    sums: [ExactSum; 4],
}

impl Divergence {
    /// `differences`: log p - log q of tokens drawn from p.
    fn add(&mut self, differences: &[f64]) {
        count(&mut self.tokens, differences.len() as u64);
        for (sum, kind) in self.sums.iter_mut().zip(KlKind::ALL) {
            let terms: Vec<f64> = differences.iter().map(|&d| estimate(kind, d)).collect();
            sum.add(&terms);
        }
    }

    fn merge(&mut self, other: &Self) {
        count(&mut self.tokens, other.tokens);
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.merge(theirs);
        }
    }

    pub fn mean(&self, kind: KlKind) -> Option<f64> {
        (self.tokens > 0).then(|| self.sums[kind as usize].divided(self.tokens))
    }
}

/// The estimate of `kind` from one token's log p - log q. Inside the exponential it is clamped as METRICS.md clamps it.
pub(super) fn estimate(kind: KlKind, d: f64) -> f64 {
    match kind {
        KlKind::K1 => d,
        KlKind::Abs => d.abs(),
        KlKind::K2 => d * d / 2.0,
        KlKind::K3 => {
            let d = (-d).clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT);
            exp(d).k3(d)
        }
    }
}

/// e^d, d clamped.
pub(super) fn ratio(d: f64) -> f64 {
    exp(d.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT)).value()
}

/// A number over tokens, of which a completion may stand for all of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    pub tokens: u64,
    pub sum: ExactSum,
    pub extent: Extent,
}

impl Broadcast {
    fn add(&mut self, values: &[f64]) {
        count(&mut self.tokens, values.len() as u64);
        self.sum.add(values);
        self.extent.add(values);
    }

    fn add_times(&mut self, value: f64, tokens: u64) {
        if tokens > 0 {
            count(&mut self.tokens, tokens);
            self.sum.add_times(value, tokens);
            self.extent.add(&[value]);
        }
    }

    fn merge(&mut self, other: &Self) {
        count(&mut self.tokens, other.tokens);
        self.sum.merge(&other.sum);
        self.extent.merge(&other.extent);
    }
}

/// The policies' distances and the critic's errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// Current policy to reference policy.
    pub reference: Divergence,
    /// Behaviour policy to current policy.
    pub behaviour: Divergence,
    /// Current over behaviour policy.
    pub ratio: Moments,
    pub ratio_extent: Extent,
    /// Tokens' own advantages, or their completion's where the record has none of them.
    pub advantages: Broadcast,
    /// Rewards less the KL penalty, where there is one.
    pub penalised: Spread,
    /// Over tokens that have both a return and a value: returns, and returns less values.
    pub returns: Moments,
    pub errors: Moments,
    /// |e^old - e^sampling|.
    pub probability_difference: Moments,
}

/// What one completion's tokens bring.
struct Read {
    counted: u64,
    to_reference: Vec<f64>,
    to_current: Vec<f64>,
    advantages: Option<Vec<f64>>,
    /// The KL of behaviour to reference policy, summed over tokens.
    penalty: Option<f64>,
    returns: Vec<f64>,
    errors: Vec<f64>,
    apart: Vec<f64>,
}

impl Read {
    fn of(tokens: &Completion<'_>, penalty: Option<KlPenalty>) -> Self {
        let old = tokens.old.or(tokens.current);
        let differences = |a, b| match (a, b) {
            (Some(a), Some(b)) => tokens.pairs(a, b).iter().map(|(a, b)| a - b).collect(),
            _ => Vec::new(),
        };
        let judged = match (tokens.returns, tokens.values) {
            (Some(returns), Some(values)) => tokens.pairs(returns, values),
            _ => Vec::new(),
        };
        let sampled = match (old, tokens.sampling) {
            (Some(old), Some(sampling)) => tokens.pairs(old, sampling),
            _ => Vec::new(),
        };
        Self {
            counted: tokens.counted().count() as u64,
            to_reference: differences(tokens.current, tokens.reference),
            to_current: differences(old, tokens.current),
            advantages: tokens.advantages.map(|cells| tokens.finite(cells)),
            penalty: penalty.zip(old.zip(tokens.reference)).map(
                |(KlPenalty { kind, .. }, (old, reference))| {
                    let pairs = tokens.pairs(old, reference);
                    let terms: Vec<f64> =
                        pairs.iter().map(|(a, b)| estimate(kind, a - b)).collect();
                    crate::stat::exact(&terms)
                },
            ),
            errors: judged.iter().map(|(r, v)| r - v).collect(),
            returns: judged.into_iter().map(|(r, _)| r).collect(),
            apart: sampled
                .into_iter()
                .map(|(old, sampling)| (ratio(old) - ratio(sampling)).abs())
                .collect(),
        }
    }
}

impl Policy {
    /// The completions of a record. Every sum is exact: they may be added and merged in any order.
    pub fn of(batch: &Batch<'_>, penalty: Option<KlPenalty>) -> Self {
        let c = batch.columns();
        let rewards: Vec<Option<f64>> = c.rewards.iter().collect();
        let advantages: Option<Vec<_>> =
            c.advantages.as_ref().map(|values| values.iter().collect());
        (0..batch.completions())
            .into_par_iter()
            .with_min_len(8)
            .fold(Self::default, |mut policy, i| {
                let read = Read::of(&batch.tokens(i), penalty);
                let advantage = advantages.as_ref().and_then(|advantages| advantages[i]);
                policy.add(&read, advantage.filter(|a| a.is_finite()));
                if let (Some(KlPenalty { coefficient, .. }), Some(kl), Some(reward)) =
                    (penalty, read.penalty, rewards[i])
                {
                    policy.penalised.add(&[reward - coefficient * kl]);
                }
                policy
            })
            .reduce(Self::default, |mut a, b| {
                a.merge(&b);
                a
            })
    }

    fn add(&mut self, read: &Read, advantage: Option<f64>) {
        self.reference.add(&read.to_reference);
        self.behaviour.add(&read.to_current);
        let ratios: Vec<f64> = read.to_current.iter().map(|d| ratio(-d)).collect();
        self.ratio.add(&ratios);
        self.ratio_extent.add(&ratios);
        match (&read.advantages, advantage) {
            (Some(own), _) => self.advantages.add(own),
            (None, Some(advantage)) => self.advantages.add_times(advantage, read.counted),
            (None, None) => {}
        }
        self.returns.add(&read.returns);
        self.errors.add(&read.errors);
        self.probability_difference.add(&read.apart);
    }

    /// Takes `theirs` into `mine`, either of which may not have been read.
    pub fn join(mine: &mut Option<Self>, theirs: Option<&Self>) {
        if let Some(theirs) = theirs {
            mine.get_or_insert_default().merge(theirs);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.reference.merge(&other.reference);
        self.behaviour.merge(&other.behaviour);
        self.ratio.merge(&other.ratio);
        self.ratio_extent.merge(&other.ratio_extent);
        self.advantages.merge(&other.advantages);
        self.penalised.merge(&other.penalised);
        self.returns.merge(&other.returns);
        self.errors.merge(&other.errors);
        self.probability_difference
            .merge(&other.probability_difference);
    }
}
