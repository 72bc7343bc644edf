//! What stands beside a journal for whoever opens it next, as this process may not live to say it: which runs its rows belong to,
//! where they were meant to go, how the run ended, and which rows were dropped. Each is a small file in JSON, which is replaced as a
//! whole.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::journal;
use crate::row::run::{Ending, Status};

const RUN: &str = "run";
const MEANT: &str = "meant";
const ENDED: &str = "ended";
const DROPPED: &str = "dropped";

/// Removes a journal that is locked here and holds nothing any more, with all that is noted beside it, and the folders above it where it
/// was the last of its run and of its shelf. It stays where somebody is yet to be told of dropped rows.
pub(super) fn remove_journal(dir: &Path) {
    if !matches!(dropped(dir), Ok(None)) || !journal::is_empty(dir) {
        return;
    }
    journal::remove_folder(dir, &[RUN, MEANT, ENDED]);
    for above in dir.ancestors().skip(1).take(2) {
        if fs::remove_dir(above).is_err() {
            return;
        }
    }
}

/// Rows that are lost for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) rows: u64,
    /// Why the last of them was.
    pub(super) error: String,
}

/// The runs that the rows of a journal belong to, each from an entry on, where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(Vec<(u64, String)>);

/// As the file has them: a run's name alone, of all rows, as long as there is but one.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Noted {
    One(String),
    Several(Vec<(u64, String)>),
}

impl Runs {
    /// Those of the journal in `dir`.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        Ok(Self(match read(dir, RUN)? {
            None => Vec::new(),
            Some(Noted::One(run)) => vec![(0, run)],
            Some(Noted::Several(runs)) => runs,
        }))
    }

    /// The newest.
    pub(super) fn last(&self) -> Option<&str> {
        Some(&self.0.last()?.1)
    }

    /// The run of an entry.
    pub(super) fn run_of(&self, entry: u64) -> Option<&str> {
        let begun = self.0.partition_point(|(from, _)| *from <= entry);
        Some(&self.0.get(begun.checked_sub(1)?)?.1)
    }

    /// These, and `run` from the entry `next` on; those before it that are settled are forgotten. Notes them in `dir`, where they are
    /// not what is noted already.
    pub(super) fn and_then(
        mut self,
        dir: &Path,
        run: &str,
        settled: u64,
        next: u64,
    ) -> io::Result<Self> {
        let before = self.clone();
        if self.last() != Some(run) {
            // One that had no row has no place.
            self.0.retain(|(from, _)| *from < next);
            self.0.push((next, run.to_owned()));
        }
        let begun = self.0.partition_point(|(from, _)| *from <= settled);
        self.0.drain(..begun.saturating_sub(1));
        if let [(from, _)] = self.0.as_mut_slice() {
            *from = 0;
        }
        if self != before {
            self.note(dir)?;
        }
        Ok(self)
    }

    /// All rows are of `run`, whatever was noted.
    pub(super) fn all_of(dir: &Path, run: &str) -> io::Result<()> {
        Self(vec![(0, run.to_owned())]).note(dir)
    }

    fn note(&self, dir: &Path) -> io::Result<()> {
        let noted = match self.0.as_slice() {
            [(_, run)] => Noted::One(run.clone()),
            several => Noted::Several(several.to_vec()),
        };
        write(dir, RUN, &noted)
    }
}

/// What was dropped since somebody was last told of it.
pub(super) fn dropped(dir: &Path) -> io::Result<Option<Dropped>> {
    read(dir, DROPPED)
}

pub(super) fn note_dropped(dir: &Path, dropped: &Dropped) -> io::Result<()> {
    write(dir, DROPPED, dropped)
}

/// Somebody was told.
pub(super) fn forget_dropped(dir: &Path) -> io::Result<()> {
    forget(dir, DROPPED)
}

/// Where the rows were meant to go, in words that [`Shelf`](super::Shelf) has from its caller.
pub(super) fn meant(dir: &Path) -> io::Result<Option<String>> {
    read(dir, MEANT)
}

pub(super) fn note_meant(dir: &Path, place: Option<&str>) -> io::Result<()> {
    match place {
        None => forget(dir, MEANT),
        Some(place) if meant(dir)?.as_deref() == Some(place) => Ok(()),
        Some(place) => write(dir, MEANT, &place),
    }
}

/// How the run of the newest rows ended, as an ending has it.
#[derive(Serialize, Deserialize)]
struct Ended {
    status: String,
    error: Option<String>,
}

/// How the run ended whose last rows are still here, where somebody has said so.
pub(super) fn ended(dir: &Path) -> io::Result<Option<Ending>> {
    let noted: Option<Ended> = read(dir, ENDED)?;
    Ok(noted.and_then(|noted| {
        let is_it = |status: &Status| status.as_str() == noted.status;
        Some(Ending {
            status: Status::ALL.into_iter().find(is_it)?,
            error_message: noted.error,
            conclusion: None,
        })
    }))
}

pub(super) fn note_ended(dir: &Path, ending: &Ending) -> io::Result<()> {
    let noted = Ended {
        status: ending.status.as_str().to_owned(),
        error: ending.error_message.clone(),
    };
    write(dir, ENDED, &noted)
}

/// The run goes on, or its end is where it belongs.
pub(super) fn forget_ended(dir: &Path) -> io::Result<()> {
    forget(dir, ENDED)
}

fn forget(dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(dir: &Path, name: &str, note: &impl Serialize) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    fs::write(&new, serde_json::to_vec(note)?)?;
    fs::rename(new, dir.join(name))
}
