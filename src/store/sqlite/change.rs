//! What a reader that stays open asks a store: whether anything was written since, how far each run has come, and all of it as it stood at
//! one moment.

use rusqlite::{OptionalExtension, params};

use super::super::record::Split;
use super::super::{RunOverview, StoreError};
use super::series::StoredRow;
use super::{Sqlite, series};

/// How far a run has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The run; its `steps`, `span`, `values` and `fault` are not read.
    pub run: RunOverview,
    /// Never given twice in a file, as a run's id may be.
    pub key: i64,
    /// Of its newest row, [`StoredRow::written`]; 0 without one.
    pub written: u64,
    /// When the step of its newest row ended: milliseconds since 1970. `None` without a row, and where it is not known.
    pub newest: Option<i64>,
}

impl Sqlite {
    /// Whether numbers lie as the newest schema has them, so that what is written later is found by [`StoredRow::written`].
    pub(crate) fn counts_writes(&self) -> bool {
        self.reading.is_by_place
    }

    /// Reads as the store stood at one moment, whatever is written meanwhile.
    pub(crate) fn at_one_moment<T, E: From<StoreError>>(
        &self,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let moment = self.db.unchecked_transaction();
        let _moment = moment.map_err(|error| self.fault("read", error))?;
        body()
    }

    /// Within [`Sqlite::at_one_moment`]: reads on as the store stands now, which is not before it stood so far.
    pub(crate) fn at_a_later_moment(&self) -> Result<(), StoreError> {
        self.read("read", |db| db.execute_batch("ROLLBACK; BEGIN"))
    }

    /// A number that is another whenever somebody else has written to the file; of this connection alone.
    pub(crate) fn data_version(&self) -> Result<i64, StoreError> {
        self.read("read", |db| {
            db.pragma_query_value(None, "data_version", |line| line.get(0))
        })
    }

    /// How many predictions have been written, at least: it grows with each.
    pub(crate) fn newest_prediction(&self) -> Result<i64, StoreError> {
        self.read("read predictions", |db| {
            let sql = "SELECT coalesce(max(rowid), 0) FROM predictions";
            db.prepare_cached(sql)?.query_row([], |line| line.get(0))
        })
    }

    /// Every run, or the one of this id, the oldest first, and how far it has been written.
    pub(crate) fn progress(&self, only: Option<&str>) -> Result<Vec<Progress>, StoreError> {
        let runs = self.runs().map_err(|error| self.fault("read", error))?;
        let progress = |run: RunOverview| {
            let key = self.key_of(&run.id)?;
            let newest = self.newest_row(&run.id, None)?;
            Ok(Progress {
                key: key.unwrap_or_default(),
                written: newest.map_or(0, |row| row.written),
                newest: newest.and_then(|row| row.time),
                run,
            })
        };
        let mut runs = runs.into_iter();
        match only {
            Some(id) => runs
                .find(|run| run.id == id)
                .map(progress)
                .into_iter()
                .collect(),
            None => runs.map(progress).collect(),
        }
    }

    /// A run's key, which is never given twice in a file, if there is a run of this id.
    pub(crate) fn key_of(&self, run_id: &str) -> Result<Option<i64>, StoreError> {
        self.read("read", |db| {
            db.prepare_cached("SELECT key FROM runs WHERE id = ?1")?
                .query_row([run_id], |line| line.get(0))
                .optional()
        })
    }

    /// The row of a run that was written last, or the one of a split.
    pub(crate) fn newest_row(
        &self,
        run_id: &str,
        split: Option<Split>,
    ) -> Result<Option<StoredRow>, StoreError> {
        if !self.counts_writes() {
            let mut rows = self.rows(run_id)?;
            rows.retain(|row| split.is_none_or(|split| row.split == split));
            return Ok(rows.pop());
        }
        let sql = "SELECT step, split, time, steps, count, written FROM rows
            WHERE run = (SELECT key FROM runs WHERE id = ?1) AND (?2 IS NULL OR split = ?2) ORDER BY written DESC LIMIT 1";
        self.read("read rows", |db| {
            db.prepare_cached(sql)?
                .query_row(params![run_id, split], series::row)
                .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Metrics;
    use crate::store::{RunSpec, Store};

    #[test]
    fn a_reader_sees_that_others_have_written_and_reads_on_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let mut store = Sqlite::open(&path).unwrap();
        store.open_run(&RunSpec::new("a")).unwrap();
        let reader = Sqlite::open_read_only(&path).unwrap();
        let before = reader.data_version().unwrap();
        let mut row = Metrics::default();
        row.set("train/reward", 0.5);
        let mut log = |step| store.log_rows("a", &[(step, &row)], Split::Train).unwrap();
        log(3);
        assert_ne!(reader.data_version().unwrap(), before);
        let rows = || reader.rows_after("a", 0).map(|rows| rows.len());
        let seen: Result<_, StoreError> = reader.at_one_moment(|| {
            let first = rows()?;
            log(4);
            Ok((first, rows()?, reader.courses("a", |_, _| true)?.steps))
        });
        assert_eq!(seen.unwrap(), (1, 1, vec![3]));
        assert_eq!(rows().unwrap(), 2);
        log(3);
        let progress = reader.progress(None).unwrap();
        assert_eq!((progress[0].run.id.as_str(), progress[0].written), ("a", 3));
        assert!(progress[0].newest.is_some());
        let newest = |split| reader.newest_row("a", split).unwrap().map(|row| row.step);
        assert_eq!((newest(None), newest(Some(Split::Val))), (Some(3), None));
    }
}
