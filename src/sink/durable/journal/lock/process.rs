//! A lock of the process (`fcntl`), not of the open file: that would be inherited over a fork, and a worker that outlives its parent
//! would keep the folder from whoever comes next.
//!
//! Two habits of such locks are dealt with here. A process is given once more what it has already: so what it has is
//! written down. And the lock goes when its process closes any descriptor of the file: so a file that is locked here is not opened again,
//! and the lock is [held](Held::hold) anew now and then, as others within the process (who copy the folder perhaps) know nothing of it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::sink::owned::Owned;

/// Who speaks where a forked child asks for the file.
const NAME: &str = "journal";

/// How often a lock file that is removed meanwhile is looked for anew.
const TRIES: u32 = 100;

/// What is locked, by every process that this one was forked from, and by it.
static LOCKED: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// A lock file, in the hands of one process: what a child finds of its parent's in the list is not its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    process: u32,
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            process: std::process::id(),
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

/// A locked file, for as long as it lives.
pub(crate) struct Held {
    file: Owned<File>,
    identity: Identity,
}

impl Held {
    /// The lock, or who has it.
    pub(crate) fn take(path: &Path) -> io::Result<Result<Self, String>> {
        let mut locked = locked();
        for _ in 0..TRIES {
            if there(path)?.is_some_and(|there| locked.contains(&there)) {
                return Ok(Err(std::process::id().to_string()));
            }
            let file = super::open(path)?;
            let identity = Identity::of(&file.metadata()?);
            if !try_lock(&file)? {
                return Ok(Err(super::noted_owner(&file)));
            }
            // Who had it may have removed it meanwhile: what is locked now is no file that anybody else finds.
            if there(path)? != Some(identity) {
                continue;
            }
            super::note_owner(&file);
            locked.insert(identity);
            let file = Owned::new(file);
            return Ok(Ok(Self { file, identity }));
        }
        Err(io::Error::other("it is removed as often as it is made"))
    }

    /// Takes the lock anew, in case it was let go of; who has it if that is another process by now.
    pub(crate) fn hold(&self) -> io::Result<Result<(), String>> {
        let file = self.file.get(NAME).map_err(io::Error::other)?;
        Ok(if try_lock(file)? {
            Ok(())
        } else {
            Err(super::noted_owner(file))
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(file) = self.file.take(NAME) {
            // Closed before it is off the list: closing it later would let go of a lock that somebody here has taken by then.
            let mut locked = locked();
            drop(file);
            locked.remove(&self.identity);
        }
    }
}

fn there(path: &Path) -> io::Result<Option<Identity>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        there => Ok(Some(Identity::of(&there?))),
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn locked() -> MutexGuard<'static, BTreeSet<Identity>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}
