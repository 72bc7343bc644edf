//! Rows as a table that spreadsheets open.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, Writer};
use xxhash_rust::xxh3::xxh3_64;

use super::{Receipt, Sink, SinkError, Tally, file, why};
use crate::limits;
use crate::row::{Metrics, Row};

/// What the first column is called.
const STEP: &str = "step";

/// Writes rows to a CSV file: `step`, then a column a key. A line is one write; one sink writes a file at a time.
///
/// A key that appears later gets a column at the end, and the rows before it an empty cell: the file is then written anew
/// beside itself and put in its place. A number is written so that it reads back to the last bit; NaN and infinities are
/// `nan`, `inf`, `-inf`; a key that a row does not have is an empty cell. A row's time and a run's text have no column.
///
/// A file that is there already is continued. One that is deleted while it is written is put back at the next row; one that was
/// moved has its rows, and a new one is begun; what another program has cut off or put in its place is told of.
#[derive(Debug)]
pub struct Csv {
    path: PathBuf,
    file: File,
    /// The columns behind `step`.
    keys: Vec<String>,
    /// The bytes of whole lines.
    len: u64,
    /// Whether a failed write left something behind them.
    torn: bool,
    /// The checksums of the lines of an earlier process, once they were asked for.
    before: Option<HashSet<u64>>,
    tally: Tally,
}

impl Csv {
    /// Opens `path`, making it if need be. A last line that a crash tore is cut off.
    ///
    /// # Errors
    /// If the file cannot be opened or read, or does not begin with a `step` column.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref();
        let io = io_error("open", path);
        let file = appending(path, true).map_err(|error| io(why(path, error)))?;
        Self::over(file, path).map_err(&io)
    }

    fn over(file: File, path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::new(limits::open_file(path)?);
        let header = read_header(&mut reader)?;
        let mut columns = fields(&header)?;
        let is_torn = !header.ends_with(b"\n") && STEP.as_bytes().starts_with(&header);
        if !is_torn && columns.first().is_none_or(|first| first != STEP) {
            let found = columns.into_iter().next().unwrap_or_default();
            let message =
                format!("expected a table whose first column is `{STEP}`, found `{found}`");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        reader.rewind()?;
        let mut len = end_of_whole_lines(&mut reader)?;
        file.set_len(len)?;
        if len == 0 {
            (&file).write_all(&record([STEP])?)?;
            len = STEP.len() as u64 + 1;
            columns = vec![STEP.to_owned()];
        }
        columns.remove(0);
        Ok(Self {
            path: path.to_owned(),
            file,
            keys: columns,
            len,
            torn: false,
            before: None,
            tally: Tally::default(),
        })
    }

    fn put(&mut self, row: &Row) -> io::Result<()> {
        self.mend()?;
        self.look()?;
        let new = self.lacks(&row.metrics);
        if !new.is_empty() {
            self.widen(new)?;
        }
        let line = self.spelled(row)?;
        if let Err(error) = self.file.write_all(&line) {
            // A full disk may have taken half the line.
            self.torn = true;
            let _ = self.mend();
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// The keys that have no column yet.
    fn lacks(&self, metrics: &Metrics) -> Vec<String> {
        // Rows have nearly always the columns' own keys.
        if metrics.iter().map(|(key, _)| key).eq(&self.keys) {
            return Vec::new();
        }
        let known: HashSet<&str> = self.keys.iter().map(String::as_str).collect();
        let new = metrics.iter().filter(|(key, _)| !known.contains(key));
        new.map(|(key, _)| key.to_owned()).collect()
    }

    /// The row's line, with what it has for the columns.
    fn spelled(&self, row: &Row) -> io::Result<Vec<u8>> {
        let entries: HashMap<&str, f64> = row.metrics.iter().collect();
        let cells = self.keys.iter().map(|key| {
            let value = entries.get(key.as_str());
            value.map(|value| number(*value)).unwrap_or_default()
        });
        record([row.step.to_string()].into_iter().chain(cells))
    }

    /// Cuts off what a failed write left behind.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            if self.file.metadata()?.len() > self.len {
                self.file.set_len(self.len)?;
            }
            self.torn = false;
        }
        Ok(())
    }

    /// Goes on in what is at the path now, where that is not what it was.
    fn look(&mut self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let (own, nameless) = file::opened(&metadata);
        let there = file::identity(&self.path)?;
        let target = self.path.display();
        if there == own && metadata.len() >= self.len {
            self.len = metadata.len();
            return Ok(());
        }
        let mut file = appending(&self.path, true)?;
        if there.is_none() && nameless {
            tracing::warn!("{target}: it was deleted while it was being written; it is put back");
            self.file.rewind()?;
            io::copy(&mut (&self.file).take(self.len), &mut file)?;
        } else if there == own {
            let (before, now) = (self.len, metadata.len());
            tracing::warn!(
                "{target}: another program cut it from {before} bytes to {now}: the rows that stood there are gone"
            );
        } else if nameless {
            tracing::warn!(
                "{target}: another file was put in its place: the rows that stood there are gone, and new ones go there"
            );
        } else {
            tracing::info!("{target}: it was moved; rows go on in a new file");
        }
        *self = Self {
            tally: std::mem::take(&mut self.tally),
            ..Self::over(file, &self.path)?
        };
        Ok(())
    }

    /// Adds columns: a new header, and an empty cell a new column behind every row.
    fn widen(&mut self, new: Vec<String>) -> io::Result<()> {
        let partial = self.path.with_extension("csv.partial");
        let empty = ",".repeat(new.len());
        let keys: Vec<String> = self.keys.iter().cloned().chain(new).collect();
        let written = self.write_wider(&keys, &empty, &partial);
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        let len = written?;
        fs::rename(&partial, &self.path)?;
        self.file = appending(&self.path, false)?;
        (self.keys, self.len, self.before) = (keys, len, None);
        Ok(())
    }

    /// Writes the table under other columns to `partial`; its bytes.
    fn write_wider(&self, keys: &[String], empty: &str, partial: &Path) -> io::Result<u64> {
        let mut old = BufReader::new(File::open(&self.path)?);
        read_header(&mut old)?;
        let mut wider = BufWriter::new(File::create(partial)?);
        wider.write_all(&record(
            [STEP].into_iter().chain(keys.iter().map(String::as_str)),
        )?)?;
        let mut line = Vec::new();
        while limits::line(&mut old, limits::TABLE_LINE, &mut line)? > 0 {
            wider.write_all(line.strip_suffix(b"\n").unwrap_or(&line))?;
            writeln!(wider, "{empty}")?;
            line.clear();
        }
        let file = wider.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(file.metadata()?.len())
    }

    /// The checksums of the rows' lines.
    fn checksums(&self) -> io::Result<HashSet<u64>> {
        let mut lines = BufReader::new(File::open(&self.path)?);
        read_header(&mut lines)?;
        let (mut found, mut line) = (HashSet::new(), Vec::new());
        while limits::line(&mut lines, limits::TABLE_LINE, &mut line)? > 0 {
            found.insert(xxh3_64(&line));
            line.clear();
        }
        Ok(found)
    }
}

