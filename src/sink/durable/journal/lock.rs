//! A journal's lock: one process uses a folder at a time, and one engine within it.

#[cfg(not(unix))]
mod file;
#[cfg(unix)]
mod process;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::{JournalError, io_error};
#[cfg(not(unix))]
pub(crate) use file::Held;
#[cfg(unix)]
pub(crate) use process::Held;

/// What its file is called.
pub(super) const FILE: &str = "lock";

/// Held for as long as a journal is in use.
pub(in crate::sink::durable) struct Lock(Held);

impl Lock {
    /// # Errors
    /// If another engine, of this process or another, uses the journal in `dir`; or if that cannot be found out.
    pub(super) fn take(dir: &Path) -> Result<Self, JournalError> {
        let taken = Held::take(&dir.join(FILE)).map_err(io_error("lock", dir))?;
        taken.map(Self).map_err(|owner| in_use(dir, owner))
    }

    /// Makes sure that it is still held.
    ///
    /// # Errors
    /// If it is not, and another process has it by now; or if that cannot be found out.
    pub(in crate::sink::durable) fn hold(&self, dir: &Path) -> Result<(), JournalError> {
        let held = self.0.hold().map_err(io_error("lock", dir))?;
        held.map_err(|owner| in_use(dir, owner))
    }
}

fn in_use(dir: &Path, owner: String) -> JournalError {
    JournalError::InUse {
        dir: dir.display().to_string(),
        owner,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Who has the lock is for people: a lock without a number is a lock too.
fn note_owner(mut file: &File) {
    let _ = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
}

fn noted_owner(mut file: &File) -> String {
    let mut owner = String::new();
    let _ = file
        .rewind()
        .and_then(|()| file.take(20).read_to_string(&mut owner));
    owner
}
