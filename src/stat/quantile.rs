//! A quantile's place, in integer thousandths.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place between minimum and maximum, in thousandths: never made from a float, so that 0.29 cannot become `p28`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Quantile(u16);

impl Quantile {
    /// The minimum.
    pub const P00: Self = Self(0);
    /// The first percentile.
    pub const P01: Self = Self(10);
    /// The fifth percentile.
    pub const P05: Self = Self(50);
    /// The lower quartile.
    pub const P25: Self = Self(250);
    /// The median.
    pub const P50: Self = Self(500);
    /// The upper quartile.
    pub const P75: Self = Self(750);
    /// The 95th percentile.
    pub const P95: Self = Self(950);
    /// The 99th percentile.
    pub const P99: Self = Self(990);
    /// The maximum.
    pub const P100: Self = Self(1000);
    /// The seven that reward families report.
    pub const SEVEN: [Self; 7] = [
        Self::P00,
        Self::P05,
        Self::P25,
        Self::P50,
        Self::P75,
        Self::P95,
        Self::P100,
    ];

    /// The quantile at `thousandths` (0 to 1000), `None` above.
    #[must_use]
    pub const fn of_thousandths(thousandths: u16) -> Option<Self> {
        if thousandths <= 1000 {
            Some(Self(thousandths))
        } else {
            None
        }
    }

    /// 0 for the minimum to 1000 for the maximum.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// `p05` for whole percents; the tenth of a percent after an underscore otherwise: 25 thousandths are `p02_5`, 999 are `p99_9`.
    #[must_use]
    pub fn label(self) -> String {
        let (percent, tenth) = (self.0 / 10, self.0 % 10);
        if tenth == 0 {
            format!("p{percent:02}")
        } else {
            format!("p{percent:02}_{tenth}")
        }
    }

    /// Its place among `count` sorted values (at least one), q (n - 1): the index below, and the thousandths beyond it.
    pub(super) fn position(self, count: u64) -> (u64, u16) {
        let place = u128::from(self.0) * u128::from(count.saturating_sub(1));
        ((place / 1000) as u64, (place % 1000) as u16)
    }
}

impl TryFrom<u16> for Quantile {
    type Error = String;

    fn try_from(thousandths: u16) -> Result<Self, String> {
        Self::of_thousandths(thousandths)
            .ok_or_else(|| format!("expected thousandths from 0 to 1000, found {thousandths}"))
    }
}

impl From<Quantile> for u16 {
    fn from(quantile: Quantile) -> u16 {
        quantile.0
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}
