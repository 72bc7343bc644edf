//! What stands beside a journal for whoever opens it next, as this process may not live to say it: which runs its rows belong to,
//! and which rows were dropped. Each is a small file in JSON, which is replaced as a whole.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const RUN: &str = "run";
const DROPPED: &str = "dropped";

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
    match fs::remove_file(dir.join(DROPPED)) {
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
