//! The newest row of each live run in Prometheus' text format, version 0.0.4.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::change::live;
use super::error::ReadError;
use super::names::names;
use super::opened::Opened;
use super::run::dialect;
use crate::dialect::Line;
use crate::store::{Progress, Split, Sqlite, Store, StoredRow};

/// How many numbers of a row are told.
const NUMBERS: usize = 5000;

const STEP: &str = "grpo_metrics_step";
const TIME: &str = "grpo_metrics_last_step_timestamp_seconds";
const LEFT_OUT: &str = "grpo_metrics_left_out";

/// The numbers of one key, or of one thing that we say ourselves.
#[derive(Default)]
struct Family {
    help: String,
    /// Labels and number.
    samples: Vec<(String, f64)>,
}

/// All families: our own by their names, and those of keys by the keys.
#[derive(Default)]
struct Families {
    own: BTreeMap<&'static str, Family>,
    keys: BTreeMap<String, Family>,
}

pub(super) fn exposition(opened: &Opened) -> Result<String, ReadError> {
    let families = opened.read(|store, _| {
        let mut families = Families::default();
        for run in live(store.progress(None)?) {
            families.take(store, &run)?;
        }
        Ok(families)
    })?;
    Ok(families.text())
}

impl Families {
    fn take(&mut self, store: &Sqlite, run: &Progress) -> Result<(), ReadError> {
        let names = names(store, &run.run.id)?;
        let config = store.get_run(&run.run.id).map(|run| run.record.run_config);
        let dialect = dialect(&config.unwrap_or_default(), &names);
        for split in [Split::Train, Split::Val] {
            if !names.iter().any(|name| name.split == split) {
                continue;
            }
            let Some(row) = store.newest_row(&run.run.id, Some(split))? else {
                continue;
            };
            let labels = labels(run, split);
            self.row(&row, &labels);
            let numbers = store.row_metrics(&run.run.id, row.step, split)?;
            if let Some(more) = numbers.len().checked_sub(NUMBERS).filter(|more| *more > 0) {
                self.own(
                    LEFT_OUT,
                    "numbers of the row that are not told here",
                    &labels,
                    more as f64,
                );
            }
            for number in numbers.into_iter().take(NUMBERS) {
                let line = dialect.line(&number.name);
                let help = || help(&number.name, line);
                let family = self.keys.entry(number.name.clone());
                let family = family.or_insert_with(|| Family {
                    help: help(),
                    samples: Vec::new(),
                });
                family.samples.push((labels.clone(), number.value));
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &StoredRow, labels: &str) {
        self.own(
            STEP,
            "the step of the run's newest row",
            labels,
            row.step as f64,
        );
        if let Some(time) = row.time {
            let seconds = time as f64 / 1000.0;
            self.own(
                TIME,
                "when the step of the run's newest row ended, in seconds since 1970",
                labels,
                seconds,
            );
        }
    }

    fn own(&mut self, name: &'static str, help: &str, labels: &str, value: f64) {
        let family = self.own.entry(name).or_default();
        help.clone_into(&mut family.help);
        family.samples.push((labels.to_owned(), value));
    }

    /// Our own first. Of keys that come to one name the first, by the keys' order, has it; the others have a number behind it that
    /// follows from the key alone.
    fn text(self) -> String {
        let mut text = String::new();
        let mut taken: HashSet<String> = [STEP, TIME, LEFT_OUT].map(str::to_owned).into();
        for (name, family) in self.own {
            family.write(name, &mut text);
        }
        for (key, family) in self.keys {
            let plain = metric_name(&key);
            let mut name = plain.clone();
            let mut salt = 0_u64;
            while !taken.insert(name.clone()) {
                name = format!(
                    "{plain}_{:08x}",
                    (xxh3_64(key.as_bytes()).wrapping_add(salt)) & 0xffff_ffff
                );
                salt += 1;
            }
            family.write(&name, &mut text);
        }
        text
    }
}

impl Family {
    fn write(&self, name: &str, text: &mut String) {
        // Writing to a text does not fail.
        let _ = writeln!(text, "# HELP {name} {}", escaped(&self.help, false));
        let _ = writeln!(text, "# TYPE {name} gauge");
        for (labels, value) in &self.samples {
            let _ = writeln!(text, "{name}{{{labels}}} {}", number(*value));
        }
    }
}

fn labels(run: &Progress, split: Split) -> String {
    let (id, name) = (escaped(&run.run.id, true), escaped(&run.run.name, true));
    format!("run=\"{id}\",name=\"{name}\",split=\"{split}\"")
}

/// The key first, as its name here is not always it.
fn help(key: &str, line: Option<&Line>) -> String {
    match line {
        Some(line) if line.unit != "1" => format!("{key}: {} ({})", line.meaning, line.unit),
        Some(line) => format!("{key}: {}", line.meaning),
        None => key.to_owned(),
    }
}

/// A key as a name of Prometheus' may be: ASCII letters, digits and `_`; `:` is for rules that people write.
fn metric_name(key: &str) -> String {
    let of_a_name = |c: char| {
        if c.is_ascii_alphanumeric() { c } else { '_' }
    };
    let name: String = key.chars().map(of_a_name).collect();
    format!("grpo_{name}")
}

/// A text in a label or behind HELP, which is one line.
fn escaped(text: &str, in_quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if in_quotes => escaped.push_str("\\\""),
            c => escaped.push(c),
        }
    }
    escaped
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_numbers_are_as_prometheus_has_them() {
        assert_eq!(metric_name("train/pass@4:\u{fc}"), "grpo_train_pass_4__");
        assert_eq!(escaped("a\"b\\c\nd", true), "a\\\"b\\\\c\\nd");
        assert_eq!(escaped("a\"b", false), "a\"b");
        let told = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1.0,
            1e300,
            5e-324,
        ]
        .map(number);
        assert_eq!(told, ["NaN", "+Inf", "-Inf", "1.0", "1e300", "5e-324"]);
    }

    #[test]
    fn keys_that_come_to_one_name_have_names_of_their_own() {
        let mut families = Families::default();
        families.own(STEP, "the step", "run=\"a\"", 3.0);
        for key in ["a/b", "a_b", "metrics/step"] {
            let family = Family {
                help: key.to_owned(),
                samples: vec![(String::new(), 1.0)],
            };
            families.keys.insert(key.to_owned(), family);
        }
        let text = families.text();
        let named: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        assert_eq!(named[..2], ["grpo_metrics_step gauge", "grpo_a_b gauge"]);
        assert!(
            named[2].starts_with("grpo_a_b_") && named[3].starts_with("grpo_metrics_step_"),
            "{named:?}"
        );
        assert!(text.contains("# HELP grpo_a_b a/b\n"));
    }
}
