//! The arguments of `replay` that single keys of a dialect, or of the extended metrics, look at.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::engine::EngineBuilder;
use crate::health::Limits;
use crate::shard::{KlKind, KlPenalty, Success};
use crate::summary::HIGH_KL;

/// What verl's keys and the extended metrics can be told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "verl and extended metrics")]
#[allow(missing_docs)] // each is documented for --help
pub struct DialectArgs {
    /// Estimator of verl's `actor/kl_loss`
    #[arg(long, value_name = "KIND", default_value = "k3", value_parser = kind_parser())]
    pub kl_kind: KlKind,
    /// Coefficient of the KL penalty that the training takes off its rewards, for verl's critic/rewards [default: no penalty]
    #[arg(long, value_name = "X", value_parser = finite)]
    pub kl_penalty: Option<f64>,
    /// Estimator of that penalty
    #[arg(long, value_name = "KIND", default_value = "k1", value_parser = kind_parser(), requires = "kl_penalty")]
    pub kl_penalty_kind: KlKind,
    /// How many devices train, for verl's perf/throughput, which is left out without
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub devices: Option<u32>,
    /// Reward component that says whether a completion succeeds, for pass@k [default: the total reward]
    #[arg(long, value_name = "NAME", requires = "extended")]
    pub success: Option<String>,
    /// A completion succeeds from this value on
    #[arg(long, value_name = "X", default_value = "1", allow_negative_numbers = true, value_parser = finite, requires = "extended")]
    pub success_threshold: f64,
    /// Nats above which a token's KL to the reference counts as high
    #[arg(long, value_name = "NATS", default_value_t = HIGH_KL, allow_negative_numbers = true, value_parser = finite, requires = "extended")]
    pub high_kl: f64,
    /// Beyond which number a flag of health rises: entropy, entropy-steps, saturated-groups, zero-std, clipped, kl, length-at-cap,
    /// sampler-distance; may be given several times [default: entropy=0.05, entropy-steps=3, saturated-groups=0.9, zero-std=0.9,
    /// clipped=0.3, kl=1, length-at-cap=0.5, sampler-distance=0.1]
    #[arg(long, value_name = "NAME=X", value_parser = limit_of, requires = "extended")]
    pub limit: Vec<(Limit, f64)>,
}

impl DialectArgs {
    /// The engine that is told so.
    pub(super) fn tell(&self, mut builder: EngineBuilder) -> EngineBuilder {
        let mut limits = Limits::default();
        for (limit, value) in &self.limit {
            limit.set(&mut limits, *value);
        }
        if let Some(coefficient) = self.kl_penalty {
            let kind = self.kl_penalty_kind;
            builder = builder.kl_penalty(KlPenalty { coefficient, kind });
        }
        if let Some(devices) = self.devices {
            builder = builder.devices(devices);
        }
        builder
            .kl_kind(self.kl_kind)
            .success(Success {
                component: self.success.clone(),
                threshold: self.success_threshold,
            })
            .high_kl(self.high_kl)
            .limits(limits)
    }
}

/// The name of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Entropy,
    EntropySteps,
    SaturatedGroups,
    ZeroStd,
    Clipped,
    Kl,
    LengthAtCap,
    SamplerDistance,
}

impl Limit {
    const ALL: [(&'static str, Self); 8] = [
        ("entropy", Self::Entropy),
        ("entropy-steps", Self::EntropySteps),
        ("saturated-groups", Self::SaturatedGroups),
        ("zero-std", Self::ZeroStd),
        ("clipped", Self::Clipped),
        ("kl", Self::Kl),
        ("length-at-cap", Self::LengthAtCap),
        ("sampler-distance", Self::SamplerDistance),
    ];

    fn set(self, limits: &mut Limits, value: f64) {
        match self {
            Self::Entropy => limits.entropy = value,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // a whole number of steps, as parsed
            Self::EntropySteps => limits.entropy_steps = value as u32,
            Self::SaturatedGroups => limits.saturated_groups = value,
            Self::ZeroStd => limits.zero_std = value,
            Self::Clipped => limits.clipped = value,
            Self::Kl => limits.kl = value,
            Self::LengthAtCap => limits.length_at_cap = value,
            Self::SamplerDistance => limits.sampler_distance = value,
        }
    }
}

fn kind_parser() -> impl TypedValueParser<Value = KlKind> {
    PossibleValuesParser::new(["k1", "abs", "k2", "k3"]).map(|word| match word.as_str() {
        "k1" => KlKind::K1,
        "abs" => KlKind::Abs,
        "k2" => KlKind::K2,
        _ => KlKind::K3,
    })
}

fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite());
    number.ok_or_else(|| format!("expected a finite number, found `{text}`"))
}

/// `NAME=X`.
fn limit_of(text: &str) -> Result<(Limit, f64), String> {
    let names = || Limit::ALL.map(|(name, _)| name).join(", ");
    let (name, number) = text
        .split_once('=')
        .ok_or_else(|| format!("expected NAME=X, found `{text}`"))?;
    let limit = Limit::ALL.iter().find(|(known, _)| *known == name);
    let (_, limit) = limit.ok_or_else(|| format!("expected {}, found `{name}`", names()))?;
    let value = finite(number)?;
    let whole = value.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&value);
    if *limit == Limit::EntropySteps && !whole {
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
            ("clip=1", "entropy, entropy-steps, saturated-groups"),
            ("kl=much", "a finite number, found `much`"),
            ("kl=NaN", "a finite number"),
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
