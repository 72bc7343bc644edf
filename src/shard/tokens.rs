//! What the tokens of completions add up to.

use serde::{Deserialize, Serialize};

use super::logps::Logps;
use super::sequences::Sequences;
use super::spread::count;
use crate::batch::Batch;
use crate::kernel::tokens::{Bounds, Range, Sampler, Sums, Total};
use crate::stat::{Census, ExactSum, Extent, Statistic};

/// The length buckets of KL: upper bounds in tokens, the last open.
pub(crate) const BUCKETS: [(u32, &str); 5] = [
    (32, "0-32"),
    (64, "33-64"),
    (128, "65-128"),
    (256, "129-256"),
    (u32::MAX, "257+"),
];

/// A sum over tokens: the completions' sums added exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenTotal {
    /// Tokens: used, of completions without the columns (absent), with a non-finite value.
    pub census: Census,
    pub sum: ExactSum,
}

impl TokenTotal {
    pub fn mean(&self) -> Option<f64> {
        (self.census.used > 0).then(|| self.sum.divided(self.census.used))
    }
}

/// Means of completions, over those that have counted tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompletionMeans {
    pub completions: u64,
    pub sum: ExactSum,
}

impl CompletionMeans {
    pub fn mean(&self) -> Option<f64> {
        (self.completions > 0).then(|| self.sum.divided(self.completions))
    }
}

/// [`TokenTotal`] with the extremes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRange {
    pub total: TokenTotal,
    pub extent: Extent,
}

/// One bucket of KL by completion length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub completions: u64,
    pub tokens: u64,
    pub k3: ExactSum,
}

/// The families over tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub logps: Logps,
    pub reference_logps: CompletionMeans,
    pub entropies: TokenTotal,
    /// Completions that have both current and reference log-probabilities.
    pub kl_completions: u64,
    pub k3: TokenTotal,
    pub k3_corrected: TokenTotal,
    pub k3_means: CompletionMeans,
    pub buckets: [Bucket; 5],
    /// Of the tokens of `k3`, those whose current/reference ratio leaves the clip range.
    pub reference_low: u64,
    pub reference_high: u64,
    /// Tokens with current and behaviour log-probabilities in completions with an advantage.
    pub behaviour: Census,
    pub behaviour_low: u64,
    pub behaviour_high: u64,
    /// Over completions with such tokens: their own share of tokens clipped low, and high.
    pub low_shares: Extent,
    pub high_shares: Extent,
    /// As `behaviour`, with the token's own advantage where the record has token advantages.
    pub policy_gradient: Census,
    pub policy_gradient_clipped: u64,
    pub sequences: Sequences,
    pub sampler: SamplerTotals,
    pub advantages: TokenRange,
    pub returns: TokenRange,
    pub values: TokenRange,
}

/// Behaviour policy against the sampler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SamplerTotals {
    pub logp_difference: TokenRange,
    pub ratio: TokenRange,
    pub probability_difference: TokenRange,
    pub old: TokenRange,
    pub sampling: TokenRange,
    pub old_squares: ExactSum,
    pub sampling_squares: ExactSum,
    pub products: ExactSum,
}

impl Tokens {
    /// The token families of a record, from the token pass over its completions.
    pub fn of(batch: &Batch<'_>, sums: &[Sums], bounds: &Bounds) -> Self {
        let mut tokens = Self::default();
        if !batch.has_tokens() {
            return tokens.without(batch);
        }
        let advantages: Vec<Option<f64>> = match &batch.columns().advantages {
            Some(advantages) => advantages
                .iter()
                .map(|a| a.filter(|a| a.is_finite()))
                .collect(),
            None => vec![None; batch.completions()],
        };
        tokens.logps = Logps::of(sums);
        tokens.add_plain(sums);
        tokens.add_reference(sums, batch.lengths().unwrap_or_default());
        tokens.add_behaviour(sums, &advantages, bounds);
        tokens.sampler = SamplerTotals::of(sums);
        tokens
    }

