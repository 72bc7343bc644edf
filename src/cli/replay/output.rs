//! Where the rows of a replay go, and what becomes of an output that fails.

use std::path::{Component, Path, PathBuf};

use super::batched::Batched;
use super::kept::{Kept, Print};
use super::{ReplayArgs, ReplayError};
use crate::cli::is_broken_pipe;
use crate::cli::say::complain;
use crate::cli::store::open_to_write;
use crate::recording::Recording;
use crate::row::Row;
use crate::row::run::Ending;
use crate::sink::{Receipt, Sink, SinkError, Target};
use crate::store::{Begun, RunSpec, Status, StoreError, StoreSink};

/// The outputs that still take rows, and how those ended that do not.
pub(super) struct Outputs {
    open: Vec<Output>,
    /// The first output that failed.
    failed: Option<ReplayError>,
    rows: u64,
    /// The last step that the run had when it was resumed, if it was.
    resumed_after: Option<u64>,
    /// Where all rows are already, a sentence.
    whole: Option<String>,
}

struct Output {
    sink: Box<dyn Sink>,
    /// Where its rows are, for a sentence.
    to: String,
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
            resumed_after: None,
            whole: None,
        }
    }

    /// Opens what the arguments name, or the default store. Notes what is there already. `together` where other processes are at it
    /// as well, which would wait for one that found nothing to do.
    pub fn open(
        args: &ReplayArgs,
        recording: &Recording,
        together: bool,
    ) -> Result<Self, ReplayError> {
        let mut outputs = Self::none();
        let mut sinks = args.jsonl.iter().chain(&args.sinks).peekable();
        if args.store.store.is_some() || sinks.peek().is_none() {
            outputs.add_store(args, &args.store.path(), recording, together)?;
        }
        for target in sinks {
            outputs.add_sink(target, args.quiet)?;
        }
        Ok(outputs)
    }

    fn add_store(
        &mut self,
        args: &ReplayArgs,
        path: &Path,
        recording: &Recording,
        together: bool,
    ) -> Result<(), StoreError> {
        let mut store = open_to_write(path)?;
        let place = path.display();
        let name = args.run.clone().unwrap_or_else(|| run_name(&args.paths));
        let mut options = args.options.options.deciding();
        if args.allow_missing {
            options.insert("allow_missing".to_owned(), true.into());
        }
        let print = Print::of(recording);
        let kept = Kept::find(&store, &name, args.resume, &options, (&print, recording))?;
        let mut spec = RunSpec {
            options,
            ..RunSpec::new(name).resume(args.resume.unwrap_or_default())
        };
        let why = match kept {
            Kept::Whole(run) if !together => {
                let steps = recording.steps().count();
                self.whole = Some(format!(
                    "{place}, run `{run}`: all {steps} steps of the recording are there already"
                ));
                return Ok(());
            }
            Kept::Whole(run) | Kept::Begun(run) => {
                spec.id = Some(run);
                None
            }
            Kept::Nothing(why) => why,
        };
        let opened = store.open_run(&spec)?;
        print.keep(&mut store, &opened)?;
        let said = match (&opened.begun, why) {
            (Begun::Beside { .. }, Some(why)) => {
                Some(format!("{why}: this one is `{}`", opened.id))
            }
            _ => opened.said(),
        };
        if let (Some(said), false) = (said, args.quiet) {
            complain(&format!("note: {place}: {said}"));
        }
        let to = format!("{place}, run `{}`", opened.id);
        let sink = StoreSink::opened(Box::new(store), opened)?;
        self.resumed_after = sink.resumed_after();
        let sink = Box::new(Batched::new(sink));
        self.open.push(Output { sink, to });
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

    /// Where all rows are already, if the store has them and nobody else is to have any.
    pub fn nothing_to_do(&self) -> Option<&str> {
        self.whole.as_deref().filter(|_| self.open.is_empty())
    }

    /// Whether a run in a store is being written, which the same replay would go on with.
    pub fn have_run(&self) -> bool {
        self.open.iter().any(|output| output.sink.run().is_some())
    }

    /// Hands the row to every output. One that fails is closed, and the others go on; a pipe that nobody reads any more is
    /// closed without a word.
    pub fn write(&mut self, mut row: Row) {
        self.rows += 1;
        row.again = self.resumed_after.is_some_and(|last| row.step <= last);
        for output in std::mem::take(&mut self.open) {
            let Output { mut sink, to } = output;
            match sink.write(&row) {
                Ok(()) => self.open.push(Output { sink, to }),
                Err(error) if is_broken_pipe(&error) => {}
                Err(error) => {
                    let error = error.to_string();
                    let receipt = closed(sink, &Ending::failed(&error));
                    self.fail(to, &receipt, error);
                }
            }
        }
    }

    /// Whether there is none left that would take a row.
    pub fn are_gone(&self) -> bool {
        self.open.is_empty() && self.whole.is_none()
    }

    /// Closes all of them. The run has ended so, or failed with the error of an output.
    pub fn close(mut self, the_end: &Ending) -> Closed {
        let mut destinations = Vec::new();
        // The store comes last, as its run is to say what became of the others.
        for Output { sink, to } in std::mem::take(&mut self.open).into_iter().rev() {
            let failed = self.failed.as_ref();
            let failed = failed.map(|error| Ending::failed(error.to_string()));
            let ending = failed.filter(|_| the_end.status == Status::Completed);
            let ending = ending.as_ref().unwrap_or(the_end);
            let receipt = closed(sink, ending);
            match receipt.error.clone() {
                Some(error) => self.fail(to, &receipt, error),
                None => destinations.push(format!("rows to {to}")),
            }
        }
        destinations.extend(self.whole);
        destinations.reverse();
        Closed {
            destinations,
            outcome: self.failed.map_or(Ok(()), Err),
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

/// Ends the sink's run so, and the sink.
fn closed(mut sink: Box<dyn Sink>, ending: &Ending) -> Receipt {
    // What fails here is in the receipt.
    let _ = sink.ended(ending);
    sink.close()
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
