//! `summarize`: the row of one step without an engine of one's own.

use grpo_metrics::batch::scalars::{ClipRange, Weighting};
use grpo_metrics::engine::unknown_name;
use grpo_metrics::row::run::Ending;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::batch::with_batch;
use crate::column::Read;
use crate::error::{self, guarded};
use crate::interruption::Noted;
use crate::options::Options;
use crate::row;
use crate::step::Step;
use crate::threads::within_pool;

/// The row of one step: its records as RECORDING.md has them, with the columns in `batch`, of all ranks and micro-batches.
#[pyfunction]
#[pyo3(signature = (records, **options))]
pub fn summarize<'py>(
    py: Python<'py>,
    records: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    guarded(|| {
        let mut engine = Options::of(options)?.open()?.engine()?;
        let one = records.cast::<PyDict>().is_ok();
        let records: Vec<_> = if one {
            vec![Heading::of(records)?]
        } else {
            let items = records.try_iter().noted();
            let items = items.map_err(|_| {
                error::column("expected a record or several: dictionaries with `step` and `batch`")
            })?;
            items
                .map(|record| Heading::of(&record?))
                .collect::<PyResult<_>>()?
        };
        let step = the_step(&records)?;
        if let Some(range) = clip_range(&records)? {
            engine.expect_clip_range(range);
        }
        for record in &records {
            let engine = &mut engine;
            with_batch(py, Some(&record.columns), |batch| {
                within_pool(|| engine.observe(&batch).map_err(error::step))?
            })?;
        }
        let row = py.detach(|| {
            within_pool(|| {
                let row = engine.step(step).map_err(error::step)?;
                let (left_over, _) = engine.finish_as(&Ending::completed());
                Ok::<_, PyErr>(row.or(left_over).map(|row| row.metrics))
            })
        })??;
        row::of(py, &row.unwrap_or_default())
    })
}

/// A record's columns, and what stands beside them.
struct Heading<'py> {
    step: u64,
    rank: u32,
    micro: u32,
    columns: Bound<'py, PyDict>,
}

impl<'py> Heading<'py> {
    fn of(record: &Bound<'py, PyAny>) -> PyResult<Self> {
        let expected = |_: PyErr| {
            error::column("expected records that are dictionaries with `step` and `batch`")
        };
        let record = record.cast::<PyDict>().map_err(|e| expected(e.into()))?;
        let mut head = Self {
            step: 0,
            rank: 0,
            micro: 0,
            columns: PyDict::new(record.py()),
        };
        if let Some(batch) = record.get_item("batch")? {
            head.columns = batch
                .cast::<PyDict>()
                .map_err(|e| expected(e.into()))?
                .copy()?;
        }
        for (name, value) in record {
            let name: String = name.extract()?;
            match name.as_str() {
                "step" => head.step = value.extract::<Step>()?.0,
                "rank" => head.rank = Read::read(&name, &value)?,
                "micro" => head.micro = Read::read(&name, &value)?,
                "scalars" | "weighting" => head.columns.set_item(&name, value)?,
                "batch" | "world_size" => {}
                _ => {
                    let known = [
                        "step",
                        "rank",
                        "world_size",
                        "micro",
                        "batch",
                        "scalars",
                        "weighting",
                    ];
                    return Err(error::column(unknown_name(
                        "field of a record",
                        &name,
                        known,
                    )));
                }
            }
        }
        head.columns.set_item("rank", head.rank)?;
        head.columns.set_item("micro", head.micro)?;
        Ok(head)
    }

    fn weighting(&self) -> PyResult<Option<Weighting>> {
        let given = self.columns.get_item("weighting")?;
        let given = given.filter(|given| !given.is_none());
        given
            .map(|given| Read::read("weighting", &given))
            .transpose()
    }
}

fn the_step(records: &[Heading<'_>]) -> PyResult<u64> {
    let first = records.first().map_or(0, |record| record.step);
    match records.iter().find(|record| record.step != first) {
        Some(other) => Err(error::step(format!(
            "expected the records of one step, found steps {first} and {}: use an Engine",
            other.step
        ))),
        None => Ok(first),
    }
}

/// The range of the step's snapshot, if it has one: that of the lowest reporting rank's last micro-batch.
fn clip_range(records: &[Heading<'_>]) -> PyResult<Option<ClipRange>> {
    let mut ruling: Option<(u32, u32, ClipRange)> = None;
    for record in records {
        let Some(weighting) = record.weighting()? else {
            continue;
        };
        let rules = ruling.is_none_or(|(rank, micro, _)| {
            record.rank < rank || (record.rank == rank && record.micro > micro)
        });
        if rules {
            ruling = Some((record.rank, record.micro, weighting.clip_range()));
        }
    }
    Ok(ruling.map(|(_, _, range)| range))
}
