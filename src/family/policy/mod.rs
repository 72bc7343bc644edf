//! What actor and critic report of themselves, beyond the token pass: read only where [`crate::shard::Detail`] asks for it.

pub mod numbers;
pub mod off_policy;
pub mod outside;
pub mod rejection;
pub mod staleness;

use serde::{Deserialize, Serialize};

use super::completions::agents::{is_any_broken_off, is_broken_off};
use super::join;
use super::number_totals::{NumberTotals, count};
use super::per_completion::by_completion;
use super::thresholds::{KlKind, KlPenalty, Thresholds};
use crate::batch::{Batch, Values};
use crate::kernel::exp::exp;
use crate::kernel::tokens::{self, Bounds, Completion, Range, Sums, VERL_K3, VERL_LOG_RATIO};
use crate::stat::{ExactSum, Extent, Finite, Moments, Statistic, exact};
use off_policy::OffPolicy;
use outside::Outside;
use rejection::Rejection;
use staleness::Staleness;

/// Sums over the same tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    deserialize = "[ExactSum; N]: Deserialize<'de>",
    serialize = "[ExactSum; N]: Serialize"
))]
pub(crate) struct TokenSums<const N: usize> {
    pub tokens: u64,
    sums: [ExactSum; N],
}

impl<const N: usize> Default for TokenSums<N> {
    fn default() -> Self {
        Self {
            tokens: 0,
            sums: std::array::from_fn(|_| ExactSum::default()),
        }
    }
}

impl<const N: usize> TokenSums<N> {
    /// Of completions, each with its tokens and what they add up to.
    fn of(completions: impl Iterator<Item = (u64, [f64; N])>) -> Self {
        let mut sums: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        let mut all = Self::default();
        for (tokens, completion) in completions {
            count(&mut all.tokens, tokens);
            for (sums, sum) in sums.iter_mut().zip(completion) {
                sums.push(sum);
            }
        }
        all.sums = sums.map(|sums| ExactSum::of(&sums));
        all
    }

    fn merge(&mut self, other: &Self) {
        let Self { tokens, sums } = other;
        count(&mut self.tokens, *tokens);
        for (mine, theirs) in self.sums.iter_mut().zip(sums) {
            mine.merge(theirs);
        }
    }

    /// Mean over tokens of each; `None` without tokens.
    pub fn means(&self) -> Option<[f64; N]> {
        (self.tokens > 0).then(|| self.sums.each_ref().map(|sum| sum.divided(self.tokens)))
    }
}

/// verl's estimate of `kind` from one token's log p - log q (`kl_penalty_forward` in its `core_algos.py`).
fn estimate(kind: KlKind, d: f64) -> f64 {
    match kind {
        KlKind::K1 => d,
        KlKind::Abs => d.abs(),
        KlKind::K2 => d * d / 2.0,
        KlKind::K3 => {
            let d = (-d).clamp(-VERL_LOG_RATIO, VERL_LOG_RATIO);
            exp(d).k3(d).min(VERL_K3)
        }
    }
}

/// A number over tokens, of which a completion may stand for all of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    pub tokens: u64,
    pub sum: ExactSum,
    pub extent: Extent,
}

impl Broadcast {
    fn add(&mut self, own: &Range) {
        if own.total.tokens > 0 {
            count(&mut self.tokens, own.total.tokens);
            self.sum.add(&[own.total.sum]);
            self.extent.add(&[own.min, own.max]);
        }
    }

    fn add_times(&mut self, value: f64, tokens: u64) {
        if tokens > 0 {
            count(&mut self.tokens, tokens);
            self.sum.add_times(value, tokens);
            self.extent.add(&[value]);
        }
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            sum,
            extent,
        } = other;
        count(&mut self.tokens, *tokens);
        self.sum.merge(sum);
        self.extent.merge(extent);
    }
}

/// Finite numbers, one a completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    pub completions: u64,
    pub sum: ExactSum,
    pub extent: Extent,
}

impl Scores {
    fn add(&mut self, samples: &[f64]) {
        let used = Finite::each(samples, |values| {
            self.sum.add_finite(values);
            self.extent.add_finite(values);
        });
        count(&mut self.completions, used);
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            completions,
            sum,
            extent,
        } = other;
        count(&mut self.completions, *completions);
        self.sum.merge(sum);
        self.extent.merge(extent);
    }
}

