//! What lines are appended to: a file that other programs may do something to, or a stream.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::super::{SinkError, file};
use super::{Repair, io_error};

/// What lines are appended to.
pub(super) trait Lines: Send {
    /// Where the next line begins.
    fn end(&mut self, target: &str) -> Result<u64, SinkError>;
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
    /// Takes back what was written from `end` on.
    fn cut(&mut self, end: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that grows at its end, unless another program does something to it.
pub(super) struct Grown {
    file: File,
    path: PathBuf,
    /// Its bytes, all of whole lines.
    len: u64,
}

impl Grown {
    pub(super) fn file(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
    }

    /// Takes the file at `path` and repairs its last line.
    pub(super) fn open(
        mut file: File,
        path: PathBuf,
        target: &str,
    ) -> Result<(Self, Repair), SinkError> {
        let io = |act| io_error(act, target);
        let (start, tail) = last_line(&mut file).map_err(io("read"))?;
        let repaired = repair_of(&tail).ok_or_else(|| SinkError::NotRows {
            path: target.to_owned(),
            at: start,
            found: String::from_utf8_lossy(&tail).chars().take(20).collect(),
        })?;
        match repaired {
            Repair::None => {}
            Repair::Completed => file.write_all(b"\n").map_err(io("repair"))?,
            Repair::Truncated(bytes) => {
                file.set_len(start).map_err(io("repair"))?;
                tracing::warn!("{target}: cut off a torn last row of {bytes} bytes");
            }
        }
        let len = file.metadata().map_err(io("read"))?.len();
        Ok((Self { file, path, len }, repaired))
    }

    /// Goes on in what is at the path now.
    fn move_on(&mut self, nameless: bool, target: &str) -> Result<(), SinkError> {
        let io = |act| io_error(act, target);
        let file = Self::file(&self.path).map_err(io("open"))?;
        let (mut next, _) = Self::open(file, self.path.clone(), target)?;
        if nameless {
            next.take_over(&mut self.file)
                .map_err(io("write the rows of the deleted file to"))?;
            tracing::warn!(
                "{target}: it was deleted or replaced while it was being written; its rows stand in what is there now"
            );
        } else {
            tracing::info!("{target}: it was moved; rows go on in a new file");
        }
        *self = next;
        Ok(())
    }

    /// Appends the lines of another file that this one has not: all of them, or none where that fails.
    fn take_over(&mut self, other: &mut File) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let known = checksums(&self.file)?;
        other.seek(SeekFrom::Start(0))?;
        let mut out = BufWriter::new(&self.file);
        let taken = each_line(other, |line| {
            if known.contains(&xxh3_64(line)) {
                return Ok(());
            }
            out.write_all(line)
        });
        let taken = taken.and_then(|()| out.flush());
        // What is left in it where it could not be written would be written when it goes.
        drop(out.into_parts());
        if taken.is_err() {
            self.file.set_len(self.len)?;
        }
        taken?;
        self.len = self.file.metadata()?.len();
        Ok(())
    }
}

impl Lines for Grown {
    fn end(&mut self, target: &str) -> Result<u64, SinkError> {
        let io = |act| io_error(act, target);
        let metadata = self.file.metadata().map_err(io("look at"))?;
        let (own, nameless) = file::opened(&metadata);
        if file::identity(&self.path).map_err(io("look at"))? != own {
            self.move_on(nameless, target)?;
        } else if metadata.len() < self.len {
            let (before, now) = (self.len, metadata.len());
            tracing::warn!(
                "{target}: another program cut it from {before} bytes to {now}: the rows that stood there are gone, unless it has them elsewhere"
            );
            let file = self.file.try_clone().map_err(io("open"))?;
            (*self, _) = Self::open(file, self.path.clone(), target)?;
        } else {
            self.len = metadata.len();
        }
        Ok(self.len)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Never makes it longer: what another program cut off would become zeros.
    fn cut(&mut self, end: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > end {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A pipe, a terminal, a device: what is written cannot be taken back, nor brought to a disk.
pub(super) struct Stream<W>(pub(super) W);

impl<W: Write + Send> Lines for Stream<W> {
    fn end(&mut self, _: &str) -> Result<u64, SinkError> {
        Ok(0)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)
    }

    /// A line break keeps the next row apart from the torn one.
    fn cut(&mut self, _: u64) -> io::Result<()> {
        self.0.write_all(b"\n")
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Where the text after the last line break begins, and that text.
fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    const BLOCK: u64 = 64 * 1024;
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    while start > 0 {
        let size = start.min(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start - size))?;
        file.take(size).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            let mut rest = block.split_off(at + 1);
            start = start - size + at as u64 + 1;
            rest.append(&mut tail);
            return Ok((start, rest));
        }
        block.append(&mut tail);
        tail = block;
        start -= size;
    }
    Ok((0, tail))
}

/// What a last line without its line break needs; `None` if it is not the beginning of a row, and so is not ours to cut.
/// A crash of the machine may leave zero bytes where a row was.
fn repair_of(tail: &[u8]) -> Option<Repair> {
    let blank = tail
        .iter()
        .all(|byte| *byte == 0 || byte.is_ascii_whitespace());
    if tail.is_empty() {
        Some(Repair::None)
    } else if serde_json::from_slice::<serde_json::Map<_, _>>(tail).is_ok() {
        Some(Repair::Completed)
    } else if blank || tail.starts_with(b"{") {
        Some(Repair::Truncated(tail.len() as u64))
    } else {
        None
    }
}

/// The checksums of the lines of a file.
pub(super) fn checksums(file: impl Read) -> io::Result<HashSet<u64>> {
    let mut found = HashSet::new();
    each_line(file, |line| {
        found.insert(xxh3_64(line));
        Ok(())
    })?;
    Ok(found)
}

/// Hands on every whole line, with its line break.
fn each_line(file: impl Read, mut act: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut lines, mut line) = (BufReader::new(file), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") {
            act(&line)?;
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_last_line_needs_depends_on_how_it_ends() {
        assert_eq!(repair_of(b""), Some(Repair::None));
        assert_eq!(repair_of(br#"{"step":1}"#), Some(Repair::Completed));
        assert_eq!(repair_of(br#"{"step":1"#), Some(Repair::Truncated(9)));
        assert_eq!(repair_of(b"\0\0\0"), Some(Repair::Truncated(3)));
        assert_eq!(repair_of(b"dear diary"), None);
    }

    #[test]
    fn the_last_line_is_found_across_blocks() {
        let mut file = tempfile::tempfile().unwrap();
        let long = vec![b'x'; 200_000];
        file.write_all(b"first\n").unwrap();
        file.write_all(&long).unwrap();
        assert!(last_line(&mut file).unwrap() == (6, long));
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(last_line(&mut file).unwrap(), (200_007, vec![]));
    }
}
