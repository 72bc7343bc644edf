//! Rejection sampling by how far a token or a completion is from its sampler: verl's `rollout_rs`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::KlKind;
use crate::kernel::exp::ln;

/// What is held against bounds: an estimate of a token's KL of sampler to trained policy, by itself or over its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RejectionStatistic {
    /// A token's k1: the sampler's log-probability less the trained policy's.
    TokenK1,
    /// A token's k2: half its square.
    TokenK2,
    /// A token's k3.
    TokenK3,
    /// The sum of a completion's tokens' k1.
    SumK1,
    /// The sum of their k2.
    SumK2,
    /// The sum of their k3.
    SumK3,
    /// The mean of a completion's tokens' k1.
    MeanK1,
    /// The mean of their k2.
    MeanK2,
    /// The mean of their k3.
    MeanK3,
    /// The largest k2 of a completion's tokens.
    MaxK2,
    /// The largest k3 of them.
    MaxK3,
}

/// What a statistic is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectionLevel {
    Token,
    Sum,
    Mean,
    Max,
}

impl RejectionStatistic {
    /// All of them, by verl's names.
    pub const ALL: [(&'static str, Self); 11] = [
        ("token_k1", Self::TokenK1),
        ("token_k2", Self::TokenK2),
        ("token_k3", Self::TokenK3),
        ("seq_sum_k1", Self::SumK1),
        ("seq_sum_k2", Self::SumK2),
        ("seq_sum_k3", Self::SumK3),
        ("seq_mean_k1", Self::MeanK1),
        ("seq_mean_k2", Self::MeanK2),
        ("seq_mean_k3", Self::MeanK3),
        ("seq_max_k2", Self::MaxK2),
        ("seq_max_k3", Self::MaxK3),
    ];

    /// verl's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }

    /// The estimate of a token's KL that it is made of.
    #[must_use]
    pub const fn kind(self) -> KlKind {
        match self {
            Self::TokenK1 | Self::SumK1 | Self::MeanK1 => KlKind::K1,
            Self::TokenK2 | Self::SumK2 | Self::MeanK2 | Self::MaxK2 => KlKind::K2,
            Self::TokenK3 | Self::SumK3 | Self::MeanK3 | Self::MaxK3 => KlKind::K3,
        }
    }

    pub(crate) const fn level(self) -> RejectionLevel {
        match self {
            Self::TokenK1 | Self::TokenK2 | Self::TokenK3 => RejectionLevel::Token,
            Self::SumK1 | Self::SumK2 | Self::SumK3 => RejectionLevel::Sum,
            Self::MeanK1 | Self::MeanK2 | Self::MeanK3 => RejectionLevel::Mean,
            Self::MaxK2 | Self::MaxK3 => RejectionLevel::Max,
        }
    }

    /// Whether its bounds are those of a ratio, one on either side.
    #[must_use]
    pub const fn is_of_ratio(self) -> bool {
        matches!(self.kind(), KlKind::K1)
    }
}

/// Beyond which a token or a completion is left out: of a k1 the ratio of the sampler's to the trained policy's probability that
/// it is the logarithm of, of a k2 or k3 the number itself, which has nothing below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectionBounds {
    /// Of a k1 the ratio below which it is left out; nothing looks at it otherwise.
    pub lower: f64,
    /// The ratio or number above which it is left out.
    pub upper: f64,
}

impl RejectionBounds {
    /// Up to `upper`, and, of a ratio, from 1 / `upper`.
    #[must_use]
    pub const fn up_to(upper: f64) -> Self {
        Self {
            lower: 1.0 / upper,
            upper,
        }
    }

    /// What the statistic itself is held against.
    pub(crate) fn of(self, statistic: RejectionStatistic) -> (f64, f64) {
        if statistic.is_of_ratio() {
            (ln(self.lower), ln(self.upper))
        } else {
            (0.0, self.upper)
        }
    }
}

/// Which statistics are held against which bounds. What one of them rejects is left out, whatever the others say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rejection(pub BTreeMap<RejectionStatistic, RejectionBounds>);

impl Rejection {
    /// With one statistic more.
    #[must_use]
    pub fn by(mut self, statistic: RejectionStatistic, bounds: RejectionBounds) -> Self {
        self.0.insert(statistic, bounds);
        self
    }
}

/// As `token_k1 from 0.5 to 2, seq_max_k2 up to 0.1`; nothing is `none`.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(statistic, bounds)| {
            let RejectionBounds { lower, upper } = bounds;
            if statistic.is_of_ratio() {
                format!("{} from {lower} to {upper}", statistic.name())
            } else {
                format!("{} up to {upper}", statistic.name())
            }
        });
        let each: Vec<String> = each.collect();
        match each.as_slice() {
            [] => f.write_str("none"),
            each => f.write_str(&each.join(", ")),
        }
    }
}
