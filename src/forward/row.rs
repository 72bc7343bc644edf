//! One line of a metrics file, in either of its two shapes.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::row::Metrics;

/// What of a flat row is no metric.
const NOT_METRICS: [&str; 6] = ["step", "epoch", "ts", "timestamp", "progress", "metrics"];

/// What begins a key that is measured on validation data.
const VAL: &str = "val/";

/// A row's step and numbers, by split.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    pub step: u64,
    pub train: Metrics,
    /// The keys keep their `val/`.
    pub val: Metrics,
}

/// Why a line is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It is no JSON object; the text says why.
    NotJson(String),
    /// It has no step.
    NoStep,
    /// What it has for a step is no whole number from 0 on.
    NotAStep(String),
    /// It has no number.
    NoMetrics,
    /// It is longer than any row: this many bytes are the limit.
    TooLong(usize),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(why) => write!(f, "expected a JSON object, found {why}"),
            Self::NoStep => f.write_str("expected a `step`, found none"),
            Self::NotAStep(found) => {
                write!(
                    f,
                    "`step`: expected a whole number from 0 on, found {found}"
                )
            }
            Self::NoMetrics => f.write_str("expected metrics, found no number"),
            Self::TooLong(limit) => write!(f, "expected a row, found more than {limit} bytes"),
        }
    }
}

/// Reads a line: the numbers of a non-empty `metrics` object, else every number of the row itself but those in
/// [`NOT_METRICS`]. A boolean counts as 1 or 0; a non-finite number may be the text that the JSONL sink writes or the bare
/// word that Python does.
pub(super) fn parse(line: &[u8]) -> Result<Parsed, Skip> {
    let row = object(line)?;
    let step = match row.get("step") {
        None | Some(Value::Null) => return Err(Skip::NoStep),
        Some(value) => whole(value).ok_or_else(|| Skip::NotAStep(value.to_string()))?,
    };
    let (mut train, mut val) = (Metrics::default(), Metrics::default());
    let mut take = |key: &str, value: &Value| {
        if let Some(number) = number(value) {
            let split = if key.starts_with(VAL) {
                &mut val
            } else {
                &mut train
            };
            // A JSON object has each key once.
            split.push(key.to_owned(), number);
        }
    };
    match row.get("metrics").and_then(Value::as_object) {
        Some(metrics) if !metrics.is_empty() => {
            metrics.iter().for_each(|(key, value)| take(key, value));
        }
        _ => row
            .iter()
            .filter(|(key, _)| !NOT_METRICS.contains(&key.as_str()))
            .for_each(|(key, value)| take(key, value)),
    }
    if train.is_empty() && val.is_empty() {
        return Err(Skip::NoMetrics);
    }
    Ok(Parsed { step, train, val })
}

/// When a row was written, in nanoseconds since 1970, if it says so: its `ts`, else its `timestamp`, in seconds since then.
/// Milliseconds, and seconds since something else, are no such time.
pub(super) fn written(line: &[u8]) -> Option<u64> {
    const FROM_2001_TO_2286: Range<f64> = 1e9..1e10;
    let row = object(line).ok()?;
    let said = row.get("ts").or_else(|| row.get("timestamp"))?.as_f64()?;
    let seconds = Some(said).filter(|said| FROM_2001_TO_2286.contains(said))?;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(time.as_nanos()).ok()
}

