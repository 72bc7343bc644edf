//! Several runs beside each other: how each key ended, how good it has been, and what was configured differently.

use std::collections::BTreeMap;

use serde_json::Value;

use super::digest::digest;
use super::run::{Name, Series};
use super::select::Selected;
use crate::dialect::glance::Better;
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
        let base = found.first().copied().flatten();
        let base = base.and_then(|series| Some(series.points.last()?.1));
        let outcome = |series: &Series| {
            let [last, _, min, max] = digest(&series.values());
            Outcome {
                last,
                min,
                max,
                best: better.and_then(|better| best(series, better)),
                difference: base.map(|base| last - base),
            }
        };
        Compared {
            name: name.clone(),
            better,
            runs: found
                .into_iter()
                .map(|series| series.map(outcome))
                .collect(),
        }
    };
    selected.names().map(compared).collect()
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
