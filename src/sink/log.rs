//! Rows as log lines.

use std::fmt::Write as _;

use super::{Receipt, Sink, SinkError, Tally, compact, named, one_line};
use crate::row::{Metrics, Row};

/// What the debug line shows, each under its label: a key of any dialect, bare or under a prefix of one segment.
const DETAILS: [(&str, &[&str]); 8] = [
    ("loss", &["loss"]),
    ("reward", &["reward", "score/mean"]),
    ("reward_std", &["reward_std"]),
    ("q_entropy", &["q_entropy_mean"]),
    ("w_entropy", &["weight_entropy"]),
    ("kl", &["kl", "rewards/reward_kl_penalty"]),
    ("tau", &["tau"]),
    ("beta", &["beta"]),
];

/// What an entropy bonus does to the reward.
const IMPACT: [(&str, &str); 5] = [
    ("reward_without", "reward_without_entropy_bonus"),
    ("reward_with", "reward_with_entropy_bonus"),
    ("bonus", "entropy_bonus_mean"),
    ("of_base", "entropy_bonus_frac_of_base"),
    ("of_total", "entropy_bonus_frac_of_total"),
];

/// Says every row through `tracing`: a line at level info (`step 12 | epoch 0.5 | loss 0.25 | tau 0.3 beta 0.04`), the
/// details and the components' means at level debug, and at info what an entropy bonus does to the reward, where the row has it.
/// A number that the row does not have is left out.
#[derive(Clone, Debug, Default)]
pub struct LogLines {
    tally: Tally,
}

impl LogLines {
    /// A sink that writes to whatever subscriber the program has; without one, nothing is said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Sink for LogLines {
    fn name(&self) -> &'static str {
        "log"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        tracing::info!("{}", headline(row));
        // The details are made only for a subscriber that wants them.
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!("{}", details(row));
        }
        if let Some(impact) = impact(row) {
            tracing::info!("{impact}");
        }
        self.tally.count(Ok(()))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Receipt {
        self.tally.receipt("log")
    }
}

fn headline(row: &Row) -> String {
    let part = |label: &str| {
        let (_, value) = named(&row.metrics, label)?;
        Some(format!("{label} {}", compact(value)))
    };
    let controller: Vec<String> = ["tau", "beta"].into_iter().filter_map(part).collect();
    let parts = [
        Some(format!("step {}", row.step)),
        part("epoch"),
        part("loss"),
        (!controller.is_empty()).then(|| controller.join(" ")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

fn details(row: &Row) -> String {
    let mut line = format!("step {}", row.step);
    let known = DETAILS.iter().filter_map(|(label, names)| {
        let found = names.iter().find_map(|name| named(&row.metrics, name))?;
        Some((*label, found.1))
    });
    for (label, value) in known.chain(component_means(&row.metrics)) {
        // Writing to a text cannot fail.
        let _ = write!(line, " {}={}", one_line(label), compact(value));
    }
    line
}

/// `{prefix}rewards/{name}/mean`, as `rewards/{name}/mean` without the prefix.
fn component_means(metrics: &Metrics) -> impl Iterator<Item = (&str, f64)> {
    metrics.iter().filter_map(|(key, value)| {
        let bare = key.strip_prefix("train/").unwrap_or(key);
        let component = bare.strip_prefix("rewards/")?.strip_suffix("/mean")?;
        (!component.is_empty()).then_some((bare, value))
    })
}

/// Only of a row that says what the reward is without the bonus: a row with such a component.
fn impact(row: &Row) -> Option<String> {
    named(&row.metrics, "reward_without_entropy_bonus")?;
    let mut line = format!("step {} | entropy bonus", row.step);
    for (label, name) in IMPACT {
        if let Some((_, value)) = named(&row.metrics, name) {
            let _ = write!(line, " {label} {}", compact(value));
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entries: &[(&'static str, f64)]) -> Row {
        Row {
            step: 7,
            metrics: entries.iter().copied().collect(),
            ..Row::default()
        }
    }

    const FULL: [(&str, f64); 14] = [
        ("train/epoch", 0.5),
        ("train/loss", 0.25),
        ("train/reward", 1.0),
        ("train/reward_std", 0.5),
        ("train/q_entropy_mean", 0.75),
        ("train/weight_entropy", 0.625),
        ("train/kl", 0.125),
        ("train/tau", 0.3),
        ("train/beta", 0.04),
        ("train/rewards/format/mean", 0.9),
        ("train/rewards/format/std", 0.1),
        ("train/reward_without_entropy_bonus", 0.8),
        ("train/reward_with_entropy_bonus", 1.0),
        ("train/entropy_bonus_mean", 0.2),
    ];

    #[test]
    fn the_headline_says_where_the_training_stands() {
        insta::assert_snapshot!(headline(&row(&FULL)), @"step 7 | epoch 0.5 | loss 0.25 | tau 0.3 beta 0.04");
    }

    #[test]
    fn what_a_row_does_not_have_is_left_out_and_bare_names_count_too() {
        insta::assert_snapshot!(headline(&row(&[("loss", 2.0)])), @"step 7 | loss 2");
        insta::assert_snapshot!(headline(&row(&[("train/beta", 0.5)])), @"step 7 | beta 0.5");
        insta::assert_snapshot!(headline(&row(&[])), @"step 7");
    }

    #[test]
    fn the_details_end_in_the_means_of_the_components() {
        insta::assert_snapshot!(details(&row(&FULL)), @"step 7 loss=0.25 reward=1 reward_std=0.5 q_entropy=0.75 w_entropy=0.625 kl=0.125 tau=0.3 beta=0.04 rewards/format/mean=0.9");
    }

    #[test]
    fn only_a_row_with_an_entropy_bonus_says_what_it_does() {
        insta::assert_snapshot!(impact(&row(&FULL)).unwrap(), @"step 7 | entropy bonus reward_without 0.8 reward_with 1 bonus 0.2");
        assert_eq!(impact(&row(&FULL[..10])), None);
    }
}
