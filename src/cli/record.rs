//! `record convert`: what trainers write of their own accord, as a recording.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::interrupt::{self, Interrupt};
use super::replay::lacks;
use super::say::{self, complain};
use crate::dialect::Dialect;
use crate::recording::{Fault, Format, Recorder, Recording, RecordingError};

/// Make recordings of other files
///
/// What `replay` computes of a trainer's own files it computes of the recording that they are converted to, bit by bit.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    #[command(subcommand)]
    pub verb: RecordVerb,
}

#[derive(Subcommand, Clone, Debug)]
pub enum RecordVerb {
    Convert(ConvertArgs),
}

/// Write a recording of what a trainer has written down of its own accord
///
/// Takes verl's `rollout_data_dir`, NeMo-RL's `train_data_step*.jsonl`, prime-rl's rollouts or `token_exports`, `SkyRL`'s `dumped_evals`, TRL's
/// completions (with the feature `parquet`), told by what is in them, and recordings too. What the files do not hold is absent. `SkyRL` and `slime` write pickles,
/// which `python -m grpo_metrics.convert` reads.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct ConvertArgs {
    /// Files of a trainer, or folders of them
    #[arg(required = true, value_name = "SRC", num_args = 1..)]
    pub sources: Vec<PathBuf>,
    /// The folder that the recording is to be; it must not be there yet, or be empty
    #[arg(value_name = "DST")]
    pub destination: PathBuf,
    /// As a .safetensors file a record: smaller, and quicker to read
    #[arg(long)]
    pub tensors: bool,
    /// No summary: only errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("{}: expected a folder that is not there yet, or an empty one, found {found}", path.display())]
    Taken { path: PathBuf, found: &'static str },
    #[error("{}: cannot {act}: {source}", path.display())]
    Write {
        path: PathBuf,
        act: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Record(RecordingError),
    #[error("stopped by {by}; nothing is written")]
    Interrupted { by: Interrupt },
}

impl RecordError {
    /// Whether it is the output that failed.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Record(_))
    }
}

/// Does what `args` asks for.
///
/// # Errors
/// If the files cannot be read, or the recording cannot be written; it is there whole or not at all.
pub fn run(args: &RecordArgs) -> Result<(), RecordError> {
    let RecordVerb::Convert(args) = &args.verb;
    check(&args.destination)?;
    let recording = Recording::open(&args.sources)?;
    interrupt::listen();
    let beside = beside(&args.destination);
    let write = |path: &Path, act, source| RecordError::Write {
        path: path.to_owned(),
        act,
        source,
    };
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(write(
                &beside,
                "remove what is left of an earlier try",
                error,
            ));
        }
        _ => {}
    }
    let made = convert(args, &recording, &beside).and_then(|told| {
        if args.destination.exists() {
            let removed = fs::remove_dir(&args.destination);
            removed.map_err(|error| write(&args.destination, "put the recording there", error))?;
        }
        let moved = fs::rename(&beside, &args.destination);
        moved.map_err(|error| write(&args.destination, "put the recording there", error))?;
        Ok(told)
    });
    match made {
        Ok(told) => {
            if !args.quiet {
                say::tell(&told);
            }
            Ok(())
        }
        Err(error) => {
            if let Err(left) = fs::remove_dir_all(&beside)
                && left.kind() != io::ErrorKind::NotFound
            {
                complain(&format!(
                    "note: {}: cannot remove it: {left}",
                    beside.display()
                ));
            }
            Err(error)
        }
    }
}

/// Refuses a place where something is.
fn check(destination: &Path) -> Result<(), RecordError> {
    let taken = |found| RecordError::Taken {
        path: destination.to_owned(),
        found,
    };
    match fs::read_dir(destination).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(taken("one with something in it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(taken("a file")),
        Err(source) => Err(RecordError::Write {
            path: destination.to_owned(),
            act: "look into it",
            source,
        }),
    }
}

fn beside(destination: &Path) -> PathBuf {
    let mut name = destination.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    destination.with_file_name(name)
}

/// Writes every record; what is to be said of them.
fn convert(args: &ConvertArgs, recording: &Recording, to: &Path) -> Result<String, RecordError> {
    let format = if args.tensors {
        Format::Safetensors
    } else {
        Format::JsonLines
    };
    let mut recorder = Recorder::create(to, format).map_err(RecordError::Record)?;
    let (mut steps, mut completions) = (0_u64, 0);
    let mut given = BTreeSet::new();
    for step in recording.steps() {
        for found in step.records() {
            let record = recording.load(found)?;
            let batch = record
                .batch()
                .map_err(|error| recording.wrong(found, Fault::Batch(error)))?;
            given.extend(record.columns_given());
            completions += batch.completions();
            let written = recorder.write(step.step, recording.world_size(), &batch);
            written.map_err(RecordError::Record)?;
        }
        steps += 1;
        if let Some(by) = interrupt::came() {
            return Err(RecordError::Interrupted { by });
        }
    }
    if let Some(fault) = recording.pending_error() {
        return Err(fault.clone().into());
    }
    let place = args.destination.display();
    let counted = format!("{steps} steps, {completions} completions, to {place}\n");
    let files = recording.trainers();
    if files.is_empty() {
        return Ok(counted);
    }
    Ok(counted + &lacks::said(&files, &given, Dialect::default(), false))
}
