//! Reading a journal in order while it grows, and counting what cannot be read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::Budget;
use super::{HEADER, entry, segment};
use crate::row::Row;

/// Where a journal, or one segment of it, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink::durable) struct Extent {
    /// The number of the segment's first entry.
    pub(in crate::sink::durable) segment: u64,
    /// Its bytes so far.
    pub(in crate::sink::durable) len: u64,
    /// The number that its next entry has, or would have.
    pub(in crate::sink::durable) next: u64,
}

/// What stands next in a journal.
#[derive(Debug, PartialEq)]
pub(in crate::sink::durable) enum Item<T> {
    Whole(T),
    /// So many entries in a row that cannot be read.
    Lost(u64),
}

/// Reads the entries from a given one on, a segment's bytes in memory at most.
pub(in crate::sink::durable) struct Reader {
    dir: PathBuf,
    /// The segment being read, by the number of its first entry.
    segment: u64,
    /// Bytes of it read so far, the last of which are in `bytes`, where `at` is the next to look at.
    read: u64,
    bytes: Vec<u8>,
    at: usize,
    budget: Budget,
    /// The number of the next entry.
    next: u64,
}

impl Reader {
    /// A reader of the entries from `next` on, the first of which are in `segment`.
    pub(in crate::sink::durable) fn new(dir: &Path, segment: u64, next: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            segment,
            read: 0,
            bytes: Vec::new(),
            at: 0,
            budget: Budget::default(),
            next,
        }
    }

    /// The number of the next entry.
    pub(in crate::sink::durable) fn next(&self) -> u64 {
        self.next
    }

    /// Up to `limit` items of the segment that ends at `extent`; none once all before `extent.next` are read.
    ///
    /// # Errors
    /// If the segment cannot be read; nothing is skipped then.
    pub(in crate::sink::durable) fn read(
        &mut self,
        extent: Extent,
        limit: usize,
    ) -> io::Result<Vec<Item<Row>>> {
        if self.segment != extent.segment {
            (self.segment, self.read, self.at) = (extent.segment, 0, 0);
            self.bytes.clear();
            self.budget = Budget::default();
        }
        let mut items = Vec::new();
        while items.len() < limit && self.next < extent.next {
            // A number beyond the segment's own is no entry of it.
            let numbers = self.next..extent.next;
            let found = entry::next(&self.bytes, self.at, &numbers, &mut self.budget);
            if found.is_none() && self.read < extent.len {
                self.fill(extent.len)?;
                continue;
            }
            let number = found.as_ref().map_or(extent.next, |entry| entry.number);
            if number > self.next {
                items.push(Item::Lost(number - self.next));
                self.next = number;
            }
            if let Some(entry) = found {
                items.push(entry.row.map_or(Item::Lost(1), Item::Whole));
                (self.at, self.next) = (entry.end, entry.number + 1);
            }
        }
        Ok(items)
    }

    /// Reads on to `len`, behind what is not yet looked at. A segment that is gone, or shorter, has no more entries.
    fn fill(&mut self, len: u64) -> io::Result<()> {
        let mut file = match File::open(segment(&self.dir, self.segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.read = len;
                return Ok(());
            }
            file => file?,
        };
        let from = self.read.max(HEADER as u64);
        file.seek(SeekFrom::Start(from))?;
        self.bytes.drain(..self.at);
        self.at = 0;
        let held = self.bytes.len();
        let taken = file
            .take(len.saturating_sub(from))
            .read_to_end(&mut self.bytes);
        if let Err(error) = taken {
            self.bytes.truncate(held);
            return Err(error);
        }
        self.budget.grow(self.bytes.len() - held);
        self.read = len;
        Ok(())
    }
}
