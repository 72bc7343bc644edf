//! The current policy against the reference policy.

use serde::{Deserialize, Serialize};

use crate::batch::scalars::ImportanceLevel;
use crate::family::number_totals::count;
use crate::family::tokens::Tokens;
use crate::stat::{ExactSum, Statistic};

/// The length buckets of KL: upper bounds in tokens, the last open.
pub(crate) const BUCKETS: [(u32, &str); 5] = [
    (32, "0-32"),
    (64, "33-64"),
    (128, "65-128"),
    (256, "129-256"),
    (u32::MAX, "257+"),
];

/// One bucket of KL by completion length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub completions: u64,
    pub tokens: u64,
    pub k3: ExactSum,
}

impl Bucket {
    pub(super) fn merge(&mut self, other: &Self) {
        let Self {
            completions,
            tokens,
            k3,
        } = other;
        count(&mut self.completions, *completions);
        count(&mut self.tokens, *tokens);
        self.k3.merge(k3);
    }
}

/// Current policy against reference policy, over counted tokens that have both log-probabilities; `None` without any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferenceNumbers {
    /// KL to the reference policy by the k3 estimate, e^d - d - 1 with d = reference - current (Schulman, "Approximating KL
    /// divergence", 2020): its mean over tokens, in nats.
    pub k3: Option<f64>,
    /// The same, weighted by the ratio of current to behaviour policy: the token's own, or that of its completion, as the
    /// snapshot says.
    pub k3_corrected: Option<f64>,
    /// Mean over completions of each one's mean k3 over its tokens, in nats.
    pub k3_by_completion: Option<f64>,
    /// Sum of k3 over tokens, divided by completions times the largest generation cap (without one, the longest
    /// completion), in nats.
    pub k3_by_cap: Option<f64>,
    /// Share of tokens whose ratio of current to reference policy is below the clip range.
    pub clipped_low: Option<f64>,
    /// Share of tokens whose ratio is above it.
    pub clipped_high: Option<f64>,
    /// Share of tokens whose ratio is on either side of it.
    pub clipped: Option<f64>,
    /// 1 if every token's ratio is below the clip range, else 0.
    pub all_low: Option<f64>,
    /// 1 if any token's ratio is above the clip range, else 0.
    pub any_high: Option<f64>,
    /// KL by completion length, shortest first; only buckets that hold a completion.
    pub buckets: Vec<BucketNumbers>,
}

/// One length bucket that holds a completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketNumbers {
    /// The range of lengths, in tokens: `0-32` to `257+`.
    pub label: &'static str,
    /// Counted tokens of the bucket's completions.
    pub tokens: f64,
    /// Mean k3 to the reference policy over them, in nats; undefined without counted tokens.
    pub k3: Option<f64>,
}

pub fn reference(
    tokens: &Tokens,
    cap: Option<u32>,
    longest: Option<u32>,
    level: ImportanceLevel,
) -> ReferenceNumbers {
    let used = tokens.k3.census.used;
    let of_tokens = |hits: u64| (used > 0).then(|| hits as f64 / used as f64);
    let length = cap.or(longest).map_or(0.0, f64::from);
    let budget = tokens.kl_completions as f64 * length;
    let buckets = BUCKETS
        .iter()
        .zip(&tokens.buckets)
        .filter(|(_, bucket)| bucket.completions > 0)
        .map(|((_, label), bucket)| BucketNumbers {
            label,
            tokens: bucket.tokens as f64,
            k3: (bucket.tokens > 0).then(|| bucket.k3.finish() / bucket.tokens as f64),
        })
        .collect();
    ReferenceNumbers {
        k3: tokens.k3.mean(),
        k3_corrected: match level {
            ImportanceLevel::Token => tokens.k3_corrected.mean(),
            ImportanceLevel::Sequence => tokens.sequences.k3_corrected.mean(),
        },
        k3_by_completion: tokens.k3_means.mean(),
        k3_by_cap: (used > 0 && budget > 0.0).then(|| tokens.k3.sum.finish() / budget),
        clipped_low: of_tokens(tokens.reference_low),
        clipped_high: of_tokens(tokens.reference_high),
        clipped: of_tokens(tokens.reference_low.saturating_add(tokens.reference_high)),
        all_low: (used > 0).then(|| f64::from(u8::from(tokens.reference_low == used))),
        any_high: (used > 0).then(|| f64::from(u8::from(tokens.reference_high > 0))),
        buckets,
    }
}
