//! Warnings that would come with every step, each said once.

use std::collections::{BTreeMap, BTreeSet};

use crate::stat::Census;

/// What has been said.
#[derive(Clone, Debug, Default)]
pub(super) struct Once(BTreeSet<String>);

impl Once {
    /// Warns, the first time.
    pub fn say(&mut self, message: String) {
        if !self.0.contains(&message) {
            tracing::warn!("{message}");
            self.0.insert(message);
        }
    }
}

/// Families that are no column, but computed of some.
const DERIVED: [&str; 5] = ["kl", "clip", "sampling", "diversity", "penalised_rewards"];

/// Columns in which there were values that are no numbers: each is said when it is first seen, and how many there were at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Nonfinite {
    /// How many the first step of a column had that had any.
    told: BTreeMap<String, u64>,
}

impl Nonfinite {
    /// What a step has seen.
    pub fn tell(&mut self, step: u64, seen: &[(String, Census)]) {
        let given = |(column, _): &&(String, Census)| !DERIVED.contains(&column.as_str());
        for (column, census) in seen.iter().filter(given) {
            let count = census.nonfinite;
            if count > 0 && !self.told.contains_key(column) {
                tracing::warn!(
                    "step {step}: `{column}`: {count} of {} values are NaN or infinite and are left out; later ones are counted, and told of at the end",
                    census.seen()
                );
                self.told.insert(column.clone(), count);
            }
        }
    }

    /// What all steps have seen; nothing more of a column that had such values in one step alone.
    pub fn tell_totals(&self, seen: &BTreeMap<String, Census>) {
        for (column, first) in &self.told {
            let census = seen.get(column).copied().unwrap_or_default();
            if census.nonfinite > *first {
                tracing::warn!(
                    "in all steps: `{column}`: {} of {} values were NaN or infinite and were left out",
                    census.nonfinite,
                    census.seen()
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::event::logged::logged;

    #[test]
    fn a_warning_is_said_once() {
        let lines = logged(|| {
            let mut once = Once::default();
            for word in ["a", "b", "a"] {
                once.say(format!("it is {word}"));
            }
        });
        assert_eq!(lines, ["WARN: it is a", "WARN: it is b"]);
    }

    #[test]
    fn a_column_is_said_in_its_first_step_and_at_the_end_where_there_were_more() {
        let seen = |used, nonfinite| Census {
            used,
            absent: 0,
            nonfinite,
        };
        let lines = logged(|| {
            let mut told = Nonfinite::default();
            told.tell(1, &[("rewards".to_owned(), seen(4, 0))]);
            let both = ["rewards", "kl"].map(|name| (name.to_owned(), seen(2, 2)));
            told.tell(2, &both);
            told.tell(3, &both);
            told.tell(4, &[("advantages".to_owned(), seen(3, 1))]);
            let totals = [("rewards", seen(8, 4)), ("advantages", seen(15, 1))];
            let totals = totals.map(|(name, census)| (name.to_owned(), census));
            told.tell_totals(&totals.into_iter().collect());
        });
        assert_eq!(
            lines,
            [
                "WARN: step 2: `rewards`: 2 of 4 values are NaN or infinite and are left out; later ones are counted, and told of at the end",
                "WARN: step 4: `advantages`: 1 of 4 values are NaN or infinite and are left out; later ones are counted, and told of at the end",
                "WARN: in all steps: `rewards`: 4 of 12 values were NaN or infinite and were left out",
            ]
        );
    }
}
