//! A metrics file: its lines, and how far they have been read.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::GzHeader;
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::row;
use super::state::State;
use crate::limits;

/// A longer line is skipped without being kept.
pub(super) const LONGEST_LINE: usize = limits::ROW;

/// How much of either end of what has been read tells one file from another.
const FINGERPRINT: usize = 1024;

/// Which file it is, for as long as it exists: device and inode. Zeros where the system has no such numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
/// file that was cut, replaced or written anew does not hold it; a copy does, also a gzipped one, as all of this is told of
/// the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub offset: u64,
    /// Lines read.
    pub lines: u64,
    pub identity: Identity,
    /// When its first row was written, in nanoseconds since 1970, if that is known: what came after began later.
    #[serde(default)]
    pub began: Option<u64>,
    /// When the file was last written, likewise.
    #[serde(default)]
    pub modified: u64,
    head: u64,
    tail: u64,
}

/// Nanoseconds since 1970; 0 where the system does not say.
pub(super) fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok();
    let since = since.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The first and the last bytes of what has been read, at most [`FINGERPRINT`] of each.
#[derive(Clone, Debug, Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    fn push(&mut self, bytes: &[u8]) {
        let room = FINGERPRINT.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.push_tail(bytes);
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(FINGERPRINT)..];
        let over = (self.tail.len() + kept.len()).saturating_sub(FINGERPRINT);
        self.tail.drain(..over);
        self.tail.extend_from_slice(kept);
    }

    /// Goes on with what `next` has of the bytes that follow.
    fn append(&mut self, next: &Self) {
        self.push(&next.head);
        // Of a short one the head is all, and is there already.
        if next.tail.len() == FINGERPRINT {
            self.push_tail(&next.tail);
        }
    }
}

/// The text of a file: its bytes, or those that they are gzipped from.
enum Text {
    Plain(File),
    /// Also of several parts behind one another, as `cat a.gz b.gz` gives.
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    /// The rows of a state, which is one JSON text.
    State(Box<State>),
}

impl Text {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(2).read_to_end(&mut magic)?;
        file.rewind()?;
        // No JSON begins so.
        if magic == [0x1f, 0x8b] {
            let decoder = MultiGzDecoder::new(BufReader::new(file));
            return Ok(Self::Gzip(Box::new(decoder)));
        }
        let state = State::of(&mut file)?;
        Ok(state.map_or(Self::Plain(file), |state| Self::State(Box::new(state))))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::Plain(file) => file.metadata(),
            Self::Gzip(decoder) => decoder.get_ref().get_ref().metadata(),
            Self::State(state) => state.file.metadata(),
        }
    }

    /// Bytes of the text; `None` where only reading it all would tell.
    fn len(&self) -> io::Result<Option<u64>> {
        match self {
            Self::Plain(file) => file.metadata().map(|metadata| Some(metadata.len())),
            Self::Gzip(_) => Ok(None),
            Self::State(state) => Ok(Some(state.len())),
        }
    }

    /// The end of the second in which it was last written, as `gzip` writes it into what it packs: each part says so of itself.
    fn packed_from(&self) -> Option<u64> {
        let Self::Gzip(decoder) = self else {
            return None;
        };
        let second = decoder.header().map_or(0, GzHeader::mtime);
        (second > 0).then(|| (u64::from(second) + 1) * 1_000_000_000 - 1)
    }

    /// As far as it is there, and no longer than any row.
    fn first_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.go_to(0)?;
        BufReader::new(self.take(LONGEST_LINE as u64)).read_until(b'\n', &mut line)?;
        Ok(line)
    }

    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Self::Gzip(decoder) => {
                let mut file = decoder.get_ref().get_ref().try_clone()?;
                file.rewind()?;
                **decoder = MultiGzDecoder::new(BufReader::new(file));
                io::copy(&mut decoder.as_mut().take(offset), &mut io::sink()).map(drop)
            }
            Self::State(state) => {
                state.lines.set_position(offset);
                Ok(())
            }
        }
    }

    /// Up to [`FINGERPRINT`] bytes from `offset` on, of the first `end`.
    fn part(&mut self, offset: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.go_to(offset)?;
        let size = (end - offset).min(FINGERPRINT as u64);
        self.take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What was read of it up to `position`, if it still holds that.
    fn holds(&mut self, position: &Position) -> io::Result<Option<Ends>> {
        if self.len()?.is_some_and(|length| length < position.offset) {
            return Ok(None);
        }
        let head = self.part(0, position.offset)?;
        if xxh3_64(&head) != position.head {
            return Ok(None);
        }
        let start = position.offset.saturating_sub(FINGERPRINT as u64);
        let tail = self.part(start, position.offset)?;
        let holds = xxh3_64(&tail) == position.tail;
        Ok(holds.then_some(Ends { head, tail }))
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::State(state) => state.lines.read(buffer),
        }
    }
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
pub(super) struct Source {
    /// What it was called when it was opened.
    pub path: PathBuf,
    reader: BufReader<Text>,
    /// A second handle for what is not where the reader is.
    probe: Text,
    pub identity: Identity,
    /// When its first row was written, in nanoseconds since 1970; if that does not say so, just after the file before it began.
    pub began: Option<u64>,
    /// See [`Text::packed_from`]; it is asked before anything is read.
    packed_from: Option<u64>,
    /// Whether it held nothing when it was opened.
    pub is_empty: bool,
    /// Where the next line begins, and how many are before it.
    pub offset: u64,
    pub lines: u64,
    /// The ends of what is before it.
    ends: Ends,
    /// The text of the last line.
    pub line: Vec<u8>,
    /// Bytes of the last line, kept or not, and their ends.
    length: u64,
    line_ends: Ends,
    /// Whether no more is to be had of it.
    pub is_over: bool,
}

