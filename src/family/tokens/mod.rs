//! What the tokens of completions add up to.

pub mod behaviour;
pub mod logps;
pub mod reference;
pub mod sampler;
pub mod sequences;
pub mod sketches;
pub mod token_pass;
pub mod token_totals;

use serde::{Deserialize, Serialize};

use super::number_totals::count;
use crate::batch::Batch;
use crate::kernel::tokens::{Bounds, Sums};
use crate::stat::{Census, Extent, Statistic};
use behaviour::capped;
use logps::Logps;
use reference::{BUCKETS, Bucket};
use sampler::SamplerTotals;
use sequences::Sequences;
use token_totals::{CompletionMeans, TokenRange, TokenTotal};

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
    pub policy_gradient_low: u64,
    pub policy_gradient_high: u64,
    /// Of them, those with a positive advantage and a ratio above the cap of weights.
    pub policy_gradient_capped: u64,
    pub sequences: Sequences,
    pub sampler: SamplerTotals,
    pub advantages: TokenRange,
    pub returns: TokenRange,
    pub values: TokenRange,
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
        tokens.policy_gradient_capped = capped(batch, sums, &advantages, bounds);
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
                (Some(_), _) => {
                    let own = (behaviour.signed_low, behaviour.signed_high);
                    (behaviour.signed_tokens, own)
                }
                (None, Some(_)) => (behaviour.tokens, clipped),
                (None, None) => {
                    self.policy_gradient.absent += sums.counted;
                    continue;
                }
            };
            self.policy_gradient.used += used;
            self.policy_gradient.nonfinite += sums.counted - used;
            self.policy_gradient_low += clipped.0;
            self.policy_gradient_high += clipped.1;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            logps,
            reference_logps,
            entropies,
            kl_completions,
            k3,
            k3_corrected,
            k3_means,
            buckets,
            reference_low,
            reference_high,
            behaviour,
            behaviour_low,
            behaviour_high,
            low_shares,
            high_shares,
            policy_gradient,
            policy_gradient_low,
            policy_gradient_high,
            policy_gradient_capped,
            sequences,
            sampler,
            advantages,
            returns,
            values,
        } = other;
        self.logps.merge(logps);
        self.reference_logps.merge(reference_logps);
        self.entropies.merge(entropies);
        count(&mut self.kl_completions, *kl_completions);
        self.k3.merge(k3);
        self.k3_corrected.merge(k3_corrected);
        self.k3_means.merge(k3_means);
        for (mine, theirs) in self.buckets.iter_mut().zip(buckets) {
            mine.merge(theirs);
        }
        count(&mut self.reference_low, *reference_low);
        count(&mut self.reference_high, *reference_high);
        self.behaviour.merge(behaviour);
        count(&mut self.behaviour_low, *behaviour_low);
        count(&mut self.behaviour_high, *behaviour_high);
        self.low_shares.merge(low_shares);
        self.high_shares.merge(high_shares);
        self.policy_gradient.merge(policy_gradient);
        count(&mut self.policy_gradient_low, *policy_gradient_low);
        count(&mut self.policy_gradient_high, *policy_gradient_high);
        count(&mut self.policy_gradient_capped, *policy_gradient_capped);
        self.sequences.merge(sequences);
        self.sampler.merge(sampler);
        self.advantages.merge(advantages);
        self.returns.merge(returns);
        self.values.merge(values);
    }
}
