//! How many values were there, and what became of them.

use serde::{Deserialize, Serialize};

use super::{Finite, Statistic};

/// Counts of values used, absent and non-finite; all 0 when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Finite values.
    pub used: u64,
    /// Places without a value.
    pub absent: u64,
    /// NaN and infinities.
    pub nonfinite: u64,
}

impl Census {
    /// Counts `n` places without a value.
    pub fn absent(&mut self, n: u64) {
        self.absent = self.absent.saturating_add(n);
    }

    /// Counts finite values, and NaN and infinities.
    pub(crate) fn saw(&mut self, used: u64, nonfinite: u64) {
        self.used = self.used.saturating_add(used);
        self.nonfinite = self.nonfinite.saturating_add(nonfinite);
    }

    /// All places counted.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.used
            .saturating_add(self.absent)
            .saturating_add(self.nonfinite)
    }
}

impl Statistic for Census {
    type Output = Census;

    fn add_finite(&mut self, finite: Finite<'_>) {
        self.saw(finite.values().len() as u64, 0);
    }

    fn add(&mut self, samples: &[f64]) {
        let used = Finite::each(samples, |_| {});
        self.saw(used, samples.len() as u64 - used);
    }

    fn merge(&mut self, other: &Self) {
        self.saw(other.used, other.nonfinite);
        self.absent(other.absent);
    }

    fn finish(&self) -> Census {
        *self
    }
}
