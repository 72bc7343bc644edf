//! Where rows wait until they are delivered: in a journal, or in memory alone.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::super::SinkError;
use super::journal::{self, Extent, Item, JournalError, Lock, Mark, Reader};
use super::notes::{self, Dropped};
use super::policy::Fsync;
use super::shared::Shared;

/// The delivering end of what waits.
pub(super) enum Backlog {
    Journal(OnDisk),
    /// The rows themselves are with the [`Shared`] state; they die with the process.
    Memory {
        next: u64,
    },
}

/// A journal that is read and marked as it is delivered, by one process at a time.
pub(super) struct OnDisk {
    dir: PathBuf,
    reader: Reader,
    mark: Mark,
    fsync: Fsync,
    /// What this process has dropped.
    dropped: Dropped,
    lock: Lock,
}

impl Backlog {
    pub(super) fn journal(dir: &Path, segment: u64, mark: Mark, lock: Lock, fsync: Fsync) -> Self {
        Self::Journal(OnDisk {
            reader: Reader::new(dir, segment, mark.settled()),
            dir: dir.to_owned(),
            mark,
            fsync,
            dropped: Dropped::default(),
            lock,
        })
    }

    /// The number of the next row to read.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Journal(journal) => journal.reader.next(),
            Self::Memory { next } => *next,
        }
    }

    /// Up to `limit` rows of those up to `extent`.
    ///
    /// # Errors
    /// If the journal cannot be read, or another process has it by now; nothing is skipped then.
    pub(super) fn read(
        &mut self,
        shared: &Shared,
        extent: Extent,
        limit: usize,
    ) -> Result<Vec<Item>, SinkError> {
        match self {
            Self::Journal(journal) => {
                journal.lock.hold(&journal.dir)?;
                let read = journal.reader.read(extent, limit);
                read.map_err(|error| journal.fault("read", error))
            }
            Self::Memory { next } => {
                let rows = shared.take(limit);
                *next += rows.len() as u64;
                Ok(rows.into_iter().map(Item::Row).collect())
            }
        }
    }

    /// Notes that `count` more rows are done with; the number of the first that is not.
    ///
    /// # Errors
    /// If that could not be noted on the disk.
    pub(super) fn advance(&mut self, count: u64) -> (u64, Result<(), SinkError>) {
        match self {
            Self::Journal(journal) => {
                let settled = journal.mark.settled() + count;
                let noted = journal.mark.advance(settled);
                let noted = match journal.fsync {
                    Fsync::Each => noted.and_then(|()| journal.mark.sync()),
                    _ => noted,
                };
                let noted = noted.map_err(|error| journal.fault("note the progress of", error));
                (settled, noted)
            }
            Self::Memory { next } => (*next, Ok(())),
        }
    }

    /// Notes that `rows` rows are lost for good, where another process can find it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn note_dropped(&mut self, rows: u64, error: &str) -> Result<(), SinkError> {
        let Self::Journal(journal) = self else {
            return Ok(());
        };
        journal.dropped.rows += rows;
        error.clone_into(&mut journal.dropped.error);
        notes::note_dropped(&journal.dir, &journal.dropped)
            .map_err(|error| journal.fault("note what was dropped of", error))
    }

    /// Somebody has heard of what was dropped. Where the note stays, it is heard once more.
    pub(super) fn forget_dropped(&self) {
        if let Self::Journal(journal) = self {
            let _ = notes::forget_dropped(&journal.dir);
        }
    }

    /// Removes a part of which everything is delivered.
    ///
    /// # Errors
    /// If the disk refuses. It will be found delivered, and removed, at the next start.
    pub(super) fn remove(&self, first: u64) -> Result<(), SinkError> {
        match self {
            Self::Journal(journal) => journal::remove(&journal.dir, first)
                .map_err(|error| journal.fault("remove a delivered part of", error)),
            Self::Memory { .. } => Ok(()),
        }
    }

    /// Empties what holds nothing any more.
    pub(super) fn clear(&self, segments: VecDeque<u64>) {
        if let Self::Journal(journal) = self
            && (journal.fsync == Fsync::Never || journal.mark.sync().is_ok())
        {
            for first in segments {
                let _ = journal::remove(&journal.dir, first);
            }
        }
    }

    /// The error of `rows` rows that cannot be read.
    pub(super) fn damaged(&self, rows: u64) -> JournalError {
        let dir = match self {
            Self::Journal(journal) => journal.dir.display().to_string(),
            Self::Memory { .. } => String::new(),
        };
        JournalError::Damaged { dir, rows }
    }
}

impl OnDisk {
    fn fault(&self, act: &'static str, error: io::Error) -> SinkError {
        journal::io_error(act, &self.dir)(error).into()
    }
}
