//! Flags: numbers of a step that a training run does not recover from by itself. A flag that rises is one warning.

use crate::batch::scalars::Scalar;
use crate::summary::{Flag, KlNumbers, Summary};

/// A limit as a number, if it can be one.
trait Limit: Sized {
    const IS_STEPS: bool;
    fn of(number: f64) -> Option<Self>;
}

impl Limit for f64 {
    const IS_STEPS: bool = false;

    fn of(number: f64) -> Option<Self> {
        Some(number)
    }
}

/// So many steps.
impl Limit for u32 {
    const IS_STEPS: bool = true;

    fn of(number: f64) -> Option<Self> {
        let whole = number.fract() == 0.0 && (1.0..=Self::MAX.into()).contains(&number);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and within
        whole.then_some(number as Self)
    }
}

macro_rules! limits {
    ($($(#[doc = $meaning:literal])+ $name:ident: $type:ty = $default:literal,)+) => {
        /// From where on a flag is up. Every bound is exclusive. The defaults have their sources in docs/METRICS.md.
        ///
        /// ```
        /// use grpo_metrics::row::health::Limits;
        ///
        /// let limits = Limits::default().kl(0.5);
        /// assert_eq!(limits.kl, 0.5);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $meaning])+ pub $name: $type,)+
        }

        impl Default for Limits {
            /// Those of docs/METRICS.md.
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            $($(#[doc = $meaning])+
            #[must_use]
            pub fn $name(mut self, limit: $type) -> Self {
                self.$name = limit;
                self
            })+

            /// Each by its name, and whether it is a number of steps.
            #[must_use]
            pub fn numbers(&self) -> Vec<(&'static str, f64, bool)> {
                vec![$((stringify!($name), f64::from(self.$name), <$type as Limit>::IS_STEPS)),+]
            }

            /// Sets the one of this name: whether it can be that number; `None` if there is none of that name.
            pub fn set(&mut self, name: &str, number: f64) -> Option<bool> {
                match name {
                    $(stringify!($name) => {
                        let limit = Limit::of(number);
                        self.$name = limit.unwrap_or(self.$name);
                        Some(limit.is_some())
                    })+
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Nats: mean token entropy below this, or ...
    entropy: f64 = 0.05,
    /// ... below this share of its mean over the first steps ...
    entropy_share: f64 = 0.2,
    /// ... of which there are so many (rows of a pooled window), ...
    entropy_first: u32 = 20,
    /// ... for so many steps in a row.
    entropy_steps: u32 = 3,
    /// Share of groups all of whose completions succeed.
    saturated_groups: f64 = 0.9,
    /// Share of completions whose group's rewards do not vary.
    zero_std: f64 = 0.7,
    /// Share of tokens clipped, by the sign of their advantage.
    clipped: f64 = 0.1,
    /// Nats a token to the reference policy: k2 where tokens say, else the reported `kl_loss`.
    kl: f64 = 0.2,
    /// Share of completions that were cut off.
    length_at_cap: f64 = 0.3,
    /// Nats: mean distance of the trainer's and the sampler's log-probabilities.
    sampler_distance: f64 = 0.02,
    /// Mean distance of their probabilities.
    sampler_probability: f64 = 0.01,
}

/// A number held against its bound, and what is said where it is beyond: of the number, then the bound.
struct Measured {
    number: f64,
    limit: f64,
    reason: fn(f64, f64) -> String,
}

impl Measured {
    fn is_beyond(&self) -> bool {
        self.number > self.limit
    }
}

/// Whether a flag is up, and then why.
enum Verdict {
    Up { reason: String },
    Down,
}

impl Verdict {
    fn of(up: bool, reason: impl FnOnce() -> String) -> Self {
        if up {
            Self::Up { reason: reason() }
        } else {
            Self::Down
        }
    }
}

/// The mean token entropy over a run's first steps, and how long it has been low.
#[derive(Clone, Copy, Debug, Default)]
struct Entropy {
    first: u32,
    sum: f64,
    low: u32,
}

impl Entropy {
    /// Takes in the next step's: the bound it is held against, and whether it has been low for long.
    fn judge(&mut self, entropy: f64, limits: &Limits) -> (f64, bool) {
        let known = self.first >= limits.entropy_first && self.first > 0;
        let limit = if known {
            let mean = self.sum / f64::from(self.first);
            limits.entropy.max(limits.entropy_share * mean)
        } else {
            self.first += 1;
            self.sum += entropy;
            limits.entropy
        };
        self.low = if entropy < limit { self.low + 1 } else { 0 };
        (limit, self.low > 0 && self.low >= limits.entropy_steps)
    }
}

/// Watches a run's summaries, step by step.
#[derive(Clone, Debug, Default)]
pub struct Health {
    limits: Limits,
    entropy: Entropy,
    up: [bool; Flag::ALL.len()],
}

impl Health {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes in the next summary: which flags are up, in the order of [`Flag::ALL`]; `None` where a flag's number is not
    /// there, which leaves the flag as it was. A flag that was down before is warned of, with its reason.
    pub fn judge(&mut self, summary: &Summary) -> [Option<bool>; Flag::ALL.len()] {
        Flag::ALL.map(|flag| {
            let verdict = match flag {
                Flag::EntropyCollapse => self.judge_entropy(summary)?,
                _ => self.judge_number(flag, summary)?,
            };
            let up = match verdict {
                Verdict::Down => false,
                Verdict::Up { reason } => {
                    if !self.up[flag as usize] {
                        tracing::warn!(step = summary.step, "{reason}");
                    }
                    true
                }
            };
            self.up[flag as usize] = up;
            Some(up)
        })
    }

    fn judge_entropy(&mut self, s: &Summary) -> Option<Verdict> {
        let entropy = s.token_entropy.or(s.scalar(Scalar::PolicyEntropy))?;
        let (limit, up) = self.entropy.judge(entropy, &self.limits);
        let steps = self.limits.entropy_steps;
        Some(Verdict::of(up, || {
            format!(
                "the policy's entropy has collapsed: {entropy} nats a token, below {limit} for {steps} step(s)"
            )
        }))
    }

    fn judge_number(&self, flag: Flag, s: &Summary) -> Option<Verdict> {
        let measured = self.measure(flag, s)?;
        let reason = || (measured.reason)(measured.number, measured.limit);
        Some(Verdict::of(measured.is_beyond(), reason))
    }

    /// The number that a flag looks at, and its bound. Where it looks at two, the one that is beyond its bound.
    fn measure(&self, flag: Flag, s: &Summary) -> Option<Measured> {
        let limits = &self.limits;
        let of = |number, limit, reason| Measured {
            number,
            limit,
            reason,
        };
        Some(match flag {
            // It takes several steps to say.
            Flag::EntropyCollapse => return None,
            Flag::RewardSaturation => of(
                s.extended.as_ref()?.all_succeed?,
                limits.saturated_groups,
                |x, most| {
                    format!(
                        "rewards are saturated: in {x} of the groups every completion succeeds, more than {most}"
                    )
                },
            ),
            Flag::ZeroStd => of(s.zero_std_completions?, limits.zero_std, |x, most| {
                format!(
                    "{x} of the completions are in groups of equal rewards, which teach nothing, more than {most}"
                )
            }),
            Flag::Clipping => of(s.behaviour.policy_gradient?, limits.clipped, |x, most| {
                format!("{x} of the tokens are clipped, more than {most}")
            }),
            // k3 of one token can be e^20: a mean over 20,000 tokens would judge that one.
            Flag::Kl => match s.policy.reference {
                Some(KlNumbers { k2, .. }) => of(k2, limits.kl, |x, most| {
                    format!(
                        "the policy has left its reference: {x} nats a token (k2), more than {most}"
                    )
                }),
                None => of(s.scalar(Scalar::KlLoss)?, limits.kl, |x, most| {
                    format!(
                        "the policy has left its reference: a kl_loss of {x} nats is reported, more than {most}"
                    )
                }),
            },
            Flag::LengthAtCap => of(s.cut_off?, limits.length_at_cap, |x, most| {
                format!("{x} of the completions were cut off at the length cap, more than {most}")
            }),
            Flag::SamplerDrift => {
                let logs = of(
                    s.sampler.logp_difference?.mean,
                    limits.sampler_distance,
                    |x, most| {
                        format!(
                            "sampler and trainer drift apart: {x} nats between their log-probabilities, more than {most}"
                        )
                    },
                );
                let odds = of(
                    s.sampler.probability_difference?.mean,
                    limits.sampler_probability,
                    |x, most| {
                        format!(
                            "sampler and trainer drift apart: {x} between their probabilities, more than {most}"
                        )
                    },
                );
                if logs.is_beyond() { logs } else { odds }
            }
            Flag::NonFinite => {
                let nonfinite = s.census.iter().map(|(_, census)| census.nonfinite);
                let all = nonfinite.fold(0, u64::saturating_add);
                of(all as f64, 0.0, |x, _| {
                    format!("{x} values that were handed in are NaN or infinite")
                })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::event::logged::logged;
    use crate::shard::Shard;

    fn summary(entropy: Option<f64>) -> Summary {
        let mut summary = Summary::from(&Shard::default());
        summary.token_entropy = entropy;
        summary
    }

    #[test]
    fn entropy_has_collapsed_after_some_low_steps_and_recovers_with_one() {
        let mut health = Health::new(Limits::default());
        let entropies = [0.01, 0.02, 0.04, 0.03, 0.06, 0.01];
        let up = entropies.map(|x| health.judge(&summary(Some(x)))[0]);
        assert_eq!(up, [false, false, true, true, false, false].map(Some));
        assert_eq!(health.judge(&summary(None))[0], None);
    }

    #[test]
    fn of_nothing_only_the_count_of_values_that_are_no_numbers_is_judged() {
        let up = Health::default().judge(&summary(None));
        assert_eq!(up[..7], [None; 7]);
        assert_eq!(up[7], Some(false));
    }

    #[test]
    fn a_flag_that_rises_is_one_warning_with_its_reason_and_one_more_when_it_rises_again() {
        let limits = Limits {
            entropy: 0.5,
            entropy_steps: 1,
            ..Limits::default()
        };
        let mut health = Health::new(limits);
        let lines = logged(|| {
            for entropy in [
                Some(0.25),
                Some(0.2),
                None,
                Some(0.1),
                Some(0.75),
                Some(0.375),
            ] {
                health.judge(&summary(entropy));
            }
        });
        let said = |entropy| {
            format!(
                "WARN: the policy's entropy has collapsed: {entropy} nats a token, below 0.5 for 1 step(s)"
            )
        };
        assert_eq!(lines, [said(0.25), said(0.375)]);
    }

    #[test]
    fn entropy_has_collapsed_below_a_fifth_of_its_first_steps() {
        let limits = Limits {
            entropy_first: 4,
            entropy_steps: 1,
            ..Limits::default()
        };
        let mut health = Health::new(limits);
        // The mean of the first four is 2; a fifth of it 0.4.
        let entropies = [3.0, 2.0, 2.0, 1.0, 0.41, 0.39, 1.0];
        let up = entropies.map(|x| health.judge(&summary(Some(x)))[0]);
        let expected = [false, false, false, false, false, true, false];
        assert_eq!(up, expected.map(Some));
    }

    #[test]
    fn values_that_are_no_numbers_raise_their_flag() {
        let mut summary = summary(None);
        summary.census[0].1.nonfinite = 2;
        assert_eq!(Health::default().judge(&summary)[7], Some(true));
    }
}
