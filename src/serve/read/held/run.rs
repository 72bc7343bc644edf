//! The numbers of one run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::error::ReadError;
use crate::reading::{Name, digest};
use crate::store::{Split, Sqlite, StoredRow};

/// More rows than this at once are not read one by one: what is kept is read anew.
const ROW_BY_ROW: usize = 256;

/// Last, mean, least and greatest of a series, as `reading::digest` has them.
pub(in super::super) type Digest = [f64; 4];

/// Series of a run over its steps.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Numbers {
    /// Ascending.
    pub steps: Arc<Vec<u64>>,
    /// When each ended, in milliseconds since 1970; NaN where it is not known.
    pub times: Arc<Vec<f64>>,
    /// How many steps the row of each is over.
    pub spans: Arc<Vec<f64>>,
    /// The series asked for, in that order: a number a step, NaN where there is none. None for a name that the run does not have.
    pub columns: Vec<Option<Arc<Vec<f64>>>>,
    /// Counts the run's writes.
    pub written: u64,
}

/// A run's steps, and its series as far as somebody has asked for them.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Tells the run from one of the same id that was removed.
    key: Option<i64>,
    written: u64,
    steps: Arc<Vec<u64>>,
    times: Arc<Vec<f64>>,
    spans: Arc<Vec<f64>>,
    columns: BTreeMap<Name, Column>,
    digests: Option<(u64, Arc<BTreeMap<Name, Digest>>)>,
    uses: u64,
}

#[derive(Debug)]
struct Column {
    values: Arc<Vec<f64>>,
    used: u64,
}

impl Run {
    /// Reads what was written since.
    pub fn bring_up(&mut self, store: &Sqlite, id: &str) -> Result<(), ReadError> {
        self.know(store.key_of(id)?);
        // A store that does not count its writes is another file whenever it was written.
        if self.written > 0 && !store.counts_writes() {
            return Ok(());
        }
        if self.written > store.newest_row(id, None)?.map_or(0, |row| row.written) {
            // Another has brought it up meanwhile, and what is read at this moment would be older than what is kept.
            store.at_a_later_moment()?;
            self.know(store.key_of(id)?);
        }
        let rows = store.rows_after(id, self.written)?;
        let Some(written) = rows.last().map(|row| row.written) else {
            return Ok(());
        };
        if rows.len() > ROW_BY_ROW || self.steps.is_empty() {
            // All rows, where none was known.
            let all = if self.written == 0 {
                rows
            } else {
                store.rows(id)?
            };
            self.lay_out(all);
            let names: Vec<Name> = std::mem::take(&mut self.columns).into_keys().collect();
            self.load(store, id, &names)?;
        } else {
            for row in &rows {
                self.take(store, id, row)?;
            }
            // What a step with rows on both splits has of each, both must be known for.
            if rows.iter().any(|row| row.split == Split::Val) {
                self.lay_out(store.rows(id)?);
            }
        }
        self.written = written;
        Ok(())
    }

    /// Forgets a run that was removed, where another has its id.
    fn know(&mut self, key: Option<i64>) {
        if key != self.key {
            *self = Self {
                key,
                ..Self::default()
            };
        }
    }

    /// Takes steps, times and spans from all rows of the run: of a step with rows on both splits, train before val.
    fn lay_out(&mut self, mut rows: Vec<StoredRow>) {
        rows.sort_unstable_by_key(|row| (row.step, row.split));
        let mut steps = Vec::with_capacity(rows.len());
        let mut times = Vec::with_capacity(rows.len());
        let mut spans = Vec::with_capacity(rows.len());
        for same in rows.chunk_by(|a, b| a.step == b.step) {
            let Some(first) = same.first() else { continue };
            steps.push(first.step);
            spans.push(first.steps as f64);
            times.push(
                same.iter()
                    .find_map(|row| row.time)
                    .map_or(f64::NAN, |time| time as f64),
            );
        }
        self.steps = Arc::new(steps);
        self.times = Arc::new(times);
        self.spans = Arc::new(spans);
    }

