//! What a replay says at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::batch::Batch;
use crate::cli::grid::Grid;
use crate::sink::one_line;
use crate::stat::{Census, Order, Quantile, Statistic};

/// Counts what a replay has been through.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub rows: u64,
    /// Where the rows are, a sentence each.
    pub destinations: Vec<String>,
    /// The columns that some record had.
    pub columns: BTreeSet<&'static str>,
    /// What it costs that the recording is a trainer's own files; empty where it is none.
    pub lacks: String,
    ranks: BTreeSet<u32>,
    completions: u64,
    tokens: u64,
    /// The engine's own time of each step, in milliseconds.
    times: Order,
    /// Of the whole run so far.
    census: BTreeMap<String, Census>,
    /// The first step of each family that has a non-finite value.
    nonfinite_from: BTreeMap<String, u64>,
}

impl Report {
    pub fn count_record(&mut self, rank: u32, batch: &Batch<'_>) {
        self.ranks.insert(rank);
        self.completions += batch.completions() as u64;
        let lengths = batch.lengths().unwrap_or_default();
        self.tokens += lengths.iter().copied().map(u64::from).sum::<u64>();
    }

    /// A step is over, for which the engine took `time`; `census` is what it has seen since the beginning.
    pub fn count_step(&mut self, step: u64, time: Duration, census: &BTreeMap<String, Census>) {
        self.times.add(&[time.as_secs_f64() * 1e3]);
        self.census.clone_from(census);
        for (family, _) in census.iter().filter(|(_, seen)| seen.nonfinite > 0) {
            if !self.nonfinite_from.contains_key(family) {
                self.nonfinite_from.insert(family.clone(), step);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [
            count(self.times.len(), "step", "steps"),
            count(self.ranks.len() as u64, "rank", "ranks"),
            count(self.completions, "completion", "completions"),
            count(self.tokens, "token", "tokens"),
            count(self.rows, "row", "rows"),
        ];
        writeln!(f, "{}", counted.join(", "))?;
        if let Some([median, p99]) = self
            .times
            .quantiles(&[Quantile::P50, Quantile::P99])
            .as_deref()
        {
            writeln!(
                f,
                "engine's own time per step: median {median:.3} ms, p99 {p99:.3} ms"
            )?;
        }
        for destination in &self.destinations {
            writeln!(f, "{}", one_line(destination))?;
        }
        write!(f, "{}{}", self.lacks, self.nonfinite())
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl Report {
    /// The families that had a non-finite value, a line each; nothing if there are none.
    fn nonfinite(&self) -> String {
        if self.nonfinite_from.is_empty() {
            return String::new();
        }
        let columns = ["family", "used", "absent", "nonfinite", "first at step"];
        let mut table = Grid::new(&columns, 1..5);
        for (family, step) in &self.nonfinite_from {
            let seen = self.census.get(family).copied().unwrap_or_default();
            table.line([
                one_line(family),
                seen.used.to_string(),
                seen.absent.to_string(),
                seen.nonfinite.to_string(),
                step.to_string(),
            ]);
        }
        let mut text = "NaN and infinities, left out and counted:\n".to_owned();
        for line in table.text().lines() {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_with_nonfinite_values_are_listed() {
        let census = |used, absent, nonfinite| Census {
            used,
            absent,
            nonfinite,
        };
        let mut families = BTreeMap::from([
            ("kl".to_owned(), census(100, 0, 0)),
            ("rewards".to_owned(), census(30, 0, 2)),
        ]);
        let mut report = Report::default();
        report.count_step(4, Duration::ZERO, &families);
        families.insert("reward_components/a".to_owned(), census(8, 16, 8));
        report.count_step(7, Duration::ZERO, &families);
        insta::assert_snapshot!(report.nonfinite(), @"
        NaN and infinities, left out and counted:
          family               used  absent  nonfinite  first at step
          reward_components/a     8      16          8              7
          rewards                30       0          2              4
        ");
        assert_eq!(Report::default().nonfinite(), "");
    }

    #[test]
    fn one_is_not_many_and_nothing_has_no_time() {
        let mut report = Report {
            rows: 1,
            ..Report::default()
        };
        insta::assert_snapshot!(report, @"0 steps, 0 ranks, 0 completions, 0 tokens, 1 row");
        report.count_step(1, Duration::from_millis(2), &BTreeMap::new());
        insta::assert_snapshot!(report, @"
        1 step, 0 ranks, 0 completions, 0 tokens, 1 row
        engine's own time per step: median 2.000 ms, p99 2.000 ms
        ");
    }
}
