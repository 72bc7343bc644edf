//! Where items wait until they are delivered: in a journal, or in memory alone.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::super::SinkError;
use super::journal::{self, Extent, Item, JournalError, Lock, Mark, Reader};
use super::notes::{self, Dropped, Runs};
use super::options::Fsync;
use super::shared::Shared;
use crate::row::Row;

/// The delivering end of what waits.
pub(super) trait Backlog<T>: Send {
    /// The number of the next item to read.
    fn next(&self) -> u64;

    /// The run that the items that were read last belong to, where it is another than that of what they are delivered to.
    fn run(&self) -> Option<&str> {
        None
    }

    /// Up to `limit` items of those up to `extent`.
    ///
    /// # Errors
    /// If they cannot be read, or another process has them by now; nothing is skipped then.
    fn read(
        &mut self,
        shared: &Shared<T>,
        extent: Extent,
        limit: usize,
    ) -> Result<Vec<Item<T>>, SinkError>;

    /// Notes that `count` more items are done with; the number of the first that is not.
    ///
    /// # Errors
    /// If that could not be noted on the disk.
    fn advance(&mut self, count: u64) -> (u64, Result<(), SinkError>);

    /// Notes that `items` items are lost for good, where another process can find it.
    ///
    /// # Errors
    /// If the disk refuses.
    fn note_dropped(&mut self, _items: u64, _error: &str) -> Result<(), SinkError> {
        Ok(())
    }

    /// Removes a part of which everything is delivered.
    ///
    /// # Errors
    /// If the disk refuses. It will be found delivered, and removed, at the next start.
    fn remove(&self, _first: u64) -> Result<(), SinkError> {
        Ok(())
    }

    /// Empties what holds nothing any more.
    fn clear(&self, _segments: VecDeque<u64>) {}

    /// The last act. Notes go that nobody has to find any more: what was dropped where somebody has `heard` of it, and how the run ended
    /// where nothing is left to deliver. A note that stays is heard once more.
    fn leave(&self, _is_empty: bool, _heard: bool) {}

    /// The error of `items` items that cannot be read.
    fn damaged(&self, items: u64) -> JournalError;
}

/// The items themselves are with the [`Shared`] state; they die with the process.
#[derive(Default)]
pub(super) struct InMemory {
    next: u64,
}

impl<T> Backlog<T> for InMemory {
    fn next(&self) -> u64 {
        self.next
    }

    fn read(
        &mut self,
        shared: &Shared<T>,
        _extent: Extent,
        limit: usize,
    ) -> Result<Vec<Item<T>>, SinkError> {
        let items = shared.take(limit);
        self.next += items.len() as u64;
        Ok(items.into_iter().map(Item::Whole).collect())
    }

    fn advance(&mut self, _count: u64) -> (u64, Result<(), SinkError>) {
        (self.next, Ok(()))
    }

    fn damaged(&self, rows: u64) -> JournalError {
        let dir = String::new();
        JournalError::Damaged { dir, rows }
    }
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
    /// Whose the entries are, which run the sink behind writes, and the first entry that was read last.
    runs: Runs,
    own: Option<String>,
    read: u64,
    /// Whether the folder goes once it holds nothing any more.
    passing: bool,
}

impl OnDisk {
    pub(super) fn new(dir: &Path, segment: u64, mark: Mark, lock: Lock, fsync: Fsync) -> Self {
        Self {
            reader: Reader::new(dir, segment, mark.settled()),
            dir: dir.to_owned(),
            mark,
            fsync,
            dropped: Dropped::default(),
            lock,
            runs: Runs::default(),
            own: None,
            read: 0,
            passing: false,
        }
    }

    /// Whether the folder goes once it holds nothing any more.
    pub(super) fn passing(mut self, passing: bool) -> Self {
        self.passing = passing;
        self
    }

    /// Says which runs the entries are of, and which one the sink behind writes.
    pub(super) fn of_runs(mut self, runs: Runs, own: Option<String>) -> Self {
        (self.runs, self.own) = (runs, own);
        self
    }

    fn fault(&self, act: &'static str, error: io::Error) -> SinkError {
        journal::io_error(act, &self.dir)(error).into()
    }
}

impl Backlog<Row> for OnDisk {
    fn next(&self) -> u64 {
        self.reader.next()
    }

    fn run(&self) -> Option<&str> {
        let run = self.runs.run_of(self.read);
        run.filter(|run| self.own.as_deref() != Some(*run))
    }

    fn read(
        &mut self,
        _shared: &Shared<Row>,
        extent: Extent,
        limit: usize,
    ) -> Result<Vec<Item<Row>>, SinkError> {
        self.lock.hold(&self.dir)?;
        // What another process wrote is in another part of the journal, so these are of one run.
        self.read = self.reader.next();
        let read = self.reader.read(extent, limit);
        read.map_err(|error| self.fault("read", error))
    }

    fn advance(&mut self, count: u64) -> (u64, Result<(), SinkError>) {
        let settled = self.mark.settled() + count;
        let noted = self.mark.advance(settled);
        let noted = match self.fsync {
            Fsync::Each => noted.and_then(|()| self.mark.sync()),
            _ => noted,
        };
        let noted = noted.map_err(|error| self.fault("note the progress of", error));
        (settled, noted)
    }

    fn note_dropped(&mut self, rows: u64, error: &str) -> Result<(), SinkError> {
        self.dropped.rows += rows;
        error.clone_into(&mut self.dropped.error);
        notes::note_dropped(&self.dir, &self.dropped)
            .map_err(|error| self.fault("note what was dropped of", error))
    }

    fn remove(&self, first: u64) -> Result<(), SinkError> {
        journal::remove(&self.dir, first)
            .map_err(|error| self.fault("remove a delivered part of", error))
    }

    fn clear(&self, segments: VecDeque<u64>) {
        if self.fsync == Fsync::Never || self.mark.sync().is_ok() {
            for first in segments {
                let _ = journal::remove(&self.dir, first);
            }
        }
    }

    fn leave(&self, is_empty: bool, heard: bool) {
        // What fails here is found again, and told once more, by the next.
        if heard {
            let _ = notes::forget_dropped(&self.dir);
        }
        if is_empty {
            let _ = notes::forget_ended(&self.dir);
        }
        if is_empty && self.passing && self.lock.hold(&self.dir).is_ok() {
            notes::remove_journal(&self.dir);
        }
    }

    fn damaged(&self, rows: u64) -> JournalError {
        let dir = self.dir.display().to_string();
        JournalError::Damaged { dir, rows }
    }
}
