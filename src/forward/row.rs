//! One line of a metrics file, in any of its three shapes.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::numerals::{BYTE_ORDER_MARK, number, with_bare_words_quoted};
use crate::row::Metrics;

/// What of a flat row is no metric.
const NOT_METRICS: [&str; 6] = ["step", "epoch", "ts", "timestamp", "progress", "metrics"];

/// Objects that hold a row's numbers: of most trainings, and of verl's file logger.
const HOLDERS: [&str; 2] = ["metrics", "data"];

/// When a row was written: the first of these that is a time.
const TIMES: [&str; 3] = ["ts", "timestamp", "time"];

/// What begins a key that is measured on validation data.
const VAL: &str = "val/";

/// A row's step and numbers, by split.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    pub step: u64,
    /// When it was written, in seconds since 1970; 0 where it does not say.
    pub time: f64,
    pub train: Metrics,
    /// The keys keep their `val/`.
    pub val: Metrics,
    /// What is no number, or stands beside the object that has them: its key, and what it is.
    pub left_out: Vec<(String, &'static str)>,
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

/// Reads a line: the numbers of the non-empty object that holds them, else every number of the row itself but those in
/// [`NOT_METRICS`] and the time. A boolean counts as 1 or 0; a non-finite number may be the text that the JSONL sink writes or the
/// bare word that Python does; null is nothing.
pub(super) fn parse(line: &[u8]) -> Result<Parsed, Skip> {
    let row = object(line)?;
    let step = match row.get("step") {
        None | Some(Value::Null) => return Err(Skip::NoStep),
        Some(value) => whole(value).ok_or_else(|| Skip::NotAStep(value.to_string()))?,
    };
    let mut parsed = Parsed {
        step,
        time: time_of(&row).map_or(0.0, |time| time.as_secs_f64()),
        train: Metrics::default(),
        val: Metrics::default(),
        left_out: Vec::new(),
    };
    let own = || row.iter().filter(|(key, value)| is_own(key, value));
    let holder = HOLDERS.into_iter().find_map(|name| {
        let object = row.get(name)?.as_object()?;
        Some((name, object)).filter(|_| !object.is_empty())
    });
    match holder {
        // A flat row may have an object of that name among its numbers.
        Some((name, object))
            if name == "metrics" || own().all(|(_, value)| number(value).is_none()) =>
        {
            let beside = own().filter(|(key, value)| *key != name && !value.is_null());
            let beside = beside.map(|(key, _)| (key.clone(), "beside the metrics"));
            parsed.left_out.extend(beside);
            object
                .iter()
                .for_each(|(key, value)| parsed.take(key, value));
        }
        _ => own().for_each(|(key, value)| parsed.take(key, value)),
    }
    if parsed.train.is_empty() && parsed.val.is_empty() {
        return Err(Skip::NoMetrics);
    }
    Ok(parsed)
}

impl Parsed {
    fn take(&mut self, key: &str, value: &Value) {
        match number(value) {
            // A JSON object has each key once.
            Some(number) if key.starts_with(VAL) => self.val.push(key.to_owned(), number),
            Some(number) => self.train.push(key.to_owned(), number),
            None if value.is_null() => {}
            None => self.left_out.push((key.to_owned(), kind(value))),
        }
    }

    /// The keys of its numbers that are none.
    pub fn nan(&self) -> impl Iterator<Item = &str> {
        let all = self.train.iter().chain(self.val.iter());
        all.filter(|(_, value)| value.is_nan()).map(|(key, _)| key)
    }
}

/// Whether a field of a row is a metric, as far as its name says. A `time` may be one as well: how long something took.
fn is_own(key: &str, value: &Value) -> bool {
    let is_time = TIMES.contains(&key) && time(value).is_some();
    !NOT_METRICS.contains(&key) && !is_time
}

/// When a row was written, in nanoseconds since 1970, if it says so.
pub(super) fn written(line: &[u8]) -> Option<u64> {
    let said = time_of(&object(line).ok()?)?;
    u64::try_from(said.as_nanos()).ok()
}

fn time_of(row: &Map<String, Value>) -> Option<Duration> {
    TIMES.into_iter().find_map(|name| time(row.get(name)?))
}

/// A time in seconds since 1970. Milliseconds, and seconds since something else, are no such time.
fn time(value: &Value) -> Option<Duration> {
    const FROM_2001_TO_2286: Range<f64> = 1e9..1e10;
    let seconds = value
        .as_f64()
        .filter(|said| FROM_2001_TO_2286.contains(said))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn object(line: &[u8]) -> Result<Map<String, Value>, Skip> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
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
    fn the_file_logger_of_verl_has_its_numbers_in_data() {
        let row = br#"{"step": 3, "data": {"actor/loss": 0.5, "val/acc": 1, "name": "x"}}"#;
        let parsed = parse(row).unwrap();
        assert_eq!(entries(&parsed.train), [("actor/loss", 0.5)]);
        assert_eq!(entries(&parsed.val), [("val/acc", 1.0)]);
        assert_eq!(parsed.left_out, [("name".to_owned(), "a text")]);
        // A flat row may have an object of that name.
        let flat = parse(br#"{"step": 3, "loss": 1, "data": {"rows": 2}}"#).unwrap();
        assert_eq!(entries(&flat.train), [("loss", 1.0)]);
        assert_eq!(flat.left_out, [("data".to_owned(), "an object")]);
    }

    #[test]
    fn prime_rl_and_tinker_cookbook_write_flat_rows() {
        // FileMonitor.log_metrics, with the time of writing; TrainingRunStore.write_metrics, without.
        let prime = br#"{"step": 3, "time": 1763700000.5, "train/agg/effective/agent/reward/mean": 0.5, "time/step": 18.25}"#;
        let row = parse(prime).unwrap();
        assert_eq!((row.step, row.time), (3, 1_763_700_000.5));
        let expected = [
            ("time/step", 18.25),
            ("train/agg/effective/agent/reward/mean", 0.5),
        ];
        assert_eq!(entries(&row.train), expected);
        let tinker = br#"{"step": 0, "progress/batch": 0, "optim/lr": 4e-05, "env/all/reward/total": 0.5, "done": false}"#;
        let row = parse(tinker).unwrap();
        assert_eq!(row.train.get("env/all/reward/total"), Some(0.5));
        assert_eq!((row.step, row.time, row.train.len()), (0, 0.0, 4));
    }

    #[test]
    fn a_time_since_1970_is_the_rows_and_how_long_something_took_is_a_metric() {
        let row = parse(br#"{"step": 3, "time": 1763700000.5, "loss": 1}"#).unwrap();
        assert_eq!(entries(&row.train), [("loss", 1.0)]);
        assert_eq!(row.time, 1_763_700_000.5);
        let row = parse(br#"{"step": 3, "time": 18.25, "loss": 1}"#).unwrap();
        assert_eq!(entries(&row.train), [("loss", 1.0), ("time", 18.25)]);
    }

    #[test]
    fn what_is_no_number_is_named_with_what_it_is_and_null_is_nothing() {
        let row =
            br#"{"step": 1, "loss": NaN, "note": "x", "ids": [1], "more": {"a": 1}, "gone": null}"#;
        let parsed = parse(row).unwrap();
        assert_eq!(parsed.nan().collect::<Vec<_>>(), ["loss"]);
        let named = [
            ("ids", "an array"),
            ("more", "an object"),
            ("note", "a text"),
        ];
        assert_eq!(
            parsed.left_out,
            named.map(|(key, what)| (key.to_owned(), what))
        );
        let beside = parse(br#"{"step": 1, "other": 9, "metrics": {"loss": 1}}"#).unwrap();
        assert_eq!(
            beside.left_out,
            [("other".to_owned(), "beside the metrics")]
        );
    }

    #[test]
    fn a_row_says_when_it_was_written_in_seconds_since_1970_or_not_at_all() {
        let cases: [(&[u8], Option<u64>); 12] = [
            (b"{\"time\": 1763700000.5}", Some(1_763_700_000_500_000_000)),
            (b"{\"time\": 3.5}", None),
            (
                b"{\"ts\": \"noon\", \"time\": 1763700000}",
                Some(1_763_700_000_000_000_000),
            ),
            (b"{\"ts\": 1763700000.25}", Some(1_763_700_000_250_000_000)),
            (
                b"{\"timestamp\": 1763700000, \"a\": NaN}\n",
                Some(1_763_700_000_000_000_000),
            ),
            (b"{\"ts\": 1763700000250}", None),
            (b"{\"ts\": 12.5}", None),
            (b"{\"ts\": -1763700000}", None),
            (b"{\"ts\": \"2026-11-21T10:00:00Z\"}", None),
            (
                b"\xef\xbb\xbf{\"ts\": 1763700000}",
                Some(1_763_700_000_000_000_000),
            ),
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
