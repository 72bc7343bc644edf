//! `merge`: shards of ranks into the rows of their steps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::interrupt::{self, Interrupt};
use super::options::{Counted, OptionArgs};
use super::say::{complain, tell};
use super::store::{StoreArg, open_to_write, run_name};
use crate::engine::{Engine, EngineError, OptionError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::shard::{DetailError, Shard};
use crate::sink::{Nested, Receipt, Sink, SinkError, one_line};
use crate::store::{RunSpec, StoreError, StoreSink};
use crate::wire::{self, WireError};

/// Merge shards of ranks into rows
///
/// Reads the files that `replay --shards` has written, in any order, and writes the rows of their steps to standard output as
/// JSON lines, or with --run to a store. They are those of a replay that is told the same, whatever the order and the number of files; a step is over
/// the ranks whose shards were given.
///
/// What the completions were counted against is in the shards already: the clip range, the cap of the importance ratio, the KL
/// penalty, what a success is, and whether they have what the dialect verl and the extended metrics need. It is said to the
/// replay, and cannot be changed here.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct MergeArgs {
    /// Files of one shard each, or folders of .shard files
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
    /// Store the rows as this run
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    pub run: Option<String>,
    #[command(flatten)]
    pub store: StoreArg,
    #[command(flatten)]
    pub options: OptionArgs<Counted>,
}

/// Why there are no (more) rows.
#[derive(Debug, thiserror::Error)]
pub enum MergeVerbError {
    #[error("{}: cannot read it: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Wire { path: PathBuf, source: WireError },
    #[error("{}: expected the shard of a step, as `replay --shards` writes it, found one that is of none", path.display())]
    NoStep { path: PathBuf },
    /// A row needs numbers that the shard was written without.
    #[error("{}: step {step}, {source}: for {asked}, write it by `replay {by} --shards`", path.display())]
    Uncounted {
        path: PathBuf,
        step: u64,
        source: DetailError,
        /// The argument that asks for it.
        asked: String,
        /// What the replay has to be told.
        by: String,
    },
    #[error("step {step}: {source}")]
    Engine { step: u64, source: EngineError },
    #[error("{}: {source}", path.display())]
    Join { path: PathBuf, source: EngineError },
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("cannot write the rows: {0}")]
    Write(#[from] io::Error),
    /// A folder has nothing to merge.
    #[error("{}: expected files that end in .shard, found none", path.display())]
    NoShards { path: PathBuf },
    /// Nobody says which run the rows are of.
    #[error("--store: expected --run too, which the rows are stored as")]
    NoRun,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store refused a row.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Somebody wished it to end.
    #[error("{by} {at}")]
    Interrupted { by: Interrupt, at: String },
}

impl MergeVerbError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Write(_) | Self::Sink(_) => true,
            // The name of a store or run is what was given.
            Self::Store(error) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// The shards of each step, with their files.
type Steps = BTreeMap<u64, Vec<(PathBuf, Shard)>>;

