//! What the trainer says of its loss: the type, what a ratio is of, how far it may go, and what rewards are scaled by.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A word that a field of the snapshot does not know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found `{found}`")]
pub struct WordError {
    /// The words that the field knows, as a message lists them.
    pub expected: &'static str,
    /// The word that was given.
    pub found: String,
}

/// Numbers that are no clip range.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("expected two finite numbers from 0 up, (low, high), found {found}")]
pub struct RangeError {
    /// What was given: a side is negative or not finite, or a cap is not a finite number above 0.
    pub found: ClipRange,
}

macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($(#[$variant_doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $kind { $($(#[$variant_doc])* $variant,)* }

        impl $kind {
            /// All of them, the default first.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(super) const WORDS: &[&str] = &[$($word,)*];

            /// The name in a record.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn find(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == word)
            }
        }
    };
}

words! {
    /// The loss, by the name that trainers give it: what `train/kl` is averaged over, and what clipping is.
    LossType {
        /// Normalised by tokens; every name that is not among these counts as this.
        #[default]
        Bnpo "bnpo",
        /// Mean over completions of each one's mean over tokens.
        Grpo "grpo",
        /// Sum over tokens divided by completions times the generation cap.
        DrGrpo "dr_grpo",
        /// DAPO (Yu et al., 2025); its numbers are those of [`LossType::Bnpo`].
        Dapo "dapo",
        /// LUSPO; its numbers are those of [`LossType::Bnpo`].
        Luspo "luspo",
        /// Caps the ratio, whatever the sign of the advantage (`MiniMax` M1, 2025).
        Cispo "cispo",
        /// Has a soft gate in the place of a clip range (Gao et al., 2025).
        Sapo "sapo",
        /// Weighs whole completions, without a clip range.
        Vespo "vespo",
        /// Clips the log-ratio (Zhao et al., "Geometric-mean policy optimization", 2025).
        Gmpo "gmpo",
    }
}

words! {
    /// What one importance ratio is of.
    ImportanceLevel {
        /// A token: e to its own log-ratio.
        #[default]
        Token "token",
        /// A whole completion: e to the mean of its tokens' log-ratios (Zheng et al., "Group sequence policy optimization", 2025).
        Sequence "sequence",
    }
}

words! {
    /// What the trainer divides its advantages by, and looks at to call a reward's deviation zero.
    RewardScale {
        /// The deviation of the rewards of the completion's group.
        #[default]
        Group "group",
        /// The deviation of all rewards of the step.
        Batch "batch",
        /// Nothing; the group's is looked at.
        None "none",
        /// Something that the rewards alone do not tell.
        Other "other",
    }
}

impl LossType {
    /// The loss type of a trainer's name for it.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::find(name).unwrap_or_default()
    }

    /// Whether a ratio beyond a range is clipped, by the sign of the advantage.
    #[must_use]
    pub const fn clips(self) -> bool {
        !matches!(self, Self::Cispo | Self::Sapo | Self::Vespo)
    }
}

impl ImportanceLevel {
    /// The level that a word of a record names.
    ///
    /// # Errors
    /// If there is no such level.
    pub fn of(word: &str) -> Result<Self, WordError> {
        Self::find(word).ok_or_else(|| WordError {
            expected: "`token` or `sequence`",
            found: word.to_owned(),
        })
    }
}

impl RewardScale {
    /// The scale that a word of a record names.
    ///
    /// # Errors
    /// If there is no such scale.
    pub fn of(word: &str) -> Result<Self, WordError> {
        Self::find(word).ok_or_else(|| WordError {
            expected: "`group`, `batch`, `none` or `other`",
            found: word.to_owned(),
        })
    }
}

/// verl's `clip_ratio_c` where nothing else is said.
pub const DUAL_CLIP: f64 = 3.0;

/// How far a ratio may leave 1 before it counts as clipped: below 1 - low or above 1 + high.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipRange {
    /// How far below 1 a ratio may be, from 0 up; 0.2 by default.
    pub low: f64,
    /// How far above 1 a ratio may be, from 0 up; 0.2 by default.
    pub high: f64,
    /// What the loss caps ratios at, before they are held against the range (TRL's two-sided clipping); `None`: no cap.
    pub delta: Option<f64>,
    /// Beyond which ratio a negative advantage's loss is capped (dual clipping: Ye et al., 2019); `None`: `delta`, else
    /// [`DUAL_CLIP`].
    pub dual: Option<f64>,
    /// Whether the range is the log-ratio's: below -low or above high (GMPO).
    pub of_logs: bool,
    /// Whether ratios are weights that the loss caps (CISPO): those above `high` itself are counted too, which is TRL's cap.
    pub of_weights: bool,
}

impl ClipRange {
    /// A plain range.
    #[must_use]
    pub const fn new(low: f64, high: f64) -> Self {
        Self {
            low,
            high,
            delta: None,
            dual: None,
            of_logs: false,
            of_weights: false,
        }
    }

    /// A plain range that somebody has given.
    ///
    /// # Errors
    /// As [`ClipRange::check`].
    pub fn checked(low: f64, high: f64) -> Result<Self, RangeError> {
        let range = Self::new(low, high);
        range.check().map(|()| range)
    }

    /// Whether tokens can be held against it.
    ///
    /// # Errors
    /// If a side is negative or not finite (a snapshot's side that is not finite is one that was not given), or a cap is.
    pub fn check(&self) -> Result<(), RangeError> {
        let is_side = |side: f64| side.is_finite() && side >= 0.0;
        let is_cap = |cap: f64| cap.is_finite() && cap > 0.0;
        let are_caps = [self.delta, self.dual].into_iter().flatten().all(is_cap);
        if is_side(self.low) && is_side(self.high) && are_caps {
            return Ok(());
        }
        Err(RangeError { found: *self })
    }
}

/// As the option of this name is written: `(0.2, 0.28)`; what else the snapshot says of it stands behind.
impl fmt::Display for ClipRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.low, self.high)?;
        if let Some(delta) = self.delta {
            write!(f, " capped at {delta}")?;
        }
        if let Some(dual) = self.dual {
            write!(f, " with a dual clip at {dual}")?;
        }
        if self.of_logs {
            f.write_str(" of log-ratios")?;
        }
        if self.of_weights {
            f.write_str(" of weights")?;
        }
        Ok(())
    }
}

impl Default for ClipRange {
    /// 0.2 on either side (RECORDING.md).
    fn default() -> Self {
        Self::new(0.2, 0.2)
    }
}
