//! The binding: what the Python package `grpo_metrics` has of the crate. It checks and borrows what Python hands in, lets go
//! of the GIL and lets the crate work.

mod batch;
mod calls;
mod column;
mod command;
mod ending;
mod engine;
mod error;
mod forward;
mod gateway;
mod gather;
mod given_store;
mod interruption;
mod json;
mod log;
mod opening;
mod options;
mod outputs;
mod queue;
mod reading;
mod row;
mod running;
mod samples;
mod shard;
mod sink;
mod step;
mod stopping;
mod store;
mod summarize;
mod termination;
mod threads;

use std::collections::BTreeMap;

use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::unknown_name;
use grpo_metrics::row::Metrics;
use grpo_metrics::row::filter::Mode;
use grpo_metrics::row::rename::{self, Dashboard};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet};

use crate::interruption::Noted;

/// Panics, to show what Python sees of a panic.
#[pyfunction]
fn _panic(reason: String) -> PyResult<()> {
    error::guarded(|| panic!("{reason}"))
}

/// `name` is none of `known`: says so, and which of them it may have been meant for. `what` is what they are names of.
#[pyfunction]
fn _unknown_name(what: &str, name: &str, known: Vec<String>) -> String {
    unknown_name(what, name, known.iter().map(String::as_str))
}

/// The names of a trainer's own dictionary as METRICS.md's "Prefix normalisation" has them; `split` is train or eval.
#[pyfunction]
#[pyo3(signature = (metrics, split="train"))]
fn normalised<'py>(
    py: Python<'py>,
    metrics: BTreeMap<String, f64>,
    split: &str,
) -> PyResult<Bound<'py, PyDict>> {
    error::guarded(|| {
        let split = match split {
            "train" => Dashboard::Train,
            "eval" => Dashboard::Eval,
            _ => {
                return Err(error::option(format!(
                    "`split`: expected train or eval, found `{split}`"
                )));
            }
        };
        sink::numbers(
            py,
            &rename::normalised(&metrics.into_iter().collect(), split),
        )
    })
}

/// A row of the dialect `maxent` without what the environment's mode does not keep; texts stay. The same row where that is nothing.
#[pyfunction]
fn _kept<'py>(row: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    error::guarded(|| {
        let set = |name: &str| std::env::var(name).ok().filter(|word| !word.is_empty());
        let mode = Mode::resolve(None, set).map_err(error::option)?;
        if mode == Mode::Full {
            return Ok(row.clone());
        }
        let mut metrics = Metrics::with_capacity(row.len());
        for (key, value) in row {
            if let Ok(value) = value.extract::<f64>().noted() {
                metrics.push(key.extract::<String>()?, value);
            }
        }
        let numbers = metrics.clone();
        mode.apply(&mut metrics);
        let kept = row.copy()?;
        for (key, _) in numbers.iter().filter(|(key, _)| !metrics.contains(key)) {
            kept.del_item(key)?;
        }
        Ok(kept)
    })
}

/// Adds a row's finite numbers to sums and counts by key, but those of the keys in `last`; texts stay out.
#[pyfunction]
fn _accumulate(
    sums: &Bound<'_, PyDict>,
    counts: &Bound<'_, PyDict>,
    row: &Bound<'_, PyDict>,
    last: &Bound<'_, PyFrozenSet>,
) -> PyResult<()> {
    error::guarded(|| {
        for (key, value) in row {
            let number = value.extract::<f64>().noted().ok();
            let Some(number) = number.filter(|number| number.is_finite()) else {
                continue;
            };
            match sums.get_item(&key)? {
                Some(sum) => {
                    let count = counts.get_item(&key)?;
                    let count = count.map_or(Ok(0), |count| count.extract::<u64>())?;
                    counts.set_item(&key, count + 1)?;
                    sums.set_item(&key, sum.extract::<f64>()? + number)?;
                }
                None if last.contains(&key)? => {}
                None => {
                    counts.set_item(&key, 1)?;
                    sums.set_item(&key, number)?;
                }
            }
        }
        Ok(())
    })
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    threads::remember_process();
    let py = module.py();
    let finish_open = wrap_pyfunction!(calls::_finish_open, module)?;
    py.import("atexit")?
        .call_method1("register", (finish_open,))?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<shard::Shard>()?;
    module.add_class::<store::Sqlite3>()?;
    module.add_class::<queue::CallQueue>()?;
    module.add_class::<gateway::Gateway>()?;
    module.add_class::<stopping::Stopping>()?;
    module.add_function(wrap_pyfunction!(summarize::summarize, module)?)?;
    module.add_function(wrap_pyfunction!(forward::_forward, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_runs, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_run, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_names, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_in_order, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_courses, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_glance, module)?)?;
    module.add_function(wrap_pyfunction!(reading::_compare, module)?)?;
    module.add_function(wrap_pyfunction!(calls::_cancel_open, module)?)?;
    module.add_function(wrap_pyfunction!(calls::_is_any_open, module)?)?;
    module.add_function(wrap_pyfunction!(calls::_postponed, module)?)?;
    module.add_function(wrap_pyfunction!(normalised, module)?)?;
    module.add_function(wrap_pyfunction!(command::_command, module)?)?;
    module.add_function(wrap_pyfunction!(_kept, module)?)?;
    module.add_function(wrap_pyfunction!(_unknown_name, module)?)?;
    module.add_function(wrap_pyfunction!(_accumulate, module)?)?;
    module.add_function(wrap_pyfunction!(column::_address, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)?;
    module.add("GrpoMetricsError", py.get_type::<error::GrpoMetricsError>())?;
    module.add("ColumnError", py.get_type::<error::ColumnError>())?;
    module.add("OptionError", py.get_type::<error::OptionError>())?;
    module.add("StepError", py.get_type::<error::StepError>())?;
    module.add("WireError", py.get_type::<error::WireError>())?;
    module.add("SinkError", py.get_type::<error::SinkError>())?;
    module.add("StoreError", py.get_type::<error::StoreError>())?;
    module.add("RefusedError", py.get_type::<error::RefusedError>())?;
    let dialects: Vec<&str> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    module.add("DIALECTS", dialects)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
