//! `Shard`: the mergeable state of a step.

use std::sync::{Mutex, PoisonError};

use grpo_metrics::batch::scalars::Weighting;
use grpo_metrics::dialect::Dialect;
use grpo_metrics::row::filter::Mode;
use grpo_metrics::shard::{DetailError, KlPenalty, Shard as CoreShard, Success, Thresholds};
use grpo_metrics::summary::Summary;
use grpo_metrics::wire;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::batch::with_batch;
use crate::error::{self, guarded};
use crate::options;
use crate::options::word::{self, meaning};
use crate::sink::numbers;
use crate::step::Step;
use crate::threads::within_pool;

/// What some of a step's records know, to be joined with what others do.
#[pyclass(module = "grpo_metrics", frozen)]
pub struct Shard(Mutex<CoreShard>);

impl Shard {
    fn with<T>(&self, work: impl FnOnce(&mut CoreShard) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<CoreShard> for Shard {
    fn from(shard: CoreShard) -> Self {
        Self(Mutex::new(shard))
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
    /// What one record knows. Its tokens are counted against `clip_range`, else that of its own snapshot, else 0.2 either side.
    /// `dialect` and `extended` say whose numbers `row` shall have; the others are those of an engine, and count for those.
    #[staticmethod]
    #[pyo3(signature = (*, step=None, dialect="maxent", extended=false, clip_range=None, is_ratio_cap=None, success=None, kl_penalty=None, kl_penalty_kind="k1", **columns))]
    #[allow(clippy::too_many_arguments)] // one a keyword
    fn of(
        py: Python<'_>,
        step: Option<Step>,
        dialect: &str,
        extended: bool,
        clip_range: Option<(f64, f64)>,
        is_ratio_cap: Option<f64>,
        success: Option<(Option<String>, f64)>,
        kl_penalty: Option<f64>,
        kl_penalty_kind: &str,
        columns: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        guarded(|| {
            let dialect: Dialect = dialect.parse().map_err(error::option)?;
            let kind = meaning("kl_penalty_kind", kl_penalty_kind, word::KL_KINDS)?;
            let given = clip_range
                .map(|(low, high)| options::clip_range(low, high))
                .transpose()?;
            let success = success.map(|(component, threshold)| Success {
                component,
                threshold,
            });
            with_batch(py, columns, |batch| {
                let own = batch
                    .columns()
                    .weighting
                    .as_ref()
                    .map(Weighting::clip_range);
                let thresholds = Thresholds {
                    clip_range: given.or(own).unwrap_or_default(),
                    ratio_cap: is_ratio_cap,
                    detail: dialect.detail(extended),
                    kl_penalty: kl_penalty.map(|coefficient| KlPenalty { coefficient, kind }),
                    success: success.unwrap_or_default(),
                };
                let place = batch.place().unwrap_or_default();
                let mut shard = within_pool(|| CoreShard::counted(&batch, place, &thresholds))?;
                if let Some(step) = step {
                    shard.assign(step.0).map_err(error::step)?;
                }
                Ok(shard.into())
            })
        })
    }

    /// Joins what `other` knows; `other` stays as it is.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        guarded(|| {
            py.detach(|| {
                let other = other.with(|shard| shard.clone());
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
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        guarded(|| {
            let shard = py.detach(|| wire::read(data));
            shard.map(Self::from).map_err(error::wire)
        })
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = slf.get().to_bytes(slf.py())?;
        Ok((slf.getattr("from_bytes")?, (bytes,)))
    }

    /// The numbers of what it knows so far, under a dialect's names, the extended metrics where they were counted; `step`
    /// where it has not been given one. What the dialect names must have been counted.
    #[pyo3(signature = (*, dialect="maxent", mode="full", step=None))]
    fn row<'py>(
        &self,
        py: Python<'py>,
        dialect: &str,
        mode: &str,
        step: Option<Step>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let dialect: Dialect = dialect.parse().map_err(error::option)?;
            let mode: Mode = mode.parse().map_err(error::option)?;
            let row = py.detach(|| {
                let mut shard = self.with(|shard| shard.clone());
                shard
                    .check_detail(dialect.detail(false))
                    .map_err(|e| uncounted(dialect, &e))?;
                within_pool(move || {
                    let step = step.map(|step| step.0).or(shard.step()).unwrap_or_default();
                    let thresholds = shard.thresholds().unwrap_or_default();
                    shard.close(step).map_err(error::step)?;
                    let mut summary = Summary::from(&shard);
                    summary.context.penalised = thresholds.kl_penalty.is_some();
                    summary.step = step;
                    let mut row = dialect.row(&summary);
                    mode.apply(&mut row);
                    Ok::<_, PyErr>(row)
                })
            })??;
            numbers(py, &row)
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
