//! What one call at a time may change of an engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use grpo_metrics::batch::scalars::{Scalars, Weighting};
use grpo_metrics::batch::{Batch, Place};
use grpo_metrics::engine::Engine as CoreEngine;
use grpo_metrics::gather::Part;
use grpo_metrics::recording::{Record, Recorder};
use grpo_metrics::row::run::Ending;
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{Receipt, Recovered};
use grpo_metrics::stat::Census;
use pyo3::prelude::*;

use crate::error::{self, GrpoMetricsError};
use crate::options::Options;
use crate::samples::{Kept, Samples};

/// An engine, until it is finished, and what Python asks it for.
pub struct Running {
    /// `None` once finished.
    engine: Option<CoreEngine>,
    /// This rank and how many there are.
    place: (u32, u32),
    recording: Option<Recording>,
    pub last_row: Option<Metrics>,
    receipts: Vec<Receipt>,
    /// What every family had seen when the engine was taken to be finished.
    census: BTreeMap<String, Census>,
    /// What the journals held when they were opened.
    pub recovered: Vec<(PathBuf, Recovered)>,
    /// The id of the run that rows are stored under, if they are.
    pub run: Option<String>,
    /// The store that has them.
    pub kept: Option<Kept>,
    pub samples: Option<Samples>,
}

/// What was observed of the step that is not over, to be written down when its number is known.
struct Recording {
    recorder: Recorder,
    pending: Vec<Record>,
    /// Whether shards were joined, of which nothing can be written down.
    lacks_joined: bool,
}

impl Running {
    /// An engine with these options, its sinks opened.
    pub fn of(options: &Options<'_, '_>) -> PyResult<Self> {
        // What a replica has, the rank records that it is a copy of.
        let recorder = if options.is_replica()? {
            None
        } else {
            options.recorder()?
        };
        let mut opening = options.open()?;
        Ok(Self {
            recovered: std::mem::take(&mut opening.recovered),
            run: opening.run.take(),
            kept: opening.kept.take(),
            samples: None,
            engine: Some(opening.engine()?),
            place: options.place()?,
            recording: recorder.map(|recorder| Recording {
                recorder,
                pending: Vec::new(),
                lacks_joined: false,
            }),
            last_row: None,
            receipts: Vec::new(),
            census: BTreeMap::new(),
        })
    }

    pub fn engine(&mut self) -> PyResult<&mut CoreEngine> {
        self.engine
            .as_mut()
            .ok_or_else(|| GrpoMetricsError::new_err("the engine has been finished"))
    }

    pub fn observe(&mut self, batch: &Batch<'_>) -> PyResult<()> {
        self.engine()?.observe(batch).map_err(error::step)?;
        if let Some(samples) = &mut self.samples {
            samples.observe(batch);
        }
        let (rank, _) = self.place;
        if let Some(recording) = &mut self.recording {
            let next = || Place {
                rank,
                micro: u32::try_from(recording.pending.len()).unwrap_or(u32::MAX),
            };
            let place = batch.place().unwrap_or_else(next);
            recording.pending.push(Record::of(0, 1, place, batch));
        }
        Ok(())
    }

    /// Takes in what other records have been counted to. Their columns are not here to be written down.
    pub fn join(&mut self, part: Part) -> PyResult<()> {
        self.engine()?.join_part(part).map_err(error::step)?;
        if let Some(recording) = &mut self.recording
            && !std::mem::replace(&mut recording.lacks_joined, true)
        {
            tracing::warn!(
                "shards are joined, and the recording has nothing of them: record where their batches are"
            );
        }
        Ok(())
    }

    /// Says that this rank has no part in the step, where there are others that would not notice.
    pub fn fail(&mut self, reason: &str) {
        if let (Some(engine), true) = (&mut self.engine, self.place.1 > 1) {
            engine.fail(reason);
            if let Some(samples) = &mut self.samples {
                samples.forget();
            }
        }
    }

