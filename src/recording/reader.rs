//! Reading a recording: first where every record is, then one record at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::cell::Reading;
use super::fault::{At, Fault, RecordingError};
use super::index::{self, Index, Indexing, RecordRef};
use super::record::Record;
use super::{Format, json, safetensors};
use crate::batch::Place;
use crate::batch::scalars::Weighting;
use crate::limits;

/// An index of the records in some files and folders. It holds about a hundred bytes a record, never its columns.
///
/// # Faults
/// Opening reads every file to its end. A line that is not a record, or a record that contradicts another (the same step,
/// rank and micro-batch; another `world_size`; a `rank` that is not less than it), is left out and noted. What it leaves
/// whole can be replayed: [`Recording::steps`] ends before the first step that such a fault concerns, and
/// [`Recording::pending_error`] is what to report there. A fault concerns the step that its record names, as far as the
/// record could be read. One whose step could not be read concerns the first step that has fewer records than the fullest
/// one, for that is where a record may be missing; if there is none, it is to be reported after the last step.
///
/// What is wrong within a record's columns is found when it is loaded.
///
/// A line of more than 1 GiB, or a `.safetensors` file of more than 4 GiB, is no record, and a file is read no further than
/// such a line.
#[derive(Debug)]
pub struct Recording {
    files: Vec<PathBuf>,
    steps: BTreeMap<u64, Index>,
    world_size: u32,
    fault: Option<(u64, RecordingError)>,
}

/// One step of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The optimizer step's number.
    pub step: u64,
    index: &'a Index,
    recording: &'a Recording,
}

impl<'a> Step<'a> {
    /// Its records, by rank and then by micro-batch.
    #[must_use]
    pub fn records(&self) -> impl ExactSizeIterator<Item = &'a RecordRef> + use<'a> {
        self.index.records.values()
    }

    /// The ranks of `world_size` that it has no record of, ascending.
    pub fn missing_ranks(&self) -> impl Iterator<Item = u32> + use<'a> {
        let index = self.index;
        (0..self.recording.world_size).filter(move |&rank| {
            let of = |micro| Place { rank, micro };
            index.records.range(of(0)..=of(u32::MAX)).next().is_none()
        })
    }

    /// The error that names the missing ranks, if there are any.
    #[must_use]
    pub fn missing(&self) -> Option<RecordingError> {
        const NAMED: usize = 16;
        let mut ranks = self.missing_ranks();
        let named: Vec<_> = ranks
            .by_ref()
            .take(NAMED)
            .map(|rank| rank.to_string())
            .collect();
        if named.is_empty() {
            return None;
        }
        let more = if ranks.next().is_some() { ", ..." } else { "" };
        let at = At {
            step: Some(self.step),
            ..At::path(self.whereabouts()?)
        };
        Some(at.error(Fault::MissingRanks {
            world_size: self.recording.world_size,
            missing: named.join(", ") + more,
        }))
    }

    /// The only file of the recording, else the folder of the step's first record.
    fn whereabouts(&self) -> Option<&'a Path> {
        if let [only] = self.recording.files.as_slice() {
            return Some(only);
        }
        let folder = self.recording.path(self.records().next()?).parent()?;
        Some(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        })
    }

    /// The controller's snapshot: of the lowest rank that reports one, its last micro-batch's.
    #[must_use]
    pub fn weighting(&self) -> Option<&'a Weighting> {
        let (_, weighting) = self.index.weighting.as_ref()?;
        Some(weighting)
    }

    /// The rank whose snapshot [`Step::weighting`] is.
    #[must_use]
    pub fn weighting_rank(&self) -> Option<u32> {
        let (place, _) = self.index.weighting.as_ref()?;
        Some(place.rank)
    }
}

