//! Rows for the eye: a line each, or pretty JSON.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::shown::{self, one_line};
use super::{Nested, Receipt, Sink, SinkError, Tally};
use crate::row::table::Table;
use crate::row::{Metrics, Row};

/// How many metrics a line shows.
const SHOWN: usize = 9;

/// What a reader of a GRPO run looks at first, each under the names the dialects give it.
const TELLING: [&[&str]; 9] = [
    &["reward", "score/mean"],
    &["reward_std"],
    &["loss"],
    &["kl", "rewards/reward_kl_penalty"],
    &["entropy", "policy_entropy", "loss/entropy"],
    &["completions/mean_length", "completions/mean_length_sampled"],
    &["completions/clipped_ratio", "completions/clipped_frac"],
    &["grad_norm"],
    &["learning_rate"],
];

/// Writes rows to standard output, or to any writer: one readable line a row, or the row as pretty JSON.
pub struct Console {
    out: Box<dyn Write + Send>,
    form: Form,
    /// Whether it shows tables of samples: where every row is shown whole.
    tables: bool,
    tally: Tally,
}

type Form = fn(&Row) -> Result<String, serde_json::Error>;

impl Console {
    /// One line a row on standard output: the step, the most telling metrics, and how many more there are.
    #[must_use]
    pub fn line() -> Self {
        Self::of(|row| Ok(line(row)), false)
    }

    /// Every row whole, as indented JSON on standard output; tables of samples likewise, as an object a sample.
    #[must_use]
    pub fn pretty() -> Self {
        let form: Form = |row| {
            let json = serde_json::to_string_pretty(&Nested(row))?;
            Ok(shown::json(&json) + "\n")
        };
        Self::of(form, true)
    }

    /// Writes to `out` instead.
    #[must_use]
    pub fn to(mut self, out: impl Write + Send + 'static) -> Self {
        self.out = Box::new(out);
        self
    }

    fn of(form: Form, tables: bool) -> Self {
        Self {
            out: Box::new(io::stdout()),
            form,
            tables,
            tally: Tally::default(),
        }
    }

    fn put(&mut self, row: &Row) -> Result<(), SinkError> {
        let text = (self.form)(row).map_err(|source| SinkError::Json {
            sink: "console",
            step: row.step,
            source,
        })?;
        self.out.write_all(text.as_bytes()).map_err(refused)
    }

    fn put_table(&mut self, table: &Table) -> Result<(), SinkError> {
        let sample = |row: &Vec<_>| -> Map<String, Value> {
            let named = table.columns.iter().zip(row);
            named
                .map(|(name, cell)| (name.clone(), json!(cell)))
                .collect()
        };
        let samples: Vec<_> = table.data.iter().map(sample).collect();
        let json = json!({"table": table.name, "step": table.step, "samples": samples});
        let json = shown::json(&format!("{json:#}"));
        writeln!(self.out, "{json}").map_err(refused)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl Sink for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(row);
        self.tally.count(outcome)
    }

    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        if !self.tables {
            return Ok(());
        }
        let outcome = self.put_table(table);
        self.tally.note(outcome)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.out.flush().map_err(refused);
        self.tally.note(outcome)
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // A failed flush is in the receipt.
        let _ = self.flush();
        self.tally.receipt("console")
    }
}

fn refused(source: io::Error) -> SinkError {
    SinkError::Io {
        sink: "console",
        act: "write to",
        target: "its output".to_owned(),
        source,
    }
}

/// `step 12  reward 0.53  loss 0.01 ... (+118 more)`; the prefix `train/` is left out, any other stays.
fn line(row: &Row) -> String {
    line_of(&row.step.to_string(), &row.metrics) + "\n"
}

/// As a row's line, without its end; `step` may say of how many.
pub(crate) fn line_of(step: &str, metrics: &Metrics) -> String {
    let shown = telling(metrics);
    let mut line = format!("step {step}");
    for (key, value) in &shown {
        let label = key.strip_prefix("train/").unwrap_or(key);
        // Writing to a text cannot fail.
        let _ = write!(line, "  {} {}", one_line(label), compact(*value));
    }
    let more = metrics.len() - shown.len();
    if more > 0 {
        let _ = write!(line, "  (+{more} more)");
    }
    line
}