/// Merges the shards, step by step.
///
/// # Errors
/// If a file is no shard of a step or lacks what is asked for, if shards do not belong together, or if `out` or the store refuses.
pub fn run(args: &MergeArgs, out: &mut dyn Write) -> Result<(), MergeVerbError> {
    interrupt::listen();
    if args.run.is_none() && args.store.store.is_some() {
        return Err(MergeVerbError::NoRun);
    }
    let mut steps = Steps::new();
    for path in files(&args.shards)? {
        check_interrupt(|| "before anything was merged".to_owned())?;
        let shard = read(&path)?;
        let step = shard
            .step()
            .ok_or_else(|| MergeVerbError::NoStep { path: path.clone() })?;
        check_detail(args, &path, step, &shard)?;
        steps.entry(step).or_default().push((path, shard));
    }
    let engine = Engine::builder().options(args.options.options.clone());
    let engine = engine.build()?;
    let Some(run) = &args.run else {
        return merge(engine, steps, &mut |row| Ok(write(row, out)?));
    };
    let path = args.store.path();
    let mut store = open_to_write(&path)?;
    let opened = store.open_run(&RunSpec::new(run))?;
    if let Some(said) = opened.said() {
        complain(&format!("note: {}: {said}", path.display()));
    }
    let to = one_line(&format!("{}, run `{}`", path.display(), opened.id));
    let mut sink = Box::new(StoreSink::opened(Box::new(store), opened)?);
    let merged = merge(engine, steps, &mut |row| Ok(sink.write(row)?));
    sink.ended(&match &merged {
        Ok(()) => Ending::completed(),
        Err(MergeVerbError::Interrupted { by, .. }) => Ending::cancelled(by.to_string()),
        Err(error) => Ending::failed(error.to_string()),
    })?;
    let Receipt { written, error, .. } = sink.close();
    let rows = if written == 1 { "row" } else { "rows" };
    tell(&format!("{written} {rows} to {to}"));
    merged.and(error.map_or(Ok(()), |error| Err(SinkError::other(error).into())))
}

/// Hands on the row of each step as it is there. The steps of a window that was not full when something failed have none.
fn merge(
    mut engine: Engine,
    steps: Steps,
    take: &mut dyn FnMut(&Row) -> Result<(), MergeVerbError>,
) -> Result<(), MergeVerbError> {
    for (step, shards) in steps {
        check_interrupt(|| format!("before step {step}: the rows before it are written"))?;
        for (path, shard) in shards {
            engine
                .join(shard)
                .map_err(|source| MergeVerbError::Join { path, source })?;
        }
        let row = engine.step(step);
        let row = row.map_err(|source| MergeVerbError::Engine { step, source })?;
        row.as_ref().map_or(Ok(()), &mut *take)?;
    }
    let (left_over, _) = engine.finish_as(&Ending::completed());
    left_over.as_ref().map_or(Ok(()), take)
}

fn check_interrupt(at: impl FnOnce() -> String) -> Result<(), MergeVerbError> {
    interrupt::came().map_or(Ok(()), |by| {
        Err(MergeVerbError::Interrupted { by, at: at() })
    })
}

/// The files that are named, and those of folders that are, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, MergeVerbError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fault = |source| MergeVerbError::Read {
            path: path.clone(),
            source,
        };
        let mut within = Vec::new();
        for entry in path.read_dir().map_err(fault)? {
            let file = entry.map_err(fault)?.path();
            if file.extension().is_some_and(|ending| ending == "shard") && file.is_file() {
                within.push(file);
            }
        }
        if within.is_empty() {
            return Err(MergeVerbError::NoShards { path: path.clone() });
        }
        within.sort();
        files.extend(within);
    }
    Ok(files)
}

/// What is asked for must have been counted.
fn check_detail(
    args: &MergeArgs,
    path: &Path,
    step: u64,
    shard: &Shard,
) -> Result<(), MergeVerbError> {
    let dialect = args.options.options.dialect;
    let extended = args.options.that_need("extended");
    let wanted = dialect.detail(extended.is_some());
    let (asked, by) = if let Some(asked) = extended {
        (asked, "--extended".to_owned())
    } else {
        let dialect = format!("--dialect {dialect}");
        (dialect.clone(), dialect)
    };
    let checked = shard.check_detail(wanted);
    checked.map_err(|source| MergeVerbError::Uncounted {
        path: path.to_owned(),
        step,
        source,
        asked,
        by,
    })
}

fn write(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Nested(row))?;
    writeln!(out)
}

fn read(path: &Path) -> Result<Shard, MergeVerbError> {
    let read = File::open(path).and_then(wire::read_from);
    let shard = read.map_err(|source| MergeVerbError::Read {
        path: path.to_owned(),
        source,
    })?;
    shard.map_err(|source| MergeVerbError::Wire {
        path: path.to_owned(),
        source,
    })
}
