//! A spread in a few numbers: mean, extremes, and the share of something in something.

use crate::family::completions::Lengths;
use crate::family::number_totals::{NumberTotals, Share};
use crate::family::tokens::token_totals::TokenRange;
use crate::stat::Statistic;

/// One number a group or completion: moments and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub mean: f64,
    pub population_std: f64,
    pub min: f64,
    pub max: f64,
}

/// Lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthNumbers {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// A token-level number: mean and extremes over tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenNumbers {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

pub fn moment(spread: &NumberTotals) -> Option<Moment> {
    let (min, max) = spread.extent.range()?;
    Some(Moment {
        mean: spread.moments.mean()?,
        population_std: spread.moments.population_std()?,
        min,
        max,
    })
}

pub fn share(share: &Share) -> Option<f64> {
    part(share.hits, share.census.used)
}

/// `None` of nothing.
pub fn part(hits: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| hits as f64 / of as f64)
}

pub fn length_numbers(lengths: &Lengths) -> Option<LengthNumbers> {
    Some(LengthNumbers {
        mean: lengths.mean()?,
        min: lengths.min?.into(),
        max: lengths.max?.into(),
    })
}

pub fn token_numbers(range: &TokenRange) -> Option<TokenNumbers> {
    let (min, max) = range.extent.range()?;
    Some(TokenNumbers {
        mean: range.total.mean()?,
        min,
        max,
    })
}

/// Tokens' and completions' values as one sample.
pub fn either(tokens: &TokenRange, completions: &NumberTotals) -> Option<TokenNumbers> {
    let mut extent = tokens.extent;
    extent.merge(&completions.extent);
    let mut sum = tokens.total.sum.clone();
    sum.merge(completions.moments.sum());
    let (min, max) = extent.range()?;
    Some(TokenNumbers {
        mean: sum.divided(tokens.total.census.used + completions.census.used),
        min,
        max,
    })
}
