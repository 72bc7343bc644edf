//! Series as a plot draws them: smoothed first, then decimated.

use std::sync::Arc;

use serde::Serialize;

use super::asked::{Axis, Drawn};
use super::course::{kept, smoothed};
use super::error::ReadError;
use super::held::{Kept, Numbers};
use super::names::{labelled, names};
use super::opened::Opened;
use super::{Query, written};

#[derive(Debug, Serialize)]
struct Answer {
    series: Vec<Line>,
}

/// A series of a run. What is not finite is null.
#[derive(Debug, Serialize)]
struct Line {
    key: String,
    run: String,
    x: Vec<f64>,
    step: Vec<u64>,
    value: Vec<f64>,
    /// What `value` is without being smoothed, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Vec<f64>>,
    /// How many values are infinite, of those between the ends.
    infinite: usize,
}

pub(super) fn series(opened: &Opened, held: &Kept, query: &Query) -> Result<Vec<u8>, ReadError> {
    let asked = Drawn::of(query)?;
    let mut series = Vec::new();
    for run in &asked.runs {
        let (id, labels, numbers) = opened.read(|store, file| {
            let id = opened.find(store, run)?;
            let mut named = labelled(names(store, &id)?);
            named.retain(|(label, _)| asked.keys.contains(&label.as_str()));
            let (labels, names): (Vec<_>, Vec<_>) = named.into_iter().unzip();
            let numbers = held.numbers(store, file, &id, &names)?;
            Ok((id, labels, numbers))
        })?;
        for key in &asked.keys {
            let at = labels.iter().position(|label| label == key);
            let column = at.and_then(|at| numbers.columns.get(at)?.as_ref());
            if let Some(column) = column {
                series.push(line(
                    &asked,
                    (*key).to_owned(),
                    id.clone(),
                    &numbers,
                    column,
                ));
            }
        }
    }
    written(&Answer { series })
}

fn line(
    asked: &Drawn<'_>,
    key: String,
    run: String,
    numbers: &Numbers,
    column: &Arc<Vec<f64>>,
) -> Line {
    let at: Vec<usize> = (0..column.len()).filter(|i| !column[*i].is_nan()).collect();
    let raw: Vec<f64> = at.iter().map(|i| column[*i]).collect();
    let smooth = smoothed(&raw, asked.smooth);
    let x: Vec<f64> = at
        .iter()
        .map(|i| match asked.axis {
            Axis::Time => numbers.times[*i],
            _ => numbers.steps[*i] as f64,
        })
        .collect();
    let within: Vec<usize> = (0..x.len())
        .filter(|i| (asked.from..=asked.to).contains(&x[*i]))
        .collect();
    let of = |values: &[f64]| -> Vec<f64> { within.iter().map(|i| values[*i]).collect() };
    let (x, value, raw) = (of(&x), of(&smooth), of(&raw));
    let steps: Vec<u64> = within.iter().map(|i| numbers.steps[at[*i]]).collect();
    let kept = kept(&x, &value, asked.width.unwrap_or(usize::MAX / 4));
    let take = |values: &[f64]| -> Vec<f64> { kept.iter().map(|i| values[*i]).collect() };
    Line {
        key,
        run,
        infinite: value.iter().filter(|v| v.is_infinite()).count(),
        x: take(&x),
        step: kept.iter().map(|i| steps[*i]).collect(),
        value: take(&value),
        raw: (asked.smooth > 0.0).then(|| take(&raw)),
    }
}
