//! Rows as JSON lines.

mod lines;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{Nested, Receipt, Sink, SinkError, Tally, why};
use crate::row::Row;
use lines::{Grown, Lines, Stream, checksums};

/// Writes each row as one line `{"ts", "step", "metrics"}`, with `"run": {...}` on the row that carries the run's text.
///
/// A line is one write, doubles read back to the last bit, and an infinity is the text `"Infinity"` or `"-Infinity"` as
/// in the recordings, never `null`. One sink writes a file at a time.
///
/// Where the file is not what it was at the next row, that row still is a line that can be read. Of a file that was deleted or
/// replaced, the lines that are not in what stands there now are written there; one that was moved, as by `logrotate`, has its
/// lines, and a new one is begun; what another program has cut off is gone, which is told.
pub struct Jsonl {
    lines: Box<dyn Lines>,
    target: String,
    /// Where a write began that failed: what it left behind is cut off before the next line.
    torn: Option<u64>,
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
        let file = Grown::file(path).map_err(|error| io("open")(why(path, error)))?;
        if !file.metadata().map_err(io("open"))?.is_file() {
            return Ok(Self::over(Box::new(Stream(file)), target));
        }
        let path = path.canonicalize().map_err(io("open"))?;
        let (file, repaired) = Grown::open(file, path.clone(), &target)?;
        Ok(Self {
            repaired,
            path: Some(path),
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
            torn: None,
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
        let end = self.lines.end(&self.target)?;
        if let Err(source) = self.lines.append(&self.line) {
            // A full disk may have taken half the line.
            self.torn = Some(end);
            let _ = self.mend();
            return Err(io_error("write to", &self.target)(source));
        }
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
        if let Some(end) = self.torn {
            self.lines
                .cut(end)
                .map_err(io_error("repair", &self.target))?;
            self.torn = None;
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
            None => File::open(path)
                .and_then(checksums)
                .map_err(io_error("read", &self.target))?,
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
            .and_then(|()| self.lines.end(&self.target))
            .and_then(|_| self.lines.sync().map_err(io_error("flush", &self.target)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::sync::{Arc, Mutex};

    /// A disk that takes `room` bytes more, then no byte until it is given room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Lines for Disk {
        fn end(&mut self, _: &str) -> Result<u64, SinkError> {
            Ok(self.0.lock().unwrap().0.len() as u64)
        }

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

    /// The steps of a file's lines, each of which is one of a row.
    fn steps(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        let row = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines()
            .map(|line| row(line)["step"].as_u64().unwrap())
            .collect()
    }

    fn written(receipt: &Receipt) -> (u64, u64) {
        (receipt.accepted, receipt.written)
    }

    #[test]
    fn a_file_that_another_program_cuts_has_no_hole_and_no_line_that_cannot_be_read() {
        for torn in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("rows.jsonl");
            let mut sink = Box::new(Jsonl::open(&path).unwrap());
            for step in 1..=3 {
                sink.write(&row(step)).unwrap();
            }
            // As a write that the disk refused would have left it.
            sink.torn = torn.then(|| path.metadata().unwrap().len());
            let line = path.metadata().unwrap().len() / 3;
            let other = OpenOptions::new().write(true).open(&path).unwrap();
            // Within the second line, then to nothing, as `copytruncate` does.
            other.set_len(line + line / 2).unwrap();
            sink.write(&row(4)).unwrap();
            assert_eq!(steps(&path), [1, 4]);
            other.set_len(0).unwrap();
            sink.write(&row(5)).unwrap();
            assert_eq!(steps(&path), [5]);
            assert_eq!(written(&sink.close()), (5, 5));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_deleted_or_replaced_has_every_row_again_and_one_that_is_moved_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let mut sink = Box::new(Jsonl::open(&path).unwrap());
        sink.write(&row(1)).unwrap();
        sink.write(&row(2)).unwrap();
        fs::remove_file(&path).unwrap();
        sink.write(&row(3)).unwrap();
        assert_eq!(steps(&path), [1, 2, 3]);
        // An editor writes another file in its place, which has some of the lines already, and one of its own.
        let text = fs::read_to_string(&path).unwrap();
        let (first, _) = text.split_once('\n').unwrap();
        let edited = dir.path().join("edited");
        fs::write(&edited, format!("{first}\n{{\"step\":100}}\n")).unwrap();
        fs::rename(&edited, &path).unwrap();
        sink.write(&row(4)).unwrap();
        assert_eq!(steps(&path), [1, 100, 2, 3, 4]);
        let moved = dir.path().join("rows.jsonl.1");
        fs::rename(&path, &moved).unwrap();
        sink.write(&row(5)).unwrap();
        assert_eq!(steps(&moved), [1, 100, 2, 3, 4]);
        assert_eq!(steps(&path), [5]);
        // Also what nobody has written behind.
        fs::remove_file(&path).unwrap();
        assert_eq!(written(&sink.close()), (5, 5));
        assert_eq!(steps(&path), [5]);
    }
}