impl Source {
    pub fn open(path: &Path) -> io::Result<Self> {
        let (text, mut probe, identity) = loop {
            let (text, probe) = (Text::open(path)?, Text::open(path)?);
            let identity = Identity::of(&text.metadata()?);
            // Unless it was rotated between the two.
            if identity == Identity::of(&probe.metadata()?) {
                break (text, probe, identity);
            }
        };
        // What cannot be read says so when it is read.
        let first = probe.first_line().ok();
        Ok(Self {
            path: path.to_owned(),
            identity,
            began: first.as_ref().and_then(|line| row::written(line)),
            packed_from: text.packed_from(),
            is_empty: first.is_some_and(|line| line.is_empty()),
            probe,
            reader: BufReader::with_capacity(1 << 16, text),
            offset: 0,
            lines: 0,
            ends: Ends::default(),
            line: Vec::new(),
            length: 0,
            line_ends: Ends::default(),
            is_over: false,
        })
    }

    /// Whether its text is gzipped.
    pub fn is_gzipped(&self) -> bool {
        matches!(self.probe, Text::Gzip(_))
    }

    /// Bytes of the text, as far as that is known without reading it.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.probe.len()?.unwrap_or(self.offset))
    }

    /// When its text was last written. A packer may have given the file a later time.
    pub fn modified(&self) -> io::Result<u64> {
        let own = modified(&self.probe.metadata()?);
        Ok(self.packed_from.map_or(own, |from| own.min(from)))
    }

    /// Whether the file still holds what was read of it, where it was read. What is gzipped nobody writes to; a state is written
    /// anew, and has to be read anew.
    pub fn holds(&mut self, position: &Position) -> io::Result<bool> {
        if let Text::State(state) = &mut self.probe
            && state.is_outdated()?
        {
            return Ok(false);
        }
        Ok(self.is_gzipped() || self.probe.holds(position)?.is_some())
    }

    /// Goes on where the file was left, if it still holds what was read of it.
    pub fn resume(&mut self, position: &Position) -> io::Result<bool> {
        let Some(ends) = self.probe.holds(position)? else {
            return Ok(false);
        };
        // Where nothing was read yet, every file holds that.
        let times = self.began.zip(position.began);
        if times.is_some_and(|(own, left)| own != left) {
            return Ok(false);
        }
        self.began = self.began.or(position.began);
        (self.offset, self.lines, self.ends) = (position.offset, position.lines, ends);
        self.rewind()?;
        Ok(true)
    }

    /// How far the lines have been taken.
    pub fn position(&self) -> io::Result<Position> {
        Ok(Position {
            offset: self.offset,
            lines: self.lines,
            identity: self.identity,
            began: self.began,
            modified: self.modified()?,
            head: xxh3_64(&self.ends.head),
            tail: xxh3_64(&self.ends.tail),
        })
    }

    /// Reads the line that begins at `offset`. It is there to be read again until it is taken.
    pub fn next(&mut self) -> io::Result<Line> {
        if self.is_over {
            return Ok(Line::End);
        }
        self.line.clear();
        self.line_ends = Ends::default();
        self.length = 0;
        loop {
            let chunk = self.reader.fill_buf()?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = end.map_or(chunk, |end| &chunk[..=end]);
            let read = part.len();
            self.length += read as u64;
            self.line_ends.push(part);
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
        if self.lines == 0 {
            self.began = row::written(&self.line).or(self.began);
        }
        self.offset += self.length;
        self.lines += 1;
        self.ends.append(&self.line_ends);
        self.length = 0;
    }

    /// Goes back to where the last line begins.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.length = 0;
        let unread = self.reader.buffer().len();
        self.reader.consume(unread);
        self.reader.get_mut().go_to(self.offset)
    }
}
