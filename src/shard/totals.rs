//! What completions and their tokens add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::groups::Spread;
use crate::batch::{Batch, Values};
use crate::kernel::tokens::{Bounds, Range, Sums, Total, sums};
use crate::stat::{Census, ExactSum, Extent, Moments, Order, Statistic};
use rayon::prelude::*;

/// A column with one value a completion, kept whole so that its quantiles are exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub census: Census,
    pub moments: Moments,
    pub order: Order,
}

impl Column {
    pub fn of(values: &Values<'_>) -> Self {
        let mut column = Self::default();
        match values.whole() {
            Some(values) => column.add(values),
            None => {
                let present: Vec<f64> = values.iter().flatten().collect();
                column.census.absent = (values.len() - present.len()) as u64;
                column.add(&present);
            }
        }
        column
    }

    fn add(&mut self, samples: &[f64]) {
        self.census.add(samples);
        self.moments.add(samples);
        self.order.add(samples);
    }

    pub fn merge(&mut self, other: &Self) {
        self.census.merge(&other.census);
        self.moments.merge(&other.moments);
        self.order.merge(&other.order);
    }
}

/// The advantages of a record (one a completion): count, moments, extremes.
pub(crate) fn spread_of(values: &Values<'_>) -> Spread {
    let mut spread = Spread::default();
    match values.whole() {
        Some(values) => spread.add(values),
        None => {
            let present: Vec<f64> = values.iter().flatten().collect();
            spread.census.absent = (values.len() - present.len()) as u64;
            spread.add(&present);
        }
    }
    spread
}

/// Components by name; ranks may have different sets of them.
pub(crate) type Components = BTreeMap<String, Column>;

/// Lengths in tokens: whole numbers, so plain integers are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lengths {
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

impl Lengths {
    fn add(&mut self, length: u32) {
        self.count += 1;
        self.sum += u64::from(length);
        self.min = Some(self.min.map_or(length, |min| min.min(length)));
        self.max = self.max.max(Some(length));
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
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

    pub fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.lengths.merge(&other.lengths);
        self.terminated.merge(&other.terminated);
        self.judged += other.judged;
        self.clipped += other.clipped;
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
