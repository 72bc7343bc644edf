//! The metrics file: where it is, its lines, and how far they have been read.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// No row is as long as this; a longer line is skipped without being kept.
pub(super) const LONGEST_LINE: usize = 16 << 20;

/// How much of either end of what has been read tells one file from another.
const FINGERPRINT: u64 = 1024;

/// The file called `name` at `run_dir/logs/`, else `run_dir/`, else anywhere below: the shallowest, of equals the first by
/// path. Links to folders are not followed. `None` where there is none.
pub(super) fn find(run_dir: &Path, name: &str) -> Option<PathBuf> {
    let near = [run_dir.join("logs").join(name), run_dir.join(name)];
    near.into_iter()
        .find(|path| path.is_file())
        .or_else(|| find_below(run_dir, name))
}

fn find_below(run_dir: &Path, name: &str) -> Option<PathBuf> {
    let mut level = vec![run_dir.to_owned()];
    while !level.is_empty() {
        let mut folders: Vec<PathBuf> = level.iter().flat_map(|dir| folders_in(dir)).collect();
        folders.sort();
        let found = folders.iter().map(|dir| dir.join(name));
        if let Some(path) = found.into_iter().find(|path| path.is_file()) {
            return Some(path);
        }
        level = folders;
    }
    None
}

/// What cannot be read has no folders.
fn folders_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Which file it is, for as long as it exists: device and inode. Zeros where the system has no such numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Self {
                device: metadata.dev(),
                inode: metadata.ino(),
            }
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Self::default()
        }
    }
}

/// How far a file has been read, and what it held there: the length of what was read and the hashes of its two ends. A
/// file that was cut, replaced or written anew does not hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub offset: u64,
    /// Lines read.
    pub lines: u64,
    pub identity: Identity,
    head: u64,
    tail: u64,
}

impl Position {
    /// Whether the file still holds what was read of it.
    pub fn holds(&self, file: &mut File) -> io::Result<bool> {
        let there = file.metadata()?.len() >= self.offset;
        Ok(there && ends(file, self.offset)? == (self.head, self.tail))
    }
}

/// The hashes of both ends of the first `length` bytes.
fn ends(file: &mut File, length: u64) -> io::Result<(u64, u64)> {
    let size = length.min(FINGERPRINT);
    let mut hash_at = |start| -> io::Result<u64> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(size).read_to_end(&mut bytes)?;
        Ok(xxh3_64(&bytes))
    };
    Ok((hash_at(0)?, hash_at(length - size)?))
}

/// A line, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// With its line break; its text is in [`Source::line`].
    Whole,
    /// Likewise, without its line break: the file ends in it.
    Torn,
    /// A whole line, too long to be kept.
    TooLong,
    /// The file ends here.
    End,
}

/// An open metrics file, read line by line.
#[derive(Debug)]
pub(super) struct Source {
    reader: BufReader<File>,
    /// A second handle for what is behind the reader.
    probe: File,
    pub identity: Identity,
    /// Where the next line begins, and how many are before it.
    pub offset: u64,
    pub lines: u64,
    /// The text of the last line.
    pub line: Vec<u8>,
    /// Bytes of the last line, kept or not.
    length: u64,
}

impl Source {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            identity: Identity::of(&file.metadata()?),
            probe: File::open(path)?,
            reader: BufReader::with_capacity(1 << 16, file),
            offset: 0,
            lines: 0,
            line: Vec::new(),
            length: 0,
        })
    }

    /// Bytes in the file.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.probe.metadata()?.len())
    }

    /// Whether the file still holds what was read of it.
    pub fn holds(&mut self, position: &Position) -> io::Result<bool> {
        position.holds(&mut self.probe)
    }

    /// Goes on where the file was left, if it still holds what was read of it.
    pub fn resume(&mut self, position: &Position) -> io::Result<bool> {
        let holds = position.holds(&mut self.probe)?;
        if holds {
            (self.offset, self.lines) = (position.offset, position.lines);
            self.rewind()?;
        }
        Ok(holds)
    }

    /// How far the lines have been taken.
    pub fn position(&mut self) -> io::Result<Position> {
        let (head, tail) = ends(&mut self.probe, self.offset)?;
        Ok(Position {
            offset: self.offset,
            lines: self.lines,
            identity: self.identity,
            head,
            tail,
        })
    }

    /// Reads the line that begins at `offset`. It is there to be read again until it is taken.
    pub fn next(&mut self) -> io::Result<Line> {
        self.line.clear();
        self.length = 0;
        loop {
            let chunk = self.reader.fill_buf()?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = end.map_or(chunk, |end| &chunk[..=end]);
            let read = part.len();
            self.length += read as u64;
            if self.length <= LONGEST_LINE as u64 {
                self.line.extend_from_slice(part);
            } else {
                self.line = Vec::new();
            }
            self.reader.consume(read);
            let too_long = self.length > LONGEST_LINE as u64;
            match end {
                Some(_) if too_long => return Ok(Line::TooLong),
                Some(_) => return Ok(Line::Whole),
                None if read > 0 => {}
                None if self.length == 0 => return Ok(Line::End),
                None => return Ok(Line::Torn),
            }
        }
    }

    /// Goes on behind the last line.
    pub fn take(&mut self) {
        self.offset += self.length;
        self.lines += 1;
        self.length = 0;
    }

    /// Goes back to where the last line begins.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.length = 0;
        self.reader.seek(SeekFrom::Start(self.offset)).map(drop)
    }
}
