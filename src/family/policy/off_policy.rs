//! How far the sampler is from the policy that is trained: over tokens, and over whole completions.

pub mod numbers;

use serde::{Deserialize, Serialize};

use super::TokenSums;
use crate::family::number_totals::{NumberTotals, count};
use crate::kernel::exp::power_of_e;
use crate::kernel::tokens::{Bounds, Sums, VERL_LOG_RATIO};
use crate::stat::{Extent, Statistic};

/// Behaviour policy against sampler, over counted tokens that have both log-probabilities and completions with such tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OffPolicy {
    /// Sums over tokens: the two log-probabilities, and what [`crate::kernel::tokens::Apart`] has of distances and ratios, the
    /// squares within verl's bound.
    pub tokens: TokenSums<8>,
    /// Sums over completions: perplexity and its logarithm of behaviour policy and of sampler, the size of the difference of
    /// those logarithms, e to the difference, the completion's ratio (the product of its tokens') and its square.
    pub completions: TokenSums<8>,
    /// One a completion: log-perplexity of the behaviour policy less that of the sampler.
    pub log_perplexity_difference: NumberTotals,
    /// One a completion: the mean of its tokens' e^|d|.
    pub factor: NumberTotals,
    /// Where ratios are held against a cap.
    pub weights: Weights,
}

/// Ratios as weights: at most the cap, and too low below the floor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Weights {
    /// Sums over tokens: the capped ratio and its square.
    pub tokens: TokenSums<2>,
    /// The extremes of the capped ratio.
    pub extent: Extent,
    /// Tokens whose ratio is above the cap, and below the floor.
    pub above: u64,
    pub below: u64,
    /// One a completion: the mean of its tokens' capped ratios.
    pub means: NumberTotals,
    /// Completions whose mean ratio is above the cap, and below the floor.
    pub means_above: u64,
    pub means_below: u64,
    /// Completions whose geometric mean of ratios is.
    pub geometric_above: u64,
    pub geometric_below: u64,
    /// Completions whose own ratio (the product) is; and the sums of those ratios, at most the cap, and of their squares.
    pub products_above: u64,
    pub products_below: u64,
    pub products: TokenSums<2>,
}

/// What one completion comes to.
struct Completion {
    tokens: f64,
    /// The sum of its tokens' log-ratios.
    log_ratio: f64,
    old: f64,
    sampling: f64,
    /// The mean of its tokens' ratios, and of those at most the cap.
    ratio: f64,
    weight: f64,
    factor: f64,
}

impl Completion {
    fn of(sums: &Sums) -> Option<Self> {
        let sampler = sums.sampler.as_ref()?;
        let apart = sampler.apart.as_ref()?;
        let tokens = sampler.ratio.total.tokens;
        let n = tokens as f64;
        (tokens > 0).then(|| Self {
            tokens: n,
            log_ratio: apart.old - apart.sampling,
            old: -apart.old / n,
            sampling: -apart.sampling / n,
            ratio: apart.ratio / n,
            weight: sampler.ratio.total.sum / n,
            factor: apart.factor / n,
        })
    }

    /// Log-perplexity of the behaviour policy less that of the sampler.
    fn difference(&self) -> f64 {
        -self.log_ratio / self.tokens
    }

    /// The product of its tokens' ratios, its logarithm within verl's bound.
    fn product(&self) -> f64 {
        power_of_e(self.log_ratio.clamp(-VERL_LOG_RATIO, VERL_LOG_RATIO))
    }

    fn sums(&self) -> [f64; 8] {
        let (difference, product) = (self.difference(), self.product());
        [
            power_of_e(self.old),
            self.old,
            power_of_e(self.sampling),
            self.sampling,
            difference.abs(),
            power_of_e(difference),
            product,
            product * product,
        ]
    }
}

