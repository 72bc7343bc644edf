//! Rows that clients log.

use serde::Serialize;

use super::args::Args;
use super::refusal::Refusal;
use crate::row::{Metrics, Row};
use crate::store::Split;

/// Numbers of one step, with what the client hears once they are stored.
#[derive(Debug)]
pub(super) struct Logged {
    pub run_id: String,
    pub row: Row,
    pub split: Split,
    pub acknowledgement: Vec<u8>,
}

/// One number, as answers have it.
#[derive(Serialize)]
pub(super) struct Number<'a> {
    pub run_id: &'a str,
    pub step: u64,
    pub name: &'a str,
    #[serde(serialize_with = "number")]
    pub value: f64,
    pub split: Split,
}

/// A number; what is infinite is a word, as JSON has none.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it over")]
fn number<S: serde::Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    match word(*value) {
        Some(word) => to.serialize_str(word),
        None => to.serialize_f64(*value),
    }
}

pub(super) fn word(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// What `log_metrics` and `log_metric` say. `timestamp` is when the step ended, in seconds since 1970; without one, it is now.
pub(super) fn logged(op: &'static str, mut args: Args) -> Result<Logged, Refusal> {
    let run_id = args.needed_text("run_id")?;
    let step = args.needed_count("step")?;
    let split = args.split("split")?.unwrap_or_default();
    let timestamp = timestamp(&mut args)?;
    let is_one = op == "log_metric";
    let metrics = if is_one {
        let name = args.needed_name("name")?;
        let value = args.number("value")?;
        value.map(|value| (name, value)).into_iter().collect()
    } else {
        args.metrics("metrics")?
    };
    args.none_left(match op {
        "log_metric" => &["run_id", "step", "name", "value", "split", "timestamp"],
        _ => &["run_id", "step", "metrics", "split", "timestamp"],
    })?;
    let acknowledgement = acknowledgement(&run_id, step, &metrics, split, is_one);
    let row = Row {
        step,
        timestamp,
        metrics,
        ..Row::default()
    };
    Ok(Logged {
        run_id,
        row,
        split,
        acknowledgement,
    })
}

/// Seconds since 1970, 0 where nobody says; up to the year 10000.
fn timestamp(args: &mut Args) -> Result<f64, Refusal> {
    let timestamp = args.number("timestamp")?.unwrap_or_default();
    if (0.0..=253_402_300_799.0).contains(&timestamp) {
        return Ok(timestamp);
    }
    let found = timestamp.to_string();
    Err(args.wrong("timestamp", "seconds since 1970", found))
}

/// The numbers as records; of one number, that one.
fn acknowledgement(
    run_id: &str,
    step: u64,
    metrics: &Metrics,
    split: Split,
    is_one: bool,
) -> Vec<u8> {
    let numbers = metrics.iter().filter(|(_, value)| !value.is_nan());
    let numbers: Vec<Number<'_>> = numbers
        .map(|(name, value)| Number {
            run_id,
            step,
            name,
            value,
            split,
        })
        .collect();
    let one = numbers.first().filter(|_| is_one);
    let said = match (is_one, one) {
        (false, _) => serde_json::to_vec(&Told { result: &numbers }),
        (true, one) => serde_json::to_vec(&Told { result: one }),
    };
    said.unwrap_or_default()
}

/// What every answer is wrapped in.
#[derive(Serialize)]
pub(super) struct Told<T> {
    pub result: T,
}
