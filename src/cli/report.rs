//! `report`: runs of a store as a page in one file.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::interrupt::{self, Interrupt};
use super::say::tell;
use super::store::{FindError, StoreArg, find};
use crate::export::{Beside, ExportError};
use crate::serve::{Reader, Report, ReportError};
use crate::sink::one_line;
use crate::store::{Sqlite, StoreError};

/// Write runs as a page in one file, which opens offline
///
/// It is the page that `serve` shows, with its data in it. Of a long run each key has at most 702 points, and the page says so; last,
/// mean, least and greatest values are of all. The file is whole or not there: it is written beside its place first.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct ReportArgs {
    /// The runs to show
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub store: StoreArg,
    /// The file to write; - is standard output
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
    /// Every point of every key, and every step whose completions are stored
    #[arg(long)]
    pub full: bool,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportVerbError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Place(#[from] ExportError),
    /// Only the store was named.
    #[error("expected the name of a run, found none")]
    NoRun,
    /// Somebody wished it to end.
    #[error("{path}: {by} before its end: no file is made, and one that was there is as it was")]
    Interrupted { by: Interrupt, path: String },
    /// A file is there, and nobody said that it may go.
    #[error("{path}: expected no file there, found one: --force writes over it")]
    Exists { path: String },
}

impl ReportVerbError {
    /// Whether it is the output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Report(error) => matches!(error, ReportError::Write(_)),
            Self::Place(error) => error.is_output(),
            _ => false,
        }
    }
}

/// Writes the report that `args` asks for, and says how large it is.
///
/// # Errors
/// If there is no such store or run, a file is there already, or it cannot be written.
pub fn run(args: &ReportArgs) -> Result<(), ReportVerbError> {
    let (place, named) = args.store.with_runs(&args.runs);
    if named.is_empty() {
        return Err(ReportVerbError::NoRun);
    }
    let mut runs = Vec::new();
    let store = Sqlite::open_read_only(&place)?;
    for run in &named {
        let id = find(&store, &place, run)?;
        if !runs.contains(&id) {
            runs.push(id);
        }
    }
    drop(store);
    interrupt::listen();
    let stop = || interrupt::came().is_some();
    let reader = Reader::new(place);
    let report = Report::of(&reader, runs, args.full, &stop);
    let path = args.html.as_path();
    if path == Path::new("-") {
        return report
            .write(&mut io::stdout())
            .map_err(|error| told(error, path));
    }
    let mut file = Beside::open(path, args.force).map_err(placed)?;
    report.write(&mut file).map_err(|error| told(error, path))?;
    file.take_place().map_err(placed)?;
    let size = path.metadata().map(|there| there.len()).unwrap_or_default();
    tell(&format!(
        "{}: {:.1} MB",
        one_line(&path.display().to_string()),
        size as f64 / 1e6
    ));
    Ok(())
}

fn told(error: ReportError, path: &Path) -> ReportVerbError {
    match (error, interrupt::came()) {
        (ReportError::Stopped, Some(by)) => ReportVerbError::Interrupted {
            by,
            path: path.display().to_string(),
        },
        (ReportError::Write(source), _) => ExportError::Write {
            path: path.display().to_string(),
            source,
        }
        .into(),
        (error, _) => error.into(),
    }
}

fn placed(error: ExportError) -> ReportVerbError {
    match error {
        ExportError::Exists { path } => ReportVerbError::Exists { path },
        error => error.into(),
    }
}
