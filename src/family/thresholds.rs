//! What completions and their tokens are counted against, and in how much detail.

mod rejection;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::batch::scalars::{ClipRange, DUAL_CLIP};
use crate::batch::{Columns, Values};
use crate::kernel::exp::{ln, power_of_e};
use crate::kernel::tokens::Bounds;
pub(crate) use rejection::RejectionLevel;
pub use rejection::{Rejection, RejectionBounds, RejectionStatistic};

/// What tokens are counted against: all of a step's shards must have been counted alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Ratios outside count as clipped.
    pub clip_range: ClipRange,
    /// Cap of the sampler's importance ratio; none: uncapped.
    pub ratio_cap: Option<f64>,
    /// From where down such a ratio counts as too low; none: 1 / cap.
    pub ratio_floor: Option<f64>,
    /// What of the sampler's tokens is left out of the training.
    pub rejection: Rejection,
    /// How much is counted.
    pub detail: Detail,
    /// The KL penalty that the trainer takes off its rewards; none: nothing is taken off.
    pub kl_penalty: Option<KlPenalty>,
    /// What [`Detail::Extended`] counts as a success.
    pub success: Success,
}

/// How much of the completions is counted; each level holds those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Detail {
    /// What the dialects other than `verl` name.
    #[default]
    Plain,
    /// Also what an actor and a critic report of themselves: the policies' distances by every estimator, the critic's errors.
    Policy,
    /// Also distributions, uncertainty and splits: the extended metrics.
    Extended,
}

impl fmt::Display for Detail {
    /// What the level adds, as a noun.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "what every dialect names",
            Self::Policy => "what actor and critic report, which the dialect verl names",
            Self::Extended => "the extended metrics",
        })
    }
}

/// When a completion counts as a success, for pass@k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Success {
    /// The reward component that says so; the total reward without one.
    pub component: Option<String>,
    /// From this value on.
    pub threshold: f64,
}

impl Default for Success {
    /// A total reward of at least 1.
    fn default() -> Self {
        Self {
            component: None,
            threshold: 1.0,
        }
    }
}

impl Success {
    /// The column that it looks at, where the record has it.
    pub(crate) fn column<'c, 'a>(&self, columns: &'c Columns<'a>) -> Option<&'c Values<'a>> {
        match &self.component {
            None => Some(&columns.rewards),
            Some(wanted) => columns
                .reward_components
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, values)| values),
        }
    }
}

/// Which estimate of the KL divergence of two policies, from the tokens of the first: d = log p - log q of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KlKind {
    /// d: unbiased, of either sign.
    K1,
    /// |d|.
    Abs,
    /// d * d / 2.
    K2,
    /// e^-d + d - 1: unbiased and never negative (Schulman, "Approximating KL divergence", 2020).
    #[default]
    K3,
}

impl KlKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::K1, Self::Abs, Self::K2, Self::K3];
}

/// A KL penalty inside the reward: each completion's reward less `coefficient` times its tokens' KL of behaviour policy
/// to reference policy. (The `beta` of a controller's snapshot weighs a KL loss instead; taking it off here too would
/// count it twice.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KlPenalty {
    /// What a completion's KL, summed over its tokens, is multiplied by before it is taken off.
    pub coefficient: f64,
    /// The estimate of a token's KL.
    pub kind: KlKind,
}

/// As options have it.
impl fmt::Display for KlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K1 => "k1",
            Self::Abs => "abs",
            Self::K2 => "k2",
            Self::K3 => "k3",
        })
    }
}

impl fmt::Display for KlPenalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times {}", self.coefficient, self.kind)
    }
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            None => write!(f, "a total reward of {}", self.threshold),
            Some(name) => write!(f, "a reward `{name}` of {}", self.threshold),
        }
    }
}

impl Thresholds {
    /// What of these is not as in `other`, in words.
    pub(crate) fn unlike(&self, other: &Self) -> String {
        let cap = self.ratio_cap.map(|cap| cap.to_string());
        let floor = self.ratio_floor.map(|floor| floor.to_string());
        let penalty = self.kl_penalty.map(|penalty| penalty.to_string());
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        let differs = [
            (
                self.clip_range != other.clip_range,
                format!("the clip range {}", self.clip_range),
            ),
            (
                self.ratio_cap != other.ratio_cap,
                format!("the cap {} of the sampler's ratio", or_none(cap)),
            ),
            (
                self.ratio_floor != other.ratio_floor,
                format!("the floor {} of the sampler's ratio", or_none(floor)),
            ),
            (
                self.rejection != other.rejection,
                format!("the rejection by {}", self.rejection),
            ),
            (
                self.detail != other.detail,
                format!("a row with {}", self.detail),
            ),
            (
                self.kl_penalty != other.kl_penalty,
                format!("the KL penalty {}", or_none(penalty)),
            ),
            (
                self.success != other.success,
                format!("{} as success", self.success),
            ),
        ];
        let named = differs.into_iter().filter(|(differs, _)| *differs);
        let named: Vec<String> = named.map(|(_, text)| text).collect();
        named.join(" and ")
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let range = &self.clip_range;
        let (below, above) = (1.0 - range.low, 1.0 + range.high);
        let (low, high) = if range.of_logs {
            (power_of_e(-range.low), power_of_e(range.high))
        } else {
            (below, above)
        };
        // A ratio that is capped at delta never exceeds a bound from there on, and always falls short of one beyond it.
        let delta = range.delta.unwrap_or(f64::INFINITY);
        Bounds {
            ratio_low: if delta < low { f64::INFINITY } else { low },
            ratio_high: if delta <= high { f64::INFINITY } else { high },
            dual: range.dual.or(range.delta).unwrap_or(DUAL_CLIP),
            weight_cap: if range.of_weights {
                range.high
            } else {
                f64::INFINITY
            },
            log_low: ln(below.max(1e-6)),
            log_high: ln(above.max(1e-6)),
            ratio_cap: self.ratio_cap.unwrap_or(f64::INFINITY),
            ratio_floor: match (self.ratio_floor, self.ratio_cap) {
                (Some(floor), _) => floor,
                (None, Some(cap)) => 1.0 / cap,
                (None, None) => 0.0,
            },
            apart: self.detail >= Detail::Policy,
        }
    }
}
