//! The façade that a training loop calls, and the only file that names every room: it walks each step down the corridor.

mod builder;
mod error;
mod intake;
mod once;
mod options;
mod order;
mod reader;
mod row;

use std::collections::BTreeMap;
use std::process;
use std::time::Instant;

use crate::batch::scalars::ClipRange;
use crate::gather::{Gather, Part};
use crate::row::Row;
use crate::row::cadence::Cadence;
use crate::row::run::Ending;
use crate::row::table::Table;
use crate::row::window::{MeanWindow, Windowing};
use crate::shard::{Retain, Shard};
use crate::sink::{Fanout, Receipt, Sink, SinkError};
use crate::stat::{Census, Statistic};

pub use error::EngineError;
use error::check_range;
use once::{Nonfinite, Once};
pub(crate) use options::no_component;
pub use options::{
    EngineBuilder, EngineOptions, Given, OPTIONS, OnFailure, OptionError, OptionGroup, OptionInfo,
    OptionKind, OptionValue, Scope, unknown_name,
};
use reader::Reader;

/// Computes a row of metrics every so many optimizer steps and hands it to its sinks.
///
/// ```
/// use grpo_metrics::batch::{Batch, Columns};
/// use grpo_metrics::engine::Engine;
/// use grpo_metrics::batch::group::Grouping;
///
/// let mut engine = Engine::builder().build()?;
/// let batch = Batch::of(Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]))?;
/// engine.observe(&batch)?;
/// let row = engine.step(1)?.expect("a row every step by default");
/// assert_eq!(row.metrics.get("train/reward"), Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    cadence: Cadence,
    sinks: Fanout,
    gather: Box<dyn Gather>,
    /// Whether what comes in here is a copy of what another rank has, and so is not counted.
    replica: bool,
    /// The process that made the engine: a forked child is no rank of its own.
    process: u32,
    /// What has been observed of the step that is not over.
    pending: Shard,
    next_micro: u32,
    /// The clip range of the last snapshot seen here.
    known_range: Option<ClipRange>,
    /// The clip range of this step, where the caller has said it.
    expected_range: Option<ClipRange>,
    /// Why this rank has no part in this step.
    failure: Option<String>,
    /// The ranks whose shards were to be joined here and are not there, each with the reason.
    missing: BTreeMap<u32, String>,
    /// What the next row must say of ranks that were gone on without.
    lost: Vec<(String, String)>,
    reader: Reader,
    averaged: MeanWindow,
    pooled: Shard,
    last_step: Option<LastStep>,
    /// The step that was ended here last: on any rank.
    ended: Option<u64>,
    rows: u64,
    /// The last step that the run had when it was resumed, if it was.
    resumed_after: Option<u64>,
    /// Whether what came in was kept as sketches.
    sketched: bool,
    /// Whether one of them was computed here.
    emitted: bool,
    /// How many steps have come since the last row.
    steps: u64,
    census: BTreeMap<String, Census>,
    once: Once,
    nonfinite: Nonfinite,
    sink_error: Option<SinkError>,
}

/// What a root that is a replica says of a row without completions.
const NOBODY: &str = "this rank is a replica, which nothing is counted of, and no rank that is none has handed in a completion: is every rank said to be one?";

/// What a row that goes out later must know of its last step.
#[derive(Clone, Debug)]
struct LastStep {
    step: u64,
    tau: Option<f64>,
    beta: Option<f64>,
}

