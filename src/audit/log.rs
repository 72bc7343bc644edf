//! The numbers that a trainer logged, as it wrote them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits;
use crate::numerals::{number, with_bare_words_quoted};

/// A trainer's own log: its rows by step, ascending. Rows of one step are one row, of which the later numbers count.
///
/// Read are what TRL and transformers write (`log_history`, by itself or within `trainer_state.json`) and JSON lines: flat rows, and rows that
/// have their numbers under `metrics` or `data`. A number may be written as a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub rows: Vec<LoggedRow>,
    /// Keys of what is logged and is no number.
    pub words: BTreeSet<String>,
}

/// The numbers of one logged row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedRow {
    /// The row's step: the last of its window.
    pub step: u64,
    pub numbers: BTreeMap<String, Number>,
}

/// A number as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub value: f64,
    /// Its digits say how exactly it is meant.
    pub text: String,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{path}: cannot read it: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    /// It is no log.
    #[error("{path}{place}: expected {expected}, found {found}")]
    NotALog {
        path: String,
        /// The row or line, where one is at fault.
        place: String,
        expected: &'static str,
        found: String,
    },
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;
type Rows = BTreeMap<u64, BTreeMap<String, Number>>;

/// What a row's step is called, by the trainer itself or where the row has passed through a tracker; the first that is there counts.
const STEPS: [&str; 4] = [
    "step",
    "train/global_step",
    "training/global_step",
    "global_step",
];

/// Objects that hold a row's numbers.
const HOLDERS: [&str; 2] = ["metrics", "data"];

/// What is expected of a file that is one JSON text.
const LIST: &str = "a list of rows, each a JSON object";

impl Log {
    /// Reads a log.
    ///
    /// # Errors
    /// If the file cannot be read, or is no log.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let name = path.display().to_string();
        let bytes = limits::whole(path, limits::TRAINER_LOG).map_err(|source| LogError::Io {
            path: name.clone(),
            source,
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| not_a_log(&name, "", "text in UTF-8", "other bytes"))?;
        Self::read(&name, text.trim_start_matches('\u{feff}'))
    }

    fn read(path: &str, text: &str) -> Result<Self, LogError> {
        let (mut rows, mut words) = (Rows::new(), BTreeSet::new());
        let is_list = text.trim_start().starts_with('[');
        let whole = words_quoted(text, is_list || text.contains("\"log_history\""));
        let state = || serde_json::from_str::<Fields<'_>>(&whole).ok();
        let history = state().and_then(|state| state.get("log_history").copied());
        if is_list || history.is_some() {
            let list = history.map_or(&*whole, RawValue::get);
            let found: Vec<Fields<'_>> = serde_json::from_str(list)
                .map_err(|error| not_a_log(path, "", LIST, &error.to_string()))?;
            for (nth, row) in found.iter().enumerate() {
                take(
                    &mut rows,
                    &mut words,
                    row,
                    || format!(", row {}", nth + 1),
                    path,
                )?;
            }
        } else {
            let lines = text.lines().enumerate();
            for (nth, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
                let place = || format!(":{}", nth + 1);
                let line = words_quoted(line, true);
                let row = serde_json::from_str(&line).map_err(|error| {
                    not_a_log(path, &place(), "a row as a JSON object", &error.to_string())
                })?;
                take(&mut rows, &mut words, &row, place, path)?;
            }
        }
        let rows = rows.into_iter();
        let rows = rows.map(|(step, numbers)| LoggedRow { step, numbers });
        Ok(Self {
            rows: rows.collect(),
            words,
        })
    }

    /// The keys of its numbers.
    pub fn keys(&self) -> BTreeSet<&str> {
        let keys = self.rows.iter().flat_map(|row| row.numbers.keys());
        keys.map(String::as_str).collect()
    }
}

/// Python writes NaN as a bare word, which is no JSON.
fn words_quoted(text: &str, may_be: bool) -> Cow<'_, str> {
    let may_be = may_be && (text.contains("NaN") || text.contains("Infinity"));
    match String::from_utf8(with_bare_words_quoted(text.as_bytes())) {
        Ok(quoted) if may_be => Cow::Owned(quoted),
        _ => Cow::Borrowed(text),
    }
}

fn not_a_log(path: &str, place: &str, expected: &'static str, found: &str) -> LogError {
    LogError::NotALog {
        path: path.to_owned(),
        place: place.to_owned(),
        expected,
        found: found.to_owned(),
    }
}