/// The policies' distances and the critic's errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// Current policy to reference policy: k1, |d|, k2, k3, and k3 as verl bounds it.
    pub reference: TokenSums<5>,
    /// Behaviour policy to current policy, of records that have a behaviour policy: k1, k2, k3, the ratio and its square.
    pub behaviour: TokenSums<5>,
    /// The ratio's extremes.
    pub ratio_extent: Extent,
    /// Behaviour policy to current policy as verl bounds it; in a record without a behaviour policy it is the current one.
    pub ppo_kl: TokenSums<1>,
    /// Tokens' own advantages, or their completion's where the record has none of them.
    pub advantages: Broadcast,
    /// Rewards of completions that were not broken off.
    pub scores: Scores,
    /// Rewards less the KL penalty of such completions, where there is one; absent where the reward is, or what its KL is taken from, and
    /// non-finite where any token's KL is. As they are given, in records that have them.
    pub penalised: NumberTotals,
    /// Over tokens that have both a return and a value: returns, and returns less values.
    pub returns: Moments,
    pub errors: Moments,
    /// Of |e^old - e^sampling|: the sum of squares.
    pub probability_difference_squares: ExactSum,
    /// Ratios of current to behaviour policy that leave the clip range.
    pub outside: Outside,
    /// Of records that have the sampler's log-probabilities.
    pub apart: Option<Box<OffPolicy>>,
    /// Of such records, where something is rejected by their ratios.
    pub rejection: Option<Box<Rejection>>,
    /// Of records that say with which weights their tokens were sampled.
    pub staleness: Option<Box<Staleness>>,
}

/// What the token pass does not bring of one completion.
#[derive(Default)]
struct Read {
    /// The KL of behaviour to reference policy, summed over tokens; NaN where a token has none.
    penalty: Option<f64>,
    returns: Vec<f64>,
    errors: Vec<f64>,
}

impl Read {
    fn of(tokens: &Completion<'_>, penalty: Option<KlPenalty>) -> Self {
        let c = &tokens.columns;
        let judged = match (c.returns, c.values) {
            (Some(returns), Some(values)) => tokens.pairs(returns, values),
            _ => Vec::new(),
        };
        Self {
            penalty: penalty.zip(c.behaviour().zip(c.reference)).map(
                |(KlPenalty { kind, .. }, (old, reference))| {
                    let term = |i| {
                        let d = old.at(i) - reference.at(i);
                        d.is_finite().then(|| estimate(kind, d))
                    };
                    let terms: Option<Vec<f64>> = tokens.positions().map(term).collect();
                    terms.map_or(f64::NAN, |terms| exact(&terms))
                },
            ),
            errors: judged.iter().map(|(r, v)| r - v).collect(),
            returns: judged.into_iter().map(|(r, _)| r).collect(),
        }
    }
}

impl Policy {
    /// The completions of a record, `sums` from the token pass (none where the record has no tokens).
    pub fn of(batch: &Batch<'_>, sums: &[Sums], thresholds: &Thresholds, bounds: &Bounds) -> Self {
        let behaviours = || sums.iter().filter_map(|sums| sums.behaviour);
        let moved = || behaviours().filter_map(|behaviour| behaviour.moved);
        let mut policy = Self {
            reference: TokenSums::of(sums.iter().filter_map(|sums| sums.reference).map(|r| {
                let tokens::Divergence { tokens, k1, k2, k3 } = r.divergence;
                (tokens, [k1, r.abs, k2, k3, r.k3_bounded])
            })),
            behaviour: TokenSums::of(moved().map(|m| {
                let tokens::Divergence { tokens, k1, k2, k3 } = m.divergence;
                (tokens, [k1, k2, k3, m.ratio.total.sum, m.ratio_squares])
            })),
            ppo_kl: TokenSums::of(
                behaviours().map(|b| (b.tokens, [b.moved.map_or(0.0, |moved| moved.k1_bounded)])),
            ),
            probability_difference_squares: sums
                .iter()
                .filter_map(|sums| sums.sampler)
                .map(|sampler| sampler.probability_difference_squares)
                .collect(),
            outside: Outside::of(batch, sums, bounds),
            apart: OffPolicy::of(sums, bounds).map(Box::new),
            rejection: Rejection::of(batch, &thresholds.rejection).map(Box::new),
            staleness: Staleness::of(batch).map(Box::new),
            ..Self::default()
        };
        for ratio in moved().map(|moved| moved.ratio) {
            if ratio.total.tokens > 0 {
                policy.ratio_extent.add(&[ratio.min, ratio.max]);
            }
        }
        policy.add_scores(batch);
        policy.add_advantages(batch, sums);
        policy.add_read(batch, thresholds.kl_penalty);
        policy
    }

