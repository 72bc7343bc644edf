//! Writing a recording while the training runs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::cell::Reading;
use super::fault::{At, Fault, RecordingError};
use super::record::Record;
use super::{Format, json, line, safetensors};
use crate::batch::{Batch, Place};
use crate::limits;

/// Writes each record that it is handed, so that [`super::Recording`] reads the same bits back.
///
/// JSON lines go to `rank{rank}.jsonl`, one write a record, appended to what is there. A `.safetensors` file holds one
/// record, `step{step:06}-rank{rank}-micro{micro}.safetensors`, and takes the place of an older one of that name; it
/// appears whole or not at all. In both, token columns are written without padding (with `completion_lengths`, where a
/// `padding_mask` said them) and bfloat16 as the same single. Of a NaN neither sign nor payload is kept in JSON.
///
/// One recorder at a time writes a rank's file.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    format: Format,
    /// By rank.
    files: BTreeMap<u32, Lines>,
    /// The step and next micro-batch of batches that do not say their place.
    next: (u64, u32),
}

/// A file of lines, and how long it is up to its last whole line.
#[derive(Debug)]
struct Lines {
    file: File,
    len: u64,
}

impl Recorder {
    /// Records into the folder `dir`, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn create(dir: impl AsRef<Path>, format: Format) -> Result<Self, RecordingError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|e| At::path(dir).io("make this folder", e))?;
        Ok(Self {
            dir: dir.to_owned(),
            format,
            files: BTreeMap::new(),
            next: (0, 0),
        })
    }

    /// Writes one record. A batch that does not say its place ([`Batch::at`]) is rank 0's, its micro-batches in the order
    /// in which they come.
    ///
    /// # Errors
    /// If it cannot be written. What is already in the recording stays as it is, and the next record can be tried.
    pub fn write(
        &mut self,
        step: u64,
        world_size: u32,
        batch: &Batch<'_>,
    ) -> Result<(), RecordingError> {
        let place = batch.place().unwrap_or_else(|| self.next_place(step));
        let record = Record::of(step, world_size, place, batch);
        let name = match self.format {
            Format::JsonLines => format!("rank{}.jsonl", place.rank),
            Format::Safetensors => format!(
                "step{step:06}-rank{}-micro{}.safetensors",
                place.rank, place.micro
            ),
        };
        let path = self.dir.join(name);
        let at = At {
            step: Some(step),
            rank: Some(place.rank),
            micro: Some(place.micro),
            ..At::path(&path)
        };
        if place.rank >= world_size {
            return Err(at.error(Fault::Rank {
                rank: place.rank,
                world_size,
            }));
        }
        let written = match self.format {
            Format::JsonLines => self.append(&path, &record),
            Format::Safetensors => put(&path, record),
        };
        written.map_err(|error| at.io("write to it", error))
    }

    fn next_place(&mut self, step: u64) -> Place {
        let (held, micro) = self.next;
        let micro = if held == step { micro } else { 0 };
        self.next = (step, micro + 1);
        Place { rank: 0, micro }
    }

    fn append(&mut self, path: &Path, record: &Record) -> io::Result<()> {
        let mut text = line::json(record)?;
        text.push(b'\n');
        let lines = match self.files.remove(&record.rank) {
            Some(lines) => lines,
            None => Lines::open(path)?,
        };
        self.files.entry(record.rank).or_insert(lines).append(&text)
    }
}

/// Writes the file beside its place and then moves it there.
fn put(path: &Path, record: Record) -> io::Result<()> {
    let bytes = safetensors::bytes(record).map_err(io::Error::other)?;
    let beside = path.with_extension("safetensors.part");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

impl Lines {
    /// Opens a file for appending. A last line without its line break gets it if it is a whole record, else it is what a
    /// crash has left of one, and is cut off.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let (start, tail) = last_line(&mut file)?;
        if json::head(&tail, &Reading::default()).is_ok() {
            file.write_all(b"\n")?;
        } else if !tail.is_empty() {
            tracing::warn!(
                "{}: cut off a torn last record of {} bytes",
                path.display(),
                tail.len()
            );
            file.set_len(start)?;
        }
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Writes a line whole or not at all.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        // A write that failed before may have left a part of its line.
        if self.file.metadata()?.len() > self.len {
            self.file.set_len(self.len)?;
        }
        self.file.write_all(text)?;
        self.len += text.len() as u64;
        Ok(())
    }
}

/// Where the text after the last line break begins, and that text.
fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    const BLOCK: u64 = 64 * 1024;
    let end = file.seek(SeekFrom::End(0))?;
    let mut start = end;
    while start > 0 {
        let from = start.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.take(start - from).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            start = from + at as u64 + 1;
            break;
        }
        start = from;
        if end - start > limits::RECORD_LINE as u64 {
            let most = limits::RECORD_LINE;
            let message = format!("expected lines of at most {most} bytes, found a longer one");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut tail)?;
    Ok((start, tail))
}