/// Adds a row. One without a step is none: a training's summary, or its configuration.
fn take(
    rows: &mut Rows,
    words: &mut BTreeSet<String>,
    row: &Fields<'_>,
    place: impl Fn() -> String,
    path: &str,
) -> Result<(), LogError> {
    let holder = HOLDERS
        .into_iter()
        .find_map(|name| serde_json::from_str::<Fields<'_>>(row.get(name)?.get()).ok())
        .filter(|holder| !holder.is_empty());
    let fields = holder.as_ref().unwrap_or(row);
    let named = |name| Some((name, *row.get(name).or_else(|| fields.get(name))?));
    let Some((name, said)) = STEPS.into_iter().find_map(named) else {
        return Ok(());
    };
    let step = whole(said.get()).ok_or_else(|| {
        let expected = "a `step` that is a whole number from 0 on";
        not_a_log(path, &place(), expected, said.get())
    })?;
    let row = rows.entry(step).or_default();
    for (key, said) in fields.iter().filter(|(key, _)| *key != name) {
        match serde_json::from_str(said.get()).ok().as_ref().map(written) {
            Some(Written::Number(value)) => {
                let text = said.get().trim_matches('"').to_owned();
                row.insert(key.clone(), Number { value, text });
            }
            Some(Written::Nothing) => {}
            _ => _ = words.insert(key.clone()),
        }
    }
    Ok(())
}

/// A step; tables of numbers have it as `4.0`.
fn whole(said: &str) -> Option<u64> {
    said.strip_suffix(".0").unwrap_or(said).parse().ok()
}

/// What a field holds.
enum Written {
    Number(f64),
    Nothing,
    Other,
}

fn written(value: &Value) -> Written {
    let text = |text: &str| text.trim().parse().ok();
    match number(value).or_else(|| value.as_str().and_then(text)) {
        Some(value) => Written::Number(value),
        None if value.is_null() => Written::Nothing,
        None => Written::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, Vec<(String, f64)>)> {
        let log = Log::read("log", text).unwrap();
        let numbers = |row: LoggedRow| {
            let numbers = row.numbers.into_iter();
            (row.step, numbers.map(|(key, n)| (key, n.value)).collect())
        };
        log.rows.into_iter().map(numbers).collect()
    }

    fn rows() -> Vec<(u64, Vec<(String, f64)>)> {
        vec![
            (1, vec![("kl".to_owned(), 0.5), ("loss".to_owned(), 1.0)]),
            (2, vec![("kl".to_owned(), 0.25)]),
        ]
    }

    #[test]
    fn every_shape_of_a_log_gives_the_same_rows() {
        let list =
            r#"[{"step": 1, "kl": 0.5, "loss": 1}, {"step": 2, "kl": 0.25}, {"train_runtime": 3}]"#;
        assert_eq!(read(list), rows());
        assert_eq!(
            read(&format!("{{\"epoch\": 1, \"log_history\": {list}}}")),
            rows()
        );
        let lines = "{\"step\": 1, \"kl\": 0.5}\n\n{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"kl\": 0.25, \"note\": \"x\"}\n";
        assert_eq!(read(lines), rows());
        let held = "{\"step\": 1, \"metrics\": {\"kl\": 0.5, \"loss\": 1}}\n{\"step\": 2, \"data\": {\"kl\": 0.25}}";
        assert_eq!(read(held), rows());
    }

    #[test]
    fn a_step_may_be_written_as_trackers_write_it() {
        for step in [
            "\"step\": 4",
            "\"step\": 4.0",
            "\"train/global_step\": 4, \"_step\": 9",
            "\"metrics\": {\"training/global_step\": 4, \"kl\": 0.5}",
        ] {
            let rows = read(&format!("{{{step}, \"kl\": 0.5}}"));
            assert_eq!(rows[0].0, 4, "{step}");
            assert!(rows[0].1.contains(&("kl".to_owned(), 0.5)), "{step}");
        }
        for step in ["4.5", "-1", "\"4\"", "null", "1e3"] {
            let read = Log::read("log", &format!("{{\"step\": {step}, \"kl\": 0.5}}"));
            assert!(read.is_err(), "{step}");
        }
    }

    #[test]
    fn a_number_in_a_text_is_one_and_what_is_none_is_told() {
        let row = r#"{"step": 1, "kl": "0.1271", "lr": "1e-06", "note": "x", "all": [1], "none": null, "loss": "nan"}"#;
        let log = Log::read("log", row).unwrap();
        let numbers = &log.rows[0].numbers;
        assert_eq!(numbers["kl"].text, "0.1271");
        assert_eq!(numbers["lr"].value, 1e-6);
        assert!(numbers["loss"].value.is_nan());
        assert_eq!(numbers.len(), 3);
        assert!(log.words.iter().eq(["all", "note"]));
    }

    #[test]
    fn a_bare_nan_is_a_number_that_is_none() {
        for text in [
            r#"[{"step": 1, "kl": NaN, "note": "NaN"}]"#,
            r#"{"step": 1, "kl": NaN}"#,
        ] {
            let [(1, numbers)] = &read(text)[..] else {
                panic!("{text}")
            };
            assert!(numbers[0].1.is_nan(), "{text}");
        }
    }
}
