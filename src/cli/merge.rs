//! `merge`: shards of ranks into the rows of their steps.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::dialect::DialectArgs;
use super::keys::dialect_parser;
use crate::dialect::Dialect;
use crate::engine::{Engine, EngineError};
use crate::filter::ModeError;
use crate::run::RunMetadata;
use crate::shard::Shard;
use crate::sink::Nested;
use crate::wire::{self, WireError};

/// Merge shards of ranks into rows
///
/// Reads the files that `replay --shards` has written, in any order, and writes the row of each of their steps to standard
/// output as JSON lines. The rows are those of the replay, whatever the order and the number of files; a step's row is over the
/// ranks whose shards were given.
///
/// What the completions were counted against is in the shards already: the clip range, the cap of the importance ratio, the KL
/// penalty, what a success is, and whether they have the extended metrics. It is said to the replay, and cannot be changed here.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct MergeArgs {
    /// Files of one shard each
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
    /// Names of the metrics
    #[arg(long, value_name = "DIALECT", default_value = Dialect::default().name(), value_parser = dialect_parser())]
    pub dialect: Dialect,
    #[command(flatten)]
    pub dialects: DialectArgs,
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
    /// What was asked for looks at what nobody counted.
    #[error(
        "expected shards with the extended metrics for --high-kl and --limit, found none: write them by `replay --extended --shards`"
    )]
    Plain,
    #[error("step {step}: {source}")]
    Engine { step: u64, source: EngineError },
    #[error("{}: {source}", path.display())]
    Join { path: PathBuf, source: EngineError },
    /// The environment names no mode.
    #[error(transparent)]
    Mode(#[from] ModeError),
    #[error("cannot write the rows: {0}")]
    Write(#[from] io::Error),
}

/// Merges the shards, step by step.
///
/// # Errors
/// If a file is no shard of a step, if shards do not belong together, or if `out` refuses.
pub fn run(args: &MergeArgs, out: &mut dyn Write) -> Result<(), MergeVerbError> {
    let mut steps: BTreeMap<u64, Vec<(&PathBuf, Shard)>> = BTreeMap::new();
    for path in &args.shards {
        let shard = read(path)?;
        let step = shard
            .step()
            .ok_or_else(|| MergeVerbError::NoStep { path: path.clone() })?;
        steps.entry(step).or_default().push((path, shard));
    }
    let shards = || steps.values().flatten().map(|(_, shard)| shard);
    if args.dialects.extended.are_given() && shards().all(|shard| shard.extended.is_none()) {
        return Err(MergeVerbError::Plain);
    }
    let metadata = RunMetadata::default().resolve(|name| env::var(name).ok());
    let mut builder = Engine::builder().dialect(args.dialect).metadata(metadata);
    // Without it, rewards that a penalty should have come off would pass for what is left of them.
    if let Some(penalty) = shards().find_map(|shard| shard.thresholds()?.kl_penalty) {
        builder = builder.kl_penalty(penalty);
    }
    let mut engine = args.dialects.tell(builder).build()?;
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
        if let Some(row) = row {
            serde_json::to_writer(&mut *out, &Nested(&row)).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Shard, MergeVerbError> {
    let bytes = fs::read(path).map_err(|source| MergeVerbError::Read {
        path: path.clone(),
        source,
    })?;
    wire::read(&bytes).map_err(|source| MergeVerbError::Wire {
        path: path.clone(),
        source,
    })
}