impl Recording {
    /// Finds the records in `paths`: files, and the `.jsonl` and `.safetensors` files of folders, by name. A file named
    /// itself is JSON lines unless its name ends in `.safetensors`.
    ///
    /// # Errors
    /// If a path does not exist or cannot be opened, or if there is not one good record and nothing worse is wrong. What is
    /// wrong with single records is told later, see [`Recording`].
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, RecordingError> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(files_of(path.as_ref())?);
        }
        let mut indexing = Indexing::default();
        for (file, path) in files.iter().enumerate() {
            let opened = limits::open_file(path).map_err(|e| At::path(path).io("open it", e))?;
            match Format::of(path) {
                Format::JsonLines => indexing.lines(&files, file, opened),
                Format::Safetensors => indexing.tensors(&files, file, opened)?,
            }
        }
        let found = indexing.finish();
        match found.fault {
            fault if !found.steps.is_empty() => Ok(Self {
                files,
                steps: found.steps,
                world_size: found.world_size,
                fault,
            }),
            Some((_, error)) => Err(error),
            None => {
                let path = paths.first().map_or(Path::new(""), AsRef::as_ref);
                Err(At::path(path).error(Fault::NoRecords))
            }
        }
    }

    /// How many ranks every step has; 0 without a good record.
    #[must_use]
    pub fn world_size(&self) -> u32 {
        self.world_size
    }

    /// The steps that no fault concerns, ascending, up to the first that one does.
    #[must_use]
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = Step<'_>> {
        let end = self.fault.as_ref().map(|(step, _)| *step);
        let whole = self.steps.range(..end.unwrap_or(u64::MAX));
        // The last number there is can be a step too.
        let last = self.steps.get_key_value(&u64::MAX);
        let last = last.filter(|_| self.fault.is_none());
        whole.chain(last).map(|(step, index)| Step {
            step: *step,
            index,
            recording: self,
        })
    }

    /// What the first `steps` steps are known by: a checksum of where their records belong and of what is in them, wherever the files
    /// are. Of a `.safetensors` file the first 64 KiB count, and its length.
    #[must_use]
    pub fn print(&self, steps: usize) -> u64 {
        let mut hash = Xxh3::new();
        for record in self.steps().take(steps).flat_map(|step| step.records()) {
            let Place { rank, micro } = record.place;
            let parts = [
                record.step,
                u64::from(rank),
                u64::from(micro),
                record.len,
                record.print,
            ];
            for part in parts {
                hash.update(&part.to_le_bytes());
            }
        }
        hash.digest()
    }

    /// What to report once the [`Recording::steps`] are through, if anything is wrong with the recording.
    #[must_use]
    pub fn pending_error(&self) -> Option<&RecordingError> {
        self.fault.as_ref().map(|(_, error)| error)
    }

    /// Reads one record. Its columns have been checked: [`Record::batch`] succeeds on it.
    ///
    /// # Errors
    /// If the file cannot be read, or if a column is unknown, of a wrong type or does not fit the others.
    pub fn load(&self, record: &RecordRef) -> Result<Record, RecordingError> {
        let reading = Reading::default();
        let at = self.at(record);
        let bytes =
            read(self.path(record), record).map_err(|error| at.clone().io("read it", error))?;
        let parsed = match Format::of(self.path(record)) {
            Format::JsonLines => json::record(&bytes, &reading),
            Format::Safetensors => safetensors::record(&bytes, &reading),
        };
        parsed
            .and_then(|record| match record.batch() {
                Ok(_) => Ok(record),
                Err(error) => Err(error.into()),
            })
            .map_err(|fault| reading.place(at).error(fault))
    }

    /// Where a record is, for a message.
    #[must_use]
    pub fn at(&self, record: &RecordRef) -> At {
        index::at(&self.files, record)
    }

    fn path(&self, record: &RecordRef) -> &Path {
        self.files
            .get(record.file)
            .map_or(Path::new(""), PathBuf::as_path)
    }
}

fn read(path: &Path, record: &RecordRef) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(record.offset))?;
    let mut bytes = Vec::new();
    file.take(record.len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files of records that a path stands for, by name.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let io = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => At::path(path).error(Fault::NotFound),
        _ => At::path(path).io("open it", error),
    };
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if Format::named(&file).is_some() && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
