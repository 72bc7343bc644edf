//! Reading a recording: first where every record is, then one record at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::cell::Reading;
use super::fault::{At, Fault, RecordingError};
use super::index::{self, Index, Indexing, RecordRef};
use super::record::{Head, Record};
use super::trainers::{self, Told, TrainerFile, Wrong};
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
/// Files that verl, NeMo-RL, prime-rl, `SkyRL` and TRL write of their own accord (RECORDING.md lists them) are told by what is in them; each
/// is one record of rank 0 of 1.
///
/// A line of more than 1 GiB, or a `.safetensors` file of more than 4 GiB, is no record, and a file is read no further than
/// such a line.
#[derive(Debug)]
pub struct Recording {
    files: Vec<PathBuf>,
    /// What each file is.
    told: Vec<Told>,
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
    /// Finds the records in `paths`: files, and the `.jsonl` and `.safetensors` files of folders, by name; of a folder without such
    /// its `.parquet` files, or what prime-rl and `SkyRL` have in a folder for each step. A file named itself is JSON lines unless its
    /// name ends in `.safetensors` or it is a trainer's.
    ///
    /// # Errors
    /// If a path does not exist or cannot be opened, or if there is not one good record and nothing worse is wrong. What is
    /// wrong with single records is told later, see [`Recording`].
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, RecordingError> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(files_of(path.as_ref())?);
        }
        let named: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        let mut indexing = Indexing::default();
        let mut kinds = Vec::with_capacity(files.len());
        for (file, path) in files.iter().enumerate() {
            let open = |error| At::path(path).io("open it", error);
            let mut opened = limits::open_file(path).map_err(open)?;
            let told = match Format::of(path) {
                Format::JsonLines => trainers::told(&mut opened),
                Format::Safetensors => Ok(Told::Records),
            };
            let told = told.map_err(|error| At::path(path).io("read it", error))?;
            match (told, Format::of(path)) {
                (Told::Trainer(of), _) => indexing.trainer(&files, file, opened, of),
                (Told::Aside(found), _) if named.contains(&path.as_path()) => {
                    indexing.foreign(path, found);
                }
                (Told::Aside(_), _) => {}
                (Told::Foreign(found), _) => indexing.foreign(path, found),
                (Told::Records, Format::JsonLines) => indexing.lines(&files, file, opened),
                (Told::Records, Format::Safetensors) => indexing.tensors(&files, file, opened)?,
            }
            kinds.push(told);
        }
        let found = indexing.finish();
        match found.fault {
            fault if !found.steps.is_empty() => Ok(Self {
                files,
                told: kinds,
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
        if let Some(of) = self.trainer_of(record) {
            return self.load_trainer(record, of);
        }
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

    /// Reads a trainer's file, which is one record.
    fn load_trainer(&self, found: &RecordRef, of: TrainerFile) -> Result<Record, RecordingError> {
        let at = self.at(found);
        let file = File::open(self.path(found)).map_err(|e| at.clone().io("open it", e))?;
        let head = Head {
            step: found.step,
            rank: found.place.rank,
            world_size: self.world_size,
            micro: found.place.micro,
        };
        let read = of.fields(file).and_then(|fields| {
            let scalars = of.scalars(head.step, &fields);
            let record = Record::from_parts(head, fields, scalars, None)?;
            record.batch().map_err(Fault::from)?;
            Ok(record)
        });
        read.map_err(|Wrong { line, fault }| At { line, ..at }.error(fault))
    }

    /// The error of a record that has been read.
    #[cfg(feature = "cli")]
    pub(crate) fn wrong(&self, record: &RecordRef, fault: Fault) -> RecordingError {
        self.at(record).error(fault)
    }

    fn trainer_of(&self, record: &RecordRef) -> Option<TrainerFile> {
        match self.told.get(record.file)? {
            Told::Trainer(of) => Some(*of),
            _ => None,
        }
    }

    /// The kinds of trainers' files that it is of, each once.
    #[cfg(feature = "cli")]
    pub(crate) fn trainers(&self) -> Vec<TrainerFile> {
        let mut kinds: Vec<TrainerFile> = Vec::new();
        let records = self.steps.values().flat_map(|index| index.records.values());
        for of in records.filter_map(|record| self.trainer_of(record)) {
            if !kinds.contains(&of) {
                kinds.push(of);
            }
        }
        kinds
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
    let mut there = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        there.push(entry.map_err(io)?.path());
    }
    there.sort();
    let ending = |endings: &[&str]| {
        let ends = |file: &&PathBuf| {
            let end = file.extension().and_then(|end| end.to_str());
            end.is_some_and(|end| endings.contains(&end)) && file.is_file()
        };
        there.iter().filter(ends).cloned().collect::<Vec<_>>()
    };
    // Beside records other files are not looked at; what is a pickle is told so.
    for endings in [&["jsonl", "safetensors"][..], &["parquet"], &["pt", "pkl"]] {
        let files = ending(endings);
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Ok(trainers::below(&there))
}
