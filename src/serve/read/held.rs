//! The numbers of runs, as they were last read.

use std::sync::Arc;

use super::error::ReadError;
use crate::reading::Name;
use crate::store::Sqlite;

/// What is kept of the runs that were asked for.
#[derive(Debug, Default)]
pub(super) struct Kept {}

/// Series of a run over its steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// Ascending.
    pub steps: Arc<Vec<u64>>,
    /// When each ended, in milliseconds since 1970; NaN where it is not known.
    pub times: Arc<Vec<f64>>,
    /// The series asked for, in that order: a number a step, NaN where there is none. None for a name that the run does not have.
    pub columns: Vec<Option<Arc<Vec<f64>>>>,
    /// Counts the run's writes.
    pub written: u64,
}

impl Kept {
    /// The series of these names, as the store has them now.
    #[allow(clippy::unused_self)]
    pub fn numbers(
        &self,
        store: &Sqlite,
        _file: u64,
        run: &str,
        names: &[Name],
    ) -> Result<Numbers, ReadError> {
        let wanted = |split, key: &str| names.iter().any(|n| n.split == split && n.key == key);
        let found = store.courses(run, wanted)?;
        let written = store
            .rows_after(run, 0)?
            .last()
            .map_or(0, |row| row.written);
        let column = |name: &Name| {
            let mut courses = found.courses.iter();
            let course = courses.find(|c| c.split == name.split && c.name == name.key)?;
            Some(Arc::new(course.values.clone()))
        };
        let columns = names.iter().map(column).collect();
        let times = found
            .times
            .iter()
            .map(|time| time.map_or(f64::NAN, |time| time as f64));
        Ok(Numbers {
            columns,
            times: Arc::new(times.collect()),
            steps: Arc::new(found.steps),
            written,
        })
    }
}
