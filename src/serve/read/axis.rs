//! What a run is drawn over besides its steps: when they ended, and how much it had seen by then.

use serde_json::Value;

use super::asked::Axis;
use super::held::Numbers;
use crate::reading::Name;
use crate::store::{OURS, Split};

/// Keys that count tokens from the beginning on, and such as count those of a step.
const SEEN: [&str; 2] = ["train/num_tokens", "num_tokens"];
const TOKENS: [&str; 1] = ["perf/total_num_tokens"];

/// Keys that together count the completions of a step: each has a reward, that is used, absent or no number.
const COMPLETIONS: [&str; 6] = [
    "train/health/rewards/used",
    "train/health/rewards/absent",
    "train/health/rewards/nonfinite",
    "health/rewards/used",
    "health/rewards/absent",
    "health/rewards/nonfinite",
];

/// How a run's place on an axis follows from its numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// The keys whose numbers are taken; none where the axis needs none.
    pub names: Vec<Name>,
    /// Whether they count from the beginning on.
    is_sum: bool,
    /// Whether a row over several steps has the mean of them, not the sum.
    is_averaged: bool,
}

impl Counted {
    /// How an axis of a run with these names is counted; `None` where nothing says. Times are known by looking at them.
    pub fn of(axis: Axis, names: &[Name], config: &Value) -> Option<Self> {
        let known = |keys: &[&str]| -> Vec<Name> {
            let has = |key: &&str| {
                names
                    .iter()
                    .find(|n| n.key == **key && n.split == Split::Train)
            };
            keys.iter().filter_map(has).cloned().collect()
        };
        let window = config.pointer(&format!("/{OURS}/options/window"));
        let counted = |names, is_sum| Self {
            names,
            is_sum,
            is_averaged: window.and_then(Value::as_str) != Some("pooled"),
        };
        let found = match axis {
            Axis::Step | Axis::Time => return Some(Self::default()),
            Axis::Tokens => {
                let mut seen = known(&SEEN);
                seen.truncate(1);
                if seen.is_empty() {
                    counted(known(&TOKENS), false)
                } else {
                    counted(seen, true)
                }
            }
            Axis::Completions => counted(known(&COMPLETIONS), false),
        };
        (!found.names.is_empty()).then_some(found)
    }

    /// Where each step lies on the axis; NaN where that is not known. `numbers` has the counted names' series from `first` on.
    pub fn places(&self, axis: Axis, numbers: &Numbers, first: usize) -> Vec<f64> {
        match axis {
            Axis::Step => numbers.steps.iter().map(|step| *step as f64).collect(),
            Axis::Time => numbers.times.to_vec(),
            Axis::Tokens | Axis::Completions => self.counts(numbers, first),
        }
    }

    fn counts(&self, numbers: &Numbers, first: usize) -> Vec<f64> {
        let columns: Vec<&Vec<f64>> = (first..first + self.names.len())
            .filter_map(|at| numbers.columns.get(at)?.as_deref())
            .collect();
        let at = |step: usize| {
            let there = columns
                .iter()
                .filter_map(|column| column.get(step).copied());
            let there = there.filter(|count| count.is_finite());
            there.reduce(|sum, count| sum + count)
        };
        let mut seen = f64::NAN;
        let place = |(step, span): (usize, &f64)| {
            if let Some(count) = at(step) {
                // What a resumed run counts from its own beginning lies before what was seen.
                let next = match (self.is_sum, self.is_averaged) {
                    (true, _) => count,
                    (false, true) => seen.max(0.0) + count * span,
                    (false, false) => seen.max(0.0) + count,
                };
                seen = seen.max(next);
            }
            seen
        };
        numbers.spans.iter().enumerate().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn name(key: &str) -> Name {
        Name {
            key: key.to_owned(),
            split: Split::Train,
        }
    }

    fn numbers(spans: &[f64], columns: &[&[f64]]) -> Numbers {
        Numbers {
            steps: Arc::new((1..=spans.len() as u64).collect()),
            times: Arc::new(vec![f64::NAN; spans.len()]),
            spans: Arc::new(spans.to_vec()),
            columns: columns.iter().map(|c| Some(Arc::new(c.to_vec()))).collect(),
            written: 1,
        }
    }

    #[test]
    fn tokens_are_counted_from_the_beginning_whichever_key_counts_them() {
        let none = Value::Null;
        let seen =
            Counted::of(Axis::Tokens, &[name("train/num_tokens"), name("a")], &none).unwrap();
        let run = numbers(&[1.0; 4], &[&[10.0, 30.0, f64::NAN, 20.0]]);
        assert_eq!(seen.places(Axis::Tokens, &run, 0), [10.0, 30.0, 30.0, 30.0]);

        let each = Counted::of(Axis::Tokens, &[name("perf/total_num_tokens")], &none).unwrap();
        let run = numbers(&[1.0, 2.0, 1.0], &[&[10.0, 20.0, 5.0]]);
        assert_eq!(each.places(Axis::Tokens, &run, 0), [10.0, 50.0, 55.0]);
        let pooled = json!({"grpo_metrics": {"options": {"window": "pooled"}}});
        let each = Counted::of(Axis::Tokens, &[name("perf/total_num_tokens")], &pooled).unwrap();
        assert_eq!(each.places(Axis::Tokens, &run, 0), [10.0, 30.0, 35.0]);

        assert_eq!(Counted::of(Axis::Tokens, &[name("a")], &none), None);
    }

    #[test]
    fn completions_are_those_with_a_reward_and_those_without() {
        let names = [
            name("health/rewards/used"),
            name("health/rewards/nonfinite"),
        ];
        let counted = Counted::of(Axis::Completions, &names, &Value::Null).unwrap();
        let run = numbers(
            &[1.0; 3],
            &[&[f64::NAN, 7.0, 8.0], &[f64::NAN, 1.0, f64::NAN]],
        );
        let places = counted.places(Axis::Completions, &run, 0);
        assert!(places[0].is_nan());
        assert_eq!(places[1..], [8.0, 16.0]);
    }
}
