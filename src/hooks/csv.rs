//! The steps' rows as a table that spreadsheets open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Artifacts, Callback, LoopState, Outcome};
use crate::batch::Batch;
use crate::limits;
use crate::row::Metrics;

/// Writes every step's row, and every evaluation's as `{eval_name}/{key}`, to a CSV file: `step`, then a column a key.
///
/// A key that appears later gets a column at the end, and the rows before it an empty cell: the file is then written anew
/// beside itself and put in its place. A number is written so that it reads back to the last bit; NaN and infinities are
/// `nan`, `inf`, `-inf`; a key that a row does not have is an empty cell. A file that is there already is continued.
#[derive(Debug)]
pub struct Csv {
    path: PathBuf,
    keys: Vec<String>,
    out: BufWriter<File>,
}

impl Csv {
    /// Opens `path`, making it if need be. A last line that a crash tore is cut off.
    ///
    /// # Errors
    /// If the file cannot be opened or read, or does not begin with a `step` column.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        let mut reader = BufReader::new(limits::open_file(&path)?);
        let whole = end_of_whole_lines(&file)?;
        file.set_len(whole)?;
        let mut header = String::new();
        read_header(&mut reader, &mut header)?;
        let mut columns = fields(&header).into_iter();
        let mut out = BufWriter::new(file);
        match columns.next().as_deref() {
            None => out.write_all(b"step\n")?,
            Some("step") => {}
            Some(found) => {
                let message = format!(
                    "{}: expected a table whose first column is `step`, found `{found}`",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(Self {
            path,
            keys: columns.collect(),
            out,
        })
    }

    fn put(&mut self, step: u64, metrics: &Metrics, prefix: &str) -> io::Result<()> {
        let entries: Vec<(String, f64)> = metrics
            .iter()
            .map(|(key, value)| (format!("{prefix}{key}"), value))
            .collect();
        let new: Vec<String> = entries
            .iter()
            .filter(|(key, _)| !self.keys.contains(key))
            .map(|(key, _)| key.clone())
            .collect();
        if !new.is_empty() {
            self.widen(new)?;
        }
        let mut line = step.to_string();
        for (i, key) in self.keys.iter().enumerate() {
            line.push(',');
            // Rows have nearly always the columns' own order.
            let found = entries.get(i).filter(|(name, _)| name == key);
            if let Some((_, value)) = found.or_else(|| entries.iter().find(|(name, _)| name == key))
            {
                line += &number(*value);
            }
        }
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        // A reader, and what comes after a crash, find whole rows.
        self.out.flush()
    }

    /// Adds columns: a new header, and an empty cell a new column behind every row.
    fn widen(&mut self, new: Vec<String>) -> io::Result<()> {
        self.out.flush()?;
        let mut old = BufReader::new(File::open(&self.path)?);
        read_header(&mut old, &mut String::new())?;
        let partial = self.path.with_extension("csv.partial");
        let mut wider = BufWriter::new(File::create(&partial)?);
        let empty = ",".repeat(new.len());
        let keys: Vec<String> = self.keys.iter().cloned().chain(new).collect();
        let names: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
        writeln!(wider, "step,{}", names.join(","))?;
        let mut line = Vec::new();
        while limits::line(&mut old, limits::TABLE_LINE, &mut line)? > 0 {
            wider.write_all(line.strip_suffix(b"\n").unwrap_or(&line))?;
            writeln!(wider, "{empty}")?;
            line.clear();
        }
        wider.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&partial, &self.path)?;
        let file = OpenOptions::new().append(true).open(&self.path)?;
        (self.out, self.keys) = (BufWriter::new(file), keys);
        Ok(())
    }
}

impl Callback for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn on_step_end(
        &mut self,
        _state: &mut LoopState,
        step: u64,
        _batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        Ok(self.put(step, metrics, "")?)
    }

    fn on_eval(
        &mut self,
        _state: &mut LoopState,
        step: u64,
        eval_name: &str,
        metrics: &Metrics,
    ) -> Outcome {
        Ok(self.put(step, metrics, &format!("{eval_name}/"))?)
    }

    fn on_train_end(&mut self, _state: &mut LoopState, _artifacts: &Artifacts) -> Outcome {
        Ok(self.out.flush()?)
    }
}

/// The shortest text that reads back to the same double.
fn number(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// A field as RFC 4180 quotes it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Reads the first record, whose quoted fields may hold line breaks.
fn read_header(reader: &mut impl BufRead, header: &mut String) -> io::Result<()> {
    let mut bytes = Vec::new();
    while limits::line(reader, limits::TABLE_LINE - bytes.len(), &mut bytes)? > 0 {
        // A line break between quotes is the name's.
        if bytes.split(|&byte| byte == b'"').count() % 2 == 1 {
            break;
        }
    }
    *header = String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if header.ends_with('\n') {
        header.pop();
    }
    Ok(())
}

/// The fields of a record, unquoted; none of an empty one.
fn fields(record: &str) -> Vec<String> {
    if record.is_empty() {
        return Vec::new();
    }
    let mut fields = vec![String::new()];
    let (mut inside, mut after_quote) = (false, false);
    for c in record.chars() {
        match (c, inside) {
            (',', false) => fields.push(String::new()),
            ('"', _) => {
                // A quote right after a closing one was a doubled quote.
                let doubled = !inside && after_quote;
                if let (true, Some(field)) = (doubled, fields.last_mut()) {
                    field.push('"');
                }
                inside = !inside;
            }
            _ => fields
                .last_mut()
                .into_iter()
                .for_each(|field| field.push(c)),
        }
        after_quote = c == '"' && !inside;
    }
    fields
}

/// Where the last whole line ends.
fn end_of_whole_lines(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
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
        let record: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
        assert_eq!(fields(&record.join(",")), keys);
        assert_eq!(fields(""), Vec::<String>::new());
    }
}
