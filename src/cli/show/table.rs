//! The tables: of runs, and of a run's metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::course::{digest, sparkline};
use crate::sink::{compact, one_line};
use crate::store::{Metric, RunOverview, Split};

/// The runs, a line each.
pub fn runs_table(runs: &[RunOverview]) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut table = bare_table(
        &[
            "run",
            "experiment",
            "status",
            "steps",
            "first",
            "last",
            "values",
            "created",
        ],
        3..7,
    );
    for run in runs {
        let end = |step: Option<u64>| step.map_or_else(|| "-".to_owned(), |step| step.to_string());
        table.add_row([
            one_line(&run.id),
            one_line(&run.experiment),
            run.status
                .map_or_else(|| "?".to_owned(), |status| status.to_string()),
            run.steps.to_string(),
            end(run.span.map(|(first, _)| first)),
            end(run.span.map(|(_, last)| last)),
            run.values.to_string(),
            // To the second, as a person reads it.
            one_line(&run.created_at)
                .chars()
                .take(19)
                .map(|c| if c == 'T' { ' ' } else { c })
                .collect(),
        ]);
    }
    let mut text = printed(&table);
    for (run, fault) in runs
        .iter()
        .filter_map(|run| Some((run, run.fault.as_ref()?)))
    {
        let line = one_line(&format!("{}: {fault}", run.id));
        let _ = writeln!(text, "\n{line}");
    }
    text
}

/// A run's metrics, a line each, those of one family (what stands before the last `/`) together.
pub fn metrics_table(run: &str, metrics: &[Metric], shown: impl Fn(&str) -> bool) -> String {
    let mut families: BTreeMap<&str, BTreeMap<(&str, Split), Vec<f64>>> = BTreeMap::new();
    let mut steps: Vec<u64> = Vec::new();
    for metric in metrics.iter().filter(|metric| shown(&metric.name)) {
        let family = metric
            .name
            .rsplit_once('/')
            .map_or("", |(family, _)| family);
        let series = families.entry(family).or_default();
        series
            .entry((&metric.name, metric.split))
            .or_default()
            .push(metric.value);
        steps.push(metric.step);
    }
    let run = one_line(run);
    // Metrics come by step.
    steps.dedup();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return match metrics.len() {
            0 => format!("{run}: no metrics\n"),
            _ => format!("{run}: no metric matches\n"),
        };
    };
    let mut table = bare_table(
        &["key", "last", "mean", "min", "max", "over the steps"],
        1..5,
    );
    let mut infinite = 0;
    for (nth, series) in families.values().enumerate() {
        if nth > 0 {
            table.add_row([""]);
        }
        for ((name, split), values) in series {
            infinite += values.iter().filter(|value| !value.is_finite()).count();
            let [last, mean, min, max] = digest(values).map(compact);
            let key = match split {
                Split::Train => one_line(name),
                Split::Val => format!("{} (val)", one_line(name)),
            };
            table.add_row([key, last, mean, min, max, sparkline(values)]);
        }
    }
    let mut text = format!(
        "{run}: steps {first} to {last}, {} of them with metrics\n\n{}",
        steps.len(),
        printed(&table)
    );
    if infinite > 0 {
        let note = format!("\ninfinite values, left out of mean, min and max: {infinite}\n");
        text.push_str(&note);
    }
    text
}

/// A table without lines, numbers to the right; as wide as it needs, since a pipe has no width.
fn bare_table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .force_no_tty()
        .set_header(header.to_vec());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn printed(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Status;

    fn metric(step: u64, name: &str, value: f64) -> Metric {
        Metric {
            step,
            name: name.to_owned(),
            value,
            split: Split::Train,
        }
    }

    #[test]
    fn metrics_stand_by_family_with_their_course() {
        let metrics = [
            metric(1, "train/kl", 0.5),
            metric(1, "train/reward", 0.125),
            metric(1, "train/rewards/len/mean", -1.0),
            Metric {
                split: Split::Val,
                ..metric(1, "train/reward", 9.0)
            },
            metric(3, "train/kl", 0.25),
            metric(3, "train/reward", f64::INFINITY),
        ];
        insta::assert_snapshot!(metrics_table("r", &metrics, |_| true), @"
        r: steps 1 to 3, 2 of them with metrics

        key                     last   mean    min    max  over the steps
        train/kl                0.25  0.375   0.25    0.5  █▁
        train/reward             inf  0.125  0.125  0.125  ▄↑
        train/reward (val)         9      9      9      9  ▄

        train/rewards/len/mean    -1     -1     -1     -1  ▄

        infinite values, left out of mean, min and max: 1
        ");
    }

    #[test]
    fn a_key_that_speaks_to_the_terminal_is_shown_as_text() {
        let table = metrics_table("r", &[metric(1, "a\u{1b}[2J\nb", 1.0)], |_| true);
        assert!(table.contains("\na\\u{1b}[2J\\nb  "), "{table}");
    }

    #[test]
    fn a_pattern_that_nothing_matches_says_so() {
        assert_eq!(
            metrics_table("r", &[metric(1, "a", 1.0)], |_| false),
            "r: no metric matches\n"
        );
        assert_eq!(metrics_table("r", &[], |_| true), "r: no metrics\n");
    }

    #[test]
    fn runs_stand_with_what_they_hold() {
        let runs = [
            RunOverview {
                id: "trl-2rank".to_owned(),
                experiment: "default".to_owned(),
                status: Some(Status::Completed),
                created_at: "2026-01-31T12:00:00.123Z".to_owned(),
                steps: 20,
                span: Some((1, 20)),
                values: 512,
                ..RunOverview::default()
            },
            RunOverview {
                id: "new".to_owned(),
                experiment: "default".to_owned(),
                status: Some(Status::Running),
                created_at: "2026-02-01T12:00:00.000Z".to_owned(),
                ..RunOverview::default()
            },
        ];
        insta::assert_snapshot!(runs_table(&runs), @"
        run        experiment  status     steps  first  last  values  created
        trl-2rank  default     completed     20      1    20     512  2026-01-31 12:00:00
        new        default     running        0      -     -       0  2026-02-01 12:00:00
        ");
    }
}
