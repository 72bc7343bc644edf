//! Which numbers an engine can be told: the one place for the builder, the command and Python.

use thiserror::Error;

use super::EngineOptions;
use crate::batch::scalars::RangeError;
use crate::row::filter::ModeError;

/// What an engine cannot be told.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The environment names no mode.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// Tokens cannot be held against the range.
    #[error("`clip_range`: {0}")]
    ClipRange(#[from] RangeError),
    /// A number that makes no sense there.
    #[error("`{option}`: expected {expected}, found {found}")]
    Number {
        /// The option; of a limit `limits.` and its name.
        option: String,
        /// What the number may be.
        expected: &'static str,
        /// The number.
        found: f64,
    },
    /// There is no option of this name; the text has the closest that there is.
    #[error("{0}")]
    Unknown(String),
    /// An option that was given under both of its names.
    #[error("`{0}`: expected it once, found it under two names")]
    Twice(&'static str),
    /// A value that the option does not take.
    #[error("`{option}`: {reason}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was expected, and what was found.
        reason: String,
    },
}

/// What a number may be, and how that is said.
pub type Domain = (&'static str, fn(f64) -> bool);

pub(super) const FINITE: Domain = ("a finite number", f64::is_finite);
pub(super) const NOT_NEGATIVE: Domain =
    ("a finite number, at least 0", |x| x.is_finite() && x >= 0.0);
pub(super) const POSITIVE: Domain = ("a finite number above 0", |x| x.is_finite() && x > 0.0);
/// Of several bounds one that makes no sense is looked at first.
pub(super) const BOUNDS: Domain = ("bounds by name, each a finite number above 0", POSITIVE.1);
/// Nothing is beyond infinity, which is how a flag is switched off, and everything is beyond a negative number, which shows one up.
const LIMIT: Domain = ("a number", |x| !x.is_nan());
pub(super) const COUNT: Domain = ("a whole number, at least 1", |x| x >= 1.0);
/// Of several numbers the smallest is looked at.
pub(super) const COUNTS: Domain = ("whole numbers, each at least 1", COUNT.1);

/// # Errors
/// The first number that makes no sense.
pub(super) fn check(options: &EngineOptions) -> Result<(), OptionError> {
    if let Some(range) = options.clip_range {
        range.check()?;
    }
    let options_of = options.numbers().filter_map(|(option, number)| {
        let domain = option.domain?;
        Some((option.name.to_owned(), number, domain))
    });
    let limits = options.limits.numbers().into_iter();
    let limits = limits.map(|(name, number, is_steps)| {
        let domain = if is_steps { COUNT } else { LIMIT };
        (format!("limits.{name}"), number, domain)
    });
    for (option, found, (expected, holds)) in options_of.chain(limits) {
        if !holds(found) {
            return Err(OptionError::Number {
                option,
                expected,
                found,
            });
        }
    }
    let (dialect, extended) = (options.dialect, options.extended);
    let taken = options
        .folds
        .keys()
        .find(|key| dialect.knows(key, extended));
    taken.map_or(Ok(()), |key| {
        Err(OptionError::Value {
            option: "folds",
            reason: expected_own_metric(key),
        })
    })
}

/// Of a metric that is none of the user's own.
pub(super) fn expected_own_metric(name: &str) -> String {
    format!("expected a metric of your own, found `{name}`, whose fold is given")
}

#[cfg(test)]
mod tests {
    use crate::batch::scalars::{ClipRange, Fold, WindowFold};
    use crate::dialect::Dialect;
    use crate::engine::{Engine, EngineBuilder};
    use crate::row::health::Limits;
    use crate::shard::{Rejection, RejectionBounds, RejectionStatistic};

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
            (stringify!($field), EngineBuilder::$field, ANY)
        };
    }

    fn rejection(statistic: RejectionStatistic, upper: f64) -> Rejection {
        let lower = 0.5;
        Rejection::default().by(statistic, RejectionBounds { lower, upper })
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
        ("is_ratio_cap", EngineBuilder::is_ratio_cap, ABOVE_0),
        ("is_ratio_floor", EngineBuilder::is_ratio_floor, ABOVE_0),
        (
            "rollout_rs",
            |b, x| b.rollout_rs(rejection(RejectionStatistic::MaxK3, x)),
            ABOVE_0,
        ),
        (
            "rollout_rs",
            |b, x| {
                let sound = RejectionBounds::up_to(2.0);
                let told = rejection(RejectionStatistic::TokenK1, x);
                b.rollout_rs(told.by(RejectionStatistic::SumK1, sound))
            },
            ABOVE_0,
        ),
        ("kl_penalty", EngineBuilder::kl_penalty, FROM_0),
        ("success_threshold", EngineBuilder::success_threshold, ANY),
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
            Engine::builder().logging_steps(0),
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

    #[test]
    fn a_fold_of_a_key_that_the_dialect_makes_is_refused_and_of_another_dialects_taken() {
        let told = |dialect, name: &str| {
            let builder = Engine::builder().dialect(dialect);
            let builder = builder.fold(name, Fold::Max, WindowFold::Max);
            builder.build().map(drop).map_err(|error| error.to_string())
        };
        let refused =
            "`folds`: expected a metric of your own, found `train/kl`, whose fold is given";
        assert_eq!(told(Dialect::MaxEnt, "train/kl"), Err(refused.to_owned()));
        assert_eq!(told(Dialect::Trl, "train/kl"), Ok(()));
        assert!(told(Dialect::MaxEnt, "train/rewards/len/mean").is_err());
    }
}