fn object(line: &[u8]) -> Result<Map<String, Value>, Skip> {
    let parsed = serde_json::from_slice(line).or_else(|error| {
        let quoted = with_bare_words_quoted(line);
        serde_json::from_slice(&quoted).map_err(|_| Skip::NotJson(error.to_string()))
    })?;
    match parsed {
        Value::Object(row) => Ok(row),
        other => Err(Skip::NotJson(kind(&other).to_owned())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A step as an integer, or as a double that is one.
fn whole(value: &Value) -> Option<u64> {
    let from_double = |x: f64| {
        // Up to 2^53 a double that is whole is the very number meant.
        let exact = (0.0..=9_007_199_254_740_992.0).contains(&x) && x.fract() == 0.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        exact.then_some(x as u64)
    };
    value
        .as_u64()
        .or_else(|| value.as_f64().and_then(from_double))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Python's `json` writes `NaN`, `Infinity` and `-Infinity` bare, which is no JSON: outside texts they become texts.
fn with_bare_words_quoted(line: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut quoted = Vec::with_capacity(line.len() + 16);
    let (mut rest, mut inside) = (line, false);
    while let Some(&byte) = rest.first() {
        let word = WORDS.iter().find(|word| !inside && rest.starts_with(word));
        let taken = match (word, byte) {
            (Some(word), _) => {
                quoted.push(b'"');
                quoted.extend_from_slice(word);
                quoted.push(b'"');
                rest = &rest[word.len()..];
                continue;
            }
            // What a backslash escapes is no end of the text.
            (None, b'\\') => 2.min(rest.len()),
            (None, b'"') => {
                inside = !inside;
                1
            }
            (None, _) => 1,
        };
        quoted.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(metrics: &Metrics) -> Vec<(&str, f64)> {
        metrics.iter().collect()
    }

    #[test]
    fn a_nested_row_gives_the_numbers_of_its_metrics() {
        let row = br#"{"ts": 1.5, "step": 50, "other": 9, "metrics": {"loss": 0.42, "name": "x", "val/acc": 1, "l": [1]}}"#;
        let parsed = parse(row).unwrap();
        assert_eq!(parsed.step, 50);
        assert_eq!(entries(&parsed.train), [("loss", 0.42)]);
        assert_eq!(entries(&parsed.val), [("val/acc", 1.0)]);
    }

    #[test]
    fn a_flat_row_gives_every_number_but_the_named_ones() {
        let row = br#"{"step": 50, "epoch": 0, "ts": 1, "timestamp": 2, "progress": 0.1, "metrics": 3, "nll": 0.42, "time/step": 18.1, "note": "x"}"#;
        let parsed = parse(row).unwrap();
        assert_eq!(entries(&parsed.train), [("nll", 0.42), ("time/step", 18.1)]);
        let empty = parse(br#"{"step": 1, "metrics": {}, "loss": 1}"#).unwrap();
        assert_eq!(entries(&empty.train), [("loss", 1.0)]);
    }

    #[test]
    fn a_row_says_when_it_was_written_in_seconds_since_1970_or_not_at_all() {
        let cases: [(&[u8], Option<u64>); 8] = [
            (b"{\"ts\": 1763700000.25}", Some(1_763_700_000_250_000_000)),
            (
                b"{\"timestamp\": 1763700000, \"a\": NaN}\n",
                Some(1_763_700_000_000_000_000),
            ),
            (b"{\"ts\": 1763700000250}", None),
            (b"{\"ts\": 12.5}", None),
            (b"{\"ts\": -1763700000}", None),
            (b"{\"ts\": \"2026-11-21T10:00:00Z\"}", None),
            (b"{\"ts\": 17637", None),
            (b"", None),
        ];
        for (line, expected) in cases {
            assert_eq!(written(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_boolean_counts_as_a_number() {
        let parsed = parse(br#"{"step": 1, "a": true, "b": false}"#).unwrap();
        assert_eq!(entries(&parsed.train), [("a", 1.0), ("b", 0.0)]);
    }

    #[test]
    fn non_finite_numbers_are_read_as_our_sink_and_as_python_write_them() {
        let parsed = parse(br#"{"step": 1, "a": "Infinity", "b": -Infinity, "c": NaN, "say \"NaN": 2, "d": "NaN,"}"#).unwrap();
        assert_eq!(parsed.train.get("a"), Some(f64::INFINITY));
        assert_eq!(parsed.train.get("b"), Some(f64::NEG_INFINITY));
        assert!(parsed.train.get("c").unwrap().is_nan());
        assert_eq!(parsed.train.get("say \"NaN"), Some(2.0));
        assert!(!parsed.train.contains("d"));
    }

    #[test]
    fn a_step_may_be_a_whole_double_and_nothing_else() {
        assert_eq!(parse(br#"{"step": 3.0, "a": 1}"#).unwrap().step, 3);
        for bad in ["-1", "1.5", "true", "\"7\"", "1e300"] {
            let row = format!("{{\"step\": {bad}, \"a\": 1}}");
            assert!(
                matches!(parse(row.as_bytes()), Err(Skip::NotAStep(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_no_row_says_why() {
        let cases: [(&[u8], &str); 5] = [
            (
                b"{\"step\": 1, \"a\"",
                "expected a JSON object, found EOF while parsing an object at line 1 column 15",
            ),
            (b"[1]", "expected a JSON object, found an array"),
            (b"{\"loss\": 1}", "expected a `step`, found none"),
            (
                b"{\"step\": 1, \"metrics\": {\"a\": \"x\"}}",
                "expected metrics, found no number",
            ),
            (
                b"{\"step\": 1, \"epoch\": 2}",
                "expected metrics, found no number",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line).unwrap_err().to_string(), expected);
        }
    }
}
