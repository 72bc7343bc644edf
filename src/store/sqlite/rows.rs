//! Writing the numbers of steps.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::super::record::Split;
use super::super::{Logged, StoreError};
use super::Sqlite;
use crate::row::{Metrics, Row};

/// How many rows stand together, series by series, and how many series a run may have: the bits of a number's id, from the lowest.
/// See `schema_2.sql`.
pub(super) const TOGETHER: u32 = 2;
pub(super) const SERIES: u32 = 20;

/// A row as this room needs it.
pub(super) struct Written<'a> {
    pub step: u64,
    pub metrics: &'a Metrics,
    /// When its step ended, in milliseconds since 1970.
    pub time: i64,
    /// How many steps it is over; 0 where nobody says, which is about this row's numbers alone.
    pub steps: u64,
    pub cut: bool,
}

impl<'a> Written<'a> {
    /// Numbers of a step, as of now.
    pub fn now(step: u64, metrics: &'a Metrics) -> Self {
        Self {
            step,
            metrics,
            time: now(),
            steps: 0,
            cut: false,
        }
    }

    /// A row as it is; as of now where it has no time.
    pub fn of(row: &'a Row) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "what is out of range is as near as it can be"
        )]
        let time = (row.timestamp * 1e3).round() as i64;
        Self {
            step: row.step,
            metrics: &row.metrics,
            time: if time > 0 { time } else { now() },
            steps: row.steps,
            cut: row.cut,
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Of how many runs, and how many of their names, something is known at most: a gateway writes runs without end.
const RUNS: usize = 1024;
const NAMES: usize = 1 << 18;

/// What this connection knows of the runs that it writes, so that a step is not looked up name by name.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, KnownRun>);

#[derive(Debug, Default)]
struct KnownRun {
    key: i64,
    /// The ids of the next rows. No other connection gives them, as each takes rows by the four.
    free: std::ops::Range<i64>,
    /// The places of series, by split and name.
    places: [HashMap<String, i64>; 2],
}

impl Known {
    /// Forgets all: of a transaction that was rolled back, or another file.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The run, as it is in the file now.
    fn run(&mut self, db: &Connection, id: &str) -> rusqlite::Result<&mut KnownRun> {
        let key = db
            .prepare_cached("SELECT key FROM runs WHERE id = ?1")?
            .query_row([id], |line| line.get(0))?;
        let names = |run: &KnownRun| run.places[0].len() + run.places[1].len();
        if !self.0.contains_key(id)
            && (self.0.len() >= RUNS || self.0.values().map(names).sum::<usize>() >= NAMES)
        {
            self.clear();
        }
        let run = self.0.entry(id.to_owned()).or_default();
        if run.key != key {
            *run = KnownRun {
                key,
                ..KnownRun::default()
            };
        }
        Ok(run)
    }
}

impl KnownRun {
    /// An id for a new row.
    fn next_row(&mut self, db: &Connection) -> rusqlite::Result<i64> {
        if self.free.is_empty() {
            let last: Option<i64> = db
                .prepare_cached("SELECT max(id) FROM rows")?
                .query_row([], |line| line.get(0))?;
            let four = last.map_or(0, |last| (last >> (SERIES + TOGETHER)) + 1);
            let first = four << (SERIES + TOGETHER);
            self.free = first..first + (1 << TOGETHER);
        }
        self.free
            .next()
            .ok_or(Error::IntegralValueOutOfRange(0, i64::MAX))
    }

    /// The place of a series, which is made if need be.
    fn place(&mut self, db: &Connection, split: Split, name: &str) -> rusqlite::Result<i64> {
        let places = &mut self.places[split as usize];
        if let Some(place) = places.get(name) {
            return Ok(*place);
        }
        let found = db
            .prepare_cached("SELECT place FROM series WHERE run = ?1 AND split = ?2 AND name = ?3")?
            .query_row(params![self.key, split, name], |line| line.get(0))
            .optional()?;
        let place = if let Some(place) = found {
            place
        } else {
            let last: Option<i64> = db
                .prepare_cached("SELECT max(place) FROM series WHERE run = ?1")?
                .query_row([self.key], |line| line.get(0))?;
            let place = last.map_or(0, |last| last + (1 << TOGETHER));
            if place >= 1 << (SERIES + TOGETHER) {
                let said = format!("expected at most {} names in a run", 1 << SERIES);
                return Err(Error::ToSqlConversionFailure(said.into()));
            }
            db.prepare_cached(
                "INSERT INTO series (run, split, name, place) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.key, split, name, place])?;
            place
        };
        places.insert(name.to_owned(), place);
        Ok(place)
    }
}

/// A row that the store has.
struct Stands {
    id: i64,
    steps: u64,
}

impl Sqlite {
    /// Writes rows, all or none.
    pub(super) fn write_rows(
        &mut self,
        run_id: &str,
        rows: &[Written<'_>],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let signed = |step: u64| i64::try_from(step).map_err(|_| StoreError::Step { step });
        let steps: Vec<i64> = rows
            .iter()
            .map(|row| signed(row.step))
            .collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(Logged::default());
        }
        let belongs_to = || format!("run `{run_id}`");
        self.keeps(run_id);
        self.write_knowing("write metrics", belongs_to, |db, known| {
            let run = known.run(db, run_id)?;
            let mut logged = Logged::default();
            for (row, step) in rows.iter().zip(steps) {
                row.write(db, run, step, split, &mut logged)?;
            }
            Ok(logged)
        })
    }
}

impl Written<'_> {
    fn write(
        &self,
        db: &Connection,
        run: &mut KnownRun,
        step: i64,
        split: Split,
        logged: &mut Logged,
    ) -> rusqlite::Result<()> {
        let stands = db
            .prepare_cached(
                "SELECT id, steps FROM rows WHERE run = ?1 AND step = ?2 AND split = ?3",
            )?
            .query_row(params![run.key, step, split], |line| {
                let steps: i64 = line.get(1)?;
                Ok(Stands {
                    id: line.get(0)?,
                    steps: steps.unsigned_abs(),
                })
            })
            .optional()?;
        // The row of more steps stays.
        let standing = stands.as_ref().map_or(0, |stands| stands.steps);
        if self.cut && standing > self.steps.max(1) {
            logged.surpassed += 1;
            return Ok(());
        }
        // SQLite would make NULL of a NaN.
        let nan = self.metrics.iter().filter(|(_, value)| value.is_nan());
        let nan = nan.count();
        logged.nan += nan as u64;
        if nan == self.metrics.len() {
            return Ok(());
        }
        let id = match &stands {
            Some(stands) => stands.id,
            None => run.next_row(db)?,
        };
        let new = self.put(db, run, id, split)?;
        logged.written += (self.metrics.len() - nan) as u64;
        let steps = if self.steps == 0 {
            standing
        } else {
            self.steps
        };
        let steps = i64::try_from(steps.max(1)).unwrap_or(i64::MAX);
        db.prepare_cached(
            "INSERT INTO rows (id, run, step, split, time, steps, count, written) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                (SELECT coalesce(max(written), 0) + 1 FROM rows WHERE run = ?2))
            ON CONFLICT (id) DO UPDATE SET time = excluded.time, steps = excluded.steps, count = count + excluded.count,
                written = excluded.written",
        )?
        .execute(params![id, run.key, step, split, self.time, steps, new])?;
        Ok(())
    }

    /// Writes the numbers of the row; how many of them are new in it.
    fn put(
        &self,
        db: &Connection,
        run: &mut KnownRun,
        row: i64,
        split: Split,
    ) -> rusqlite::Result<i64> {
        let mut insert = db.prepare_cached(
            "INSERT INTO numbers (id, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?;
        let mut new = 0;
        for (name, value) in self.metrics.iter().filter(|(_, value)| !value.is_nan()) {
            let id = row + run.place(db, split, name)?;
            if insert.execute(params![id, value])? == 1 {
                new += 1;
            } else {
                db.prepare_cached("UPDATE numbers SET value = ?2 WHERE id = ?1")?
                    .execute(params![id, value])?;
            }
        }
        Ok(new)
    }
}