impl Sink for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(row).map_err(io_error("write to", &self.path));
        self.tally.count(outcome)
    }

    /// Whether the file has the very line that `row` is written as: same step and numbers. The first question reads the file once,
    /// keeping eight bytes a line.
    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        let io = io_error("read", &self.path);
        if !self.lacks(&row.metrics).is_empty() {
            return Ok(false);
        }
        let before = match self.before.take() {
            Some(before) => before,
            None => self.checksums().map_err(&io)?,
        };
        let line = self.spelled(row).map_err(&io)?;
        Ok(self.before.insert(before).contains(&xxh3_64(&line)))
    }

    /// Returns once the rows are on the disk (`fsync`).
    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.mend().and_then(|()| self.look());
        let outcome = outcome.and_then(|()| self.file.sync_all());
        self.tally
            .note(outcome.map_err(io_error("flush", &self.path)))
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // A failed flush is in the receipt.
        let _ = self.flush();
        self.tally.receipt("csv")
    }
}

fn io_error(act: &'static str, path: &Path) -> impl Fn(io::Error) -> SinkError + use<> {
    let target = path.display().to_string();
    move |source| SinkError::Io {
        sink: "csv",
        act,
        target: target.clone(),
        source,
    }
}

fn appending(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(create).open(path)
}

/// The shortest text that reads back to the same double.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// A line of the table.
fn record(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<Vec<u8>> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Reads the first record, whose quoted fields may hold line breaks.
fn read_header(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    while limits::line(reader, limits::TABLE_LINE - header.len(), &mut header)? > 0 {
        // A line break between quotes is the name's.
        if header.split(|&byte| byte == b'"').count() % 2 == 1 {
            break;
        }
    }
    Ok(header)
}

/// The fields of a record, unquoted; none of an empty one.
fn fields(record: &[u8]) -> io::Result<Vec<String>> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(record);
    let first = reader.records().next().transpose()?;
    Ok(first.iter().flatten().map(str::to_owned).collect())
}

/// Where the last whole line ends.
fn end_of_whole_lines(reader: &mut impl BufRead) -> io::Result<u64> {
    let (mut at, mut end) = (0, 0);
    loop {
        let chunk = reader.fill_buf()?;
        if let Some(last) = chunk.iter().rposition(|&byte| byte == b'\n') {
            end = at + last as u64 + 1;
        }
        let read = chunk.len();
        if read == 0 {
            return Ok(end);
        }
        at += read as u64;
        reader.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_whatever_the_keys_hold() {
        let keys = ["plain", "a,b", "say \"hi\"", "two\nlines", "\"", ""];
        let line = record(keys).unwrap();
        assert_eq!(read_header(&mut &line[..]).unwrap(), line);
        assert_eq!(fields(&line).unwrap(), keys);
        assert_eq!(fields(b"").unwrap(), Vec::<String>::new());
    }
}
