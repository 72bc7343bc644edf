//! What completions and their tokens add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::spread::{Spread, count};
use crate::batch::{Batch, Values};
use crate::kernel::tokens::{Range, Sampler, Sums, Total};
use crate::stat::{Census, ExactSum, Extent, Statistic, exact};

/// The advantages of a record (one a completion): count, moments, extremes.
pub(crate) fn spread_of(values: &Values<'_>) -> Spread {
    let mut spread = Spread::default();
    if let Some(values) = values.whole() {
        spread.add(values);
    } else {
        let present: Vec<f64> = values.iter().flatten().collect();
        spread.census.absent = (values.len() - present.len()) as u64;
        spread.add(&present);
    }
    spread
}

/// Components by name; ranks may have different sets of them. In boxes, as are [`Reports`](super::Reports).
pub(crate) type Components = BTreeMap<String, Box<Column>>;

/// Sums over each completion's own components, by how many of them it has: dividing by that number comes last, so that
/// the sums stay exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComponentRows {
    by_present: BTreeMap<u32, (u64, ExactSum)>,
}

impl ComponentRows {
    /// `components` are those of `batch`.
    pub fn of(batch: &Batch<'_>, components: &Components) -> Self {
        let n = batch.completions();
        let mut rows = Self::default();
        if components
            .values()
            .all(|column| column.census.used == n as u64)
        {
            let sums = components.values().map(|column| column.moments.sum());
            rows.add(components.len(), n as u64, sums);
            return rows;
        }
        let columns = &batch.columns().reward_components;
        let mut cells: Vec<_> = columns.iter().map(|(_, values)| values.iter()).collect();
        for _ in 0..n {
            let row: Vec<f64> = cells
                .iter_mut()
                .filter_map(|column| column.next().flatten().filter(|x| x.is_finite()))
                .collect();
            let mut sum = ExactSum::default();
            sum.add(&row);
            rows.add(row.len(), 1, [&sum]);
        }
        rows
    }

    fn add<'a>(
        &mut self,
        present: usize,
        completions: u64,
        sums: impl IntoIterator<Item = &'a ExactSum>,
    ) {
        // A completion without components has no row.
        if present == 0 || completions == 0 {
            return;
        }
        let present = u32::try_from(present).unwrap_or(u32::MAX);
        let (rows, total) = self.by_present.entry(present).or_default();
        count(rows, completions);
        sums.into_iter().for_each(|sum| total.merge(sum));
    }

    pub fn merge(&mut self, other: &Self) {
        for (&present, (count, sum)) in &other.by_present {
            self.add(present as usize, *count, [sum]);
        }
    }

    fn completions(&self) -> u64 {
        self.by_present
            .values()
            .fold(0, |all, (count, _)| all.saturating_add(*count))
    }

    pub fn mean_of_sums(&self) -> Option<f64> {
        let mut total = ExactSum::default();
        self.by_present
            .values()
            .for_each(|(_, sum)| total.merge(sum));
        (self.completions() > 0).then(|| total.finish() / self.completions() as f64)
    }

    pub fn mean_of_means(&self) -> Option<f64> {
        let means: Vec<f64> = self
            .by_present
            .iter()
            .map(|(&present, (_, sum))| sum.finish() / f64::from(present))
            .collect();
        (self.completions() > 0).then(|| exact(&means) / self.completions() as f64)
    }
}

/// Lengths in tokens: whole numbers, so plain integers are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lengths {
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

impl Lengths {
    pub fn add(&mut self, length: u32) {
        self.count += 1;
        self.sum += u64::from(length);
        self.min = Some(self.min.map_or(length, |min| min.min(length)));
        self.max = self.max.max(Some(length));
    }

    pub fn merge(&mut self, other: &Self) {
        count(&mut self.count, other.count);
        count(&mut self.sum, other.sum);
        self.min = match (self.min, other.min) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.max = self.max.max(other.max);
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// How long completions are and how they ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Completions {
    pub seen: u64,
    pub lengths: Lengths,
    pub terminated: Lengths,
    /// Completions known to have been clipped, or not.
    pub judged: u64,
    pub clipped: u64,
    /// Completions whose record has a cap, and those that reach it, ended by themselves or not.
    pub capped: u64,
    pub at_cap: u64,
    pub prompts: Lengths,
    /// Prompts whose record has a cap, and those that reach it.
    pub capped_prompts: u64,
    pub prompts_at_cap: u64,
    /// Prompt and completion tokens of the completions of which both are known.
    pub total_tokens: u64,
    /// The largest generation cap of any record.
    pub cap: Option<u32>,
}

impl Completions {
    pub fn of(batch: &Batch<'_>) -> Self {
        let c = batch.columns();
        let mut completions = Self {
            seen: batch.completions() as u64,
            cap: c.max_completion_length,
            ..Self::default()
        };
        for i in 0..batch.completions() {
            let length = batch.lengths().map(|lengths| lengths[i]);
            let prompt = c.prompt_lengths.map(|lengths| lengths[i]);
            completions.add_caps(batch, prompt, length);
            // Clipped: `terminated` says so, or, without that column, the length has reached the cap.
            let clipped = match (c.terminated, length) {
                (Some(terminated), _) => !terminated[i],
                (None, Some(length)) => c.max_completion_length.is_some_and(|cap| length >= cap),
                (None, None) => continue,
            };
            completions.judged += 1;
            completions.clipped += u64::from(clipped);
            if let Some(length) = length {
                completions.lengths.add(length);
                if !clipped {
                    completions.terminated.add(length);
                }
            }
        }
        completions
    }

