//! One run: what is known of it, its plots, what its keys mean and what they came to, and where its flags were up.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use super::Query;
use super::asked::{self, Axis};
use super::axis::Counted;
use super::error::ReadError;
use super::flags::{Flag, flag_of, reason, stretches};
use super::held::Kept;
use super::names::{labelled, names};
use super::opened::Opened;
use super::runs::{Overview, overview, with_record};
use super::sections::{Section, sections};
use crate::dialect::Dialect;
use crate::reading::Name;
use crate::store::{OURS, Sqlite};
use crate::summary::Retain;

/// How many keys of a run are told of.
const KEYS: usize = 5000;

/// How long a configuration may be, as JSON.
const CONFIG: usize = 1 << 20;

/// What is answered to `run`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    overview: Overview,
    config: Value,
    sections: Vec<Section>,
    keys: BTreeMap<String, Key>,
    /// How many keys there are beyond those that are told of.
    left_out: usize,
    axes: Vec<&'static str>,
    flags: Vec<Flag<BTreeMap<&'static str, f64>>>,
}

/// What a key means, and what it came to. What is not finite is null.
#[derive(Debug, Serialize)]
struct Key {
    unit: Option<&'static str>,
    reduction: Option<&'static str>,
    meaning: Option<String>,
    last: f64,
    mean: f64,
    min: f64,
    max: f64,
}

pub(super) fn run(opened: &Opened, held: &Kept, query: &Query) -> Result<Answer, ReadError> {
    let asked = asked::run(query)?;
    opened.read(|store, file| {
        let id = opened.find(store, asked)?;
        let Some(known) = store.progress(Some(&id))?.pop() else {
            return Err(ReadError::Unread(format!("it has no run `{id}` any more")));
        };
        let (known, record) = with_record(store, known);
        let config = record
            .as_ref()
            .map_or(Value::Null, |record| record.run_config.clone());
        let all = names(store, &id)?;
        let overview = overview(
            store,
            held,
            file,
            known,
            record.as_ref(),
            &mut HashMap::new(),
        )?;
        let mut labelled = labelled(all.clone());
        let left_out = labelled.len().saturating_sub(KEYS);
        labelled.truncate(KEYS);
        let dialect = dialect(&config, &all);
        let (axes, flags) = drawn_over(store, held, file, &id, &config, &labelled, dialect)?;
        Ok(Answer {
            overview,
            sections: sections(dialect, &labelled),
            keys: keys(store, held, file, &id, &config, &labelled, dialect)?,
            left_out,
            axes,
            flags,
            config: bounded(config),
        })
    })
}

/// The dialect that the run was written in: as it notes, else that which knows most of its keys.
pub(super) fn dialect(config: &Value, names: &[Name]) -> Dialect {
    let noted = config.pointer(&format!("/{OURS}/options/dialect"));
    let noted = noted.and_then(|word| word.as_str()?.parse().ok());
    noted.unwrap_or_else(|| {
        let keys: Vec<&str> = names.iter().map(|name| name.key.as_str()).collect();
        Dialect::of_keys(&keys)
    })
}

fn keys(
    store: &Sqlite,
    held: &Kept,
    file: u64,
    id: &str,
    config: &Value,
    labelled: &[(String, Name)],
    dialect: Dialect,
) -> Result<BTreeMap<String, Key>, ReadError> {
    let names: Vec<Name> = labelled.iter().map(|(_, name)| name.clone()).collect();
    let digests = held.digests(store, file, id, &names)?;
    let retain = config
        .pointer(&format!("/{OURS}/options/retain"))
        .and_then(Value::as_str);
    let retain = if retain == Some("sketch") {
        Retain::Sketch
    } else {
        Retain::Exact
    };
    let key = |(label, name): &(String, Name)| {
        let line = dialect.line(&name.key);
        let [last, mean, min, max] = digests.get(name).copied().unwrap_or([f64::NAN; 4]);
        let key = Key {
            unit: line.map(|line| line.unit),
            reduction: line.map(|line| line.reduction.label()),
            meaning: line.map(|line| line.meaning_in(retain).into_owned()),
            last,
            mean,
            min,
            max,
        };
        (label.clone(), key)
    };
    Ok(labelled.iter().map(key).collect())
}

/// The axes that are known of the run, and its flags with their places on each.
#[allow(clippy::type_complexity)]
fn drawn_over(
    store: &Sqlite,
    held: &Kept,
    file: u64,
    id: &str,
    config: &Value,
    labelled: &[(String, Name)],
    dialect: Dialect,
) -> Result<(Vec<&'static str>, Vec<Flag<BTreeMap<&'static str, f64>>>), ReadError> {
    let flags: Vec<_> = labelled
        .iter()
        .filter_map(|(label, name)| Some((label, name, flag_of(dialect, &name.key)?)))
        .collect();
    let names: Vec<Name> = labelled.iter().map(|(_, name)| name.clone()).collect();
    let counted: Vec<(Axis, Counted)> = Axis::ALL
        .into_iter()
        .filter_map(|axis| Some((axis, Counted::of(axis, &names, config)?)))
        .collect();
    let mut wanted: Vec<Name> = flags.iter().map(|(_, name, _)| (*name).clone()).collect();
    let mut firsts = Vec::new();
    for (_, counted) in &counted {
        firsts.push(wanted.len());
        wanted.extend(counted.names.iter().cloned());
    }
    let numbers = held.numbers(store, file, id, &wanted)?;
    let places: Vec<(Axis, Vec<f64>)> = counted
        .iter()
        .zip(firsts)
        .map(|((axis, counted), first)| (*axis, counted.places(*axis, &numbers, first)))
        .filter(|(axis, places)| *axis == Axis::Step || places.iter().any(|place| !place.is_nan()))
        .collect();
    let place = |at: usize| -> BTreeMap<&'static str, f64> {
        let known = places
            .iter()
            .filter_map(|(axis, places)| Some((axis.name(), *places.get(at)?)));
        known.collect()
    };
    let flags = flags
        .into_iter()
        .enumerate()
        .filter_map(|(at, (label, _, line))| {
            let values = numbers.columns.get(at)?.as_ref()?;
            let spans: Vec<_> = stretches(values)
                .into_iter()
                .map(|ends| ends.map(place))
                .collect();
            (!spans.is_empty()).then(|| Flag {
                key: label.clone(),
                reason: reason(line, config),
                spans,
            })
        });
    let flags = flags.collect();
    Ok((places.iter().map(|(axis, _)| axis.name()).collect(), flags))
}

/// A configuration as long as it can be shown, else what it is not shown for.
fn bounded(config: Value) -> Value {
    let length = config.to_string().len();
    if length <= CONFIG {
        return config;
    }
    json!(format!(
        "{length} bytes, more than {CONFIG}: it is in the store"
    ))
}
