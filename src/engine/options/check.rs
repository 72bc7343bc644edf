//! Which numbers an engine can be told: the one place for the builder, the command and Python.

use thiserror::Error;

use super::Options;
use crate::batch::scalars::RangeError;
use crate::row::filter::ModeError;

/// What an engine cannot be told.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionError {
    /// The environment names no mode.
    #[error(transparent)]
    Mode(#[from] ModeError),
    #[error("`clip_range`: {0}")]
    ClipRange(#[from] RangeError),
    #[error("`{option}`: expected {expected}, found {found}")]
    Number {
        option: &'static str,
        expected: &'static str,
        found: f64,
    },
}

/// What a number may be, and how that is said.
type Domain = (&'static str, fn(f64) -> bool);

const FINITE: Domain = ("a finite number", f64::is_finite);
const NOT_NEGATIVE: Domain = ("a finite number, at least 0", |x| x.is_finite() && x >= 0.0);
const POSITIVE: Domain = ("a finite number above 0", |x| x.is_finite() && x > 0.0);
/// Nothing is beyond infinity, which is how a flag is switched off, and everything is beyond a negative number, which shows one up.
const LIMIT: Domain = ("a number", |x| !x.is_nan());
const COUNT: Domain = ("a whole number, at least 1", |x| x >= 1.0);

/// # Errors
/// The first number that makes no sense.
pub(super) fn check(options: &Options) -> Result<(), OptionError> {
    if let Some(range) = options.clip_range {
        range.check()?;
    }
    let schedule = options.schedule;
    let limits = options.limits;
    let given = [
        ("steps_per_epoch", schedule.steps_per_epoch, FINITE),
        ("num_generations", schedule.num_generations, FINITE),
        ("num_epochs", schedule.num_epochs, FINITE),
        (
            "total_training_steps",
            schedule.total_training_steps,
            FINITE,
        ),
        ("is_ratio_cap", options.ratio_cap, POSITIVE),
        (
            "kl_penalty",
            options.kl_penalty.map(|penalty| penalty.coefficient),
            NOT_NEGATIVE,
        ),
        ("devices", options.devices.map(f64::from), COUNT),
        ("success", Some(options.success.threshold), FINITE),
        ("high_kl", Some(options.high_kl), FINITE),
        ("limits.entropy", Some(limits.entropy), LIMIT),
        ("limits.entropy_share", Some(limits.entropy_share), LIMIT),
        (
            "limits.entropy_first",
            Some(limits.entropy_first.into()),
            COUNT,
        ),
        (
            "limits.entropy_steps",
            Some(limits.entropy_steps.into()),
            COUNT,
        ),
        (
            "limits.saturated_groups",
            Some(limits.saturated_groups),
            LIMIT,
        ),
        ("limits.zero_std", Some(limits.zero_std), LIMIT),
        ("limits.clipped", Some(limits.clipped), LIMIT),
        ("limits.kl", Some(limits.kl), LIMIT),
        ("limits.length_at_cap", Some(limits.length_at_cap), LIMIT),
        (
            "limits.sampler_distance",
            Some(limits.sampler_distance),
            LIMIT,
        ),
        (
            "limits.sampler_probability",
            Some(limits.sampler_probability),
            LIMIT,
        ),
    ];
    let numbers = given
        .into_iter()
        .filter_map(|(option, number, domain)| Some((option, number?, domain)));
    for (option, found, (expected, holds)) in numbers {
        if !holds(found) {
            return Err(OptionError::Number {
                option,
                expected,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::batch::scalars::ClipRange;
    use crate::engine::{Engine, EngineBuilder};
    use crate::row::cadence::Schedule;
    use crate::row::health::Limits;
    use crate::shard::{KlKind, KlPenalty, Success};

    /// An option of doubles, how it is given, and which of [`TRIED`] it takes.
    type Case = (
        &'static str,
        fn(EngineBuilder, f64) -> EngineBuilder,
        [bool; 6],
    );

    const TRIED: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300];
    const ANY: [bool; 6] = [false, false, false, true, true, true];
    const FROM_0: [bool; 6] = [false, false, false, false, true, true];
    const ABOVE_0: [bool; 6] = [false, false, false, false, false, true];
    const BOUND: [bool; 6] = [false, true, true, true, true, true];

    macro_rules! limit {
        ($field:ident) => {
            (
                concat!("limits.", stringify!($field)),
                |builder, x| {
                    builder.limits(Limits {
                        $field: x,
                        ..Limits::default()
                    })
                },
                BOUND,
            )
        };
    }

    macro_rules! epoch {
        ($field:ident) => {
            (
                stringify!($field),
                |builder, x| {
                    builder.schedule(Schedule {
                        $field: Some(x),
                        ..Schedule::default()
                    })
                },
                ANY,
            )
        };
    }

    const CASES: &[Case] = &[
        (
            "clip_range",
            |b, x| b.clip_range(ClipRange::new(x, 0.2)),
            FROM_0,
        ),
        (
            "clip_range",
            |b, x| b.clip_range(ClipRange::new(0.2, x)),
            FROM_0,
        ),
        (
            "clip_range",
            |b, x| {
                b.clip_range(ClipRange {
                    delta: Some(x),
                    ..ClipRange::default()
                })
            },
            ABOVE_0,
        ),
        ("is_ratio_cap", EngineBuilder::ratio_cap, ABOVE_0),
        (
            "kl_penalty",
            |b, coefficient| {
                b.kl_penalty(KlPenalty {
                    coefficient,
                    kind: KlKind::K1,
                })
            },
            FROM_0,
        ),
        (
            "success",
            |b, threshold| {
                b.success(Success {
                    component: None,
                    threshold,
                })
            },
            ANY,
        ),
        ("high_kl", EngineBuilder::high_kl, ANY),
        epoch!(steps_per_epoch),
        epoch!(num_generations),
        epoch!(num_epochs),
        epoch!(total_training_steps),
        limit!(entropy),
        limit!(entropy_share),
        limit!(saturated_groups),
        limit!(zero_std),
        limit!(clipped),
        limit!(kl),
        limit!(length_at_cap),
        limit!(sampler_distance),
        limit!(sampler_probability),
    ];

    #[test]
    fn every_number_that_makes_no_sense_is_refused_by_its_name_and_every_other_is_taken() {
        for (option, give, taken) in CASES {
            for (number, taken) in TRIED.into_iter().zip(taken) {
                match give(Engine::builder(), number).build() {
                    Ok(_) => assert!(taken, "{option} took {number}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(!taken, "{text}");
                        assert!(
                            text.starts_with(&format!("`{option}`: expected ")),
                            "{text}"
                        );
                        assert!(text.contains(&number.to_string()), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_count_of_nothing_is_refused() {
        let limits = Limits::default();
        let first = Limits {
            entropy_first: 0,
            ..limits
        };
        let steps = Limits {
            entropy_steps: 0,
            ..limits
        };
        for builder in [
            Engine::builder().devices(0),
            Engine::builder().limits(first),
            Engine::builder().limits(steps),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(
                error.contains("a whole number, at least 1, found 0"),
                "{error}"
            );
        }
    }
}