    pub fn step(
        &mut self,
        step: u64,
        scalars: Scalars,
        weighting: Option<Weighting>,
        goes_out: Option<bool>,
    ) -> PyResult<Option<Metrics>> {
        if let Some(recording) = &mut self.recording {
            let world_size = self.place.1;
            let outcome = recording.write(step, world_size, &scalars, weighting.as_ref());
            if let Err(error) = outcome {
                tracing::warn!(step, error, "the step is not recorded");
            }
        }
        let engine = self.engine()?;
        if !scalars.is_empty() || weighting.is_some() {
            engine.report(scalars, weighting);
        }
        let stepped = engine.step_told(step, goes_out);
        match &mut self.samples {
            Some(samples) if stepped.is_ok() => samples.step(step),
            Some(samples) => samples.forget(),
            None => {}
        }
        let row = stepped.map_err(error::step)?;
        if let Some(row) = &row {
            self.last_row = Some(row.metrics.clone());
        }
        Ok(row.map(|row| row.metrics))
    }

    pub fn rewind(&mut self) -> PyResult<Option<Metrics>> {
        let row = self.engine()?.rewind().map(|row| row.metrics);
        if row.is_some() {
            self.last_row.clone_from(&row);
        }
        Ok(row)
    }

    pub fn log(&mut self, step: u64, metrics: BTreeMap<String, f64>) -> PyResult<()> {
        self.engine()?.log(step, metrics.into_iter().collect());
        Ok(())
    }

    /// Begins to keep samples. A rank that has no rows has no samples either.
    pub fn sample(
        &mut self,
        mut samples: Samples,
        store: Option<bool>,
        file: Option<PathBuf>,
        tables: Vec<Py<PyAny>>,
    ) -> PyResult<()> {
        self.engine()?;
        if self.samples.is_some() {
            return Err(error::option("samples are kept already: call it once"));
        }
        if self.place.0 != 0 {
            return Ok(());
        }
        match (&self.kept, &self.run, store) {
            (Some(kept), Some(run), None | Some(true)) => samples.add_store(kept, run.clone())?,
            (_, _, Some(true)) => {
                return Err(error::option(
                    "`store`: expected an engine with a store, found one without",
                ));
            }
            _ => {}
        }
        if let Some(path) = file {
            samples.add_file(path)?;
        }
        for object in tables {
            samples.add_tables(object)?;
        }
        if samples.go_nowhere() {
            return Err(error::option(
                "samples go nowhere: expected an engine with a store, or `file`, or `to`",
            ));
        }
        self.samples = Some(samples);
        Ok(())
    }

    /// The engine, to be finished: none where it was before.
    pub fn take_engine(&mut self) -> Option<CoreEngine> {
        self.census = self.census();
        self.engine.take()
    }

    /// What every family of columns has seen so far, or had at the end.
    pub fn census(&self) -> BTreeMap<String, Census> {
        let engine = self.engine.as_ref();
        engine.map_or(&self.census, CoreEngine::census).clone()
    }

    /// What became of the rows; nothing before the end.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.receipts.clone()
    }

    /// The run has ended: its last row, if one was left, and what became of the rows.
    pub fn ended(
        &mut self,
        ending: &Ending,
        row: Option<Row>,
        receipts: Vec<Receipt>,
    ) -> Vec<Receipt> {
        if let Some(row) = row {
            self.last_row = Some(row.metrics);
        }
        if !ending.status.is_final() && !receipts.is_empty() {
            tracing::warn!(
                "an engine was not finished: its rows go to its sinks as it goes, and its run stays as it is; call finish(), or open it in a \
                 with block"
            );
        }
        for error in receipts.iter().filter_map(|receipt| receipt.error.as_ref()) {
            tracing::warn!("{error}");
        }
        self.receipts.clone_from(&receipts);
        receipts
    }
}

impl Recording {
    /// Writes the step's records; what the step reported at its end joins the last one.
    fn write(
        &mut self,
        step: u64,
        world_size: u32,
        scalars: &Scalars,
        weighting: Option<&Weighting>,
    ) -> Result<(), String> {
        let mut records = std::mem::take(&mut self.pending);
        if let Some(last) = records.last_mut() {
            for (name, value) in scalars.iter() {
                last.scalars.set(name, value);
            }
            last.weighting = weighting.cloned().or(last.weighting.take());
        }
        let ranks = records.iter().map(|record| record.rank.saturating_add(1));
        let world_size = ranks.max().unwrap_or(1).max(world_size);
        for record in &records {
            let batch = record.batch().map_err(|error| error.to_string())?;
            self.recorder
                .write(step, world_size, &batch)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