    /// A record that may have lengths but no token columns: all of its tokens are absent.
    fn without(mut self, batch: &Batch<'_>) -> Self {
        let absent = batch
            .lengths()
            .map_or(0, |lengths| lengths.iter().map(|&l| u64::from(l)).sum());
        let ranges = [
            &mut self.advantages,
            &mut self.returns,
            &mut self.values,
            &mut self.sampler.logp_difference,
        ];
        let totals = [
            &mut self.entropies,
            &mut self.k3,
            &mut self.k3_corrected,
            &mut self.sequences.k3_corrected,
        ];
        for total in totals
            .into_iter()
            .chain(ranges.map(|range| &mut range.total))
        {
            total.census.absent = absent;
        }
        self.logps = Logps::absent(absent);
        self.behaviour.absent = absent;
        self.policy_gradient.absent = absent;
        self
    }

    fn add_plain(&mut self, sums: &[Sums]) {
        self.reference_logps = CompletionMeans::of(sums, |s| s.reference_logps);
        self.entropies = TokenTotal::of(sums, |s| s.entropies);
        self.advantages = TokenRange::of(sums, |s| s.advantages);
        self.returns = TokenRange::of(sums, |s| s.returns);
        self.values = TokenRange::of(sums, |s| s.values);
    }

    fn add_reference(&mut self, sums: &[Sums], lengths: &[u32]) {
        self.k3 = TokenTotal::of(sums, |s| s.reference.map(|r| r.divergence.k3()));
        self.k3_corrected = TokenTotal::of(sums, |s| s.reference.map(|r| r.k3_corrected));
        self.k3_means = CompletionMeans::of(sums, |s| s.reference.map(|r| r.divergence.k3()));
        for (sums, &length) in sums.iter().zip(lengths) {
            let Some(reference) = &sums.reference else {
                continue;
            };
            self.kl_completions += 1;
            self.reference_low += reference.low;
            self.reference_high += reference.high;
            let bucket = BUCKETS
                .iter()
                .position(|(most, _)| length <= *most)
                .unwrap_or(4);
            let bucket = &mut self.buckets[bucket];
            bucket.completions += 1;
            bucket.tokens += reference.divergence.tokens;
            bucket.k3.add(&[reference.divergence.k3]);
        }
    }

    /// Clipping needs the sign of the advantage: low counts where it is negative, high where it is positive.
    fn add_behaviour(&mut self, sums: &[Sums], advantages: &[Option<f64>], bounds: &Bounds) {
        self.sequences.k3_corrected = TokenTotal::of(sums, Sums::k3_by_completion_ratio);
        for (sums, advantage) in sums.iter().zip(advantages) {
            let Some(behaviour) = &sums.behaviour else {
                self.behaviour.absent += sums.counted;
                self.policy_gradient.absent += sums.counted;
                continue;
            };
            self.sequences.add(behaviour, *advantage, bounds);
            let mut clipped = (0, 0);
            match advantage {
                None => self.behaviour.absent += sums.counted,
                Some(advantage) => {
                    clipped = (
                        if *advantage < 0.0 { behaviour.low } else { 0 },
                        if *advantage > 0.0 { behaviour.high } else { 0 },
                    );
                    self.behaviour.used += behaviour.tokens;
                    self.behaviour.nonfinite += sums.counted - behaviour.tokens;
                    self.behaviour_low += clipped.0;
                    self.behaviour_high += clipped.1;
                    if behaviour.tokens > 0 {
                        let share = |clipped: u64| clipped as f64 / behaviour.tokens as f64;
                        self.low_shares.add(&[share(clipped.0)]);
                        self.high_shares.add(&[share(clipped.1)]);
                    }
                }
            }
            // Policy gradient clipping looks at the token's own advantage where the record has them.
            let (used, clipped) = match (&sums.advantages, advantage) {
                (Some(_), _) => (behaviour.signed_tokens, behaviour.signed_clipped),
                (None, Some(_)) => (behaviour.tokens, clipped.0 + clipped.1),
                (None, None) => {
                    self.policy_gradient.absent += sums.counted;
                    continue;
                }
            };
            self.policy_gradient.used += used;
            self.policy_gradient.nonfinite += sums.counted - used;
            self.policy_gradient_clipped += clipped;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.logps.merge(&other.logps);
        self.reference_logps.merge(&other.reference_logps);
        self.k3_means.merge(&other.k3_means);
        for (mine, theirs) in [
            (&mut self.entropies, &other.entropies),
            (&mut self.k3, &other.k3),
            (&mut self.k3_corrected, &other.k3_corrected),
        ] {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            count(&mut mine.completions, theirs.completions);
            count(&mut mine.tokens, theirs.tokens);
            mine.k3.merge(&theirs.k3);
        }
        count(&mut self.kl_completions, other.kl_completions);
        count(&mut self.reference_low, other.reference_low);
        count(&mut self.reference_high, other.reference_high);
        self.behaviour.merge(&other.behaviour);
        count(&mut self.behaviour_low, other.behaviour_low);
        count(&mut self.behaviour_high, other.behaviour_high);
        self.low_shares.merge(&other.low_shares);
        self.high_shares.merge(&other.high_shares);
        self.policy_gradient.merge(&other.policy_gradient);
        count(
            &mut self.policy_gradient_clipped,
            other.policy_gradient_clipped,
        );
        self.sequences.merge(&other.sequences);
        self.sampler.merge(&other.sampler);
        self.advantages.merge(&other.advantages);
        self.returns.merge(&other.returns);
        self.values.merge(&other.values);
    }
}

impl TokenTotal {
    pub(super) fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Total>) -> Self {
        let mut total = Self::default();
        let mut parts = Vec::with_capacity(sums.len());
        for sums in sums {
            match family(sums) {
                None => total.census.absent += sums.counted,
                Some(part) => {
                    total.census.used += part.tokens;
                    total.census.nonfinite += sums.counted - part.tokens;
                    parts.push(part.sum);
                }
            }
        }
        total.sum.add(&parts);
        total
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.census.merge(&other.census);
        self.sum.merge(&other.sum);
    }
}

