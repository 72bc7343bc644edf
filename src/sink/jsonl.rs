//! Rows as JSON lines.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{Nested, Receipt, Sink, SinkError, Tally};
use crate::metrics::Row;

/// Writes each row as one line `{"ts", "step", "metrics"}`, with `"run": {...}` on the row that carries the run's text.
///
/// A line is one write, doubles read back to the last bit, and an infinity is the text `"Infinity"` or `"-Infinity"` as
/// in the recordings, never `null`. One sink writes a file at a time.
pub struct Jsonl {
    lines: Box<dyn Lines>,
    target: String,
    /// Bytes of whole lines; what a failed write left behind them is cut off before the next line.
    len: u64,
    torn: bool,
    repaired: Repair,
    /// The buffer of the line being written.
    line: Vec<u8>,
    /// Where the rows of an earlier process can be read, and the checksums of its lines once they were.
    path: Option<PathBuf>,
    before: Option<HashSet<u64>>,
    tally: Tally,
}

/// What opening found at the end of an existing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    /// The file was new, empty, or ended in a whole line.
    #[default]
    None,
    /// The last row was whole but for its line break, which it now has.
    Completed,
    /// The last row was torn; this many bytes of it were cut off.
    Truncated(u64),
}

impl Jsonl {
    /// Opens `path` for appending, making it if need be. A last line without its line break is repaired: a whole row gets
    /// it, a torn one is cut off and reported (see [`Jsonl::repaired`], and a warning in the log).
    ///
    /// # Errors
    /// If the file cannot be opened, read or repaired, or if its last line is not the beginning of a row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref();
        let target = path.display().to_string();
        let io = |act| io_error(act, &target);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io("open"))?;
        let regular = file.metadata().map_err(io("open"))?.is_file();
        if !regular {
            return Ok(Self::over(Box::new(Stream(file)), target));
        }
        let (start, tail) = last_line(&mut file).map_err(io("read"))?;
        let repaired = repair_of(&tail).ok_or_else(|| SinkError::NotRows {
            path: target.clone(),
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
        Ok(Self {
            len,
            repaired,
            path: Some(path.to_owned()),
            ..Self::over(Box::new(file), target)
        })
    }

    /// Writes to a stream, such as standard output.
    #[must_use]
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self::over(Box::new(Stream(out)), "its output".to_owned())
    }

    /// What opening found at the end of the file and mended.
    #[must_use]
    pub fn repaired(&self) -> Repair {
        self.repaired
    }

    fn over(lines: Box<dyn Lines>, target: String) -> Self {
        Self {
            lines,
            target,
            len: 0,
            torn: false,
            repaired: Repair::None,
            line: Vec::new(),
            path: None,
            before: None,
            tally: Tally::default(),
        }
    }

    fn put(&mut self, row: &Row) -> Result<(), SinkError> {
        self.spell(row)?;
        self.mend()?;
        if let Err(source) = self.lines.append(&self.line) {
            // A full disk may have taken half the line.
            self.torn = true;
            let _ = self.mend();
            return Err(io_error("write to", &self.target)(source));
        }
        self.len += self.line.len() as u64;
        Ok(())
    }

    /// The row's line, into the buffer.
    fn spell(&mut self, row: &Row) -> Result<(), SinkError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &Nested(row)).map_err(|source| SinkError::Json {
            sink: "jsonl",
            step: row.step,
            source,
        })?;
        self.line.push(b'\n');
        Ok(())
    }

    /// Cuts off what a failed write left behind.
    fn mend(&mut self) -> Result<(), SinkError> {
        if self.torn {
            self.lines
                .cut(self.len)
                .map_err(io_error("repair", &self.target))?;
            self.torn = false;
        }
        Ok(())
    }
}

impl fmt::Debug for Jsonl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jsonl")
            .field("target", &self.target)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl Sink for Jsonl {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(row);
        self.tally.count(outcome)
    }

    /// Whether the file has the very line that `row` is written as: same time, step and numbers. The first question reads the
    /// file once, keeping eight bytes a line; a stream holds nothing.
    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let before = match self.before.take() {
            Some(before) => before,
            None => checksums(path, self.len).map_err(io_error("read", &self.target))?,
        };
        self.spell(row)?;
        let held = before.contains(&xxh3_64(&self.line));
        self.before = Some(before);
        Ok(held)
    }

    /// Returns once the rows are on the disk (`fsync`).
    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self
            .mend()
            .and_then(|()| self.lines.sync().map_err(io_error("flush", &self.target)));
        self.tally.note(outcome)
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // A failed flush is in the receipt.
        let _ = self.flush();
        self.tally.receipt("jsonl")
    }
}

fn io_error<'a>(act: &'static str, target: &'a str) -> impl Fn(io::Error) -> SinkError + Copy + 'a {
    move |source| SinkError::Io {
        sink: "jsonl",
        act,
        target: target.to_owned(),
        source,
    }
}

/// The checksums of the lines in the first `len` bytes of a file.
fn checksums(path: &Path, len: u64) -> io::Result<HashSet<u64>> {
    let mut lines = BufReader::new(File::open(path)?.take(len));
    let (mut found, mut line) = (HashSet::new(), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        found.insert(xxh3_64(&line));
        line.clear();
    }
    Ok(found)
}

/// What lines are appended to.
trait Lines: Send {
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Lines for File {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A pipe, a terminal, a device: what is written cannot be taken back, nor brought to a disk.
struct Stream<W>(W);

impl<W: Write + Send> Lines for Stream<W> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A disk that takes `room` bytes more, then no byte until it is given room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Lines for Disk {
        fn append(&mut self, line: &[u8]) -> io::Result<()> {
            let (bytes, room) = &mut *self.0.lock().unwrap();
            let taken = line.len().min(*room);
            bytes.extend(&line[..taken]);
            *room -= taken;
            if taken < line.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.0
                .lock()
                .unwrap()
                .0
                .truncate(usize::try_from(len).unwrap());
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn row(step: u64) -> Row {
        Row {
            step,
            metrics: [("loss", 0.5)].into_iter().collect(),
            ..Row::default()
        }
    }

    #[test]
    fn a_row_that_a_full_disk_tore_leaves_no_trace_in_the_next() {
        let disk = Disk::default();
        let mut sink = Box::new(Jsonl::over(Box::new(disk.clone()), "disk".to_owned()));
        for (step, room) in [(1, 1000), (2, 10), (3, 1000)] {
            disk.0.lock().unwrap().1 = room;
            assert_eq!(sink.write(&row(step)).is_ok(), step != 2);
        }
        let text = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        insta::assert_snapshot!(text, @r#"
        {"ts":0.0,"step":1,"metrics":{"loss":0.5}}
        {"ts":0.0,"step":3,"metrics":{"loss":0.5}}
        "#);
        let receipt = sink.close();
        assert_eq!(
            (receipt.accepted, receipt.written, receipt.dropped),
            (3, 2, 1)
        );
        assert!(receipt.error.unwrap().contains("disk"));
    }

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
