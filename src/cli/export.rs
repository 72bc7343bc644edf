//! `export`: runs of a store as a table in a file.

use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::interrupt::{self, Interrupt};
use super::key::{self, complain_of};
use super::say::tell;
use super::store::{FindError, StoreArg, find};
use crate::export::{Export, ExportError, Exported, Format, Layout};
use crate::reading::{KeyError, Keys};
use crate::sink::one_line;
use crate::store::{Sqlite, StoreError};

/// Write runs of a store as a table: Parquet, CSV or JSON lines
///
/// A line is a row of a run, with the columns run, step, split, time and one for each key; with --long it is a number, with the columns
/// run, step, split, time, name and value. Several runs go to one file, and have the columns of all. The file is whole or not there: it
/// is written beside its place first.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("to").required(true).args(["parquet", "csv", "jsonl"]), after_help = crate::cli::EXIT_CODES)]
pub struct ExportArgs {
    /// The runs to write [default: all of the store]
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Write Parquet to this file, packed with zstd
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
    /// Write comma-separated values; infinities are inf and -inf; - is standard output
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a JSON object a line; infinities are "Infinity" and "-Infinity"; - is standard output
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<PathBuf>,
    /// A line for each number, not for each row
    #[arg(long)]
    pub long: bool,
    /// Only the keys that match, such as 'train/kl*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub key: Vec<String>,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ExportVerbError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Somebody wished it to end.
    #[error("{path}: {by} before its end: no file is made, and one that was there is as it was")]
    Interrupted { by: Interrupt, path: String },
    /// A file is there, and nobody said that it may go.
    #[error("{path}: expected no file there, found one: --force writes over it")]
    Exists { path: String },
    /// Parquet ends in what it begins with.
    #[error("--parquet -: expected a file, as Parquet is not written to standard output")]
    Stdout,
}

impl ExportVerbError {
    /// Whether it is the output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Export(error) if error.is_output())
    }
}

/// Writes the table that `args` asks for, and says what is in it.
///
/// # Errors
/// If there is no such store or run, no key matches, a file is there already, or it cannot be written.
pub fn run(args: &ExportArgs) -> Result<(), ExportVerbError> {
    let (format, path) = to(args);
    let is_stdout = path == Path::new("-");
    if is_stdout && format == Format::Parquet {
        return Err(ExportVerbError::Stdout);
    }
    let keys = key::keys(&args.key)?;
    let (place, named) = args.store.with_runs(&args.runs);
    let store = Sqlite::open_read_only(&place)?;
    let runs = if named.is_empty() {
        store.run_names()?
    } else {
        let found = named.iter().map(|run| find(&store, &place, run));
        found.collect::<Result<_, _>>()?
    };
    check(&keys, &store, &runs)?;
    let layout = if args.long {
        Layout::Long
    } else {
        Layout::Wide
    };
    interrupt::listen();
    let export = Export::of(&store, &runs)
        .layout(layout)
        .keys(|key| keys.have(key))
        .until(|| interrupt::came().is_some());
    let exported = if is_stdout {
        export.write(format, &mut io::stdout())
    } else {
        export.write_file(format, path, args.force)
    };
    let exported = exported.map_err(|error| match (error, interrupt::came()) {
        (ExportError::Exists { path }, _) => ExportVerbError::Exists { path },
        (ExportError::Stopped, Some(by)) => ExportVerbError::Interrupted {
            by,
            path: path.display().to_string(),
        },
        (error, _) => error.into(),
    })?;
    report(&exported, &runs, path, is_stdout);
    Ok(())
}

/// What to write, and where.
fn to(args: &ExportArgs) -> (Format, &Path) {
    let asked = [
        (Format::Parquet, &args.parquet),
        (Format::Csv, &args.csv),
        (Format::JsonLines, &args.jsonl),
    ];
    let mut asked = asked
        .into_iter()
        .filter_map(|(format, path)| Some((format, path.as_deref()?)));
    // One of them is there, or the arguments were refused.
    asked.next().unwrap_or((Format::Csv, Path::new("-")))
}

/// Says which patterns match nothing.
fn check(keys: &Keys, store: &Sqlite, runs: &[String]) -> Result<(), ExportVerbError> {
    if keys.are_all() {
        return Ok(());
    }
    let mut all = Vec::new();
    for run in runs {
        all.extend(store.names(run)?.into_iter().map(|(_, name)| name));
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    complain_of(&keys.idle(&all)?);
    Ok(())
}

fn report(exported: &Exported, runs: &[String], path: &Path, is_stdout: bool) {
    for (key, column) in &exported.renamed {
        let note = format!("note: the key `{key}` is in the column `{column}`");
        tell(&one_line(&note));
    }
    if is_stdout {
        return;
    }
    let Exported { rows, numbers, .. } = exported;
    let runs = runs.len();
    let path = one_line(&path.display().to_string());
    tell(&format!(
        "{path}: {rows} lines with {numbers} numbers, of {runs} run{}",
        if runs == 1 { "" } else { "s" }
    ));
}
