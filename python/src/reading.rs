//! Runs of the embedded store, read: what stands behind `grpo_metrics.open`.

use std::path::PathBuf;

use grpo_metrics::reading::{
    Better, Compared, Keys, Name, Outcome, Selected, Series, Which, compare, differences, digest,
    find, run_json, select,
};
use grpo_metrics::store::{Split, Sqlite, Store as _};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;

use crate::error::{self, guarded};
use crate::store::Sqlite3;

/// The time of a row that has none, as `NumPy` writes it.
const NOT_A_TIME: i64 = i64::MIN;

/// The runs that are meant, the newest first, as a JSON list.
#[pyfunction]
pub fn _runs(
    py: Python<'_>,
    store: &Sqlite3,
    status: Vec<String>,
    tag: Vec<String>,
    since: Option<&str>,
    experiment: Option<String>,
) -> PyResult<String> {
    guarded(|| {
        let words: Vec<&str> = Which::statuses().collect();
        if let Some(word) = status.iter().find(|word| !words.contains(&word.as_str())) {
            let words = words.join(", ");
            return Err(error::option(format!(
                "`status`: expected {words}, found `{word}`"
            )));
        }
        let since = since.map(str::parse).transpose();
        let since = since.map_err(|error| error::option(format!("`since`: {error}")))?;
        let which = Which {
            status,
            tag,
            since,
            experiment,
        };
        py.detach(|| {
            let runs = store.store()?.overview().map_err(error::store)?;
            let runs: Vec<Value> = which.of(runs).iter().map(run_json).collect();
            Ok(Value::from(runs).to_string())
        })
    })
}

/// What is known of one run, by its id or name, as a JSON object.
#[pyfunction]
pub fn _run(py: Python<'_>, store: &Sqlite3, path: PathBuf, run: &str) -> PyResult<String> {
    guarded(|| {
        py.detach(|| {
            let store = store.store()?;
            let id = find(&store, &path, run).map_err(error::store)?;
            let found = store.overview_of(&id).map_err(error::store)?;
            let found =
                found.ok_or_else(|| error::store(format!("run `{id}` has just been removed")))?;
            Ok(run_json(&found).to_string())
        })
    })
}

/// The keys of a run that are meant, each with its split, in the order in which they are looked at.
#[pyfunction]
pub fn _names(
    py: Python<'_>,
    store: &Sqlite3,
    run: &str,
    keys: Vec<String>,
) -> PyResult<Vec<(String, &'static str)>> {
    guarded(|| {
        py.detach(|| {
            let found = selected(&*store.store()?, run, &patterns(&keys)?, true)?;
            let names = found.names();
            Ok(names.map(|n| (n.key.clone(), n.split.as_str())).collect())
        })
    })
}

/// The keys of a row in the order in which they are looked at, and how many of them stand first.
#[pyfunction]
pub fn _in_order(keys: Vec<String>) -> PyResult<(Vec<String>, usize)> {
    guarded(|| {
        let names = keys.into_iter().map(|key| Name {
            key,
            split: Split::Train,
        });
        let selected = select(names.collect(), &patterns(&[])?, true).map_err(error::option)?;
        let first = selected.first.len();
        Ok((
            selected.names().map(|name| name.key.clone()).collect(),
            first,
        ))
    })
}

fn patterns(globs: &[String]) -> PyResult<Keys> {
    Keys::of("", globs).map_err(error::option)
}

/// The names of a run that are meant, in order.
fn selected(store: &Sqlite, run: &str, keys: &Keys, all: bool) -> PyResult<Selected> {
    let names = store.names(run).map_err(error::store)?.into_iter();
    let names = names.map(|(split, key)| Name { key, split });
    let selected = select(names.collect(), keys, all).map_err(error::option)?;
    for glob in &selected.idle {
        tracing::warn!("{glob}: no key matches");
    }
    Ok(selected)
}

