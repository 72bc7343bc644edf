//! What single keys of a dialect, or of the extended metrics, are made with: the arguments of all verbs that make rows.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::engine::EngineBuilder;
use crate::row::health::Limits;
use crate::shard::KlKind;
use crate::summary::HIGH_KL;

/// What the numbers of a summary are read with; nothing of it is counted before.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "verl and extended metrics")]
#[allow(missing_docs)] // each is documented for --help
pub struct DialectArgs {
    /// Estimator of verl's `actor/kl_loss`
    #[arg(long, value_name = "KIND", default_value = "k3", value_parser = kind_parser())]
    pub kl_kind: KlKind,
    /// How many devices train, for verl's perf/throughput, which is left out without
    #[arg(long, value_name = "N")]
    pub devices: Option<u32>,
    #[command(flatten)]
    pub extended: ExtendedArgs,
}

/// What the extended metrics are read with.
#[derive(Args, Clone, Debug)]
#[allow(missing_docs)] // each is documented for --help
pub struct ExtendedArgs {
    /// Nats above which a token's KL to the reference counts as high [default: 0.1]
    #[arg(long, value_name = "NATS", allow_negative_numbers = true)]
    pub high_kl: Option<f64>,
    /// Beyond which number a flag of health rises: entropy, entropy-share, entropy-first, entropy-steps, saturated-groups,
    /// zero-std, clipped, kl, length-at-cap, sampler-distance, sampler-probability; may be given several times [default: entropy=0.05,
    /// entropy-share=0.2, entropy-first=20, entropy-steps=3, saturated-groups=0.9, zero-std=0.7, clipped=0.1, kl=0.2,
    /// length-at-cap=0.3, sampler-distance=0.02, sampler-probability=0.01]
    #[arg(long, value_name = "NAME=X", value_parser = limit_of)]
    pub limit: Vec<(Limit, f64)>,
}

impl DialectArgs {
    /// The engine that is told so.
    pub(super) fn tell(&self, mut builder: EngineBuilder) -> EngineBuilder {
        let mut limits = Limits::default();
        for (limit, value) in &self.extended.limit {
            limit.set(&mut limits, *value);
        }
        if let Some(devices) = self.devices {
            builder = builder.devices(devices);
        }
        builder
            .kl_kind(self.kl_kind)
            .high_kl(self.extended.high_kl.unwrap_or(HIGH_KL))
            .limits(limits)
    }
}

impl ExtendedArgs {
    /// Whether anything of it was said.
    pub(super) fn are_given(&self) -> bool {
        self.high_kl.is_some() || !self.limit.is_empty()
    }
}

/// The name of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Entropy,
    EntropyShare,
    EntropyFirst,
    EntropySteps,
    SaturatedGroups,
    ZeroStd,
    Clipped,
    Kl,
    LengthAtCap,
    SamplerDistance,
    SamplerProbability,
}

impl Limit {
    const ALL: [(&'static str, Self); 11] = [
        ("entropy", Self::Entropy),
        ("entropy-share", Self::EntropyShare),
        ("entropy-first", Self::EntropyFirst),
        ("entropy-steps", Self::EntropySteps),
        ("saturated-groups", Self::SaturatedGroups),
        ("zero-std", Self::ZeroStd),
        ("clipped", Self::Clipped),
        ("kl", Self::Kl),
        ("length-at-cap", Self::LengthAtCap),
        ("sampler-distance", Self::SamplerDistance),
        ("sampler-probability", Self::SamplerProbability),
    ];

    /// Whether it counts steps.
    fn counts(self) -> bool {
        matches!(self, Self::EntropyFirst | Self::EntropySteps)
    }

    fn set(self, limits: &mut Limits, value: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a whole number of steps, as parsed, where it is looked at
        let steps = value as u32;
        match self {
            Self::Entropy => limits.entropy = value,
            Self::EntropyShare => limits.entropy_share = value,
            Self::EntropyFirst => limits.entropy_first = steps,
            Self::EntropySteps => limits.entropy_steps = steps,
            Self::SaturatedGroups => limits.saturated_groups = value,
            Self::ZeroStd => limits.zero_std = value,
            Self::Clipped => limits.clipped = value,
            Self::Kl => limits.kl = value,
            Self::LengthAtCap => limits.length_at_cap = value,
            Self::SamplerDistance => limits.sampler_distance = value,
            Self::SamplerProbability => limits.sampler_probability = value,
        }
    }
}

pub(super) fn kind_parser() -> impl TypedValueParser<Value = KlKind> {
    PossibleValuesParser::new(["k1", "abs", "k2", "k3"]).map(|word| match word.as_str() {
        "k1" => KlKind::K1,
        "abs" => KlKind::Abs,
        "k2" => KlKind::K2,
        _ => KlKind::K3,
    })
}

/// `NAME=X`.
fn limit_of(text: &str) -> Result<(Limit, f64), String> {
    let names = || Limit::ALL.map(|(name, _)| name).join(", ");
    let (name, number) = text
        .split_once('=')
        .ok_or_else(|| format!("expected NAME=X, found `{text}`"))?;
    let limit = Limit::ALL.iter().find(|(known, _)| *known == name);
    let (_, limit) = limit.ok_or_else(|| format!("expected {}, found `{name}`", names()))?;
    let value: f64 = number
        .parse()
        .map_err(|_| format!("expected a number, found `{number}`"))?;
    let whole = value.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&value);
    if limit.counts() && !whole {
        return Err(format!(
            "expected a whole number of steps, at least 1, found `{number}`"
        ));
    }
    Ok((*limit, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_name_and_a_number_that_it_can_have() {
        assert_eq!(limit_of("kl=0.25"), Ok((Limit::Kl, 0.25)));
        assert_eq!(limit_of("entropy-steps=4"), Ok((Limit::EntropySteps, 4.0)));
        for (text, word) in [
            ("kl", "NAME=X"),
            ("clip=1", "entropy-first, entropy-steps, saturated-groups"),
            ("kl=much", "a number, found `much`"),
            ("entropy-steps=0", "at least 1"),
            ("entropy-steps=1.5", "a whole number"),
        ] {
            let error = limit_of(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn every_limit_sets_its_own_and_no_other() {
        for (name, limit) in Limit::ALL {
            let (mut limits, before) = (Limits::default(), Limits::default());
            limit.set(&mut limits, 7.0);
            assert_ne!(limits, before, "{name}");
            let (after, before) = (format!("{limits:?}"), format!("{before:?}"));
            let fields = after.split(", ").zip(before.split(", "));
            let changed = fields.filter(|(a, b)| a != b).count();
            assert_eq!(changed, 1, "{name}");
        }
    }
}