impl OffPolicy {
    /// Of the completions of a record; `None` where it has no sampler.
    pub fn of(sums: &[Sums], bounds: &Bounds) -> Option<Self> {
        let sampled = || sums.iter().filter_map(|sums| sums.sampler.as_ref());
        let apart = || sampled().filter_map(|s| Some((s.ratio.total.tokens, s.apart?)));
        apart().next()?;
        let completions: Vec<Completion> = sums.iter().filter_map(Completion::of).collect();
        let mut of = Self {
            tokens: TokenSums::of(apart().map(|(tokens, a)| {
                let (k3, back) = (a.k3, a.k3_back);
                let ratios = [a.factor, a.ratio, a.bounded_squares];
                let [factor, ratio, squares] = ratios;
                let sums = [
                    a.old, a.sampling, k3, back, a.mixture, factor, ratio, squares,
                ];
                (tokens, sums)
            })),
            completions: TokenSums::of(completions.iter().map(|c| (1, c.sums()))),
            ..Self::default()
        };
        let each = |of: fn(&Completion) -> f64| completions.iter().map(of).collect::<Vec<f64>>();
        of.log_perplexity_difference
            .add(&each(Completion::difference));
        of.factor.add(&each(|c| c.factor));
        if bounds.ratio_cap.is_finite() {
            of.weights = Weights::of(sums, &completions, bounds);
        }
        Some(of)
    }

    /// Whether its parts could be of the same tokens.
    pub fn is_consistent(&self) -> bool {
        let Weights {
            tokens,
            extent,
            above,
            below,
            means,
            ..
        } = &self.weights;
        (tokens.tokens > 0) == extent.range().is_some()
            && above.saturating_add(*below) <= tokens.tokens
            && means.moments.count() <= tokens.tokens
            && self.completions.tokens <= self.tokens.tokens
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            completions,
            log_perplexity_difference,
            factor,
            weights,
        } = other;
        self.tokens.merge(tokens);
        self.completions.merge(completions);
        self.log_perplexity_difference
            .merge(log_perplexity_difference);
        self.factor.merge(factor);
        self.weights.merge(weights);
    }
}

impl Weights {
    fn of(sums: &[Sums], completions: &[Completion], bounds: &Bounds) -> Self {
        let (cap, floor) = (bounds.ratio_cap, bounds.ratio_floor);
        let sampled = || sums.iter().filter_map(|sums| sums.sampler.as_ref());
        let mut weights = Self {
            tokens: TokenSums::of(sampled().filter_map(|s| {
                let ratio = s.ratio.total;
                Some((ratio.tokens, [ratio.sum, s.apart?.capped_squares]))
            })),
            products: TokenSums::of(completions.iter().map(|c| {
                let weight = c.product().min(cap);
                (1, [weight, weight * weight])
            })),
            ..Self::default()
        };
        for sampler in sampled().filter(|s| s.ratio.total.tokens > 0) {
            weights.extent.add(&[sampler.ratio.min, sampler.ratio.max]);
            let (above, below) = sampler.apart.map_or((0, 0), |a| (a.above, a.below));
            weights.above += above;
            weights.below += below;
        }
        let means: Vec<f64> = completions.iter().map(|c| c.weight).collect();
        weights.means.add(&means);
        for completion in completions {
            let geometric = power_of_e(completion.log_ratio / completion.tokens);
            let Self {
                means_above,
                means_below,
                geometric_above,
                geometric_below,
                products_above,
                products_below,
                ..
            } = &mut weights;
            for (ratio, above, below) in [
                (completion.ratio, means_above, means_below),
                (geometric, geometric_above, geometric_below),
                (completion.product(), products_above, products_below),
            ] {
                *above += u64::from(ratio > cap);
                *below += u64::from(ratio < floor);
            }
        }
        weights
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            extent,
            above,
            below,
            means,
            means_above,
            means_below,
            geometric_above,
            geometric_below,
            products_above,
            products_below,
            products,
        } = other;
        self.tokens.merge(tokens);
        self.extent.merge(extent);
        self.means.merge(means);
        self.products.merge(products);
        for (mine, theirs) in [
            (&mut self.above, above),
            (&mut self.below, below),
            (&mut self.means_above, means_above),
            (&mut self.means_below, means_below),
            (&mut self.geometric_above, geometric_above),
            (&mut self.geometric_below, geometric_below),
            (&mut self.products_above, products_above),
            (&mut self.products_below, products_below),
        ] {
            count(mine, *theirs);
        }
    }
}