    fn add_caps(&mut self, batch: &Batch<'_>, prompt: Option<u32>, length: Option<u32>) {
        let c = batch.columns();
        if let (Some(length), Some(cap)) = (length, c.max_completion_length) {
            self.capped += 1;
            self.at_cap += u64::from(length >= cap);
        }
        let Some(prompt) = prompt else { return };
        self.prompts.add(prompt);
        if let Some(cap) = c.max_prompt_length {
            self.capped_prompts += 1;
            self.prompts_at_cap += u64::from(prompt >= cap);
        }
        if let Some(length) = length {
            self.total_tokens += u64::from(prompt) + u64::from(length);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.capped, other.capped),
            (&mut self.at_cap, other.at_cap),
            (&mut self.capped_prompts, other.capped_prompts),
            (&mut self.prompts_at_cap, other.prompts_at_cap),
            (&mut self.total_tokens, other.total_tokens),
        ] {
            count(mine, theirs);
        }
        self.prompts.merge(&other.prompts);
        count(&mut self.seen, other.seen);
        self.lengths.merge(&other.lengths);
        self.terminated.merge(&other.terminated);
        count(&mut self.judged, other.judged);
        count(&mut self.clipped, other.clipped);
        self.cap = self.cap.max(other.cap);
    }
}

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
        (self.census.used > 0).then(|| self.sum.finish() / self.census.used as f64)
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
        (self.completions > 0).then(|| self.sum.finish() / self.completions as f64)
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
    pub fn of(batch: &Batch<'_>, sums: &[Sums]) -> Self {
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
        tokens.add_plain(sums);
        tokens.add_reference(sums, batch.lengths().unwrap_or_default());
        tokens.add_behaviour(sums, &advantages);
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
        let totals = [&mut self.entropies, &mut self.k3, &mut self.k3_corrected];
        for total in totals
            .into_iter()
            .chain(ranges.map(|range| &mut range.total))
        {
            total.census.absent = absent;
        }
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
    fn add_behaviour(&mut self, sums: &[Sums], advantages: &[Option<f64>]) {
        for (sums, advantage) in sums.iter().zip(advantages) {
            let Some(behaviour) = &sums.behaviour else {
                self.behaviour.absent += sums.counted;
                self.policy_gradient.absent += sums.counted;
                continue;
            };
            let mut clipped = (0, 0);
            match advantage {
                None => self.behaviour.absent += sums.counted,
                Some(advantage) => {
                    clipped = (
                        if *advantage < 0.0 { behaviour.low } else { 0 },
                        if *advantage > 0.0 { behaviour.high } else { 0 },
                    );
                    self.behaviour.used += behaviour.divergence.tokens;
                    self.behaviour.nonfinite += sums.counted - behaviour.divergence.tokens;
                    self.behaviour_low += clipped.0;
                    self.behaviour_high += clipped.1;
                    if behaviour.divergence.tokens > 0 {
                        let share =
                            |clipped: u64| clipped as f64 / behaviour.divergence.tokens as f64;
                        self.low_shares.add(&[share(clipped.0)]);
                        self.high_shares.add(&[share(clipped.1)]);
                    }
                }
            }
            // Policy gradient clipping looks at the token's own advantage where the record has them.
            let (used, clipped) = match (&sums.advantages, advantage) {
                (Some(_), _) => (behaviour.signed_tokens, behaviour.signed_clipped),
                (None, Some(_)) => (behaviour.divergence.tokens, clipped.0 + clipped.1),
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
        self.sampler.merge(&other.sampler);
        self.advantages.merge(&other.advantages);
        self.returns.merge(&other.returns);
        self.values.merge(&other.values);
    }
}

impl TokenTotal {
    fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Total>) -> Self {
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

    fn merge(&mut self, other: &Self) {
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
