//! `Shard`: the mergeable state of a step.

use std::sync::{Mutex, PoisonError};

use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::{EngineError, OptionGroup, unknown_name};
use grpo_metrics::shard::{DetailError, Shard as CoreShard};
use grpo_metrics::wire;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyDictMethods, PyString, PyType};

use crate::batch::{self, with_batch};
use crate::error::{self, guarded};
use crate::options;
use crate::row;
use crate::step::Step;
use crate::threads::within_pool;

/// What some of a step's records know, to be joined with what others do.
#[pyclass(module = "grpo_metrics._core", frozen, subclass)]
pub struct Shard(Mutex<CoreShard>);

impl Shard {
    fn with<T>(&self, work: impl FnOnce(&mut CoreShard) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it knows now.
    pub fn copied(&self) -> CoreShard {
        self.with(|shard| shard.clone())
    }

    /// A shard of the class that was asked for it.
    fn of_class<'py>(class: &Bound<'py, PyType>, shard: CoreShard) -> PyResult<Bound<'py, Self>> {
        let made = class.call0()?.cast_into::<Self>()?;
        made.get().with(|nothing| *nothing = shard);
        Ok(made)
    }
}

/// The dialect cannot be had of the shard, with the way to one of which it can.
fn uncounted(dialect: Dialect, source: &DetailError) -> PyErr {
    error::option(format!(
        "`dialect`: {source}: count it with `Shard.of(dialect=\"{dialect}\", ...)`"
    ))
}

#[pymethods]
impl Shard {
    /// One that knows nothing yet.
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// What one record knows, counted as an engine with these options counts it: against `clip_range`, else the range of the
    /// record's own snapshot, else 0.2 either side. `dialect` and `extended` say whose numbers `row` shall have. Of a `replica`, which
    /// has a copy of another rank's record, nothing, so that the record is not counted twice.
    #[classmethod]
    #[pyo3(signature = (*, step=None, replica=None, **columns))]
    fn of<'py>(
        class: &Bound<'py, PyType>,
        step: Option<Step>,
        replica: Option<bool>,
        columns: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        guarded(|| {
            let py = class.py();
            let told = || options::names(&[OptionGroup::Counting]).chain(["dialect"]);
            for (name, _) in columns.into_iter().flatten() {
                let name: String = name.extract()?;
                let known = || batch::names().chain(told());
                if !known().any(|known| known == name) {
                    let unknown = unknown_name("column or option", &name, known());
                    return Err(error::column(unknown));
                }
            }
            let columns = columns.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
            let mut given = Vec::new();
            for name in told() {
                if let Some(value) = columns.get_item(name)? {
                    columns.del_item(name)?;
                    given.push((PyString::new(py, name).into_any(), value));
                }
            }
            let told = options::engine_options(given.into_iter())?;
            told.check().map_err(error::option)?;
            let shard = with_batch(py, Some(&columns), |batch| {
                let place = batch.place().unwrap_or_default();
                let count = || told.count(&batch, place, told.clip_range);
                let mut shard = if replica == Some(true) {
                    CoreShard::default()
                } else {
                    within_pool(count)?
                };
                if let Some(step) = step {
                    shard.assign(step.0).map_err(error::step)?;
                }
                Ok(shard)
            })?;
            Self::of_class(class, shard)
        })
    }

    /// Joins what `other` knows; `other` stays as it is.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        guarded(|| {
            py.detach(|| {
                let other = other.copied();
                self.with(|shard| shard.merge(other)).map_err(error::step)
            })
        })
    }

    /// What it knows as bytes, with magic, version, length and checksum.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            let bytes = py.detach(|| self.with(|shard| wire::write(shard)));
            Ok(PyBytes::new(py, &bytes.map_err(error::wire)?))
        })
    }

    /// What `to_bytes` wrote, read with nothing taken on trust.
    #[classmethod]
    fn from_bytes<'py>(class: &Bound<'py, PyType>, data: &[u8]) -> PyResult<Bound<'py, Self>> {
        guarded(|| {
            let shard = class.py().detach(|| wire::read(data));
            Self::of_class(class, shard.map_err(error::wire)?)
        })
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = slf.get().to_bytes(slf.py())?;
        Ok((slf.getattr("from_bytes")?, (bytes,)))
    }

    /// The row of what it knows so far, as an engine with these options gives it that has seen nothing before; the extended metrics
    /// where they were counted. `step` is for a shard that has not been given one. What the dialect names must have been counted.
    #[pyo3(signature = (*, step=None, **options))]
    fn row<'py>(
        &self,
        py: Python<'py>,
        step: Option<Step>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let known = || options::names(&[OptionGroup::Rows]);
            options::refuse_counting(options)?;
            options::check_names(options, known)?;
            let told = options::engine_options(options.into_iter().flatten())?;
            let row = py.detach(|| {
                let shard = self.copied();
                shard
                    .check_detail(told.dialect.detail(false))
                    .map_err(|e| uncounted(told.dialect, &e))?;
                within_pool(move || {
                    let row = told.row(shard, step.map(|step| step.0));
                    row.map_err(|failed| match failed {
                        EngineError::Option(failed) => error::option(failed),
                        failed => error::step(failed),
                    })
                })
            })??;
            row::of(py, &row)
        })
    }

    /// The step it was given, if it was.
    #[getter]
    fn step(&self) -> Option<u64> {
        self.with(|shard| shard.step())
    }

    /// The ranks whose records it knows, ascending.
    #[getter]
    fn ranks(&self) -> Vec<u32> {
        self.with(|shard| shard.ranks())
    }

    /// How many completions it has seen.
    #[getter]
    fn completions(&self) -> u64 {
        self.with(|shard| shard.completions())
    }
}