/// The telling metrics of a row, then its others in their own order until the line is full.
fn telling(metrics: &Metrics) -> Vec<(&str, f64)> {
    let mut shown: Vec<(&str, f64)> = TELLING
        .iter()
        .filter_map(|names| names.iter().find_map(|name| named(metrics, name)))
        .collect();
    for (key, value) in metrics.iter() {
        if shown.len() >= SHOWN {
            break;
        }
        if !shown.iter().any(|(already, _)| *already == key) {
            shown.push((key, value));
        }
    }
    shown
}

/// The metric called `name`, bare or under a prefix of one segment.
pub(crate) fn named<'a>(metrics: &'a Metrics, name: &str) -> Option<(&'a str, f64)> {
    let bare = metrics.iter().find(|(key, _)| *key == name);
    bare.or_else(|| {
        metrics
            .iter()
            .find(|(key, _)| key.split_once('/').is_some_and(|(_, rest)| rest == name))
    })
}

/// A number in at most four significant digits (whole numbers below ten million in full): for the eye, not for reading back.
pub(crate) fn compact(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else if size < 1e7 && value.fract() == 0.0 {
        format!("{value:.0}")
    } else if (1e-3..1e6).contains(&size) {
        // Digits after the point: four significant ones from the first, which stands at 10^floor(log10).
        let places = (0..=6)
            .find(|p| size * 10f64.powi(*p) >= 999.95)
            .unwrap_or(6);
        trimmed(&format!("{value:.*}", usize::try_from(places).unwrap_or(0)))
    } else {
        let scientific = format!("{value:.3e}");
        match scientific.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
            None => scientific,
        }
    }
}

/// A decimal without the zeros that say nothing.
fn trimmed(decimal: &str) -> String {
    if decimal.contains('.') {
        decimal
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        decimal.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, entries: &[(&'static str, f64)]) -> Row {
        Row {
            step,
            metrics: entries.iter().copied().collect(),
            ..Row::default()
        }
    }

    #[test]
    fn numbers_keep_four_digits_and_lose_empty_zeros() {
        let cases = [
            (0.123_456, "0.1235"),
            (-0.5, "-0.5"),
            (12.345_67, "12.35"),
            (1234.567, "1235"),
            (999_999.9, "1000000"),
            (9.999_96, "10"),
            (0.001, "0.001"),
            (0.000_999_4, "9.994e-4"),
            (1e-6, "1e-6"),
            (-1.234_56e-9, "-1.235e-9"),
            (4096.0, "4096"),
            (1e300, "1e300"),
            (5e-324, "4.941e-324"),
            (-0.0, "0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, expected) in cases {
            assert_eq!(compact(value), expected, "{value:e}");
        }
    }

    #[test]
    fn a_line_begins_with_the_telling_keys_of_any_dialect() {
        let maxent = row(
            7,
            &[
                ("train/learning_rate", 1e-6),
                ("train/loss/kl", 9.0),
                ("train/loss", 0.25),
                ("train/kl", 0.5),
                ("train/reward", 1.0),
            ],
        );
        insta::assert_snapshot!(line(&maxent), @"step 7  reward 1  loss 0.25  kl 0.5  learning_rate 1e-6  loss/kl 9");
        let tunix = row(
            8,
            &[("loss", 2.0), ("loss/entropy", 3.0), ("score/mean", 0.5)],
        );
        insta::assert_snapshot!(line(&tunix), @"step 8  score/mean 0.5  loss 2  loss/entropy 3");
    }

    #[test]
    fn a_line_counts_what_it_does_not_show() {
        let many: Metrics = (0..130)
            .map(|i| (format!("m{i:03}"), f64::from(i)))
            .collect();
        let row = Row {
            step: 1,
            metrics: many,
            ..Row::default()
        };
        let line = line(&row);
        assert!(line.starts_with("step 1  m000 0  m001 1  "), "{line}");
        assert!(line.ends_with("m008 8  (+121 more)\n"), "{line}");
    }

    #[test]
    fn a_key_with_a_line_break_does_not_break_the_line() {
        assert_eq!(line(&row(1, &[("a\nb", 1.0)])), "step 1  a\\nb 1\n");
    }

    #[test]
    fn a_prefix_other_than_train_stays_visible() {
        assert_eq!(
            line(&row(1, &[("eval/reward", 1.0)])),
            "step 1  eval/reward 1\n"
        );
    }
}
