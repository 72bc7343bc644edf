//! A per-completion column in numbers: rewards and their components.

use rayon::prelude::*;

use super::components::Components;
use super::{PARALLEL_FROM, column::Column};
use crate::family::groups::ZERO_STD;
use crate::stat::{Census, Quantile};

/// The quantiles that dialects name, in order.
pub const QUANTILES: [Quantile; 7] = [
    Quantile::P00,
    Quantile::P05,
    Quantile::P25,
    Quantile::P50,
    Quantile::P75,
    Quantile::P95,
    Quantile::P100,
];

/// A per-completion column: its values' count, moments and type-7 quantiles (at [`QUANTILES`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// How many values were used, absent and non-finite; the rest is over those used.
    pub census: Census,
    /// Mean over completions, in units of reward, like what follows.
    pub mean: f64,
    /// Population standard deviation (divided by n); 0 for one value.
    pub population_std: f64,
    /// Sample standard deviation (divided by n - 1); undefined for fewer than two values.
    pub sample_std: Option<f64>,
    /// The quantiles at [`QUANTILES`], smallest and largest value included; those between are within 1 % where the rewards
    /// are retained as a sketch.
    pub quantiles: [f64; 7],
}

impl Distribution {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.quantiles[0]
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.quantiles[6]
    }

    /// Whether its sample standard deviation is within 1e-8 of 0; one that is undefined is not.
    #[must_use]
    pub fn has_zero_std(&self) -> bool {
        self.sample_std.is_some_and(|std| std <= ZERO_STD)
    }
}

/// Of the rewards, and of the components that have a usable value.
pub fn distributions(
    rewards: &Column,
    components: &Components,
) -> (Option<Distribution>, Vec<(String, Distribution)>) {
    let of = |name: &String, column: &Column| Some((name.clone(), distribution(column)?));
    if rewards.census.seen() < PARALLEL_FROM as u64 {
        return (
            distribution(rewards),
            components
                .iter()
                .filter_map(|(name, column)| of(name, column))
                .collect(),
        );
    }
    rayon::join(
        || distribution(rewards),
        || {
            components
                .par_iter()
                .filter_map(|(name, column)| of(name, column))
                .collect()
        },
    )
}

fn distribution(column: &Column) -> Option<Distribution> {
    let mean = column.moments.mean()?;
    let quantiles = column.quantiles(&QUANTILES)?;
    Some(Distribution {
        census: column.census,
        mean,
        population_std: column.moments.population_std()?,
        sample_std: column.moments.sample_std(),
        quantiles: quantiles.try_into().ok()?,
    })
}

pub fn component_extremes(components: &[(String, Distribution)]) -> Option<(f64, f64)> {
    let ends = components
        .iter()
        .map(|(_, c)| (c.quantiles[0], c.quantiles[6]));
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}
