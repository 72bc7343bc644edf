//! The records behind one logged row, and the numbers that a scheme makes of them.

use std::collections::BTreeMap;

use super::AuditError;
use super::log::LoggedRow;
use super::other::By;
use super::scheme::{Cut, Fold, Only, Scheme, Shape};
use crate::batch::Place;
use crate::batch::scalars::{ClipRange, Weighting};
use crate::dialect::{Dialect, Take};
use crate::engine::EngineOptions;
use crate::recording::{Record, RecordRef, Recording, Step};
use crate::row::Metrics;
use crate::shard::{MergeError, Shard};
use crate::stat::exact;
use crate::summary::Summary;

/// Which shards of the records a scheme is made of: what is counted of a record, and by which setting.
type Counting = (Counted, Option<usize>);

/// What is counted of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Whole,
    /// As if another rank had handed it in.
    Again,
    Terminated,
    Unmasked,
    Trained,
}

/// The records of a window, counted as the engine counts them. Each is read anew for every way of counting, and let go of: a window may be
/// many steps of a large training.
#[derive(Debug)]
pub struct Window<'a> {
    recording: &'a Recording,
    step: u64,
    options: EngineOptions,
    records: Vec<Kept>,
    /// What has been counted so far.
    shards: BTreeMap<Counting, Vec<Shard>>,
    /// What has been read so far: of each part.
    summaries: BTreeMap<(Only, Cut, Option<usize>), Vec<Summary>>,
}

#[derive(Debug)]
struct Kept {
    found: RecordRef,
    step: u64,
    place: Place,
    range: Option<ClipRange>,
    /// Whether the step before did not train on the same.
    is_fresh: bool,
    /// Whether it is of a later row's steps.
    is_ahead: bool,
}

/// A logged row with the steps that it is over, and the later ones that its generated batch may be trained on in.
#[derive(Debug)]
pub struct Logged<'a> {
    pub row: &'a LoggedRow,
    pub steps: Vec<Step<'a>>,
    pub ahead: Vec<Step<'a>>,
}

/// What tells a batch from another, by the place where it was trained on: its rewards and lengths.
pub type Seen = BTreeMap<Place, (Vec<Option<u64>>, Vec<u32>)>;

