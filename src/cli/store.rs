//! Which store a verb works on, and which of its runs: the one home of `--store` and of runs that are read.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::say::complain;
use crate::reading;
use crate::sink::one_line;
use crate::store::{Sqlite, StoreError};

/// The store of those who name none.
const DEFAULT: &str = "runs.db";

/// The variable of the environment that names a store for all verbs.
const VARIABLE: &str = "GRPO_METRICS_STORE";

/// How every store begins, as every file of `SQLite` does.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The embedded store, as every verb is told of it.
#[derive(Args, Clone, Debug, Default)]
#[allow(clippy::doc_markdown)] // clap prints these docs as they are
pub struct StoreArg {
    /// The embedded store [default: $GRPO_METRICS_STORE, else runs.db in the current folder]
    #[arg(long, value_name = "FILE", global = true)] // below `runs`, too
    pub store: Option<PathBuf>,
}

impl StoreArg {
    /// The store: the one that is named, else that of the environment, else `runs.db` here.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| {
            let named = env::var_os(VARIABLE).filter(|name| !name.is_empty());
            named.map_or_else(|| DEFAULT.into(), PathBuf::from)
        })
    }

    /// The store and the runs in it that are read. A first run that is the file of a store was meant as the store, as it was
    /// spelled before.
    #[must_use]
    pub fn with_runs(&self, runs: &[String]) -> (PathBuf, Vec<String>) {
        match runs {
            [first, rest @ ..] if self.store.is_none() && is_store(Path::new(first)) => {
                let hint = format!("note: {first} is taken as the store: --store {first} says so");
                complain(&one_line(&hint));
                (PathBuf::from(first), rest.to_vec())
            }
            runs => (self.path(), runs.to_vec()),
        }
    }
}

/// Opens a store to write to, making it if need be. An empty file is somebody's, unless another process is just making a store of it.
///
/// # Errors
/// As [`Sqlite::open`], or if the file is and stays empty.
pub fn open_to_write(path: &Path) -> Result<Sqlite, StoreError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let is_empty = || {
        path.metadata()
            .is_ok_and(|there| there.is_file() && there.len() == 0)
    };
    let begun = Instant::now();
    while is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(StoreError::NotAStore {
                path: path.display().to_string(),
                found: "an empty file: remove it, if a store is to be there".to_owned(),
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Sqlite::open(path)
}

/// The name of a run, as it is given.
///
/// # Errors
/// If it is empty, or only blanks.
pub fn run_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected the name of a run, found nothing".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether there is a file that begins as a store does.
fn is_store(path: &Path) -> bool {
    // A pipe would be waited for.
    if !path.is_file() {
        return false;
    }
    let mut start = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == MAGIC
}

/// Why there is no such run to read.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", spelling(.error))]
pub struct FindError {
    #[from]
    error: reading::FindError,
}

impl From<StoreError> for FindError {
    fn from(error: StoreError) -> Self {
        reading::FindError::from(error).into()
    }
}

/// The id of the run that somebody calls `run`: by its id, else by its name.
///
/// # Errors
/// If the store at `path` has none, with the one that is most like it, or several of that name.
pub fn find(store: &Sqlite, path: &Path, run: &str) -> Result<String, FindError> {
    Ok(reading::find(store, path, run)?)
}

/// What to say of a run that looks as if it were meant as a store.
fn spelling(error: &reading::FindError) -> String {
    let reading::FindError::NoRun { run, .. } = error else {
        return String::new();
    };
    let path = Path::new(run);
    let is_meant = path.extension().is_some_and(|ending| ending == "db") || path.exists();
    if is_meant {
        format!("; a store is named by --store {run}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_run_that_is_the_file_of_a_store_is_the_store_unless_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let [store, text] = ["a.db", "text.db"].map(|name| dir.path().join(name));
        drop(Sqlite::open(&store).unwrap());
        std::fs::write(&text, "not a store").unwrap();
        let [named, other] = [&store, &text].map(|path| path.display().to_string());
        let of = |given: Option<&PathBuf>, runs: &[&String]| {
            let arg = StoreArg {
                store: given.cloned(),
            };
            arg.with_runs(&runs.iter().copied().cloned().collect::<Vec<_>>())
        };
        let run = "r".to_owned();
        assert_eq!(
            of(None, &[&named, &run]),
            (store.clone(), vec![run.clone()])
        );
        assert_eq!(of(Some(&text), &[&named]), (text, vec![named.clone()]));
        assert_eq!(of(None, &[&other]).1, [other]);
        assert_eq!(of(None, &[&run, &named]).1, [run, named]);
    }
}
