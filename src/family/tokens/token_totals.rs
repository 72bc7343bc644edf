//! Sums, means and extremes over tokens, from the completions' own.

use serde::{Deserialize, Serialize};

use crate::family::number_totals::{NumberTotals, count};
use crate::kernel::tokens::{Range, Sums, Total};
use crate::stat::{Census, ExactSum, Extent, Statistic};

/// A sum over tokens: the completions' sums added exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenTotal {
    /// Tokens: used, of completions without the columns (absent), with a non-finite value.
    pub census: Census,
    pub sum: ExactSum,
}

impl TokenTotal {
    pub fn mean(&self) -> Option<f64> {
        (self.census.used > 0).then(|| self.sum.divided(self.census.used))
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
        (self.completions > 0).then(|| self.sum.divided(self.completions))
    }
}

/// [`TokenTotal`] with the extremes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRange {
    pub total: TokenTotal,
    pub extent: Extent,
}

impl TokenTotal {
    pub fn of<'s>(
        sums: impl IntoIterator<Item = &'s Sums>,
        family: impl Fn(&Sums) -> Option<Total>,
    ) -> Self {
        let mut total = Self::default();
        let sums = sums.into_iter();
        let mut parts = Vec::with_capacity(sums.size_hint().0);
        for sums in sums {
            match family(sums) {
                None => total.census.absent += sums.counted,
                Some(part) => {
                    total.census.used += part.tokens;
                    total.census.nonfinite += sums.counted - part.tokens;
                    parts.push(part.sum);
                }
            }
        }
        total.sum.add(&parts);
        total
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { census, sum } = other;
        self.census.merge(census);
        self.sum.merge(sum);
    }
}

impl CompletionMeans {
    pub fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Total>) -> Self {
        let parts: Vec<f64> = sums
            .iter()
            .filter_map(family)
            .filter(|part| part.tokens > 0)
            .map(|part| part.sum / part.tokens as f64)
            .collect();
        let mut means = Self {
            completions: parts.len() as u64,
            ..Self::default()
        };
        means.sum.add(&parts);
        means
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { completions, sum } = other;
        count(&mut self.completions, *completions);
        self.sum.merge(sum);
    }
}

impl TokenRange {
    pub fn of(sums: &[Sums], family: impl Fn(&Sums) -> Option<Range>) -> Self {
        let mut extent = Extent::default();
        for range in sums
            .iter()
            .filter_map(&family)
            .filter(|range| range.total.tokens > 0)
        {
            extent.add(&[range.min, range.max]);
        }
        Self {
            total: TokenTotal::of(sums, |s| family(s).map(|range| range.total)),
            extent,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { total, extent } = other;
        self.total.merge(total);
        self.extent.merge(extent);
    }
}

/// A token-level number: mean and extremes over tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenNumbers {
    /// Mean over tokens.
    pub mean: f64,
    /// The smallest of any token.
    pub min: f64,
    /// The largest of any token.
    pub max: f64,
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
