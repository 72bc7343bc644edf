//! Runs beside each other, as `show RUN RUN...` has them: what each key came to, and what was configured differently.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::Value;

use super::Query;
use super::error::ReadError;
use super::held::{Kept, Numbers};
use super::names::{labelled, names};
use super::opened::Opened;
use crate::reading::{
    Better, Keys, Name, Outcome, Selected, Series, compare as compared, differences, select,
};
use crate::store::{OURS, RECORDING, Run, Sqlite, Store, Stored};

/// How many runs are compared at most, how many of their keys, and how many of their settings.
const RUNS: usize = 64;
const KEYS: usize = 5000;
const SETTINGS: usize = 1000;

/// How many bytes of points are held beside each other at once.
const BYTES: usize = 16 << 20;

/// What is answered to `compare`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    runs: Vec<Party>,
    keys: Vec<Key>,
    /// Keys and settings beyond those that are told of.
    left_out: usize,
    differences: Vec<Vec<Value>>,
}

#[derive(Debug, Serialize)]
struct Party {
    id: String,
    label: String,
    /// The same for runs that differ by their seeds alone.
    kind: String,
}

#[derive(Debug, Serialize)]
struct Key {
    #[serde(rename = "key")]
    label: String,
    first: bool,
    better: Option<&'static str>,
    runs: Vec<Option<Came>>,
}

