//! What is read of a run to be shown: its names, and those of its series that are asked for.

use std::time::SystemTime;

use crate::sink::one_line;
use crate::store::{Split, Sqlite, Standing, StoreError};

/// One key of a run on one split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The key.
    pub key: String,
    /// What it was measured on.
    pub split: Split,
}

impl Name {
    /// As it is told of: `train/reward`, `eval/reward (val)`. A line stays a line.
    #[must_use]
    pub fn label(&self) -> String {
        match self.split {
            Split::Train => one_line(&self.key),
            Split::Val => format!("{} (val)", one_line(&self.key)),
        }
    }
}

/// The numbers of a name, by step.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is of.
    pub name: Name,
    /// Steps and numbers.
    pub points: Vec<(u64, f64)>,
}

impl Series {
    /// Its numbers, by step.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.points.iter().map(|(_, value)| *value).collect()
    }

    /// Whether it says one number again and again.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let first = self.points.first();
        let again = self.points.iter().skip(1);
        self.points.len() > 1 && first.is_some_and(|first| again.clone().all(|p| p.1 == first.1))
    }
}

/// A run that is read.
#[derive(Debug)]
pub struct ReadRun<'a> {
    store: &'a Sqlite,
    /// The run's id.
    pub id: String,
    /// How it stands; `None` where that cannot be read.
    pub standing: Option<Standing>,
    /// Its steps that have metrics, in order, or the last of them.
    pub steps: Vec<u64>,
}

impl<'a> ReadRun<'a> {
    /// Reads its steps, or the last so many.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open(store: &'a Sqlite, id: String, last: Option<u64>) -> Result<Self, StoreError> {
        let overview = store.overview_of(&id)?;
        let mut steps: Vec<u64> = store.rows(&id)?.iter().map(|row| row.step).collect();
        // A step may have a row on each split.
        steps.dedup();
        let last = last.and_then(|last| usize::try_from(last).ok());
        let left_out = steps.len().saturating_sub(last.unwrap_or(steps.len()));
        steps.drain(..left_out);
        Ok(Self {
            store,
            id,
            standing: overview.and_then(|run| run.standing(SystemTime::now())),
            steps,
        })
    }

    /// All its names.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, StoreError> {
        let names = self.store.names(&self.id)?;
        Ok(names
            .into_iter()
            .map(|(split, key)| Name { key, split })
            .collect())
    }

    /// The numbers of a name over the steps that are read; none where it has none there.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn series(&self, name: &Name) -> Result<Option<Series>, StoreError> {
        let first = self.steps.first().copied().unwrap_or_default();
        let points = self.store.series(&self.id, &name.key, name.split)?;
        let points = points.into_iter().filter(|point| point.step >= first);
        let points: Vec<(u64, f64)> = points.map(|point| (point.step, point.value)).collect();
        let name = name.clone();
        Ok((!points.is_empty()).then_some(Series { name, points }))
    }
}
