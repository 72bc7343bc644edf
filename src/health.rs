//! Flags: numbers of a step that a training run does not recover from by itself. A flag that rises is one warning.

use crate::scalars::Scalar;
use crate::summary::{Flag, Summary};

/// From where on a flag is up. Every bound is exclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Nats: mean token entropy below this ...
    pub entropy: f64,
    /// ... for so many steps (rows of a pooled window) in a row.
    pub entropy_steps: u32,
    /// Share of groups all of whose rewards are the largest of the step.
    pub saturated_groups: f64,
    /// Share of completions whose group's rewards do not vary.
    pub zero_std: f64,
    /// Share of tokens clipped, by the sign of their advantage.
    pub clipped: f64,
    /// Nats a token to the reference policy.
    pub kl: f64,
    /// Share of completions that reach the cap.
    pub length_at_cap: f64,
    /// Nats: mean distance of the trainer's and the sampler's log-probabilities.
    pub sampler_distance: f64,
}

impl Default for Limits {
    /// 0.05 nats for 3 steps; 90 % of groups saturated; 90 % of completions without spread; 30 % of tokens clipped; 1 nat
    /// of KL; half of the completions at the cap; 0.1 nats between trainer and sampler.
    fn default() -> Self {
        Self {
            entropy: 0.05,
            entropy_steps: 3,
            saturated_groups: 0.9,
            zero_std: 0.9,
            clipped: 0.3,
            kl: 1.0,
            length_at_cap: 0.5,
            sampler_distance: 0.1,
        }
    }
}

/// Watches a run's summaries, step by step.
#[derive(Clone, Debug, Default)]
pub struct Health {
    limits: Limits,
    low_entropy: u32,
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
            let (number, limit) = self.measure(flag, summary)?;
            let up = match flag {
                Flag::EntropyCollapse => {
                    let low = number < limit;
                    self.low_entropy = if low { self.low_entropy + 1 } else { 0 };
                    low && self.low_entropy >= self.limits.entropy_steps
                }
                _ => number > limit,
            };
            if up && !self.up[flag as usize] {
                let reason = reason(flag, number, limit, self.limits.entropy_steps);
                tracing::warn!(step = summary.step, "{reason}");
            }
            self.up[flag as usize] = up;
            Some(up)
        })
    }

    /// The number that a flag looks at, and its bound.
    fn measure(&self, flag: Flag, s: &Summary) -> Option<(f64, f64)> {
        let limits = &self.limits;
        Some(match flag {
            Flag::EntropyCollapse => {
                let entropy = s.token_entropy.or(s.scalar(Scalar::PolicyEntropy))?;
                (entropy, limits.entropy)
            }
            Flag::RewardSaturation => {
                let shares = s.extended.as_ref()?.group_shares?;
                (shares.all_max, limits.saturated_groups)
            }
            Flag::ZeroStd => (s.zero_std_completions?, limits.zero_std),
            Flag::Clipping => (s.behaviour.policy_gradient?, limits.clipped),
            Flag::Kl => (s.reference.k3?, limits.kl),
            Flag::LengthAtCap => (s.at_cap?, limits.length_at_cap),
            Flag::SamplerDrift => (s.sampler.logp_difference?.mean, limits.sampler_distance),
            Flag::NonFinite => {
                let nonfinite = s.census.iter().map(|(_, census)| census.nonfinite);
                (nonfinite.fold(0, u64::saturating_add) as f64, 0.0)
            }
        })
    }
}

fn reason(flag: Flag, number: f64, limit: f64, steps: u32) -> String {
    match flag {
        Flag::EntropyCollapse => format!(
            "the policy's entropy has collapsed: {number} nats a token, below {limit} for {steps} step(s)"
        ),
        Flag::RewardSaturation => {
            format!(
                "rewards are saturated: {number} of the groups have nothing but the best, more than {limit}"
            )
        }
        Flag::ZeroStd => {
            format!(
                "{number} of the completions are in groups of equal rewards, which teach nothing, more than {limit}"
            )
        }
        Flag::Clipping => format!("{number} of the tokens are clipped, more than {limit}"),
        Flag::Kl => {
            format!("the policy has left its reference: {number} nats a token, more than {limit}")
        }
        Flag::LengthAtCap => {
            format!("{number} of the completions reach the length cap, more than {limit}")
        }
        Flag::SamplerDrift => format!(
            "sampler and trainer drift apart: {number} nats between their log-probabilities, more than {limit}"
        ),
        Flag::NonFinite => format!("{number} values that were handed in are NaN or infinite"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// What is logged while `body` runs, on this thread.
    fn logged(body: impl FnOnce()) -> Vec<String> {
        use std::sync::{Arc, Mutex};
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<String>>>);
        struct Message<'a>(&'a mut String);
        impl tracing::field::Visit for Message<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    *self.0 = format!("{value:?}");
                }
            }
        }
        impl tracing::Subscriber for Lines {
            fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
                true
            }
            fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
                tracing::span::Id::from_u64(1)
            }
            fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
            fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
            fn event(&self, event: &tracing::Event<'_>) {
                let mut line = String::new();
                event.record(&mut Message(&mut line));
                self.0
                    .lock()
                    .unwrap()
                    .push(format!("{}: {line}", event.metadata().level()));
            }
            fn enter(&self, _: &tracing::span::Id) {}
            fn exit(&self, _: &tracing::span::Id) {}
        }
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), body);
        Arc::try_unwrap(lines.0).unwrap().into_inner().unwrap()
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
    fn every_flag_has_a_reason_of_its_own() {
        let limits = Limits::default();
        let reasons = Flag::ALL.map(|flag| reason(flag, 0.75, 0.5, limits.entropy_steps));
        assert!(reasons.iter().all(|reason| reason.contains("0.75")));
        let different: std::collections::BTreeSet<&String> = reasons.iter().collect();
        assert_eq!(different.len(), Flag::ALL.len());
    }

    #[test]
    fn values_that_are_no_numbers_raise_their_flag() {
        let mut summary = summary(None);
        summary.census[0].1.nonfinite = 2;
        assert_eq!(Health::default().judge(&summary)[7], Some(true));
    }
}
