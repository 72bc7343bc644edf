//! What health has flags for.

/// What the numbers of a step may warn of, where the extended metrics are counted. The limits, with their
/// defaults, are in docs/METRICS.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The mean token entropy has been below its limits for several steps in a row.
    EntropyCollapse,
    /// In too many groups every completion succeeds.
    RewardSaturation,
    /// Too many completions are in groups whose rewards do not vary.
    ZeroStd,
    /// Too many tokens are clipped, by the sign of their advantage.
    Clipping,
    /// The policy is too far from its reference: k2 in nats a token, else the reported `kl_loss`.
    Kl,
    /// Too many completions reach the length cap, or, without one, did not end by themselves.
    LengthAtCap,
    /// The trainer's and the sampler's log-probabilities, or their probabilities, are too far apart.
    SamplerDrift,
    /// Some value that was handed in is NaN or infinite.
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