/// What a key came to. What is not finite is null.
#[derive(Clone, Copy, Debug, Serialize)]
struct Came {
    last: f64,
    best: Option<Best>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Best {
    value: f64,
    step: u64,
}

/// A run as it is compared.
struct Beside {
    id: String,
    record: Option<Stored<Run>>,
    names: Vec<Name>,
}

pub(super) fn compare(opened: &Opened, held: &Kept, query: &Query) -> Result<Answer, ReadError> {
    let asked: Vec<&str> = query.all("run").collect();
    if asked.is_empty() || asked.len() > RUNS {
        return Err(ReadError::Query {
            name: "run",
            expected: format!("1 to {RUNS} names or ids of runs"),
            found: (!asked.is_empty()).then(|| asked.len().to_string()),
        });
    }
    opened.read(|store, file| {
        let beside = |run: &&str| {
            let id = opened.find(store, run)?;
            Ok(Beside {
                record: store.get_run(&id).ok(),
                names: names(store, &id)?,
                id,
            })
        };
        let runs: Vec<Beside> = asked.iter().map(beside).collect::<Result<_, ReadError>>()?;
        let all: BTreeSet<&Name> = runs.iter().flat_map(|run| &run.names).collect();
        let selected = Keys::of("", &[])
            .and_then(|keys| select(all.into_iter().cloned().collect(), &keys, true));
        let selected = selected.map_err(|error| ReadError::Unread(error.to_string()))?;
        let labelled = labelled(selected.names().cloned().collect());
        let left_out = labelled.len().saturating_sub(KEYS);
        let told = labelled.get(..KEYS.min(labelled.len())).unwrap_or_default();
        let mut keys: Vec<Key> = told
            .iter()
            .map(|(label, name)| Key::of(label, name, &selected))
            .collect();
        // Run by run, so that each is read once.
        for run in &runs {
            let came = came(store, held, file, run, &selected)?;
            for (key, (_, name)) in keys.iter_mut().zip(told) {
                key.runs.push(came.get(name).copied());
            }
        }
        let (settings, more) = settings(&runs);
        Ok(Answer {
            runs: runs.iter().map(party).collect(),
            keys,
            left_out: left_out + more,
            differences: settings,
        })
    })
}

/// What each of the run's keys came to.
fn came(
    store: &Sqlite,
    held: &Kept,
    file: u64,
    run: &Beside,
    selected: &Selected,
) -> Result<BTreeMap<Name, Came>, ReadError> {
    let names = run
        .names
        .get(..KEYS.min(run.names.len()))
        .unwrap_or_default();
    // All of it is read in one pass.
    held.digests(store, file, &run.id, names)?;
    let steps = held.numbers(store, file, &run.id, &[])?.steps.len();
    let mut found = BTreeMap::new();
    for part in names.chunks((BYTES / (16 * steps.max(1))).max(1)) {
        let series = points(part, &held.numbers(store, file, &run.id, part)?);
        for mut one in compared(selected, &[series]) {
            if let Some(outcome) = one.runs.pop().flatten() {
                found.insert(one.name, Came::of(&outcome));
            }
        }
    }
    Ok(found)
}

fn points(names: &[Name], numbers: &Numbers) -> Vec<Series> {
    let series = |(name, column): (&Name, &Option<std::sync::Arc<Vec<f64>>>)| {
        let points = numbers
            .steps
            .iter()
            .copied()
            .zip(column.as_ref()?.iter().copied());
        let points: Vec<(u64, f64)> = points.filter(|(_, value)| !value.is_nan()).collect();
        let name = name.clone();
        (!points.is_empty()).then_some(Series { name, points })
    };
    names
        .iter()
        .zip(&numbers.columns)
        .filter_map(series)
        .collect()
}

impl Key {
    fn of(label: &str, name: &Name, selected: &Selected) -> Self {
        Self {
            label: label.to_owned(),
            first: selected.first.contains(name),
            better: selected.better(&name.key).map(Better::name),
            runs: Vec::new(),
        }
    }
}

impl Came {
    fn of(outcome: &Outcome) -> Self {
        Self {
            last: outcome.last,
            best: outcome.best.map(|(step, value)| Best { value, step }),
        }
    }
}

/// What was configured differently: each place with its value in each run.
fn settings(runs: &[Beside]) -> (Vec<Vec<Value>>, usize) {
    let config = |run: &Beside| {
        run.record
            .as_ref()
            .map_or(Value::Null, |record| record.run_config.clone())
    };
    let configs: Vec<Value> = runs.iter().map(config).collect();
    let mut found = differences(&configs);
    let more = found.len().saturating_sub(SETTINGS);
    found.truncate(SETTINGS);
    let line = |(place, values): (String, Vec<Option<Value>>)| {
        let values = values.into_iter().map(Option::unwrap_or_default);
        [Value::from(place)].into_iter().chain(values).collect()
    };
    (found.into_iter().map(line).collect(), more)
}

fn party(run: &Beside) -> Party {
    let name = run.record.as_ref().and_then(|record| record.name.clone());
    Party {
        label: match name {
            Some(name) if name != run.id => format!("{name} ({})", run.id),
            _ => run.id.clone(),
        },
        kind: kind(run),
        id: run.id.clone(),
    }
}

/// What the run's kind is known by: its experiment, its group and its configuration but for seeds. One of which none of this is known is
/// of its own kind.
fn kind(run: &Beside) -> String {
    let Some(record) = &run.record else {
        return run.id.clone();
    };
    let config = without_seeds(&record.run_config);
    if config.is_null() && record.group_id.is_none() && record.seed.is_none() {
        return run.id.clone();
    }
    let mut hash = DefaultHasher::new();
    (&record.experiment_id, &record.group_id, config.to_string()).hash(&mut hash);
    format!("{:016x}", hash.finish())
}

/// A configuration without its seeds, and without what a replay knows its recording by.
fn without_seeds(config: &Value) -> Value {
    let Value::Object(fields) = config else {
        return config.clone();
    };
    let is_seed = |name: &str| {
        name.split(['_', '-', '.'])
            .any(|word| word.eq_ignore_ascii_case("seed"))
    };
    let kept = fields.iter().filter(|(name, _)| !is_seed(name));
    kept.map(|(name, value)| {
        let mut value = without_seeds(value);
        if name == OURS
            && let Some(ours) = value.as_object_mut()
        {
            ours.remove(RECORDING);
        }
        (name.clone(), value)
    })
    .collect::<serde_json::Map<_, _>>()
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn runs_that_differ_by_their_seeds_are_of_one_kind() {
        let run = |id: &str, config: Value, seed| Beside {
            id: id.to_owned(),
            names: Vec::new(),
            record: Some(Stored {
                id: id.to_owned(),
                created_at: None,
                record: Run {
                    run_config: config,
                    seed,
                    ..Run::default()
                },
            }),
        };
        let config = |seed: u64, lr: f64| json!({"lr": lr, "data": {"shuffle_seed": seed}, "seed": seed, "grpo_metrics": {"recording": {"print": seed}}});
        let a = kind(&run("a", config(0, 0.1), None));
        assert_eq!(a, kind(&run("b", config(1, 0.1), None)));
        assert_ne!(a, kind(&run("c", config(0, 0.2), None)));
        assert_ne!(
            kind(&run("d", Value::Null, None)),
            kind(&run("e", Value::Null, None))
        );
        assert_eq!(
            kind(&run("d", Value::Null, Some(1))),
            kind(&run("e", Value::Null, Some(2)))
        );
    }
}
