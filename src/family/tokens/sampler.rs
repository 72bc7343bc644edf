//! The behaviour policy against the sampler, which should be the same and seldom quite is.

use crate::family::moment::{TokenNumbers, token_numbers};
use crate::family::tokens::Tokens;
use crate::family::tokens::token_totals::TokenRange;
use crate::stat::Statistic;

/// Behaviour policy against the sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerNumbers {
    pub logp_difference: Option<TokenNumbers>,
    pub ratio: Option<TokenNumbers>,
    pub probability_difference: Option<TokenNumbers>,
    /// Pearson correlation of the two probabilities; undefined where either does not vary.
    pub correlation: Option<f64>,
}

pub fn sampler(tokens: &Tokens) -> SamplerNumbers {
    let s = &tokens.sampler;
    SamplerNumbers {
        logp_difference: token_numbers(&s.logp_difference),
        ratio: token_numbers(&s.ratio),
        probability_difference: token_numbers(&s.probability_difference),
        correlation: correlation(tokens),
    }
}

/// Pearson's r from sums: (n sum(pq) - sum(p) sum(q)) / sqrt((n sum(pp) - sum(p)^2) (n sum(qq) - sum(q)^2)).
fn correlation(tokens: &Tokens) -> Option<f64> {
    let s = &tokens.sampler;
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
