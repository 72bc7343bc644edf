//! The recording that a run was replayed from, where it lies beside the store.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::Value;

use super::completion::{Completion, Texts};
use crate::hooks::samples::SampleTable;
use crate::recording::{Record, RecordRef, Recording};
use crate::store::{OURS, RECORDING};

/// How many files and folders beside the store are looked at, and how many bytes they may have, together, to be looked through.
const BESIDE: usize = 256;
const BYTES: u64 = 1 << 30;

/// How many bytes the records of a step may have, and how many of its completions are shown.
const STEP: u64 = 256 << 20;
const COMPLETIONS: usize = 4096;

/// Why there are no completions of a run that was replayed.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Without {
    #[error(
        "This run was replayed from a recording, which is not found beside the store: put it there, and its completions are shown here."
    )]
    NotFound,
    #[error(
        "This run was replayed from a recording. What lies beside the store has more than {BYTES} bytes of records: it was not looked through."
    )]
    TooMuch,
    #[error("The records of this step have more than {STEP} bytes: they are not shown.")]
    TooLong,
    #[error(
        "The records of this step cannot be read. `grpo-metrics replay` says what is wrong with the recording."
    )]
    Unread,
}

/// What lies beside the store, as it was when it was looked through.
#[derive(Debug, Default)]
pub(in super::super) struct Recordings(Mutex<HashMap<PathBuf, Looked>>);

#[derive(Debug)]
struct Looked {
    size: Size,
    /// None where it is no recording.
    recording: Option<Arc<Recording>>,
}

/// How many bytes the files of a place have, and when one was last written.
type Size = (u64, Option<SystemTime>);

impl Recordings {
    /// The completions of a step of the run with this configuration, whose store is at `store`. None for a run that was not replayed, and
    /// a step that the recording does not have.
    pub fn completions(
        &self,
        store: &Path,
        config: &Value,
        step: u64,
        texts: &mut Texts,
    ) -> Result<Vec<Completion>, Without> {
        let Some(known_by) = KnownBy::of(config) else {
            return Ok(Vec::new());
        };
        let recording = self.find(store, &known_by)?;
        let Some(found) = recording.steps().find(|found| found.step == step) else {
            return Ok(Vec::new());
        };
        if found.records().map(RecordRef::bytes).sum::<u64>() > STEP {
            return Err(Without::TooLong);
        }
        let records = found.records().map(|record| recording.load(record));
        let records: Vec<_> = records
            .collect::<Result<_, _>>()
            .map_err(|_| Without::Unread)?;
        let batches = records.iter().map(Record::batch);
        let batches: Vec<_> = batches
            .collect::<Result<_, _>>()
            .map_err(|_| Without::Unread)?;
        let table = SampleTable::of(step, &batches.iter().collect::<Vec<_>>());
        Ok(Completion::of_table(&table, COMPLETIONS, texts))
    }

    fn find(&self, store: &Path, known_by: &KnownBy) -> Result<Arc<Recording>, Without> {
        let places = beside(store);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|place, _| places.contains(place));
        let mut bytes = 0;
        for place in places {
            let size = size(&place);
            bytes += size.0;
            if bytes > BYTES {
                return Err(Without::TooMuch);
            }
            let as_it_was = kept.get(&place).filter(|looked| looked.size == size);
            let recording = match as_it_was {
                Some(looked) => looked.recording.clone(),
                None => Recording::open(&[&place]).ok().map(Arc::new),
            };
            let looked = Looked {
                size,
                recording: recording.clone(),
            };
            kept.insert(place, looked);
            if let Some(recording) = recording.filter(|recording| known_by.is(recording)) {
                return Ok(recording);
            }
        }
        Err(Without::NotFound)
    }
}

/// What a run knows its recording by.
struct KnownBy {
    steps: usize,
    print: String,
}

impl KnownBy {
    fn of(config: &Value) -> Option<Self> {
        let noted = config.get(OURS)?.get(RECORDING)?;
        Some(Self {
            steps: noted.get("steps")?.as_u64()?.try_into().ok()?,
            print: noted.get("print")?.as_str()?.to_owned(),
        })
    }

    /// The recording may have grown since.
    fn is(&self, recording: &Recording) -> bool {
        recording.steps().count() >= self.steps
            && format!("{:016x}", recording.print(self.steps)) == self.print
    }
}

/// What may be a recording in the store's folder: files of records, and folders. What is elsewhere is none of it: links are not followed.
fn beside(store: &Path) -> Vec<PathBuf> {
    let folder = store
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")));
    let mut found: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            (is_dir && holds_records(&entry.path())) || (is_file && is_of_records(&entry.path()))
        })
        .map(|entry| entry.path())
        .take(BESIDE)
        .collect();
    found.sort();
    found
}

fn is_of_records(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ends| ends == "jsonl" || ends == "safetensors")
}

/// Whether files of records lie in a folder, and nothing that leads elsewhere is called like one.
fn holds_records(folder: &Path) -> bool {
    let files = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_of_records(&entry.path()));
    let mut is_file = files
        .map(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .peekable();
    is_file.peek().is_some() && is_file.all(|is_file| is_file)
}

fn size(place: &Path) -> Size {
    let of = |path: &Path| {
        fs::metadata(path).map_or((0, None), |found| (found.len(), found.modified().ok()))
    };
    if !place.is_dir() {
        return of(place);
    }
    let files = fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let sizes = files
        .filter(|path| is_of_records(path))
        .map(|path| of(&path));
    sizes.fold((0, None), |sum, size| (sum.0 + size.0, sum.1.max(size.1)))
}