    /// verl leaves out what was broken off.
    fn add_scores(&mut self, batch: &Batch<'_>) {
        let rewards = &batch.columns().rewards;
        if let Some(rewards) = rewards.whole().filter(|_| !is_any_broken_off(batch)) {
            return self.scores.add(rewards);
        }
        let whole = rewards.iter().enumerate();
        let whole = whole.filter(|(at, _)| is_broken_off(batch, *at) != Some(true));
        let scores: Vec<f64> = whole.filter_map(|(_, reward)| reward).collect();
        self.scores.add(&scores);
    }

    /// A record without token columns has its completions' lengths.
    fn add_advantages(&mut self, batch: &Batch<'_>, sums: &[Sums]) {
        let mut advantages = batch.columns().advantages.as_ref().map(Values::iter);
        if sums.is_empty() && batch.lengths().is_none() {
            return;
        }
        for completion in 0..batch.completions() {
            let sums = sums.get(completion);
            let advantage = advantages
                .as_mut()
                .and_then(|column| column.next().flatten());
            let own = sums.and_then(|sums| sums.advantages);
            match (own, advantage.filter(|a| a.is_finite())) {
                (Some(own), _) => self.advantages.add(&own),
                (None, Some(advantage)) => {
                    let counted = batch.tokens(completion).counted();
                    self.advantages.add_times(advantage, counted);
                }
                (None, None) => {}
            }
        }
    }

    /// Critic and penalty: their every sum is exact, so that completions may be added in any order.
    fn add_read(&mut self, batch: &Batch<'_>, penalty: Option<KlPenalty>) {
        let c = batch.columns();
        // Who has the rewards after the penalty need not be told of it.
        let penalty = penalty.filter(|_| c.penalised_rewards.is_none());
        let is_whole = |at: usize| is_broken_off(batch, at) != Some(true);
        let given = c.penalised_rewards.iter().flat_map(Values::iter);
        for (at, reward) in given.enumerate() {
            match reward.filter(|_| is_whole(at)) {
                Some(reward) => self.penalised.add(&[reward]),
                None => self.penalised.census.absent(1),
            }
        }
        if penalty.is_none() && (c.returns.is_none() || c.values.is_none()) {
            return;
        }
        let read = by_completion(batch, |i| Read::of(&batch.tokens(i), penalty));
        for (at, (read, reward)) in read.iter().zip(c.rewards.iter()).enumerate() {
            self.returns.add(&read.returns);
            self.errors.add(&read.errors);
            let Some(KlPenalty { coefficient, .. }) = penalty else {
                continue;
            };
            match read.penalty.zip(reward).filter(|_| is_whole(at)) {
                Some((kl, reward)) => self.penalised.add(&[reward - coefficient * kl]),
                None => self.penalised.census.absent(1),
            }
        }
    }

    /// Says which step it is of.
    pub fn assign(&mut self, step: u64) {
        if let Some(staleness) = &mut self.staleness {
            staleness.assign(step);
        }
    }

    /// Whether its parts could be of the same tokens.
    pub fn is_consistent(&self) -> bool {
        let ranged = |count: u64, extent: &Extent| (count > 0) == extent.range().is_some();
        ranged(self.behaviour.tokens, &self.ratio_extent)
            && ranged(self.advantages.tokens, &self.advantages.extent)
            && ranged(self.scores.completions, &self.scores.extent)
            && ranged(self.penalised.moments.count(), &self.penalised.extent)
            && self.returns.count() == self.errors.count()
            && self.outside.is_consistent()
            && self.apart.as_ref().is_none_or(|o| o.is_consistent())
            && self.rejection.as_ref().is_none_or(|r| r.is_consistent())
            && self.staleness.as_ref().is_none_or(|s| s.is_consistent())
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            ref reference,
            ref behaviour,
            ref ratio_extent,
            ref ppo_kl,
            ref advantages,
            ref scores,
            ref penalised,
            ref returns,
            ref errors,
            ref probability_difference_squares,
            ref outside,
            apart,
            rejection,
            staleness,
        } = other;
        self.reference.merge(reference);
        self.behaviour.merge(behaviour);
        self.ratio_extent.merge(ratio_extent);
        self.ppo_kl.merge(ppo_kl);
        self.advantages.merge(advantages);
        self.scores.merge(scores);
        self.penalised.merge(penalised);
        self.returns.merge(returns);
        self.errors.merge(errors);
        self.probability_difference_squares
            .merge(probability_difference_squares);
        self.outside.merge(outside);
        join(&mut self.apart, apart, |mine, theirs| {
            mine.merge(&theirs);
        });
        join(&mut self.rejection, rejection, |mine, theirs| {
            mine.merge(&theirs);
        });
        join(&mut self.staleness, staleness, |mine, theirs| {
            mine.merge(*theirs);
        });
    }
}