/// The steps of a run, their times in milliseconds since 1970, and for each key that is meant its name, its split and its numbers,
/// NaN where there is none. Steps at which none of them has a number are left out where keys are asked for.
#[pyfunction]
pub fn _courses<'py>(
    py: Python<'py>,
    store: &Sqlite3,
    run: &str,
    keys: Vec<String>,
    split: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    guarded(|| {
        let split: Option<Split> = split.map(str::parse).transpose().map_err(error::option)?;
        let (mut read, order) = py.detach(|| {
            let store = store.store()?;
            let order = selected(&store, run, &patterns(&keys)?, true)?;
            let order: Vec<Name> = order
                .names()
                .filter(|name| split.is_none_or(|split| name.split == split))
                .cloned()
                .collect();
            let is_meant =
                |split, key: &str| order.iter().any(|n| n.split == split && n.key == key);
            let mut read = store.courses(run, is_meant).map_err(error::store)?;
            if !keys.is_empty() || split.is_some() {
                keep_known(&mut read);
            }
            Ok::<_, PyErr>((read, order))
        })?;
        let dict = PyDict::new(py);
        let steps = read.steps.iter();
        let steps = steps.map(|step| i64::try_from(*step).unwrap_or(i64::MAX));
        dict.set_item("step", PyArray1::from_iter(py, steps))?;
        let times = read.times.iter().map(|time| time.unwrap_or(NOT_A_TIME));
        dict.set_item("time", PyArray1::from_iter(py, times))?;
        let courses = PyList::empty(py);
        for name in &order {
            let found = read
                .courses
                .iter_mut()
                .find(|course| course.split == name.split && course.name == name.key);
            if let Some(course) = found {
                let values = PyArray1::from_vec(py, std::mem::take(&mut course.values));
                courses.append((&name.key, name.split.as_str(), values))?;
            }
        }
        dict.set_item("courses", courses)?;
        Ok(dict)
    })
}

/// Leaves out the steps at which no course has a number.
fn keep_known(read: &mut grpo_metrics::store::Courses) {
    let known: Vec<bool> = (0..read.steps.len())
        .map(|at| {
            read.courses
                .iter()
                .any(|course| !course.values[at].is_nan())
        })
        .collect();
    if known.iter().all(|known| *known) {
        return;
    }
    kept(&mut read.steps, &known);
    kept(&mut read.times, &known);
    for course in &mut read.courses {
        kept(&mut course.values, &known);
    }
}

fn kept<T>(column: &mut Vec<T>, known: &[bool]) {
    let mut at = known.iter();
    column.retain(|_| at.next().copied().unwrap_or_default());
}

/// The series of these names, those of the run that have any number.
fn series(store: &Sqlite, run: &str, names: &Selected) -> PyResult<Vec<Series>> {
    let names: Vec<&Name> = names.names().collect();
    let is_meant = |split, key: &str| names.iter().any(|n| n.split == split && n.key == key);
    let read = store.courses(run, is_meant).map_err(error::store)?;
    let series = |name: &&Name| {
        let is_it = |course: &&grpo_metrics::store::Course| {
            course.split == name.split && course.name == name.key
        };
        let values = &read.courses.iter().find(is_it)?.values;
        let points = read.steps.iter().copied().zip(values.iter().copied());
        let points: Vec<(u64, f64)> = points.filter(|(_, value)| !value.is_nan()).collect();
        (!points.is_empty()).then(|| Series {
            name: (*name).clone(),
            points,
        })
    };
    Ok(names.iter().filter_map(series).collect())
}

