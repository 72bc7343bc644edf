//! Flags: numbers of a step, and of its last steps together, that a training run does not recover from by itself. A flag that rises is
//! one warning.

mod course;
mod limits;

use crate::batch::scalars::Scalar;
use crate::summary::{Flag, KlNumbers, Summary};
use course::{Course, Told};
pub use limits::Limits;

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
    /// Reward, entropy and KL.
    courses: [Course; 3],
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
        let told = self.follow(summary);
        Flag::ALL.map(|flag| {
            let verdict = match flag {
                Flag::EntropyCollapse => self.judge_entropy(summary)?,
                Flag::RewardTrend
                | Flag::RewardShift
                | Flag::EntropyTrend
                | Flag::EntropyShift
                | Flag::KlTrend
                | Flag::KlShift => self.judge_course(flag, &told)?,
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

    /// Takes in what is followed over the steps: what the courses of reward, entropy and KL say.
    fn follow(&mut self, s: &Summary) -> [Option<Told>; 3] {
        let limits = self.limits;
        let [rewards, entropies, kls] = &mut self.courses;
        let tell = |course: &mut Course, next: Option<f64>| course.tell(next?, &limits);
        [
            tell(rewards, s.rewards.as_ref().map(|rewards| rewards.mean)),
            tell(entropies, entropy(s)),
            tell(kls, divergence(s)),
        ]
    }

    /// A trend is warned of where it leads somewhere: a reward that falls, and what would be at its limit as many steps from now.
    fn judge_course(
        &self,
        flag: Flag,
        [reward, entropy, kl]: &[Option<Told>; 3],
    ) -> Option<Verdict> {
        let limits = &self.limits;
        let shifted = |told: &Option<Told>, what| {
            let told = told.as_ref()?;
            let up = told.shift.exceeds(limits.shift);
            Some(Verdict::of(up, || told.moved(what)))
        };
        match flag {
            Flag::RewardTrend => {
                let told = reward.as_ref()?;
                let up = told.slope.size < 0.0 && told.slope.exceeds(limits.trend);
                Some(Verdict::of(up, || told.falls("the mean reward")))
            }
            Flag::EntropyTrend => {
                let told = entropy.as_ref()?;
                let leads = told.slope.size < 0.0 && told.ahead < limits.entropy;
                let up = leads && told.slope.exceeds(limits.trend);
                let reason = || told.falls_to("the entropy", limits.entropy);
                Some(Verdict::of(up, reason))
            }
            Flag::KlTrend => {
                let told = kl.as_ref()?;
                let leads = told.slope.size > 0.0 && told.ahead > limits.kl;
                let up = leads && told.slope.exceeds(limits.trend);
                let reason = || told.rises_to("the KL to the reference", limits.kl);
                Some(Verdict::of(up, reason))
            }
            Flag::RewardShift => shifted(reward, "the mean reward"),
            Flag::EntropyShift => shifted(entropy, "the entropy"),
            Flag::KlShift => shifted(kl, "the KL to the reference"),
            _ => None,
        }
    }

    fn judge_entropy(&mut self, s: &Summary) -> Option<Verdict> {
        let entropy = entropy(s)?;
        let (limit, up) = self.entropy.judge(entropy, &self.limits);
        let steps = self.limits.entropy_steps;
        Some(Verdict::of(up, || {
            let (entropy, limit) = (short(entropy), short(limit));
            format!(
                "the policy's entropy has collapsed: {entropy} nats a token, below {limit} for {steps} step(s)"
            )
        }))
    }

    fn judge_number(&self, flag: Flag, s: &Summary) -> Option<Verdict> {
        let measured = self.measure(flag, s)?;
        let reason = || (measured.reason)(short(measured.number), measured.limit);
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
            // They take several steps to say.
            Flag::EntropyCollapse
            | Flag::RewardTrend
            | Flag::RewardShift
            | Flag::EntropyTrend
            | Flag::EntropyShift
            | Flag::KlTrend
            | Flag::KlShift => return None,
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
                format!("{x} of the completions were cut off, more than {most}")
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

/// A number of a warning, for the eye: what is counted as it is, all else in four significant digits.
fn short(x: f64) -> f64 {
    match format!("{x:.3e}").parse() {
        Ok(short) if x.fract() != 0.0 => short,
        _ => x,
    }
}

/// Mean token entropy in nats, else the reported one.
fn entropy(s: &Summary) -> Option<f64> {
    s.token_entropy.or(s.scalar(Scalar::PolicyEntropy))
}

/// k2 to the reference in nats a token, else the reported `kl_loss`.
fn divergence(s: &Summary) -> Option<f64> {
    let of_tokens = s.policy.reference.map(|reference| reference.k2);
    of_tokens.or(s.scalar(Scalar::KlLoss))
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
        let nonfinite = Flag::NonFinite as usize;
        let others = |at: &usize| *at != nonfinite;
        assert!((0..up.len()).filter(others).all(|at| up[at].is_none()));
        assert_eq!(up[nonfinite], Some(false));
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
    fn a_number_is_followed_over_its_last_steps_and_warned_of_where_it_leads_somewhere() {
        let limits = Limits::default().course_steps(50);
        let noise = |at: u32| (f64::from(at) * 12.9898).sin() * 0.01;
        let run = |course: &dyn Fn(u32) -> f64, flag: Flag| {
            let mut health = Health::new(limits);
            let up = (0..190).map(|at| {
                let entropy = course(at) + noise(at);
                health.judge(&summary(Some(entropy)))[flag as usize]
            });
            up.collect::<Vec<_>>()
        };
        let still = |_: u32| 2.0;
        for flag in [Flag::EntropyTrend, Flag::EntropyShift] {
            let up = run(&still, flag);
            assert_eq!((up[..49].to_vec(), up[49]), (vec![None; 49], Some(false)));
            assert!(up[49..].iter().all(|up| *up == Some(false)));
        }
        // A fall of 0.5 in 50 steps is sure, and leads to the limit only from 0.55 on.
        let falling = |at: u32| 2.0 - 0.01 * f64::from(at);
        let up = run(&falling, Flag::EntropyTrend);
        let first = up.iter().position(|up| *up == Some(true));
        assert!(
            first.is_some_and(|at| (144..=148).contains(&at)),
            "{first:?}"
        );
        assert!(up[150..].iter().all(|up| *up == Some(true)));
        let up = run(&falling, Flag::EntropyShift);
        assert!(up.iter().all(|up| *up != Some(true)));
        let dropped = |at: u32| if at < 80 { 2.0 } else { 1.5 };
        let up = run(&dropped, Flag::EntropyShift);
        let raised: Vec<usize> = (0..190).filter(|&at| up[at] == Some(true)).collect();
        assert!(
            raised.first().is_some_and(|at| (80..=90).contains(at)),
            "{raised:?}"
        );
        assert!(raised.last().is_some_and(|at| *at < 130), "{raised:?}");
    }

    #[test]
    fn values_that_are_no_numbers_raise_their_flag() {
        let mut summary = summary(None);
        summary.census[0].1.nonfinite = 2;
        assert_eq!(Health::default().judge(&summary)[7], Some(true));
    }

    #[test]
    fn a_course_says_where_it_leads_and_numbers_are_told_in_four_digits() {
        let limits = Limits {
            course_steps: 10,
            ..Limits::default()
        };
        let mut health = Health::new(limits);
        let lines = logged(|| {
            for step in 0..10 {
                let odd = f64::from(step % 2) * 1.23e-4;
                health.judge(&summary(Some(1.0 - f64::from(step) / 12.0 + odd)));
            }
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        let (falls, leads) = line.split_once(", ").unwrap_or_default();
        assert!(
            falls.starts_with("WARN: the entropy falls by 0.0833") && falls.len() < 70,
            "{line}"
        );
        assert!(
            leads.ends_with(" times its error: 10 more lead below 0.05"),
            "{line}"
        );
        assert_eq!(
            (short(0.314_203_73), short(123_456.0), short(1.0)),
            (0.3142, 123_456.0, 1.0)
        );
    }
}
