//! Where every record of a recording is, found in one reading that keeps no columns.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::cell::Reading;
use super::fault::{At, Fault, RecordingError};
use super::record::Head;
use super::trainers::{Part, TrainerFile, Wrong};
use super::{foreign, json, safetensors};
use crate::batch::Place;
use crate::batch::scalars::Weighting;
use crate::limits;
use crate::numerals::BYTE_ORDER_MARK;

/// How many bytes of a file of tensors are looked at to know it again: its head, and what comes first behind it.
const PRINTED: u64 = 64 * 1024;

/// Where one record of a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef {
    /// The optimizer step that it is of.
    pub step: u64,
    /// The rank that handed it in, and which of the rank's micro-batches it is.
    pub place: Place,
    pub(super) file: usize,
    /// From 1; 0 in a file that has no lines.
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// A checksum of its bytes, or of as many of the first as are read where the record is found.
    pub(super) print: u64,
}

#[cfg(feature = "serve")]
impl RecordRef {
    /// How many bytes it takes where it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }
}

/// The records of one step.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub records: BTreeMap<Place, RecordRef>,
    /// The snapshot of the lowest rank that reports one, of its last micro-batch that does.
    pub weighting: Option<(Place, Box<Weighting>)>,
}

/// What an indexing has found.
pub(super) struct Found {
    pub steps: BTreeMap<u64, Index>,
    pub world_size: u32,
    pub fault: Option<(u64, RecordingError)>,
}

/// An index in the making.
#[derive(Default)]
pub(super) struct Indexing {
    steps: BTreeMap<u64, Index>,
    /// The first record's, which the others must have too.
    world_size: Option<(u32, RecordRef)>,
    /// The fault at the lowest step.
    placed: Option<(u64, RecordingError)>,
    /// The first fault whose step is not known.
    unplaced: Option<RecordingError>,
}

impl Indexing {
    pub fn lines(&mut self, files: &[PathBuf], file: usize, opened: File) {
        let mut from = BufReader::new(opened);
        let (mut text, mut line, mut next) = (Vec::new(), 0, 0);
        loop {
            text.clear();
            line += 1;
            let mut offset = next;
            let at = At {
                line: Some(line),
                ..At::path(files.get(file).cloned().unwrap_or_default())
            };
            match limits::line(&mut from, limits::RECORD_LINE, &mut text) {
                Ok(0) => return,
                Ok(len) => next += len as u64,
                Err(error) => return self.note(at.io("read it", error)),
            }
            let mut json = text.as_slice();
            if line == 1 && json.starts_with(BYTE_ORDER_MARK) {
                json = &json[BYTE_ORDER_MARK.len()..];
                offset += BYTE_ORDER_MARK.len() as u64;
            }
            let json = json.trim_ascii_end();
            if json.is_empty() {
                continue;
            }
            let reading = Reading::default();
            let found = json::head(json, &reading).and_then(|(head, weighting)| {
                let record = RecordRef {
                    step: head.step,
                    place: Place {
                        rank: head.rank,
                        micro: head.micro,
                    },
                    file,
                    line,
                    offset,
                    len: json.len() as u64,
                    print: xxh3_64(json),
                };
                self.add(files, head, record, weighting)
            });
            if let Err(fault) = found {
                let foreign = foreign::what(json).filter(|_| line == 1);
                let fault = foreign.map_or(fault, |found| Fault::Foreign { found });
                self.note(reading.place(at).error(fault));
            }
        }
    }

    pub fn tensors(
        &mut self,
        files: &[PathBuf],
        file: usize,
        mut opened: File,
    ) -> Result<(), RecordingError> {
        let at = At::path(files.get(file).cloned().unwrap_or_default());
        let (len, print) = match printed(&mut opened) {
            Ok(known) => known,
            Err(error) => return Err(at.io("read it", error)),
        };
        let reading = Reading::default();
        let found = safetensors::head(&mut opened, len, &reading).and_then(|(head, weighting)| {
            let record = RecordRef {
                step: head.step,
                place: Place {
                    rank: head.rank,
                    micro: head.micro,
                },
                file,
                line: 0,
                offset: 0,
                len,
                print,
            };
            self.add(files, head, record, weighting)
        });
        if let Err(fault) = found {
            self.note(reading.place(at).error(fault));
        }
        Ok(())
    }

