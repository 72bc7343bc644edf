//! What health has flags for.

/// What the numbers of a step may warn of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    EntropyCollapse,
    RewardSaturation,
    ZeroStd,
    Clipping,
    Kl,
    LengthAtCap,
    SamplerDrift,
    NonFinite,
}

impl Flag {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::EntropyCollapse,
        Self::RewardSaturation,
        Self::ZeroStd,
        Self::Clipping,
        Self::Kl,
        Self::LengthAtCap,
        Self::SamplerDrift,
        Self::NonFinite,
    ];
}
