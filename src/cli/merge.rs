//! `merge`: shards of ranks into the rows of their steps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::options::{Counted, OptionArgs};
use crate::engine::{Engine, EngineError, OptionError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::shard::{DetailError, Shard};
use crate::sink::Nested;
use crate::wire::{self, WireError};

/// Merge shards of ranks into rows
///
/// Reads the files that `replay --shards` has written, in any order, and writes the rows of their steps to standard output as
/// JSON lines. They are those of a replay that is told the same, whatever the order and the number of files; a step is over
/// the ranks whose shards were given.
///
/// What the completions were counted against is in the shards already: the clip range, the cap of the importance ratio, the KL
/// penalty, what a success is, and whether they have what the dialect verl and the extended metrics need. It is said to the
/// replay, and cannot be changed here.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct MergeArgs {
    /// Files of one shard each
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
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
}

/// Merges the shards, step by step.
///
/// # Errors
/// If a file is no shard of a step or lacks what is asked for, if shards do not belong together, or if `out` refuses.
pub fn run(args: &MergeArgs, out: &mut dyn Write) -> Result<(), MergeVerbError> {
    let mut steps: BTreeMap<u64, Vec<(&PathBuf, Shard)>> = BTreeMap::new();
    for path in &args.shards {
        let shard = read(path)?;
        let step = shard
            .step()
            .ok_or_else(|| MergeVerbError::NoStep { path: path.clone() })?;
        check_detail(args, path, step, &shard)?;
        steps.entry(step).or_default().push((path, shard));
    }
    let options = args.options.options.clone();
    let mut engine = Engine::builder().options(options).build()?;
    for (step, shards) in steps {
        for (path, shard) in shards {
            engine.join(shard).map_err(|source| MergeVerbError::Join {
                path: path.clone(),
                source,
            })?;
        }
        let row = engine
            .step(step)
            .map_err(|source| MergeVerbError::Engine { step, source })?;
        write(row, out)?;
    }
    let (left_over, _) = engine.finish_as(&Ending::completed());
    write(left_over, out)?;
    Ok(())
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

fn write(row: Option<Row>, out: &mut dyn Write) -> io::Result<()> {
    if let Some(row) = row {
        serde_json::to_writer(&mut *out, &Nested(&row))?;
        writeln!(out)?;
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Shard, MergeVerbError> {
    let read = File::open(path).and_then(wire::read_from);
    let shard = read.map_err(|source| MergeVerbError::Read {
        path: path.clone(),
        source,
    })?;
    shard.map_err(|source| MergeVerbError::Wire {
        path: path.clone(),
        source,
    })
}
