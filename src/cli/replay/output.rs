//! Where the rows of a replay go, and what becomes of an output that fails.

use std::path::{Component, PathBuf};

use super::batched::Batched;
use super::{ReplayArgs, ReplayError};
use crate::cli::is_broken_pipe;
use crate::cli::say::complain;
use crate::row::Row;
use crate::sink::{Receipt, Sink, SinkError, Target};
use crate::store::{RunPatch, RunSpec, Sqlite, Status, Store, StoreError, StoreSink};

/// The store that is used where no output is named.
const DEFAULT_STORE: &str = "runs.db";

/// The outputs that still take rows, and how those ended that do not.
pub(super) struct Outputs {
    open: Vec<Output>,
    /// The first output that failed.
    failed: Option<ReplayError>,
    rows: u64,
    run: Option<StoredRun>,
}

struct Output {
    sink: Box<dyn Sink>,
    /// Where its rows are, for a sentence.
    to: String,
}

/// A run of a store, by name.
struct StoredRun {
    store: PathBuf,
    name: String,
}

/// How the outputs ended.
pub(super) struct Closed {
    /// Where the rows are, a sentence for each output that has all of them.
    pub destinations: Vec<String>,
    pub outcome: Result<(), ReplayError>,
}

impl Outputs {
    /// No outputs: what a rank has that is not the root.
    pub fn none() -> Self {
        Self {
            open: Vec::new(),
            failed: None,
            rows: 0,
            run: None,
        }
    }

    /// Opens what the arguments name, or the default store. Notes what is there already.
    pub fn open(args: &ReplayArgs) -> Result<Self, ReplayError> {
        let mut outputs = Self::none();
        let mut sinks = args.jsonl.iter().chain(&args.sinks).peekable();
        let default = sinks.peek().is_none();
        let default = default.then(|| PathBuf::from(DEFAULT_STORE));
        if let Some(store) = args.store.clone().or(default) {
            let name = args.run.clone().unwrap_or_else(|| run_name(&args.paths));
            outputs.add_store(StoredRun { store, name }, args.quiet)?;
        }
        for target in sinks {
            outputs.add_sink(target, args.quiet)?;
        }
        Ok(outputs)
    }

    fn add_store(&mut self, run: StoredRun, quiet: bool) -> Result<(), StoreError> {
        let (mut store, existed) = run.open()?;
        if existed && !quiet {
            complain(&format!(
                "note: {} has a run `{}` already; metrics of the same step and key are replaced, all others stay",
                run.store.display(),
                run.name
            ));
        }
        let id = store.open_run(&RunSpec::new(&run.name))?.id;
        self.open.push(Output {
            sink: Box::new(Batched::new(StoreSink::over(Box::new(store), id)?)),
            to: format!("{}, run `{}`", run.store.display(), run.name),
        });
        self.run = Some(run);
        Ok(())
    }

    fn add_sink(&mut self, target: &Target, quiet: bool) -> Result<(), SinkError> {
        let there = target.path().metadata();
        let has_rows = there.is_ok_and(|there| there.is_file() && there.len() > 0);
        if has_rows && !quiet && !target.is_stdout() {
            complain(&format!(
                "note: {target} has rows already; the new ones are appended"
            ));
        }
        self.open.push(Output {
            sink: target.open()?,
            to: target.to_string(),
        });
        Ok(())
    }

    /// Hands the row to every output. One that fails is closed, and the others go on; a pipe that nobody reads any more is
    /// closed without a word.
    pub fn write(&mut self, row: &Row) {
        self.rows += 1;
        for output in std::mem::take(&mut self.open) {
            let Output { mut sink, to } = output;
            match sink.write(row) {
                Ok(()) => self.open.push(Output { sink, to }),
                Err(error) if is_broken_pipe(&error) => {}
                Err(error) => {
                    let receipt = sink.close();
                    self.fail(to, &receipt, error.to_string());
                }
            }
        }
    }

    /// Whether there is none left that would take a row.
    pub fn are_gone(&self) -> bool {
        self.open.is_empty()
    }

    /// Closes all of them. The run is completed, or failed with the error that ended the replay or the store.
    pub fn close(mut self, error: Option<String>) -> Closed {
        let mut destinations = Vec::new();
        for Output { sink, to } in std::mem::take(&mut self.open) {
            let receipt = sink.close();
            match receipt.error.clone() {
                Some(error) => self.fail(to, &receipt, error),
                None => destinations.push(format!("rows to {to}")),
            }
        }
        let error = error.or_else(|| self.failed.as_ref().map(ToString::to_string));
        let marked = match (&self.run, error) {
            (Some(run), Some(error)) => run.mark_failed(error),
            _ => Ok(()),
        };
        Closed {
            destinations,
            outcome: self.failed.map_or_else(|| marked.map_err(Into::into), Err),
        }
    }

    fn fail(&mut self, to: String, receipt: &Receipt, error: String) {
        self.failed.get_or_insert(ReplayError::Lost {
            to,
            written: receipt.written,
            rows: self.rows,
            error,
        });
    }
}

impl StoredRun {
    /// Its store, and whether the run is there already.
    fn open(&self) -> Result<(Sqlite, bool), StoreError> {
        let store = Sqlite::open(&self.store)?;
        match store.get_run(&self.name) {
            Ok(_) => Ok((store, true)),
            Err(StoreError::Unknown { .. }) => Ok((store, false)),
            Err(error) => Err(error),
        }
    }

    fn mark_failed(&self, error: String) -> Result<(), StoreError> {
        let patch = RunPatch {
            status: Some(Status::Failed),
            error_message: Some(error),
            ..RunPatch::default()
        };
        let mut store = Sqlite::open(&self.store)?;
        store.update_run(&self.name, &patch).map(drop)
    }
}

/// The name of a recording's run: of its folder, or of its file without the ending; of several, of the deepest folder that
/// they are all in.
fn run_name(paths: &[PathBuf]) -> String {
    let paths: Vec<PathBuf> = paths
        .iter()
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
        .collect();
    let named = match paths.as_slice() {
        [folder] if folder.is_dir() => folder.clone(),
        [file] => file.with_extension(""),
        several => common_folder(several),
    };
    named.file_name().map_or_else(
        || "replay".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The deepest folder that all of `paths` are in.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut folders = paths
        .iter()
        .map(|path| path.parent().unwrap_or(path).components());
    let first: Vec<Component> = folders.next().into_iter().flatten().collect();
    let shared = folders.fold(first.len(), |shared, folder| {
        let same = first.iter().zip(folder).take_while(|(a, b)| **a == *b);
        shared.min(same.count())
    });
    first.into_iter().take(shared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_after_its_recording() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("my.run");
        for folder in ["a", "b"] {
            std::fs::create_dir_all(run.join(folder)).unwrap();
            std::fs::write(run.join(folder).join("rank.0.jsonl"), "").unwrap();
        }
        let of = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| run.join(path)).collect();
            run_name(&paths)
        };
        assert_eq!(of(&[""]), "my.run");
        assert_eq!(of(&["a/.."]), "my.run");
        assert_eq!(of(&["a/rank.0.jsonl"]), "rank.0");
        assert_eq!(of(&["a", "b"]), "my.run");
        assert_eq!(of(&["a/rank.0.jsonl", "b/rank.0.jsonl"]), "my.run");
        assert_eq!(run_name(&[PathBuf::from("/")]), "replay");
    }
}