    /// Takes in a row that is new, or was written again.
    fn take(&mut self, store: &Sqlite, id: &str, row: &StoredRow) -> Result<(), ReadError> {
        let time = row.time.map(|time| time as f64);
        let at = match self.steps.binary_search(&row.step) {
            Ok(at) => at,
            Err(at) => {
                insert(&mut self.steps, at, row.step);
                insert(&mut self.times, at, f64::NAN);
                insert(&mut self.spans, at, row.steps as f64);
                for column in self.columns.values_mut() {
                    insert(&mut column.values, at, f64::NAN);
                }
                at
            }
        };
        if let (Some(time), Some(known)) = (time, Arc::make_mut(&mut self.times).get_mut(at)) {
            *known = time;
        }
        if let Some(known) = Arc::make_mut(&mut self.spans).get_mut(at) {
            *known = row.steps as f64;
        }
        if self.columns.is_empty() {
            return Ok(());
        }
        for number in store.row_metrics(id, row.step, row.split)? {
            let name = Name {
                key: number.name,
                split: row.split,
            };
            let column = self.columns.get_mut(&name);
            let values = column.map(|column| Arc::make_mut(&mut column.values));
            if let Some(value) = values.and_then(|values| values.get_mut(at)) {
                *value = number.value;
            }
        }
        Ok(())
    }

    /// Reads series that are not kept.
    fn load(&mut self, store: &Sqlite, id: &str, names: &[Name]) -> Result<(), ReadError> {
        let mut missing: Vec<&Name> = names
            .iter()
            .filter(|name| !self.columns.contains_key(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort();
        let wanted = |split: Split, key: &str| {
            let order = |name: &&Name| (name.key.as_str(), name.split).cmp(&(key, split));
            missing.binary_search_by(order).is_ok()
        };
        for course in store.courses(id, wanted)?.courses {
            let name = Name {
                key: course.name,
                split: course.split,
            };
            let column = Column {
                values: Arc::new(course.values),
                used: self.uses,
            };
            self.columns.insert(name, column);
        }
        Ok(())
    }

    /// The series of these names.
    pub fn numbers(
        &mut self,
        store: &Sqlite,
        id: &str,
        names: &[Name],
    ) -> Result<Numbers, ReadError> {
        self.uses += 1;
        self.load(store, id, names)?;
        let mut column = |name: &Name| {
            let column = self.columns.get_mut(name)?;
            column.used = self.uses;
            Some(Arc::clone(&column.values))
        };
        Ok(Numbers {
            columns: names.iter().map(&mut column).collect(),
            steps: Arc::clone(&self.steps),
            times: Arc::clone(&self.times),
            spans: Arc::clone(&self.spans),
            written: self.written,
        })
    }

    /// What each of these names has come to. At most so many bytes are read at once.
    pub fn digests(
        &mut self,
        store: &Sqlite,
        id: &str,
        names: &[Name],
        bytes: usize,
    ) -> Result<Arc<BTreeMap<Name, Digest>>, ReadError> {
        if let Some((written, digests)) = &self.digests
            && *written == self.written
        {
            return Ok(Arc::clone(digests));
        }
        let at_once = bytes / (8 * self.steps.len().max(1));
        let mut digests = BTreeMap::new();
        for part in names.chunks(at_once.max(8)) {
            let numbers = self.numbers(store, id, part)?;
            for (name, column) in part.iter().zip(&numbers.columns) {
                let values = column.iter().flat_map(|values| values.iter().copied());
                let there: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
                digests.insert(name.clone(), digest(&there));
            }
            drop(numbers);
            self.shrink(4 * bytes);
        }
        let digests = Arc::new(digests);
        self.digests = Some((self.written, Arc::clone(&digests)));
        Ok(digests)
    }

    /// How many bytes its numbers take.
    pub fn bytes(&self) -> usize {
        let values = self.columns.values().map(|column| column.values.capacity());
        8 * (values.sum::<usize>() + self.steps.capacity() + 2 * self.times.capacity())
    }

    /// Forgets the series that were not asked for the longest, until the others take so many bytes at most.
    pub fn shrink(&mut self, most: usize) {
        let mut bytes = self.bytes();
        if bytes <= most {
            return;
        }
        let mut by_use: Vec<(u64, Name)> = self
            .columns
            .iter()
            .map(|(name, column)| (column.used, name.clone()))
            .collect();
        by_use.sort();
        for (_, name) in by_use {
            if bytes <= most {
                return;
            }
            bytes -= self
                .columns
                .remove(&name)
                .map_or(0, |column| 8 * column.values.capacity());
        }
    }
}

/// Inserts with a little room for what comes next, not with as much again.
fn insert<T: Clone>(values: &mut Arc<Vec<T>>, at: usize, value: T) {
    let values = Arc::make_mut(values);
    if values.len() == values.capacity() {
        values.reserve_exact(values.len() / 16 + 64);
    }
    values.insert(at.min(values.len()), value);
}
