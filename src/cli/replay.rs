//! `replay`: a recorded run through the engine, step by step, into a store or JSON lines.

mod batched;
mod kept;
pub(super) mod lacks;
mod options;
mod output;
mod ranks;
mod report;
mod shards;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::interrupt::{self, Interrupt};
use super::say::{self, complain};
use crate::batch::scalars::Weighting;
use crate::engine::{Engine, EngineError, OptionError, Scope, no_component};
use crate::recording::{Fault, RecordRef, Recording, RecordingError, Step};
use crate::row::run::Ending;
use crate::sink::SinkError;
use crate::store::StoreError;
pub use options::ReplayArgs;
use output::Outputs;
use ranks::Ranks;
use report::Report;
use shards::Shards;

/// Why a replay ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// It names the step and the ranks itself.
    #[error(transparent)]
    Gather(EngineError),
    #[error("{at}: {source}")]
    Engine { at: String, source: EngineError },
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The component that says what a success is; the text has those that there are.
    #[error("{0}")]
    NoComponent(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Ranks(#[from] ranks::RanksError),
    #[error(transparent)]
    Shards(#[from] shards::ShardsError),
    /// An output refused a row; the others have all of them.
    #[error("{to} has {written} of {rows} rows: {error}")]
    Lost {
        to: String,
        written: u64,
        rows: u64,
        error: String,
    },
    /// What is stored is the beginning of what a whole replay would store.
    #[error("stopped by {by} {at}")]
    Interrupted { by: Interrupt, at: String },
}

impl ReplayError {
    /// Whether it is an output that failed, not the input.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Sink(_) | Self::Lost { .. } | Self::Shards(_) => true,
            // The name of a store or run is what was given.
            Self::Store(error) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// Replays the recording: a row for every emitted step, to every output.
///
/// It ends at the first fault of the recording: the rows that went out before it stay, and the run is marked failed. The steps
/// of a window that was not full by then have no row, so that what is stored is what a whole replay would have stored first.
///
/// # Errors
/// If the recording has a fault, or an output fails.
pub fn run(args: &ReplayArgs) -> Result<(), ReplayError> {
    let recording = Recording::open(&args.paths)?;
    let (ranks, engine) = Ranks::of(args)?;
    let outcome = replay(args, &ranks, engine.build()?, &recording);
    if !ranks.is_root() {
        // Every fault that a rank can meet is known at the root as well, which reports it.
        return Ok(());
    }
    if let Err(error) = &outcome
        && ranks.are_elsewhere()
    {
        complain(&format!("error: {error}"));
        ranks.abort(if error.is_output() { 1 } else { 2 });
    }
    outcome
}

fn replay(
    args: &ReplayArgs,
    ranks: &Ranks,
    engine: Engine,
    recording: &Recording,
) -> Result<(), ReplayError> {
    look_for_success(args, recording)?;
    let together = ranks.are_elsewhere();
    if !together {
        interrupt::listen();
    }
    let mut outputs = if ranks.is_root() {
        Outputs::open(args, recording, together)?
    } else {
        Outputs::none()
    };
    if let (Some(whole), None) = (outputs.nothing_to_do(), &args.shards) {
        if !args.quiet {
            complain(&format!(
                "{whole}: nothing to do (--resume never computes them anew, as another run)"
            ));
        }
        return Ok(());
    }
    let mut report = Report::default();
    let walked = walk(args, ranks, engine, recording, &mut outputs, &mut report);
    let nobody_reads = outputs.are_gone();
    let closed = outputs.close(&match &walked {
        Ok(()) => Ending::completed(),
        Err(ReplayError::Interrupted { by, .. }) => Ending::cancelled(by.to_string()),
        Err(error) => Ending::failed(error.to_string()),
    });
    if !args.quiet && !nobody_reads && ranks.is_root() {
        report.destinations = closed.destinations;
        let files = recording.trainers();
        if !files.is_empty() {
            let options = &args.options.options;
            report.lacks = lacks::said(&files, &report.columns, options.dialect, options.extended);
        }
        say::tell(&report.to_string());
    }
    match (walked, closed.outcome) {
        (Err(fault), Err(lost)) => {
            complain(&format!("error: {lost}"));
            Err(fault)
        }
        (walked, closed) => walked.and(closed),
    }
}

/// Step by step to the end, to the first fault, or until no output is left.
fn walk(
    args: &ReplayArgs,
    ranks: &Ranks,
    mut engine: Engine,
    recording: &Recording,
    outputs: &mut Outputs,
    report: &mut Report,
) -> Result<(), ReplayError> {
    let bar = progress_bar(args, recording);
    say::above(&bar);
    let mut shards = args.shards.as_deref().map(Shards::open).transpose()?;
    for step in recording.steps() {
        let Some(records) = records(args, &step)? else {
            continue;
        };
        engine.expect_clip_range(
            ruling_snapshot(args, &step)
                .map(Weighting::clip_range)
                .or(args.options.options.clip_range)
                .unwrap_or_default(),
        );
        let mut own_time = Duration::ZERO;
        for found in ranks.own(records) {
            match observe(&mut engine, recording, found, report, shards.as_mut()) {
                Ok(time) => own_time += time,
                // The others learn of it where they wait for this rank.
                Err(error) if ranks.are_elsewhere() => engine.fail(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        if let Some(shards) = &mut shards {
            shards.write(step.step)?;
        }
        let started = Instant::now();
        let row = engine.step(step.step);
        own_time += started.elapsed();
        report.count_step(step.step, own_time, engine.census());
        let row = match row {
            Ok(row) => row,
            // This rank was too late for the others, who go on.
            Err(error @ EngineError::Gather { .. }) if !ranks.is_root() => {
                complain(&format!("note: {error}"));
                None
            }
            Err(source @ (EngineError::Ranks { .. } | EngineError::Gather { .. })) => {
                return Err(ReplayError::Gather(source));
            }
            Err(source) => {
                return Err(ReplayError::Engine {
                    at: format!("step {}", step.step),
                    source,
                });
            }
        };
        if let Some(row) = row {
            report.rows += 1;
            outputs.write(row);
        }
        bar.inc(1);
        if let Some(by) = interrupt::came() {
            let on = if outputs.have_run() {
                "; the same replay goes on with its run"
            } else {
                ""
            };
            let at = format!("after step {}{on}", step.step);
            return Err(ReplayError::Interrupted { by, at });
        }
        // The other ranks cannot see that nobody reads, and would wait.
        if outputs.are_gone() && !ranks.are_elsewhere() {
            return Ok(());
        }
    }
    if let Some(fault) = recording.pending_error() {
        return Err(fault.clone().into());
    }
    if let (Some(row), _) = engine.finish_as(&Ending::completed()) {
        report.rows += 1;
        outputs.write(row);
    }
    Ok(())
}

/// The component that says what a success is must be in the recording: without it every pass@k would be missing. Its first step has
/// it as a rule.
fn look_for_success(args: &ReplayArgs, recording: &Recording) -> Result<(), ReplayError> {
    let Some(name) = args.options.options.success.as_deref() else {
        return Ok(());
    };
    let mut there = BTreeSet::new();
    for found in recording.steps().flat_map(|step| step.records()) {
        // What is wrong with it is told when it is replayed.
        let Ok(record) = recording.load(found) else {
            return Ok(());
        };
        there.extend(record.reward_components().map(str::to_owned));
        if there.contains(name) {
            return Ok(());
        }
    }
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    Err(ReplayError::NoComponent(no_component(name, &there)))
}

/// The records of a step that count, or none if the step is to be passed over; each rank that should have one has one.
fn records<'a>(
    args: &ReplayArgs,
    step: &Step<'a>,
) -> Result<Option<Vec<&'a RecordRef>>, RecordingError> {
    let local = args.options.options.scope == Scope::Local;
    let lacks_ranks = if local {
        step.missing_ranks().next() == Some(0)
    } else {
        step.missing_ranks().next().is_some()
    };
    if lacks_ranks && !args.allow_missing {
        return step.missing().map_or(Ok(None), Err);
    }
    let records: Vec<_> = step
        .records()
        .filter(|record| !local || record.place.rank == 0)
        .collect();
    Ok((!records.is_empty()).then_some(records))
}

/// The controller's snapshot that rules the step; in local scope that of rank 0, if it has one.
fn ruling_snapshot<'a>(args: &ReplayArgs, step: &Step<'a>) -> Option<&'a Weighting> {
    let rules = args.options.options.scope == Scope::Global || step.weighting_rank() == Some(0);
    step.weighting().filter(|_| rules)
}

/// Reads a record and hands it to the engine; how long the engine took.
fn observe(
    engine: &mut Engine,
    recording: &Recording,
    found: &RecordRef,
    report: &mut Report,
    shards: Option<&mut Shards>,
) -> Result<Duration, ReplayError> {
    let record = recording.load(found)?;
    let batch = record
        .batch()
        .map_err(|error| recording.wrong(found, Fault::Batch(error)))?;
    report.count_record(found.place.rank, &batch);
    report.columns.extend(record.columns_given());
    if let Some(shards) = shards {
        shards.add(found.place.rank, engine.shard_of(&batch))?;
    }
    let started = Instant::now();
    engine
        .observe(&batch)
        .map_err(|source| ReplayError::Engine {
            at: recording.at(found).to_string(),
            source,
        })?;
    Ok(started.elapsed())
}

/// Steps done, where somebody is watching.
fn progress_bar(args: &ReplayArgs, recording: &Recording) -> ProgressBar {
    if args.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left");
    ProgressBar::new(recording.steps().count() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_finish(ProgressFinish::AndClear)
}
