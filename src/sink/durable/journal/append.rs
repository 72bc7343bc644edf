//! Writing rows at the end of a journal, and giving back to the disk what is delivered.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::read::Extent;
use super::{HEADER, JournalError, entry, header, io_error, segment};
use crate::row::Row;

/// Writes rows at the end of the journal.
pub(in crate::sink::durable) struct Appender {
    dir: PathBuf,
    file: File,
    /// The number of the segment's first entry, and the bytes of its whole entries with the header.
    first: u64,
    len: u64,
    /// Where each of its entries begins.
    begins: Vec<u64>,
    /// The number of the next entry.
    next: u64,
    /// Up to where the segment's entries were given back to the disk.
    freed: u64,
    segment_bytes: u64,
    /// Whether a failed write left something behind.
    torn: bool,
    buffer: Vec<u8>,
}

impl Appender {
    pub(super) fn new(dir: &Path, next: u64, segment_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            file: new_segment(dir, next)?,
            first: next,
            len: HEADER as u64,
            begins: Vec::new(),
            next,
            freed: HEADER as u64,
            segment_bytes,
            torn: false,
            buffer: Vec::new(),
        })
    }

    /// Where the journal ends.
    pub(in crate::sink::durable) fn extent(&self) -> Extent {
        Extent {
            segment: self.first,
            len: self.len,
            next: self.next,
        }
    }

    /// Brings what was appended to the disk.
    pub(in crate::sink::durable) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(io_error("flush", &self.dir))
    }

    /// Appends `row`; where the journal ends then. Where the disk has no room, what is delivered makes some: every entry before the
    /// one that `settled` gives.
    ///
    /// # Errors
    /// If the disk is full or refuses. The journal is then as it was, and the next row has its chance.
    pub(in crate::sink::durable) fn append(
        &mut self,
        row: &Row,
        settled: impl FnOnce() -> u64,
    ) -> Result<Extent, JournalError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let encoded = entry::encode(self.next, row, &mut buffer).map_err(io::Error::other);
        let outcome = encoded.and_then(|()| match self.put(&buffer) {
            Err(error) if is_full(&error) && self.free(settled())? => self.put(&buffer),
            outcome => outcome,
        });
        self.buffer = buffer;
        outcome.map_err(io_error("write to", &self.dir))?;
        Ok(self.extent())
    }

    fn put(&mut self, entry: &[u8]) -> io::Result<()> {
        self.mend()?;
        let holds_entries = self.next > self.first;
        if holds_entries && self.len + entry.len() as u64 > self.segment_bytes {
            self.file = new_segment(&self.dir, self.next)?;
            self.begin();
        }
        if let Err(error) = self.file.write_all(entry) {
            // A full disk may have taken half the entry.
            self.torn = true;
            let _ = self.mend();
            return Err(error);
        }
        self.begins.push(self.len);
        self.len += entry.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// The file is a segment with no entries yet.
    fn begin(&mut self) {
        (self.first, self.len) = (self.next, HEADER as u64);
        self.freed = self.len;
        self.begins.clear();
    }

    /// Gives the segment's entries before `settled` back to the disk; whether there were any.
    pub(super) fn free(&mut self, settled: u64) -> io::Result<bool> {
        self.mend()?;
        if self.next == self.first {
            return Ok(false);
        }
        if settled == self.next {
            // A new file would need room: this one becomes it.
            self.file.set_len(HEADER as u64)?;
            self.torn = true;
            fs::rename(
                segment(&self.dir, self.first),
                segment(&self.dir, self.next),
            )?;
            self.begin();
            self.file.rewind()?;
            self.file.write_all(&header(self.first))?;
            self.torn = false;
            return Ok(true);
        }
        let nth = settled.saturating_sub(self.first);
        let nth = usize::try_from(nth).unwrap_or(usize::MAX);
        let until = self.begins.get(nth).copied().unwrap_or(HEADER as u64);
        let freed = until > self.freed && give_back(&self.file, self.freed..until)?;
        if freed {
            self.freed = until;
        }
        Ok(freed)
    }

    /// Cuts off what a failed write left behind.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            self.torn = false;
        }
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Makes a hole of these bytes, which read as zeros then; whether the system has such a thing.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn give_back(file: &File, bytes: Range<u64>) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, hole, bytes.start, bytes.end - bytes.start) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::unnecessary_wraps, reason = "as where it can fail")]
fn give_back(_: &File, _: Range<u64>) -> io::Result<bool> {
    Ok(false)
}

fn new_segment(dir: &Path, first: u64) -> io::Result<File> {
    let path = segment(dir, first);
    let mut file = File::create(&path)?;
    if let Err(error) = file.write_all(&header(first)) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}
