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

/// Current policy against reference policy, over tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferenceNumbers {
    /// The k3 estimate per token; with the ratio of current to behaviour policy as weight (a token's, or that of its
    /// completion, as the snapshot says); mean over completions of
    /// their own mean; sum over completions times the generation cap.
    pub k3: Option<f64>,
    pub k3_corrected: Option<f64>,
    pub k3_by_completion: Option<f64>,
    pub k3_by_cap: Option<f64>,
    /// Shares of tokens beyond the clip range.
    pub clipped_low: Option<f64>,
    pub clipped_high: Option<f64>,
    pub clipped: Option<f64>,
    /// 1 if every token (any token) is beyond that side.
    pub all_low: Option<f64>,
    pub any_high: Option<f64>,
    pub buckets: Vec<BucketNumbers>,
}

/// One length bucket that holds a completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketNumbers {
    pub label: &'static str,
    pub tokens: f64,
    /// Undefined without counted tokens.
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
