//! Rows kept on this machine's disk until they are delivered: a folder of numbered segments, a mark of how far delivery came,
//! and a lock.
//!
//! Appending is one `write` and no `fsync`: what the call returned for survives the death of the process at any moment, as the
//! kernel holds it. What it takes to survive the death of the machine is [`super::Fsync`].

mod entry;
mod error;
mod lock;
mod read;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::row::Row;
pub use error::JournalError;
pub(crate) use lock::Held;
pub(super) use lock::Lock;
pub(super) use read::{Extent, Item, Reader};

/// What a segment begins with, then the version, the number of its first entry, and the checksum of all three.
const MAGIC: [u8; 8] = *b"GRPO-JNL";
const VERSION: u32 = 1;
const HEADER: usize = 28;

/// What opening a journal found.
pub(super) struct Opened {
    pub(super) appender: Appender,
    pub(super) mark: Mark,
    /// The segments by the number of their first entry, the oldest first; the last is the one that is appended to.
    pub(super) segments: VecDeque<u64>,
    /// Bytes of an entry that was never finished, cut off the end.
    pub(super) torn: u64,
    pub(super) lock: Lock,
}

/// Opens the journal in `dir`, making it if need be.
///
/// # Errors
/// If another process has it, it cannot be read or written, or a newer version wrote it.
pub(super) fn open(dir: &Path, segment_bytes: u64) -> Result<Opened, JournalError> {
    let fault = |act| io_error(act, dir);
    fs::create_dir_all(dir).map_err(fault("make"))?;
    let lock = Lock::take(dir)?;
    let mut segments = listed(dir).map_err(fault("read"))?;
    let mut mark = Mark::open(dir).map_err(fault("open the mark of"))?;
    for first in &segments {
        check_version(dir, *first)?;
    }
    // Only delivered segments are removed, so what comes before the first is delivered, whatever became of the mark.
    mark.settled = mark.settled.max(segments.front().copied().unwrap_or(0));
    let mut next = mark.settled;
    let mut torn = 0;
    if let Some(last) = segments.back().copied() {
        let end;
        (end, torn) = repair(&segment(dir, last), last).map_err(fault("repair"))?;
        next = next.max(end);
        if end == last {
            fs::remove_file(segment(dir, last)).map_err(fault("repair"))?;
            segments.pop_back();
        }
    }
    let appender = Appender::new(dir, next, segment_bytes).map_err(fault("write to"))?;
    segments.push_back(next);
    Ok(Opened {
        appender,
        mark,
        segments,
        torn,
        lock,
    })
}

/// Removes a segment whose entries are all delivered; one that is gone was.
pub(super) fn remove(dir: &Path, first: u64) -> io::Result<()> {
    match fs::remove_file(segment(dir, first)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Brings a segment to the disk; one that is gone was delivered.
pub(super) fn sync(dir: &Path, first: u64) -> io::Result<()> {
    match OpenOptions::new().write(true).open(segment(dir, first)) {
        Ok(file) => file.sync_data(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn io_error(
    act: &'static str,
    dir: &Path,
) -> impl Fn(io::Error) -> JournalError + use<> {
    let dir = dir.display().to_string();
    move |source| JournalError::Io {
        act,
        dir: dir.clone(),
        source,
    }
}

fn segment(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.journal"))
}

fn listed(dir: &Path) -> io::Result<VecDeque<u64>> {
    let mut segments = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        segments.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    segments.sort_unstable();
    Ok(segments.into())
}

/// A header that is damaged is no hindrance: entries are found without it.
fn check_version(dir: &Path, first: u64) -> Result<(), JournalError> {
    let path = segment(dir, first);
    let mut header = [0; HEADER];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        other => other.map_err(io_error("read", dir))?,
    }
    let found = header_version(&header).unwrap_or(VERSION);
    if found > VERSION {
        return Err(JournalError::Newer {
            path: path.display().to_string(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

fn header(first: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&first.to_le_bytes());
    let checksum = xxh3_64(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn header_version(header: &[u8; HEADER]) -> Option<u32> {
    let version = header[8..].first_chunk().copied()?;
    let checksum = header[20..].first_chunk().copied()?;
    let sound =
        header.starts_with(&MAGIC) && xxh3_64(&header[..20]) == u64::from_le_bytes(checksum);
    sound.then(|| u32::from_le_bytes(version))
}

/// Cuts an unfinished entry off the end of a segment: the number after its last entry, and the bytes cut off.
///
/// An entry that is all there but not as it was written is no torn one: it was taken, and stays to be counted as lost.
fn repair(path: &Path, first: u64) -> io::Result<(u64, u64)> {
    let bytes = fs::read(path)?;
    let (mut at, mut next) = (HEADER.min(bytes.len()), first);
    let beyond = first.saturating_add((bytes.len() / entry::HEAD) as u64);
    let mut budget = entry::Budget::default();
    budget.grow(bytes.len());
    loop {
        if let Some(entry) = entry::next(&bytes, at, &(next..beyond), &mut budget) {
            (at, next) = (entry.end, entry.number + 1);
        } else if let Some(length) = entry::claimed(&bytes[at..], next) {
            (at, next) = (at + length, next + 1);
        } else {
            break;
        }
    }
    let torn = (bytes.len() - at) as u64;
    if torn > 0 {
        OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(at as u64)?;
    }
    Ok((next, torn))
}

/// Writes rows at the end of the journal.
pub(super) struct Appender {
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
    fn new(dir: &Path, next: u64, segment_bytes: u64) -> io::Result<Self> {
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
    pub(super) fn extent(&self) -> Extent {
        Extent {
            segment: self.first,
            len: self.len,
            next: self.next,
        }
    }

    /// Brings what was appended to the disk.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(io_error("flush", &self.dir))
    }

    /// Appends `row`; where the journal ends then. Where the disk has no room, what is delivered makes some: every entry before the
    /// one that `settled` gives.
    ///
    /// # Errors
    /// If the disk is full or refuses. The journal is then as it was, and the next row has its chance.
    pub(super) fn append(
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
    fn free(&mut self, settled: u64) -> io::Result<bool> {
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

/// How far delivery came: the number of the first entry that is not settled yet.
///
/// Two slots written in turn, so that a machine that dies while writing one leaves the other.
pub(super) struct Mark {
    file: File,
    settled: u64,
    turn: bool,
}

impl Mark {
    const SLOT: usize = 16;

    fn open(dir: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("delivered"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let slots = bytes.chunks_exact(Self::SLOT);
        let settled = slots.filter_map(|slot| {
            let (settled, checksum) = slot.split_first_chunk::<8>()?;
            (xxh3_64(settled).to_le_bytes() == checksum).then(|| u64::from_le_bytes(*settled))
        });
        let mut mark = Self {
            settled: settled.max().unwrap_or(0),
            file,
            turn: false,
        };
        if bytes.len() < 2 * Self::SLOT {
            // While there is room: progress can be noted on a full disk then.
            mark.advance(mark.settled)?;
            mark.advance(mark.settled)?;
        }
        Ok(mark)
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Every entry before `settled` is delivered, or lost for good.
    pub(super) fn advance(&mut self, settled: u64) -> io::Result<()> {
        self.settled = settled;
        let slot = if self.turn { Self::SLOT as u64 } else { 0 };
        self.turn = !self.turn;
        let settled = settled.to_le_bytes();
        let checksum = xxh3_64(&settled).to_le_bytes();
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&[settled, checksum].concat())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests;
