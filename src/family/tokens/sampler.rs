//! The behaviour policy against the sampler, which should be the same and seldom quite is.

use serde::{Deserialize, Serialize};

use crate::family::tokens::token_totals::{TokenNumbers, TokenRange, token_numbers};
use crate::kernel::tokens::{Sampler, Sums};
use crate::stat::{ExactSum, Statistic};

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

impl SamplerTotals {
    pub(super) fn of(sums: &[Sums]) -> Self {
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

    pub(super) fn merge(&mut self, other: &Self) {
        let Self {
            logp_difference,
            ratio,
            probability_difference,
            old,
            sampling,
            old_squares,
            sampling_squares,
            products,
        } = other;
        self.logp_difference.merge(logp_difference);
        self.ratio.merge(ratio);
        self.probability_difference.merge(probability_difference);
        self.old.merge(old);
        self.sampling.merge(sampling);
        self.old_squares.merge(old_squares);
        self.sampling_squares.merge(sampling_squares);
        self.products.merge(products);
    }
}

/// Behaviour policy against the sampler, over counted tokens that have both log-probabilities; `None` without any.
///
/// Without `old_token_logps` the current policy stands for the behaviour policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerNumbers {
    /// The distance of their log-probabilities, |old - sampling|, in nats.
    pub logp_difference: Option<TokenNumbers>,
    /// The importance ratio e^(old - sampling), at most `is_ratio_cap` where one is set.
    pub ratio: Option<TokenNumbers>,
    /// The distance of their probabilities, |e^old - e^sampling|.
    pub probability_difference: Option<TokenNumbers>,
    /// Pearson correlation of the two probabilities; undefined where either does not vary.
    pub correlation: Option<f64>,
}

pub fn sampler(s: &SamplerTotals) -> SamplerNumbers {
    SamplerNumbers {
        logp_difference: token_numbers(&s.logp_difference),
        ratio: token_numbers(&s.ratio),
        probability_difference: token_numbers(&s.probability_difference),
        correlation: correlation(s),
    }
}

/// Pearson's r from sums: (n sum(pq) - sum(p) sum(q)) / sqrt((n sum(pp) - sum(p)^2) (n sum(qq) - sum(q)^2)).
fn correlation(s: &SamplerTotals) -> Option<f64> {
    let varies = |range: &TokenRange| range.extent.range().is_some_and(|(min, max)| min < max);
    if !varies(&s.old) || !varies(&s.sampling) {
        return None;
    }
    let n = s.old.total.census.used as f64;
    let (p, q) = (
        s.old.total.sum.finish() / n,
        s.sampling.total.sum.finish() / n,
    );
    let covariance = s.products.finish() / n - p * q;
    let variances =
        (s.old_squares.finish() / n - p * p) * (s.sampling_squares.finish() / n - q * q);
    (variances > 0.0).then(|| (covariance / variances.sqrt()).clamp(-1.0, 1.0))
}
