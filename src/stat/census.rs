//! How many values were there, and what became of them.

use serde::{Deserialize, Serialize};

use super::Statistic;

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

    fn add(&mut self, samples: &[f64]) {
        let used = samples.iter().filter(|x| x.is_finite()).count() as u64;
        self.used = self.used.saturating_add(used);
        self.nonfinite = self.nonfinite.saturating_add(samples.len() as u64 - used);
    }

    fn merge(&mut self, other: &Self) {
        self.used = self.used.saturating_add(other.used);
        self.absent(other.absent);
        self.nonfinite = self.nonfinite.saturating_add(other.nonfinite);
    }

    fn finish(&self) -> Census {
        *self
    }
}
