//! The numbers that tell how far sampler and trained policy are apart.

use super::{OffPolicy, Weights};
use crate::family::number_totals::NumberTotals;

/// Ratios of behaviour policy to sampler as weights, at most `is_ratio_cap`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightNumbers {
    /// Mean over tokens.
    pub mean: f64,
    /// Population standard deviation over tokens.
    pub population_std: f64,
    /// The smallest of any token.
    pub min: f64,
    /// The largest of any token.
    pub max: f64,
    /// mean(w)^2 / mean(w^2): the effective sample size over the number of tokens (Kong, 1992).
    pub effective: f64,
    /// Share of tokens whose ratio is above the cap: what truncation (TIS) changes.
    pub above: f64,
    /// Share of tokens whose ratio is below the floor; those and the ones above are what a mask (`IcePop`, MIS) leaves out.
    pub below: f64,
    /// Over completions: the mean weight of each one's tokens.
    pub by_completion: CompletionWeights,
    /// Shares of completions whose mean ratio is above the cap and below the floor.
    pub means_outside: (f64, f64),
    /// Shares of completions whose geometric mean of ratios is.
    pub geometric_outside: (f64, f64),
    /// Shares of completions whose own ratio, the product of its tokens', is.
    pub products_outside: (f64, f64),
    /// The effective sample size of those ratios, capped, over the number of completions.
    pub effective_products: f64,
}

/// The mean weights of completions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompletionWeights {
    /// Mean over completions.
    pub mean: f64,
    /// Sample standard deviation; `None` of fewer than two.
    pub sample_std: Option<f64>,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl CompletionWeights {
    /// The largest distance from 1 of any.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (self.max - 1.0).abs().max((self.min - 1.0).abs())
    }
}

/// A number of completions: mean and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompletionNumbers {
    /// Mean over completions.
    pub mean: f64,
    /// The smallest of any completion.
    pub min: f64,
    /// The largest of any completion.
    pub max: f64,
}

/// How far the sampler is from the policy that is trained, over counted tokens that have both log-probabilities and the
/// completions that have such tokens. d = old - sampling of a token, r = e^d.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffPolicyNumbers {
    /// KL of sampler to behaviour policy: mean of -d, in nats.
    pub k1: f64,
    /// The same by k3, r - d - 1.
    pub k3: f64,
    /// KL of behaviour policy to sampler as if tokens were of the former: mean of 1/r + d - 1, in nats.
    pub k3_back: f64,
    /// Jensen-Shannon divergence: half the k3 of either policy to their mixture, ln cosh(d/2) a token, in nats.
    pub mixture: f64,
    /// Mean of e^|d|.
    pub factor: f64,
    /// Mean of r, not capped.
    pub ratio: f64,
    /// Mean of r^2 less 1, the chi-square divergence, each d within 20.
    pub chi_square: f64,
    /// Mean over completions of the perplexity under the behaviour policy, e^-(mean of old).
    pub perplexity: f64,
    /// Mean over completions of its logarithm.
    pub log_perplexity: f64,
    /// The same of the sampler.
    pub sampler_perplexity: f64,
    /// The same of the sampler.
    pub sampler_log_perplexity: f64,
    /// Over completions: log-perplexity of behaviour policy less sampler, the mean of -d.
    pub difference: CompletionNumbers,
    /// Mean over completions of its size.
    pub abs_difference: f64,
    /// Mean over completions of e to it.
    pub perplexity_ratio: f64,
    /// Mean over completions of the product of their tokens' ratios, the sum of d within 20.
    pub product: f64,
    /// Mean over completions of its square, less 1.
    pub product_chi_square: f64,
    /// Over completions: the mean of e^|d|.
    pub factor_by_completion: CompletionNumbers,
    /// The ratios held against the cap; `None` where none is set.
    pub weights: Option<WeightNumbers>,
}

pub fn off_policy(s: &OffPolicy) -> Option<OffPolicyNumbers> {
    let [old, sampling, k3, k3_back, mixture, factor, ratio, squares] = s.tokens.means()?;
    let [
        perplexity,
        log_perplexity,
        sampler_perplexity,
        sampler_log_perplexity,
        abs_difference,
        perplexity_ratio,
        product,
        product_squares,
    ] = s.completions.means()?;
    Some(OffPolicyNumbers {
        k1: sampling - old,
        k3,
        k3_back,
        mixture,
        factor,
        ratio,
        chi_square: squares - 1.0,
        perplexity,
        log_perplexity,
        sampler_perplexity,
        sampler_log_perplexity,
        difference: completion_numbers(&s.log_perplexity_difference)?,
        abs_difference,
        perplexity_ratio,
        product,
        product_chi_square: product_squares - 1.0,
        factor_by_completion: completion_numbers(&s.factor)?,
        weights: weights(&s.weights),
    })
}

fn completion_numbers(totals: &NumberTotals) -> Option<CompletionNumbers> {
    let (min, max) = totals.extent.range()?;
    Some(CompletionNumbers {
        mean: totals.moments.mean()?,
        min,
        max,
    })
}

fn weights(s: &Weights) -> Option<WeightNumbers> {
    let positive = |[_, square]: &[f64; 2]| *square > 0.0;
    let [mean, square] = s.tokens.means().filter(positive)?;
    let [product, product_square] = s.products.means().filter(positive)?;
    let (min, max) = s.extent.range()?;
    let completions = completion_numbers(&s.means)?;
    let variance = (square - mean * mean).max(0.0);
    let share = |hits: u64, of: u64| hits as f64 / of as f64;
    let of_completions = |(above, below): (u64, u64)| {
        let all = s.products.tokens;
        (share(above, all), share(below, all))
    };
    Some(WeightNumbers {
        mean,
        population_std: if min == max { 0.0 } else { variance.sqrt() },
        min,
        max,
        effective: mean * mean / square,
        above: share(s.above, s.tokens.tokens),
        below: share(s.below, s.tokens.tokens),
        by_completion: CompletionWeights {
            mean: completions.mean,
            sample_std: s.means.moments.sample_std(),
            min: completions.min,
            max: completions.max,
        },
        means_outside: of_completions((s.means_above, s.means_below)),
        geometric_outside: of_completions((s.geometric_above, s.geometric_below)),
        products_outside: of_completions((s.products_above, s.products_below)),
        effective_products: product * product / product_square,
    })
}
