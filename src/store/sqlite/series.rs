//! Reading the numbers of a run: by series, and by row.

use rusqlite::{OptionalExtension, params};

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

const ROW: &str = "step, split, time, steps, count, written";

fn row(line: &rusqlite::Row<'_>) -> rusqlite::Result<StoredRow> {
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
        let sql = "SELECT split, series.name FROM series JOIN runs ON runs.key = series.run
            WHERE runs.id = ?1 ORDER BY split, series.name";
        self.read("read the names of metrics", |db| {
            db.prepare_cached(sql)?
                .query_map([run_id], |line| Ok((line.get(0)?, line.get(1)?)))?
                .collect()
        })
    }

    /// The numbers of one name, by step; none where there are none.
    pub fn series(&self, run_id: &str, name: &str, split: Split) -> Result<Vec<Point>, StoreError> {
        let place = "SELECT run, place FROM series JOIN runs ON runs.key = series.run
            WHERE runs.id = ?1 AND split = ?2 AND series.name = ?3";
        let points =
            "SELECT step, time, value FROM rows CROSS JOIN numbers ON numbers.id = rows.id + ?3
            WHERE run = ?1 AND split = ?2 ORDER BY step";
        self.read("read a series", |db| {
            let found: Option<(i64, i64)> = db
                .prepare_cached(place)?
                .query_row(params![run_id, split, name], |line| {
                    Ok((line.get(0)?, line.get(1)?))
                })
                .optional()?;
            let Some((run, place)) = found else {
                return Ok(Vec::new());
            };
            let point = |line: &rusqlite::Row<'_>| {
                Ok(Point {
                    step: natural_at(line, 0)?,
                    time: line.get(1)?,
                    value: line.get(2)?,
                })
            };
            db.prepare_cached(points)?
                .query_map(params![run, split, place], point)?
                .collect()
        })
    }

    /// The rows of a run, by step and split.
    pub fn rows(&self, run_id: &str) -> Result<Vec<StoredRow>, StoreError> {
        let sql = format!(
            "SELECT {ROW} FROM rows WHERE run = (SELECT key FROM runs WHERE id = ?1) ORDER BY step, split"
        );
        self.read("read rows", |db| {
            db.prepare_cached(&sql)?.query_map([run_id], row)?.collect()
        })
    }

    /// The rows of a run that were written, or written again, after the one whose [`StoredRow::written`] is `after` (0 for all), in
    /// the order of writing. Their numbers: [`Sqlite::row_metrics`].
    pub fn rows_after(&self, run_id: &str, after: u64) -> Result<Vec<StoredRow>, StoreError> {
        let sql = format!(
            "SELECT {ROW} FROM rows WHERE run = (SELECT key FROM runs WHERE id = ?1) AND written > ?2 ORDER BY written"
        );
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.read("read rows", |db| {
            db.prepare_cached(&sql)?
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
