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
    /// The mean reward falls over many steps.
    RewardTrend,
    /// The mean reward has gone up or down at once.
    RewardShift,
    /// The entropy falls, and goes on to its limit if it goes on so.
    EntropyTrend,
    /// The entropy has gone up or down at once.
    EntropyShift,
    /// The KL to the reference rises, and goes on to its limit if it goes on so.
    KlTrend,
    /// The KL to the reference has gone up or down at once.
    KlShift,
}

impl Flag {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::EntropyCollapse,
        Self::RewardSaturation,
        Self::ZeroStd,
        Self::Clipping,
        Self::Kl,
        Self::LengthAtCap,
        Self::SamplerDrift,
        Self::NonFinite,
        Self::RewardTrend,
        Self::RewardShift,
        Self::EntropyTrend,
        Self::EntropyShift,
        Self::KlTrend,
        Self::KlShift,
    ];
}
