//! A line of a plot, and the points that it is made of.

use std::cmp::Ordering;

use serde::Serialize;

/// A series of a run, or of several together. What is not finite is null.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    pub key: String,
    pub run: String,
    /// Ascending; whole numbers where the axis counts.
    pub x: Vec<f64>,
    pub step: Vec<u64>,
    pub value: Vec<f64>,
    /// What `value` is without being smoothed, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Vec<f64>>,
    /// How many values are infinite, of those between the ends.
    pub infinite: usize,
    /// How many runs the series is of, and of each point of how many; the least and the greatest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<Vec<f64>>,
}

/// The points of a series, by step; on the axis they may lie otherwise, as clocks are set.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    pub x: Vec<f64>,
    pub step: Vec<u64>,
    pub raw: Vec<f64>,
    pub value: Vec<f64>,
}

impl Points {
    /// In the order of the axis.
    pub fn on_the_axis(self) -> Self {
        if self.x.is_sorted() {
            return self;
        }
        let mut at: Vec<usize> = (0..self.x.len()).collect();
        at.sort_by(|a, b| {
            self.x
                .get(*a)
                .partial_cmp(&self.x.get(*b))
                .unwrap_or(Ordering::Equal)
        });
        self.at(&at)
    }

    /// Those whose place is from the one to the other.
    pub fn between(self, from: f64, to: f64) -> Self {
        let (first, end) = (
            self.x.partition_point(|x| *x < from),
            self.x.partition_point(|x| *x <= to),
        );
        if (first, end) == (0, self.x.len()) {
            return self;
        }
        let at: Vec<usize> = (first..end).collect();
        self.at(&at)
    }

    fn at(&self, at: &[usize]) -> Self {
        Self {
            x: taken(&self.x, at),
            step: taken(&self.step, at),
            raw: taken(&self.raw, at),
            value: taken(&self.value, at),
        }
    }
}

/// The values at these places.
pub(super) fn taken<T: Copy>(values: &[T], at: &[usize]) -> Vec<T> {
    at.iter().filter_map(|i| values.get(*i).copied()).collect()
}
