//! How long completions and prompts are.

use serde::{Deserialize, Serialize};

use crate::family::number_totals::count;

/// Lengths in tokens: whole numbers, so plain integers are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lengths {
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

impl Lengths {
    pub fn add(&mut self, length: u32) {
        self.count += 1;
        self.sum += u64::from(length);
        self.min = Some(self.min.map_or(length, |min| min.min(length)));
        self.max = self.max.max(Some(length));
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            count: more,
            sum,
            min,
            max,
        } = *other;
        count(&mut self.count, more);
        count(&mut self.sum, sum);
        self.min = match (self.min, min) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.max = self.max.max(max);
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// Lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthNumbers {
    /// Mean over completions (or their prompts), in tokens.
    pub mean: f64,
    /// The shortest, in tokens.
    pub min: f64,
    /// The longest, in tokens.
    pub max: f64,
}

pub fn length_numbers(lengths: &Lengths) -> Option<LengthNumbers> {
    Some(LengthNumbers {
        mean: lengths.mean()?,
        min: lengths.min?.into(),
        max: lengths.max?.into(),
    })
}