/// What there is to cut in these windows.
pub fn shape(windows: &[Logged<'_>]) -> Shape {
    let mut shape = Shape {
        ranks: 1,
        ..Shape::default()
    };
    for window in windows {
        shape.has_steps |= window.steps.len() > 1 || !window.ahead.is_empty();
        shape.has_gaps |= !window.ahead.is_empty();
        for record in window.steps.iter().flat_map(Step::records) {
            shape.has_micros |= record.place.micro > 0;
            shape.ranks = shape.ranks.max(record.place.rank.saturating_add(1));
        }
    }
    shape
}

impl<'a> Window<'a> {
    /// The records of these steps, and of those ahead; `seen` is what the step before them was trained on, and then what their last was.
    pub fn load(
        recording: &'a Recording,
        steps: &[Step<'_>],
        ahead: &[Step<'_>],
        options: &EngineOptions,
        seen: &mut Seen,
    ) -> Result<Self, AuditError> {
        let (mut records, mut whole) = (Vec::new(), Vec::new());
        let mut before = std::mem::take(seen);
        for (nth, step) in steps.iter().chain(ahead).enumerate() {
            let range = step.weighting().map(Weighting::clip_range);
            let mut here = Seen::new();
            for found in step.records() {
                let record = recording.load(found)?;
                let batch = record.batch().map_err(|source| AuditError::Batch {
                    step: step.step,
                    rank: found.place.rank,
                    source,
                })?;
                whole.push(options.count(&batch, found.place, range));
                let rewards = batch.columns().rewards.iter();
                let rewards = rewards.map(|reward| reward.map(f64::to_bits));
                let lengths = batch.lengths().unwrap_or_default().to_vec();
                here.insert(found.place, (rewards.collect(), lengths));
                records.push(Kept {
                    found: *found,
                    step: step.step,
                    place: found.place,
                    range,
                    is_fresh: before.get(&found.place) != here.get(&found.place),
                    is_ahead: nth >= steps.len(),
                });
            }
            if nth + 1 == steps.len() {
                seen.clone_from(&here);
            }
            before = here;
        }
        Ok(Self {
            recording,
            step: steps.last().map_or(0, |step| step.step),
            options: options.clone(),
            records,
            shards: BTreeMap::from([((Counted::Whole, None), whole)]),
            summaries: BTreeMap::new(),
        })
    }

    /// The window's numbers by this scheme.
    pub fn row(&mut self, scheme: &Scheme) -> Result<Metrics, AuditError> {
        let setting = scheme.other.filter(|_| scheme.setting().is_some());
        let key = (scheme.only, scheme.cut, setting);
        if !self.summaries.contains_key(&key) {
            let read = self.read(scheme, setting)?;
            self.summaries.insert(key, read);
        }
        let summaries = self.summaries.get(&key).map_or(&[][..], Vec::as_slice);
        let rows = summaries
            .iter()
            .map(|summary| self.numbers(summary, scheme));
        Ok(folded(rows.collect(), scheme.fold))
    }

    fn read(
        &mut self,
        scheme: &Scheme,
        setting: Option<usize>,
    ) -> Result<Vec<Summary>, AuditError> {
        let counted = match scheme.only {
            Only::Terminated => Counted::Terminated,
            Only::Unmasked => Counted::Unmasked,
            Only::Trained => Counted::Trained,
            _ => Counted::Whole,
        };
        self.count((counted, setting), scheme)?;
        if let Only::Twice(_) = scheme.only {
            self.count((Counted::Again, setting), scheme)?;
        }
        let merged = |source| AuditError::Merge {
            step: self.step,
            source,
        };
        let parts = self.parts(scheme, (counted, setting)).map_err(merged)?;
        let (options, _) = self.told(scheme, None);
        let reading = options.reading();
        let read = parts.iter();
        Ok(read
            .map(|part| Summary::read(part, self.step, &reading))
            .collect())
    }

    /// By what a record is counted under this scheme.
    fn told(
        &self,
        scheme: &Scheme,
        range: Option<ClipRange>,
    ) -> (EngineOptions, Option<ClipRange>) {
        let (mut options, mut range) = (self.options.clone(), range);
        if let Some(setting) = scheme.setting() {
            setting.apply(&mut options, &mut range);
        }
        (options, range)
    }

    fn count(&mut self, counting: Counting, scheme: &Scheme) -> Result<(), AuditError> {
        if self.shards.contains_key(&counting) {
            return Ok(());
        }
        let count = |kept: &Kept| {
            let (record, place) = (&self.recording.load(&kept.found)?, kept.place);
            let copy = Place {
                rank: u32::MAX - place.rank,
                ..place
            };
            let (options, range) = self.told(scheme, kept.range);
            let count = |record: &Record, place| Ok(options.count(&record.batch()?, place, range));
            let counted = match counting.0 {
                Counted::Whole => count(record, place),
                Counted::Again => count(record, copy),
                Counted::Terminated => record.terminated().and_then(|some| count(&some, place)),
                Counted::Unmasked => count(&record.unmasked(), place),
                Counted::Trained => record.trained().and_then(|some| count(&some, place)),
            };
            counted.map_err(|source| AuditError::Batch {
                step: kept.step,
                rank: place.rank,
                source,
            })
        };
        let counted: Result<Vec<Shard>, _> = self.records.iter().map(count).collect();
        self.shards.insert(counting, counted?);
        Ok(())
    }

    /// The records of each part, merged.
    fn parts(&self, scheme: &Scheme, counting: Counting) -> Result<Vec<Shard>, MergeError> {
        let mut parts: BTreeMap<_, BTreeMap<u64, Shard>> = BTreeMap::new();
        let mut add = |kept: &Kept, rank: u32, shard: &Shard| {
            let part = (
                scheme.cut.steps.then_some(kept.step),
                scheme.cut.micros.then_some(kept.place.micro),
                scheme.cut.ranks.then_some(rank),
            );
            let steps = parts.entry(part).or_default();
            steps.entry(kept.step).or_default().merge(shard.clone())
        };
        let none = Vec::new();
        let once = self.shards.get(&counting).unwrap_or(&none);
        let again = self.shards.get(&(Counted::Again, counting.1));
        for (nth, (kept, shard)) in self.records.iter().zip(once).enumerate() {
            if !self.has(scheme.only, kept) {
                continue;
            }
            add(kept, kept.place.rank, shard)?;
            if scheme.only == Only::Twice(kept.place.rank)
                && let Some(copy) = again.and_then(|again| again.get(nth))
            {
                // Among ranks' numbers the copy has one of its own.
                add(kept, u32::MAX - kept.place.rank, copy)?;
            }
        }
        parts.into_values().map(joined).collect()
    }

    fn has(&self, only: Only, kept: &Kept) -> bool {
        let others = || {
            let same =
                |other: &&Kept| other.step == kept.step && other.place.rank == kept.place.rank;
            self.records
                .iter()
                .filter(same)
                .map(|other| other.place.micro)
        };
        if kept.is_ahead {
            return only == Only::Ahead;
        }
        match only {
            Only::RankZero => kept.place.rank == 0,
            Only::LastStep => kept.step == self.step,
            Only::LastMicro => others().all(|micro| micro <= kept.place.micro),
            Only::FirstMicro => others().all(|micro| micro >= kept.place.micro),
            Only::Fresh => kept.is_fresh,
            Only::All
            | Only::Ahead
            | Only::Twice(_)
            | Only::Terminated
            | Only::Unmasked
            | Only::Trained => true,
        }
    }

    fn numbers(&self, summary: &Summary, scheme: &Scheme) -> Metrics {
        let dialect = self.options.dialect;
        match scheme.definition() {
            Some(other) if let By::Definition(take) = other.by => {
                defined(dialect, other.keys, take, summary)
            }
            _ => dialect.row(summary),
        }
    }
}

/// The steps of a part as the window that they are.
fn joined(steps: BTreeMap<u64, Shard>) -> Result<Shard, MergeError> {
    let mut window = Shard::default();
    for (at, (step, mut shard)) in steps.into_iter().enumerate() {
        shard.close(step)?;
        if at == 0 {
            window = shard;
        } else {
            window.merge(shard)?;
        }
    }
    Ok(window)
}

/// Key by key the mean or sum over the parts that have it.
fn folded(mut parts: Vec<Metrics>, fold: Fold) -> Metrics {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let all = parts.len();
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (key, value) in parts.iter().flat_map(Metrics::iter) {
        values.entry(key.to_owned()).or_default().push(value);
    }
    let folded = values.into_iter().map(|(key, values)| {
        let sum = exact(&values);
        let parts = match fold {
            Fold::Mean => values.len() as f64,
            Fold::Filled => all as f64,
            Fold::Sum => 1.0,
        };
        (key, sum / parts)
    });
    folded.collect()
}

/// What stands under the keys that a definition is for, by that definition.
fn defined(dialect: Dialect, keys: &[&'static str], take: Take, summary: &Summary) -> Metrics {
    let keys = keys.iter();
    let keys = keys.filter(|key| dialect.lines().any(|line| line.key == **key));
    let mut row = Metrics::default();
    for key in keys {
        match take {
            Take::Number(take) => {
                if let Some(value) = take(summary) {
                    row.push(*key, value);
                }
            }
            Take::Component(take) => {
                for (name, component) in &summary.components {
                    if let Some(value) = take(component) {
                        row.push(key.replace("{name}", name), value);
                    }
                }
            }
            _ => {}
        }
    }
    row
}
