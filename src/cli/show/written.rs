//! What is shown as CSV and as JSON, for programs: every number in full.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::reading::{Better, Compared, Outcome, ReadRun, Series, digest};
use crate::sink::{Number, json, number, one_line};

/// A run's series as a table.
///
/// # Errors
/// If `out` refuses.
pub fn metrics_csv(series: &[Series], out: &mut dyn Write) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    let header = [
        "key",
        "split",
        "rows",
        "first_step",
        "last_step",
        "last",
        "mean",
        "min",
        "max",
    ];
    table.write_record(header)?;
    for series in series {
        let ends = [series.points.first(), series.points.last()];
        let [first, last] = ends.map(|end| end.map_or_else(String::new, |end| end.0.to_string()));
        let start = [
            one_line(&series.name.key),
            series.name.split.to_string(),
            series.points.len().to_string(),
            first,
            last,
        ];
        let numbers = digest(&series.values()).map(number);
        table.write_record(start.iter().chain(&numbers))?;
    }
    table.flush()
}

/// A run as an object.
///
/// # Errors
/// If `out` refuses.
pub fn metrics_json(run: &ReadRun<'_>, series: &[Series], out: &mut dyn Write) -> io::Result<()> {
    let metric = |series: &Series| {
        let [last, mean, min, max] = digest(&series.values()).map(number_json);
        json!({
            "key": series.name.key, "split": series.name.split, "rows": series.points.len(),
            "first_step": series.points.first().map(|point| point.0),
            "last_step": series.points.last().map(|point| point.0),
            "last": last, "mean": mean, "min": min, "max": max,
        })
    };
    let mut object = run_json(run);
    object["metrics"] = series.iter().map(metric).collect();
    write_json(&object, out)
}

/// Runs beside each other as a table: a line for each key and run.
///
/// # Errors
/// If `out` refuses.
pub fn compared_csv(
    runs: &[ReadRun<'_>],
    compared: &[Compared],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    let header = [
        "key",
        "split",
        "better",
        "run",
        "last",
        "best",
        "best_step",
        "min",
        "max",
        "difference",
        "common_steps",
        "mean_difference",
        "mean_difference_low",
        "mean_difference_high",
    ];
    table.write_record(header)?;
    for key in compared {
        for (run, outcome) in runs.iter().zip(&key.runs) {
            let Some(outcome) = outcome else { continue };
            let or_empty = |value: Option<f64>| value.map_or_else(String::new, number);
            table.write_record([
                one_line(&key.name.key),
                key.name.split.to_string(),
                key.better.map_or("", Better::name).to_owned(),
                one_line(&run.id),
                number(outcome.last),
                or_empty(outcome.best.map(|best| best.1)),
                outcome
                    .best
                    .map_or_else(String::new, |best| best.0.to_string()),
                or_empty(Some(outcome.min).filter(|min| !min.is_nan())),
                or_empty(Some(outcome.max).filter(|max| !max.is_nan())),
                or_empty(outcome.difference),
                outcome
                    .apart
                    .map_or_else(String::new, |apart| apart.steps.to_string()),
                or_empty(outcome.apart.map(|apart| apart.mean)),
                or_empty(outcome.apart.map(|apart| apart.interval.0)),
                or_empty(outcome.apart.map(|apart| apart.interval.1)),
            ])?;
        }
    }
    table.flush()
}

/// Runs beside each other as an object.
///
/// # Errors
/// If `out` refuses.
pub fn compared_json(
    runs: &[ReadRun<'_>],
    compared: &[Compared],
    configs: &[(String, Vec<Option<Value>>)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let outcome = |outcome: &Option<Outcome>| {
        outcome.as_ref().map(|outcome| {
            json!({
                "last": number_json(outcome.last), "min": number_json(outcome.min), "max": number_json(outcome.max),
                "best": outcome.best.map(|best| number_json(best.1)), "best_step": outcome.best.map(|best| best.0),
                "difference": outcome.difference.map(number_json),
                "common_steps": outcome.apart.map(|apart| apart.steps),
                "mean_difference": outcome.apart.map(|apart| number_json(apart.mean)),
                "mean_difference_low": outcome.apart.map(|apart| number_json(apart.interval.0)),
                "mean_difference_high": outcome.apart.map(|apart| number_json(apart.interval.1)),
            })
        })
    };
    let metric = |key: &Compared| {
        json!({
            "key": key.name.key, "split": key.name.split, "better": key.better.map(Better::name),
            "runs": key.runs.iter().map(outcome).collect::<Vec<_>>(),
        })
    };
    let difference =
        |(place, values): &(String, Vec<Option<Value>>)| json!({"name": place, "values": values});
    let object = json!({
        "runs": runs.iter().map(run_json).collect::<Vec<_>>(),
        "metrics": compared.iter().map(metric).collect::<Vec<_>>(),
        "configuration": configs.iter().map(difference).collect::<Vec<_>>(),
    });
    write_json(&object, out)
}

fn run_json(run: &ReadRun<'_>) -> Value {
    json!({
        "run": run.id, "status": run.standing.as_ref().map(ToString::to_string), "rows": run.steps.len(),
        "first_step": run.steps.first(), "last_step": run.steps.last(),
    })
}

/// Null where there is none.
fn number_json(value: f64) -> Value {
    if value.is_nan() {
        return Value::Null;
    }
    serde_json::to_value(Number(value)).unwrap_or_default()
}

fn write_json(object: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", json(&format!("{object:#}")))
}