    /// Takes in a trainer's file, which is one record of all ranks.
    pub fn trainer(&mut self, files: &[PathBuf], file: usize, mut opened: File, of: TrainerFile) {
        let path = files.get(file).cloned().unwrap_or_default();
        let at = At::path(&path);
        let (len, print) = match printed(&mut opened) {
            Ok(known) => known,
            Err(error) => return self.note(at.io("read it", error)),
        };
        let found = of
            .part(&path, &mut opened)
            .and_then(|Part { step, micro }| {
                if len > limits::RECORD_FILE {
                    let most = limits::RECORD_FILE;
                    let message = format!("expected a file of at most {most} bytes, found {len}");
                    return Err(
                        Fault::read(io::Error::new(io::ErrorKind::InvalidData, message)).into(),
                    );
                }
                let head = Head {
                    step,
                    rank: 0,
                    world_size: 1,
                    micro,
                };
                let record = RecordRef {
                    step,
                    place: Place { rank: 0, micro },
                    file,
                    line: 0,
                    offset: 0,
                    len,
                    print,
                };
                Ok(self.add(files, head, record, None)?)
            });
        if let Err(Wrong { line, fault }) = found {
            self.note(At { line, ..at }.error(fault));
        }
    }

    /// Notes a file that is none to read.
    pub fn foreign(&mut self, path: &Path, found: &'static str) {
        self.note(At::path(path).error(Fault::Foreign { found }));
    }

    /// Takes in a record that contradicts no other.
    fn add(
        &mut self,
        files: &[PathBuf],
        head: Head,
        record: RecordRef,
        weighting: Option<Weighting>,
    ) -> Result<(), Fault> {
        let (expected, first) = *self.world_size.get_or_insert((head.world_size, record));
        if expected != head.world_size {
            return Err(Fault::WorldSize {
                expected,
                found: head.world_size,
                first: Box::new(place_only(files, &first)),
            });
        }
        let index = self.steps.entry(record.step).or_default();
        match index.records.entry(record.place) {
            Entry::Occupied(first) => {
                return Err(Fault::SecondRecord {
                    first: Box::new(place_only(files, first.get())),
                });
            }
            Entry::Vacant(free) => free.insert(record),
        };
        if let Some(weighting) = weighting {
            let rules = |held: Place| {
                let Place { rank, micro } = record.place;
                rank < held.rank || (rank == held.rank && micro > held.micro)
            };
            if index
                .weighting
                .as_ref()
                .is_none_or(|(held, _)| rules(*held))
            {
                index.weighting = Some((record.place, Box::new(weighting)));
            }
        }
        Ok(())
    }

    fn note(&mut self, error: RecordingError) {
        match error.at.step {
            Some(step) => {
                if self.placed.as_ref().is_none_or(|(held, _)| step < *held) {
                    self.placed = Some((step, error));
                }
            }
            None => {
                self.unplaced.get_or_insert(error);
            }
        }
    }

    /// The steps; their `world_size`, 0 without a record; and the fault to report, before the step that it concerns.
    pub fn finish(self) -> Found {
        let records = |index: &Index| index.records.len();
        let fullest = self.steps.values().map(records).max().unwrap_or(0);
        let mut lacking = self
            .steps
            .iter()
            .filter(|(_, index)| records(index) < fullest);
        let first_lacking = lacking.next().map_or(u64::MAX, |(step, _)| *step);
        let unplaced = self.unplaced.map(|error| (first_lacking, error));
        Found {
            fault: [self.placed, unplaced]
                .into_iter()
                .flatten()
                .min_by_key(|(step, _)| *step),
            world_size: self.world_size.map_or(0, |(world_size, _)| world_size),
            steps: self.steps,
        }
    }
}

/// How long a file is, and what it is known again by.
fn printed(file: &mut File) -> io::Result<(u64, u64)> {
    let mut start = Vec::new();
    (&mut *file).take(PRINTED).read_to_end(&mut start)?;
    file.rewind()?;
    Ok((file.metadata()?.len(), xxh3_64(&start)))
}

/// Where a record is, for a message.
pub(super) fn at(files: &[PathBuf], record: &RecordRef) -> At {
    At {
        path: files.get(record.file).cloned().unwrap_or_default(),
        line: (record.line > 0).then_some(record.line),
        step: Some(record.step),
        rank: Some(record.place.rank),
        micro: Some(record.place.micro),
    }
}

/// The place of a record without the numbers that the message it stands in names already.
fn place_only(files: &[PathBuf], record: &RecordRef) -> At {
    At {
        step: None,
        rank: None,
        micro: None,
        ..at(files, record)
    }
}