impl Engine {
    /// An engine with the defaults of docs/OPTIONS.md, to be changed.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    fn of(builder: EngineBuilder, reader: Reader) -> Self {
        // Rows are the root's, and so are the sinks: what another rank was given is let go of unused.
        let sinks = if builder.gather.rank() == 0 {
            builder.sinks
        } else {
            Fanout::default()
        };
        Self {
            resumed_after: sinks.resumed_after(),
            cadence: builder.options.cadence(),
            options: builder.options,
            sinks,
            replica: builder.replica || builder.gather.is_replica(),
            gather: builder.gather,
            process: process::id(),
            pending: Shard::default(),
            next_micro: 0,
            known_range: None,
            expected_range: None,
            failure: None,
            missing: BTreeMap::new(),
            lost: Vec::new(),
            reader,
            averaged: MeanWindow::default(),
            pooled: Shard::default(),
            last_step: None,
            ended: None,
            rows: 0,
            sketched: false,
            emitted: false,
            steps: 0,
            census: BTreeMap::new(),
            once: Once::default(),
            nonfinite: Nonfinite::default(),
            sink_error: None,
        }
    }

    /// Ends an optimizer step: the row, if one goes out at this step. The sinks have it by then.
    ///
    /// Where there are several ranks this is the one collective of the step: every rank calls it, whatever it holds; the
    /// row is at the root, the others have `None`.
    ///
    /// A sink that fails does not fail the step: its error is kept ([`Engine::sink_error`]) and counted in its receipt.
    ///
    /// # Errors
    /// If the step is not behind the last one ([`Engine::rewind`]), or its parts do not belong together; at the root also if a rank has failed or was not heard and the
    /// [`OnFailure`] is to fail, and on another rank if its part could not be handed on.
    pub fn step(&mut self, step: u64) -> Result<Option<Row>, EngineError> {
        self.step_told(step, None)
    }

    /// As [`Engine::step`], for a trainer that decides itself when it logs: whether a row goes out at this step, over the
    /// steps since the last one. `None` leaves it to the cadence.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn step_told(
        &mut self,
        step: u64,
        goes_out: Option<bool>,
    ) -> Result<Option<Row>, EngineError> {
        let out_of_order = self.out_of_order(step);
        if let Some(error) = &out_of_order {
            // Other ranks are on their way into the gather, and must not wait there.
            self.fail(error.to_string());
        }
        let gathered = self.gathered(step);
        if let Some(error) = out_of_order {
            return Err(error);
        }
        let gathered = gathered?;
        self.ended = Some(step);
        let Some(mut shard) = gathered else {
            return Ok(None);
        };
        self.sketched |= shard.retain() == Some(Retain::Sketch);
        if self.replica && shard.completions() == 0 {
            self.once.say(NOBODY.to_owned());
        }
        let counted = shard.thresholds();
        shard.close(step)?;
        let summary = self.reader.read(&shard, step);
        check_range(&summary, counted)?;
        let epoch = summary.epoch;
        self.last_step = Some(LastStep {
            step,
            tau: summary.weighting.as_ref().and_then(|w| w.tau),
            beta: summary.weighting.as_ref().and_then(|w| w.beta),
        });
        for (family, census) in &summary.census {
            self.census.entry(family.clone()).or_default().merge(census);
        }
        self.nonfinite.tell(step, &summary.census);
        self.look_for_success();
        match self.options.window {
            Windowing::Mean => {
                let metrics = self.named(summary);
                self.averaged.push(metrics);
            }
            Windowing::Pooled => self.pooled.merge(shard)?,
        }
        self.steps += 1;
        let due = self.cadence.take(step, epoch);
        if goes_out.unwrap_or(due) {
            // Who says when rows go out does not say how long a window is.
            let whole = goes_out.is_none() && self.cadence.is_whole(self.steps);
            let cut = !self.emitted && !whole;
            return Ok(Some(self.emit(step, cut)));
        }
        Ok(None)
    }

    /// Whether steps are gathered from other ranks.
    fn gathers(&self) -> bool {
        self.options.scope == Scope::Global && self.gather.world_size() > 1
    }

    /// What the step's completions come to, of all ranks that the row is over; `None` where the row is not.
    fn gathered(&mut self, step: u64) -> Result<Option<Shard>, EngineError> {
        let mut own = std::mem::take(&mut self.pending);
        self.next_micro = 0;
        self.expected_range = None;
        let rank = self.gather.rank();
        let mut refused = None;
        let mut part = if let Some(reason) = self.failure.take() {
            Part::failed(rank, reason)
        } else if let Err(error) = own.assign(step) {
            // Other ranks are on their way into the gather, and must not wait there.
            let part = Part::failed(rank, error.to_string());
            refused = Some(error);
            part
        } else {
            Part::of(own)
        };
        part.failures.append(&mut self.missing);
        if self.gathers() {
            if self.process != process::id() {
                return Err(EngineError::Inherited {
                    step,
                    owner: self.process,
                });
            }
            let mut outgoing = |answers| {
                std::mem::take(&mut part)
                    .join(answers)
                    .write_or_say_why(rank)
            };
            let gathered = self.gather.gather(&mut outgoing);
            match gathered.map_err(|source| EngineError::Gather { step, source })? {
                Some(answers) => part = part.join(answers),
                None => return refused.map_or(Ok(None), |error| Err(error.into())),
            }
        } else if let Some(error) = refused {
            return Err(error.into());
        } else if rank != 0 {
            return Ok(None);
        }
        if let Some(conflict) = part.conflict {
            return Err(conflict.into());
        }
        if self.options.policy == OnFailure::Fail && !part.failures.is_empty() {
            let failures = part.failures;
            return Err(EngineError::Ranks { step, failures });
        }
        let failures = part.failures.into_iter();
        self.lost
            .extend(failures.map(|(rank, why)| (format!("failed/step {step}/rank {rank}"), why)));
        Ok(Some(part.shard))
    }

    /// Ends the run as completed: the steps left over go out as a last row, the sinks are closed. One receipt a sink.
    #[must_use]
    pub fn finish(self) -> Vec<Receipt> {
        self.finish_as(&Ending::completed()).1
    }

    /// As [`Engine::finish`], for a run that ended otherwise, or a caller that wants the last row too.
    ///
    /// Rows are the root's, and so are the sinks and the run: any other rank has no receipts, and ends no run.
    #[must_use]
    pub fn finish_as(self, ending: &Ending) -> (Option<Row>, Vec<Receipt>) {
        self.finish_by(ending, None)
    }

    /// As [`Engine::finish_as`], of a process that has little time left: what waits for its delivery is waited for until `deadline` at
    /// most, where there is one. What is in a journal then stays there.
    #[must_use]
    pub fn finish_by(
        mut self,
        ending: &Ending,
        deadline: Option<Instant>,
    ) -> (Option<Row>, Vec<Receipt>) {
        let row = self.emit_left_over();
        self.nonfinite.tell_totals(&self.census);
        if let Err(error) = self.sinks.ended(ending) {
            tracing::warn!(%error, "a sink could not note how the run ended");
        }
        (row, self.sinks.close_each_by(deadline))
    }

    fn emit_left_over(&mut self) -> Option<Row> {
        let step = self.last_step.as_ref()?.step;
        let left_over = !self.averaged.is_empty() || !self.pooled.is_empty();
        (self.options.emit_partial && left_over).then(|| self.emit(step, true))
    }

    /// Hands a table of samples to the sinks that show tables (see `samples`); a sink's error is kept, as in [`Engine::step`].
    pub fn show(&mut self, table: &Table) {
        if let Err(error) = self.sinks.show(table) {
            tracing::warn!(step = table.step, %error, "a sink could not show the samples");
            self.sink_error = Some(error);
        }
    }

    /// What every family of every step has seen so far, by name.
    #[must_use]
    pub fn census(&self) -> &BTreeMap<String, Census> {
        &self.census
    }

    /// The last error of a sink, if there was one since this was last asked.
    pub fn sink_error(&mut self) -> Option<SinkError> {
        self.sink_error.take()
    }
}
