//! Rows kept on this machine's disk until they are delivered: a folder of numbered segments, a mark of how far delivery came,
//! and a lock.
//!
//! Appending is one `write` and no `fsync`: what the call returned for survives the death of the process at any moment, as the
//! kernel holds it. What it takes to survive the death of the machine is [`super::Fsync`].

mod append;
mod entry;
mod error;
mod lock;
mod mark;
mod read;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

pub(super) use append::Appender;
pub use error::JournalError;
pub(crate) use lock::Held;
pub(super) use lock::Lock;
pub(super) use mark::Mark;
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
    if dir.as_os_str().is_empty() {
        return Err(JournalError::Nowhere);
    }
    let fault = |act| io_error(act, dir);
    let lock = locked(dir)?;
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

/// The lock of the folder, which is made if need be. Whoever had it last may be just removing both.
fn locked(dir: &Path) -> Result<Lock, JournalError> {
    let mut tries = 0..3;
    loop {
        fs::create_dir_all(dir).map_err(io_error("make", dir))?;
        match Lock::take(dir) {
            Err(JournalError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
            outcome => return outcome,
        }
    }
}

/// Whether no segment is left.
pub(super) fn is_empty(dir: &Path) -> bool {
    listed(dir).is_ok_and(|segments| segments.is_empty())
}

/// Removes the folder of a journal that holds nothing any more, with the `notes` beside it: the lock last, as whoever finds none makes
/// one. Anything else in it stays, and so does the folder then.
pub(super) fn remove_folder(dir: &Path, notes: &[&str]) {
    let files = notes.iter().copied().chain([mark::FILE, lock::FILE]);
    for file in files {
        let _ = fs::remove_file(dir.join(file));
    }
    let _ = fs::remove_dir(dir);
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

/// How many entries are not delivered yet, as far as is written: nothing is taken, made or repaired, so that whoever uses the journal is
/// not disturbed.
pub(super) fn waiting(dir: &Path) -> io::Result<u64> {
    let segments = listed(dir)?;
    let (Some(first), Some(last)) = (segments.front(), segments.back()) else {
        return Ok(0);
    };
    let (next, _) = whole(&fs::read(segment(dir, *last))?, *last);
    let settled = mark::settled(&fs::read(dir.join(mark::FILE))?);
    Ok(next.saturating_sub(settled.max(*first)))
}

/// Cuts an unfinished entry off the end of a segment: the number after its last entry, and the bytes cut off.
fn repair(path: &Path, first: u64) -> io::Result<(u64, u64)> {
    let bytes = fs::read(path)?;
    let (next, end) = whole(&bytes, first);
    let torn = (bytes.len() - end) as u64;
    if torn > 0 {
        OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(end as u64)?;
    }
    Ok((next, torn))
}

/// The number after a segment's last entry, and where that ends.
///
/// An entry that is all there but not as it was written is no torn one: it was taken, and stays to be counted as lost.
fn whole(bytes: &[u8], first: u64) -> (u64, usize) {
    let (mut at, mut next) = (HEADER.min(bytes.len()), first);
    let beyond = first.saturating_add((bytes.len() / entry::HEAD) as u64);
    let mut budget = entry::Budget::default();
    budget.grow(bytes.len());
    loop {
        if let Some(entry) = entry::next(bytes, at, &(next..beyond), &mut budget) {
            (at, next) = (entry.end, entry.number + 1);
        } else if let Some(length) = entry::claimed(&bytes[at..], next) {
            (at, next) = (at + length, next + 1);
        } else {
            return (next, at);
        }
    }
}

#[cfg(test)]
mod tests;
