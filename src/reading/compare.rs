//! Several runs beside each other: how each key ended, how good it has been, and what was configured differently.

use std::collections::BTreeMap;

use serde_json::Value;

use super::digest::digest;
use super::run::{Name, Series};
use super::select::Selected;
use crate::dialect::glance::Better;
use crate::stat::{Change, average, student};
use crate::store::{OURS, RECORDING};

/// A key in each of the runs.
#[derive(Debug)]
pub struct Compared {
    /// The key.
    pub name: Name,
    /// Which way it gets better, where that is known.
    pub better: Option<Better>,
    /// In the order of the runs; none for a run that does not have it.
    pub runs: Vec<Option<Outcome>>,
}

/// What has become of a key in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The last number.
    pub last: f64,
    /// The least finite one; NaN where there is none.
    pub min: f64,
    /// The greatest finite one; NaN where there is none.
    pub max: f64,
    /// The best, and its step, where it is known what is better.
    pub best: Option<(u64, f64)>,
    /// The last less that of the first run; none where that has none.
    pub difference: Option<f64>,
    /// How far apart it and the first run are at the steps that both have; none for the first, and for fewer than 10 such steps.
    pub apart: Option<Apart>,
}

/// A key's numbers less those of the first run, step by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// Steps at which both have a finite number.
    pub steps: usize,
    /// Mean of the differences.
    pub mean: f64,
    /// 95 % for it, if the differences hang together as an AR(1) series does.
    pub interval: (f64, f64),
}

impl Compared {
    /// Whether it says one number again and again, the same in all runs.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let first = self.runs.first().copied().flatten();
        let is_first = |outcome: &Option<Outcome>| {
            let ends = outcome.map(|outcome| (outcome.min, outcome.max));
            ends.is_some() && ends == first.map(|first| (first.last, first.last))
        };
        self.runs.iter().all(is_first)
    }
}

/// Holds the series of the runs beside each other.
#[must_use]
pub fn compare(selected: &Selected, runs: &[Vec<Series>]) -> Vec<Compared> {
    let compared = |name: &Name| {
        let better = selected.better(&name.key);
        let found: Vec<Option<&Series>> = runs
            .iter()
            .map(|series| series.iter().find(|series| series.name == *name))
            .collect();
        let first = found.first().copied().flatten();
        let base = first.and_then(|series| Some(series.points.last()?.1));
        let outcome = |nth: usize, series: &Series| {
            let [last, _, min, max] = digest(&series.values());
            Outcome {
                last,
                min,
                max,
                best: better.and_then(|better| best(series, better)),
                difference: base.map(|base| last - base),
                apart: first
                    .filter(|_| nth > 0)
                    .and_then(|first| apart(first, series)),
            }
        };
        Compared {
            name: name.clone(),
            better,
            runs: found
                .into_iter()
                .enumerate()
                .map(|(nth, series)| series.map(|series| outcome(nth, series)))
                .collect(),
        }
    };
    selected.names().map(compared).collect()
}

/// Step by step, as both runs are of the same steps: what both have in common there, such as how far a schedule is, falls out.
fn apart(first: &Series, other: &Series) -> Option<Apart> {
    let theirs: BTreeMap<u64, f64> = first.points.iter().copied().collect();
    let differences = other.points.iter().filter_map(|(step, value)| {
        let difference = value - theirs.get(step)?;
        difference.is_finite().then_some(difference)
    });
    let differences: Vec<f64> = differences.collect();
    let Change { size, error } = average(&differences)?;
    let half = student(differences.len() as u64 - 1)? * error;
    Some(Apart {
        steps: differences.len(),
        mean: size,
        interval: (size - half, size + half),
    })
}

/// The first of the best.
fn best(series: &Series, better: Better) -> Option<(u64, f64)> {
    let is_better = |value: f64, than: f64| match better {
        Better::Higher => value > than,
        Better::Lower => value < than,
    };
    let mut finite = series.points.iter().filter(|(_, value)| value.is_finite());
    let first = *finite.next()?;
    Some(finite.fold(first, |best, point| {
        if is_better(point.1, best.1) {
            *point
        } else {
            best
        }
    }))
}

/// The configurations' differences: each place whose value is not the same in all of them, as `optimizer.lr`. What a replay knows its
/// recording by nobody configured.
#[must_use]
pub fn differences(configs: &[Value]) -> Vec<(String, Vec<Option<Value>>)> {
    let flat: Vec<BTreeMap<String, Value>> = configs
        .iter()
        .map(|config| {
            let mut places = BTreeMap::new();
            flatten("", config, &mut places);
            places
        })
        .collect();
    let mut places: Vec<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    places.sort();
    places.dedup();
    let known_by = format!("{OURS}.{RECORDING}.");
    places
        .into_iter()
        .filter(|place| !place.starts_with(&known_by))
        .map(|place| {
            let values = flat.iter().map(|config| config.get(place).cloned());
            (place.clone(), values.collect::<Vec<_>>())
        })
        .filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

fn flatten(place: &str, value: &Value, places: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let dot = if place.is_empty() { "" } else { "." };
                flatten(&format!("{place}{dot}{name}"), value, places);
            }
        }
        Value::Null if place.is_empty() => {}
        value => {
            places.insert(place.to_owned(), value.clone());
        }
    }
}
