//! What values come to beside their sum: how many there were of each kind, how they spread, how many have a property.

use serde::{Deserialize, Serialize};

use super::marked_values::Mark;
use crate::stat::{Census, Extent, Finite, Moments, Statistic};

/// One number a group or completion: its count, moments and extremes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberTotals {
    pub census: Census,
    pub moments: Moments,
    pub extent: Extent,
}

impl NumberTotals {
    pub fn add(&mut self, samples: &[f64]) {
        let used = Finite::each(samples, |values| {
            self.moments.add_finite(values);
            self.extent.add_finite(values);
        });
        self.census.saw(used, samples.len() as u64 - used);
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            census,
            moments,
            extent,
        } = other;
        self.census.merge(census);
        self.moments.merge(moments);
        self.extent.merge(extent);
    }

    pub fn miss(&mut self, mark: Mark) {
        match mark {
            Mark::Finite => {}
            Mark::Absent => self.census.absent(1),
            Mark::NonFinite => count(&mut self.census.nonfinite, 1),
        }
    }
}

/// How many of those that could be judged have a property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub hits: u64,
    pub census: Census,
}

impl Share {
    pub fn merge(&mut self, other: &Self) {
        let Self { hits, census } = other;
        count(&mut self.hits, *hits);
        self.census.merge(census);
    }

    pub fn add(&mut self, mark: Mark, weight: u64, hit: impl FnOnce() -> bool) {
        match mark {
            Mark::Absent => self.census.absent(weight),
            Mark::NonFinite => count(&mut self.census.nonfinite, weight),
            Mark::Finite => {
                count(&mut self.census.used, weight);
                count(&mut self.hits, if hit() { weight } else { 0 });
            }
        }
    }
}

/// Adds to a count that may have come over the wire: at the end of its range it stops.
pub fn count(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}
