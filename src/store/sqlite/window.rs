//! Rows over windows of steps, of which the one over more steps stays.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::record::Split;
use super::super::{Logged, StoreError};
use super::Sqlite;
use crate::row::Metrics;

/// How many steps a row is over, where it is more than one. Made with the first such row, so that a store without any is as it
/// was; programs that do not know of it read the others as before.
pub(super) fn table(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {database}.windows (
            run_id TEXT    NOT NULL REFERENCES runs (id),
            step   INTEGER NOT NULL,
            split  TEXT    NOT NULL,
            steps  INTEGER NOT NULL,
            PRIMARY KEY (run_id, step, split)
        ) STRICT, WITHOUT ROWID"
    )
}

/// A row as this room needs it.
pub(super) struct Window<'a> {
    pub step: u64,
    pub metrics: &'a Metrics,
    /// How many steps it is over; 0 where nobody says, which is about this row's numbers alone.
    pub steps: u64,
    pub cut: bool,
}

impl Sqlite {
    /// Writes rows, all or none.
    pub(super) fn write_windows(
        &mut self,
        run_id: &str,
        rows: &[Window<'_>],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let signed = |step: u64| i64::try_from(step).map_err(|_| StoreError::Step { step });
        let steps: Vec<i64> = rows
            .iter()
            .map(|row| signed(row.step))
            .collect::<Result<_, _>>()?;
        let belongs_to = || format!("run `{run_id}`");
        self.keeps(run_id);
        self.write("write metrics", belongs_to, |db| {
            let mut logged = Logged::default();
            for (row, step) in rows.iter().zip(steps) {
                if row.is_surpassed(db, run_id, step, split)? {
                    logged.surpassed += 1;
                    continue;
                }
                row.note(db, run_id, step, split)?;
                put(db, run_id, step, split, row.metrics, &mut logged)?;
            }
            Ok(logged)
        })
    }
}

impl Window<'_> {
    /// Whether the stored row of this step is over more steps.
    fn is_surpassed(
        &self,
        db: &Connection,
        run_id: &str,
        step: i64,
        split: Split,
    ) -> rusqlite::Result<bool> {
        if !self.cut || !is_there(db)? {
            return Ok(false);
        }
        let sql = "SELECT steps FROM windows WHERE run_id = ?1 AND step = ?2 AND split = ?3";
        let stored: Option<i64> = db
            .prepare_cached(sql)?
            .query_row(params![run_id, step, split], |line| line.get(0))
            .optional()?;
        Ok(stored.is_some_and(|stored| stored.unsigned_abs() > self.steps))
    }

    /// Notes how many steps the row is over, in place of what stood there.
    fn note(&self, db: &Connection, run_id: &str, step: i64, split: Split) -> rusqlite::Result<()> {
        if self.steps > 1 {
            db.execute_batch(&table("main"))?;
            let sql = "INSERT OR REPLACE INTO windows (run_id, step, split, steps) VALUES (?1, ?2, ?3, ?4)";
            let steps = i64::try_from(self.steps).unwrap_or(i64::MAX);
            db.prepare_cached(sql)?
                .execute(params![run_id, step, split, steps])?;
        } else if self.steps == 1 && is_there(db)? {
            let sql = "DELETE FROM windows WHERE run_id = ?1 AND step = ?2 AND split = ?3";
            db.prepare_cached(sql)?
                .execute(params![run_id, step, split])?;
        }
        Ok(())
    }
}

/// Whether any row of this store is over more than one step.
pub(super) fn is_there(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'windows'")?
        .query_row([], |line| line.get(0))
}

fn put(
    db: &Connection,
    run_id: &str,
    step: i64,
    split: Split,
    metrics: &Metrics,
    logged: &mut Logged,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO metrics (run_id, step, split, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (run_id, step, split, name) DO UPDATE SET value = excluded.value";
    let mut insert = db.prepare_cached(sql)?;
    for (name, value) in metrics.iter() {
        // SQLite would make it NULL.
        if value.is_nan() {
            logged.nan += 1;
            continue;
        }
        insert.execute(params![run_id, step, split, name, value])?;
        logged.written += 1;
    }
    Ok(())
}
