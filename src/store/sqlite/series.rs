//! Reading the numbers of a run: by series, and by row.

use rusqlite::params;

use super::super::StoreError;
use super::super::record::{Metric, Split};
use super::{Sqlite, natural_at};

/// One number of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The optimizer step that it is of.
    pub step: u64,
    /// When the step ended: milliseconds since 1970, UTC. `None` where it is not known, as in what a store of schema 1 held.
    pub time: Option<i64>,
    /// The number, which may be infinite.
    pub value: f64,
}

/// A row of a run, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The optimizer step that it is of.
    pub step: u64,
    /// What its numbers were measured on.
    pub split: Split,
    /// When the step ended: milliseconds since 1970, UTC. `None` where it is not known, as in what a store of schema 1 held.
    pub time: Option<i64>,
    /// How many steps the row is over.
    pub steps: u64,
    /// How many numbers it has.
    pub count: u64,
    /// Counts the run's writes, from 1: of a row that was written again, the last. What [`Sqlite::rows_after`] goes on from.
    pub written: u64,
}

/// How a schema is asked for what its tables have; each text takes the run's id as `?1`.
#[derive(Debug)]
pub(super) struct Reading {
    /// Split and name of each series, in this order.
    pub names: &'static str,
    /// Step, time and value of the series of the name `?2` and the split `?3`, by step.
    pub series: &'static str,
    /// Step, split, time, steps, count and `written` of the rows written after `?2`, in the order of writing.
    pub rows: &'static str,
    /// How many steps, the first, the last; how many numbers.
    pub extent: &'static str,
    /// The first of the last `?2` steps.
    pub last: &'static str,
    /// Whether numbers lie in `numbers`, by row and place.
    pub is_by_place: bool,
}

pub(super) const READING: Reading = Reading {
    names: "SELECT split, series.name FROM runs CROSS JOIN series ON series.run = runs.key WHERE id = ?1 ORDER BY split, series.name",
    series: "SELECT step, time, value FROM runs
        CROSS JOIN series ON series.run = runs.key
        CROSS JOIN rows ON rows.run = runs.key AND rows.split = series.split
        CROSS JOIN numbers ON numbers.id = rows.id + place
        WHERE runs.id = ?1 AND series.name = ?2 AND series.split = ?3 ORDER BY step",
    rows: "SELECT step, split, time, steps, count, written FROM runs CROSS JOIN rows ON run = key
        WHERE runs.id = ?1 AND written > ?2 ORDER BY written",
    extent: "SELECT count(DISTINCT step), min(step), max(step), coalesce(sum(count), 0) FROM runs
        CROSS JOIN rows ON run = key WHERE runs.id = ?1",
    last: "SELECT min(step) FROM (
            SELECT DISTINCT step FROM rows WHERE run = (SELECT key FROM runs WHERE id = ?1) ORDER BY step DESC LIMIT ?2
        )",
    is_by_place: true,
};

/// The numbers of a run, of a name and of a split where those are said.
pub(super) const METRICS: &str = "SELECT step, name, value, split FROM metrics
    WHERE run_id = ?1 AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR split = ?3) ORDER BY step, split, name";

pub(super) fn row(line: &rusqlite::Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow {
        step: natural_at(line, 0)?,
        split: line.get(1)?,
        time: line.get(2)?,
        steps: natural_at(line, 3)?,
        count: natural_at(line, 4)?,
        written: natural_at(line, 5)?,
    })
}

impl Sqlite {
    /// The names of a run's numbers, by split and name; none for a run without.
    pub fn names(&self, run_id: &str) -> Result<Vec<(Split, String)>, StoreError> {
        self.read("read the names of metrics", |db| {
            db.prepare_cached(self.reading.names)?
                .query_map([run_id], |line| Ok((line.get(0)?, line.get(1)?)))?
                .collect()
        })
    }

    /// The numbers of one name, by step; none where there are none.
    pub fn series(&self, run_id: &str, name: &str, split: Split) -> Result<Vec<Point>, StoreError> {
        let point = |line: &rusqlite::Row<'_>| {
            Ok(Point {
                step: natural_at(line, 0)?,
                time: line.get(1)?,
                value: line.get(2)?,
            })
        };
        self.read("read a series", |db| {
            db.prepare_cached(self.reading.series)?
                .query_map(params![run_id, name, split], point)?
                .collect()
        })
    }

    /// The numbers of [`Store::get_metrics`](super::super::Store::get_metrics), one by one, until `each` has enough.
    #[cfg(feature = "serve")]
    pub(crate) fn each_metric(
        &self,
        run_id: &str,
        name: Option<&str>,
        split: Option<Split>,
        mut each: impl FnMut(u64, &str, f64, Split) -> bool,
    ) -> Result<(), StoreError> {
        self.read("read metrics", |db| {
            let mut select = db.prepare_cached(METRICS)?;
            let mut lines = select.query(params![run_id, name, split])?;
            while let Some(line) = lines.next()? {
                let name = line.get_ref(1)?.as_str()?;
                if !each(natural_at(line, 0)?, name, line.get(2)?, line.get(3)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The rows of a run, by step and split.
    pub fn rows(&self, run_id: &str) -> Result<Vec<StoredRow>, StoreError> {
        let mut rows = self.rows_after(run_id, 0)?;
        rows.sort_unstable_by_key(|row| (row.step, row.split));
        Ok(rows)
    }

    /// The rows of a run that were written, or written again, after the one whose [`StoredRow::written`] is `after` (0 for all), in
    /// the order of writing. Their numbers: [`Sqlite::row_metrics`].
    pub fn rows_after(&self, run_id: &str, after: u64) -> Result<Vec<StoredRow>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.read("read rows", |db| {
            db.prepare_cached(self.reading.rows)?
                .query_map(params![run_id, after], row)?
                .collect()
        })
    }

    /// The numbers of the row of a step, by name; none where there is no such row.
    pub fn row_metrics(
        &self,
        run_id: &str,
        step: u64,
        split: Split,
    ) -> Result<Vec<Metric>, StoreError> {
        let sql = "SELECT step, name, value, split FROM metrics WHERE run_id = ?1 AND step = ?2 AND split = ?3 ORDER BY name";
        let step = i64::try_from(step).map_err(|_| StoreError::Step { step })?;
        self.read("read metrics", |db| {
            db.prepare_cached(sql)?
                .query_map(params![run_id, step, split], super::metric)?
                .collect()
        })
    }
}
