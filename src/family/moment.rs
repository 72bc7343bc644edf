//! A spread in a few numbers: mean, extremes, and the share of something in something.

use crate::family::number_totals::{NumberTotals, Share};

/// One number a group or completion: moments and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Mean over groups or completions.
    pub mean: f64,
    /// Population standard deviation (divided by n); 0 for one value.
    pub population_std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
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
