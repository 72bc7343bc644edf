//! The store's file, open for reading by as many as ask at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::error::ReadError;
use crate::reading::find;
use crate::sink::identity;
use crate::store::Sqlite;

/// How many connections wait for the next to ask; more are closed again.
const IDLE: usize = 4;

/// What tells a file from another that is in its place.
type Identity = (u64, u64);

/// When a file and its log were last written, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// A store's file, opened as often as it is read at once.
///
/// A connection is only used for the file that it was opened on. While one is kept, no other file can have that file's identity.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    identity: Option<Identity>,
    /// Of a store that does not count its writes: written, it is another.
    stamp: Option<Stamp>,
    /// Counts the files that have been at the path.
    file: u64,
    connections: Vec<Sqlite>,
}

impl Opened {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
        }
    }

    /// The file's name, without where it is.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Where the store is, which no answer says.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the store. The second argument of `body` tells the file from those that were at the path before.
    pub fn read<T>(
        &self,
        body: impl FnOnce(&Sqlite, u64) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let (store, file) = self.connection()?;
        let read = store.at_one_moment(|| body(&store, file));
        let mut idle = self.idle();
        if matches!(read, Err(ReadError::Unread(_))) {
            // Whatever was wrong: it is opened anew, and nothing is kept of what was read.
            idle.identity = None;
        } else if idle.file == file && idle.connections.len() < IDLE {
            idle.connections.push(store);
        }
        read
    }

    /// The id of the run that somebody calls `run`.
    pub fn find(&self, store: &Sqlite, run: &str) -> Result<String, ReadError> {
        Ok(find(store, &self.path, run)?)
    }

    /// A connection to the file that is at the path now.
    fn connection(&self) -> Result<(Sqlite, u64), ReadError> {
        let file = self.file()?;
        if let Some(store) = self.idle().connections.pop() {
            return Ok((store, file));
        }
        self.connect()
    }

    /// Counts the files that have been at the path: which one is there now.
    pub fn file(&self) -> Result<u64, ReadError> {
        let found = identity(&self.path).ok().flatten();
        let mut gone = Vec::new();
        let file = {
            let mut idle = self.idle();
            let is_stale = |stamp: &Stamp| *stamp != stamp_of(&self.path);
            if idle.identity != found || idle.stamp.as_ref().is_some_and(is_stale) {
                idle.identity = found;
                idle.stamp = None;
                idle.file += 1;
                // Closed once the lock is free.
                gone = std::mem::take(&mut idle.connections);
            }
            idle.file
        };
        drop(gone);
        found.map(|_| file).ok_or(ReadError::Missing)
    }

    /// A connection of one's own to the file that is at the path now, and which file that is.
    pub fn connect(&self) -> Result<(Sqlite, u64), ReadError> {
        let file = self.file()?;
        let store = Sqlite::open_read_only(&self.path)?;
        if !store.counts_writes() {
            let mut idle = self.idle();
            if idle.file == file {
                // Opening may have made the log.
                idle.stamp.get_or_insert_with(|| stamp_of(&self.path));
            }
        }
        Ok((store, file))
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // What is kept in it holds whenever the lock is let go of.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp_of(path: &Path) -> Stamp {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path, Path::new(&log)].map(|file| {
        let found = fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}