impl CompletionMeans {
    fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Total>) -> Self {
        let parts: Vec<f64> = sums
            .iter()
            .filter_map(family)
            .filter(|part| part.tokens > 0)
            .map(|part| part.sum / part.tokens as f64)
            .collect();
        let mut means = Self {
            completions: parts.len() as u64,
            ..Self::default()
        };
        means.sum.add(&parts);
        means
    }

    fn merge(&mut self, other: &Self) {
        count(&mut self.completions, other.completions);
        self.sum.merge(&other.sum);
    }
}

impl TokenRange {
    fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Range>) -> Self {
        let mut extent = Extent::default();
        for range in sums
            .iter()
            .filter_map(&family)
            .filter(|range| range.total.tokens > 0)
        {
            extent.add(&[range.min, range.max]);
        }
        Self {
            total: TokenTotal::of(sums, |s| family(s).map(|range| range.total)),
            extent,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        self.extent.merge(&other.extent);
    }
}

impl SamplerTotals {
    fn of(sums: &[Sums]) -> Self {
        let sum_of = |part: fn(&Sampler) -> f64| {
            let parts: Vec<f64> = sums
                .iter()
                .filter_map(|s| s.sampler.as_ref().map(part))
                .collect();
            let mut sum = ExactSum::default();
            sum.add(&parts);
            sum
        };
        Self {
            logp_difference: TokenRange::of(sums, |s| s.sampler.map(|s| s.logp_difference)),
            ratio: TokenRange::of(sums, |s| s.sampler.map(|s| s.ratio)),
            probability_difference: TokenRange::of(sums, |s| {
                s.sampler.map(|s| s.probability_difference)
            }),
            old: TokenRange::of(sums, |s| s.sampler.map(|s| s.old)),
            sampling: TokenRange::of(sums, |s| s.sampler.map(|s| s.sampling)),
            old_squares: sum_of(|s| s.old_squares),
            sampling_squares: sum_of(|s| s.sampling_squares),
            products: sum_of(|s| s.products),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.logp_difference.merge(&other.logp_difference);
        self.ratio.merge(&other.ratio);
        self.probability_difference
            .merge(&other.probability_difference);
        self.old.merge(&other.old);
        self.sampling.merge(&other.sampling);
        self.old_squares.merge(&other.old_squares);
        self.sampling_squares.merge(&other.sampling_squares);
        self.products.merge(&other.products);
    }
}
