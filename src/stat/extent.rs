//! The smallest and the largest value.

use serde::{Deserialize, Serialize};

use super::{Finite, Statistic, from_key, key};

/// Smallest and largest finite value, in the total order of doubles (-0 before 0); `None` when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Option<(f64, f64)>", into = "Option<(f64, f64)>")]
pub struct Extent(Option<(i64, i64)>);

impl Extent {
    /// Smallest and largest value; `None` when empty.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        self.0.map(|(low, high)| (from_key(low), from_key(high)))
    }

    /// Takes in the [`key`]s of a smallest and a largest value.
    pub(super) fn widen(&mut self, low: i64, high: i64) {
        self.0 = Some(
            self.0
                .map_or((low, high), |(l, h)| (l.min(low), h.max(high))),
        );
    }
}

impl Statistic for Extent {
    type Output = Option<(f64, f64)>;

    fn add_finite(&mut self, finite: Finite<'_>) {
        let values = finite.values();
        let (low, high) = (finite.met.low, finite.met.high);
        if values.is_empty() {
            return;
        }
        if low == 0.0 || high == 0.0 {
            // Only their keys tell -0 from 0.
            let keys = values.iter().map(|&x| key(x));
            let (low, high) = keys.fold((i64::MAX, i64::MIN), |(l, h), k| (l.min(k), h.max(k)));
            self.widen(low, high);
        } else {
            self.widen(key(low), key(high));
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some((low, high)) = other.0 {
            self.widen(low, high);
        }
    }

    fn finish(&self) -> Option<(f64, f64)> {
        self.range()
    }
}

impl TryFrom<Option<(f64, f64)>> for Extent {
    type Error = &'static str;

    fn try_from(range: Option<(f64, f64)>) -> Result<Self, Self::Error> {
        match range {
            Some((low, high))
                if !(low.is_finite() && high.is_finite() && key(low) <= key(high)) =>
            {
                Err("expected a finite minimum not above a finite maximum")
            }
            _ => Ok(Extent(range.map(|(low, high)| (key(low), key(high))))),
        }
    }
}

impl From<Extent> for Option<(f64, f64)> {
    fn from(extent: Extent) -> Self {
        extent.range()
    }
}