/// What is looked at first of a run (with `all`, or where keys are asked for, more): of each key what it is called, its last number,
/// mean, min and max, whether it is constant, and its numbers; and how many keys there are besides.
#[pyfunction]
pub fn _glance<'py>(
    py: Python<'py>,
    store: &Sqlite3,
    run: &str,
    keys: Vec<String>,
    all: bool,
) -> PyResult<(Bound<'py, PyList>, usize)> {
    guarded(|| {
        let (found, hidden) = py.detach(|| {
            let store = store.store()?;
            let names = selected(&store, run, &patterns(&keys)?, all)?;
            Ok::<_, PyErr>((series(&store, run, &names)?, names.hidden))
        })?;
        let list = PyList::empty(py);
        for series in found {
            let line = PyDict::new(py);
            let values = series.values();
            line.set_item("key", &series.name.key)?;
            line.set_item("split", series.name.split.as_str())?;
            line.set_item("numbers", digest(&values).to_vec())?;
            line.set_item("constant", series.is_constant())?;
            line.set_item("values", PyArray1::from_vec(py, values))?;
            list.append(line)?;
        }
        Ok((list, hidden))
    })
}

/// Runs beside each other, each a store and an id: what became of each key, and where configurations differ, with their values as
/// JSON; and how many keys there are besides.
#[pyfunction]
pub fn _compare(
    py: Python<'_>,
    runs: Vec<(Py<Sqlite3>, String)>,
    keys: Vec<String>,
    all: bool,
) -> PyResult<Bound<'_, PyDict>> {
    guarded(|| {
        let (compared, configs, hidden) = py.detach(|| {
            // Each store by itself: two runs may be of one, which is taken once at a time.
            let keys = patterns(&keys)?;
            let (mut names, mut configs) = (Vec::new(), Vec::new());
            for (store, run) in &runs {
                let store = store.get().store()?;
                let found = store.names(run).map_err(error::store)?.into_iter();
                names.extend(found.map(|(split, key)| Name { key, split }));
                configs.push(store.get_run(run).map_err(error::store)?.record.run_config);
            }
            let selected = select(names, &keys, all).map_err(error::option)?;
            let of_run = |(store, run): &(Py<Sqlite3>, String)| {
                series(&*store.get().store()?, run, &selected)
            };
            let all: Vec<Vec<Series>> = runs.iter().map(of_run).collect::<PyResult<_>>()?;
            let compared = compare(&selected, &all);
            Ok::<_, PyErr>((compared, differences(&configs), selected.hidden))
        })?;
        let dict = PyDict::new(py);
        let lines = PyList::empty(py);
        for key in &compared {
            lines.append(line(py, key)?)?;
        }
        dict.set_item("keys", lines)?;
        let places = PyList::empty(py);
        for (place, values) in configs {
            let values: Vec<Option<String>> = values
                .into_iter()
                .map(|value| value.map(|value| value.to_string()))
                .collect();
            places.append((place, values))?;
        }
        dict.set_item("configs", places)?;
        dict.set_item("hidden", hidden)?;
        Ok(dict)
    })
}

fn line<'py>(py: Python<'py>, key: &Compared) -> PyResult<Bound<'py, PyDict>> {
    let line = PyDict::new(py);
    line.set_item("key", &key.name.key)?;
    line.set_item("split", key.name.split.as_str())?;
    line.set_item("better", key.better.map(Better::name))?;
    line.set_item("constant", key.is_constant())?;
    let runs = PyList::empty(py);
    for outcome in &key.runs {
        let Some(Outcome {
            last,
            min,
            max,
            best,
            difference,
            apart,
        }) = *outcome
        else {
            runs.append(py.None())?;
            continue;
        };
        let told = PyDict::new(py);
        told.set_item("last", last)?;
        told.set_item("min", min)?;
        told.set_item("max", max)?;
        told.set_item("best", best.map(|(_, value)| value))?;
        told.set_item("best_step", best.map(|(step, _)| step))?;
        told.set_item("difference", difference)?;
        told.set_item("common_steps", apart.map(|apart| apart.steps))?;
        told.set_item("mean_difference", apart.map(|apart| apart.mean))?;
        told.set_item(
            "mean_difference_interval",
            apart.map(|apart| apart.interval),
        )?;
        runs.append(told)?;
    }
    line.set_item("runs", runs)?;
    Ok(line)
}
