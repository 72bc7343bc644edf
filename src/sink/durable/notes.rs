//! What stands beside a journal for whoever opens it next, as this process may not live to say it: which run its rows belong to,
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

/// The run that the rows of the journal in `dir` belong to, where that is known.
pub(super) fn run(dir: &Path) -> io::Result<Option<String>> {
    read(dir, RUN)
}

/// Notes the run, where it is not what is noted already.
pub(super) fn note_run(dir: &Path, name: &str) -> io::Result<()> {
    if run(dir).ok().flatten().as_deref() == Some(name) {
        return Ok(());
    }
    write(dir, RUN, &name)
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
