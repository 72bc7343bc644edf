//! What `show` reads.

use std::error::Error;
use std::time::SystemTime;

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::super::record::{Metric, Run};
use super::super::{Standing, StoreError};
use super::table::Table;
use super::{Sqlite, metric, natural_at};
use crate::row::run::Status;

/// A run in a list of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOverview {
    /// The run's id.
    pub id: String,
    /// Its label; empty where that cannot be read.
    pub name: String,
    /// Words to find it by; none where they cannot be read.
    pub tags: Vec<String>,
    /// What people have to say about it.
    pub note: Option<String>,
    /// The name of its experiment; empty where that cannot be read.
    pub experiment: String,
    /// `None` where it cannot be read.
    pub status: Option<Status>,
    /// When it was created: UTC, as `2026-01-31T12:00:00.000Z`; empty where that cannot be read.
    pub created_at: String,
    /// Its writer's last sign of life, as `created_at`; `None` where it gave none.
    pub seen_at: Option<String>,
    /// When it ended, as `created_at`; `None` where it did not, or that is not known.
    pub ended_at: Option<String>,
    /// Steps that have metrics.
    pub steps: u64,
    /// The first and the last of them, if there are any.
    pub span: Option<(u64, u64)>,
    /// Numbers stored.
    pub values: u64,
    /// What of the run's own record cannot be read, if anything: another program's doing, or a disk's.
    pub fault: Option<String>,
}

impl RunOverview {
    /// How the run stands: as it is noted, or stopped, where nobody has given a sign for a minute. `None` where its status cannot
    /// be read.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Option<Standing> {
        let status = self.status?;
        Some(Standing::of(status, self.seen_at.as_deref(), now))
    }
}

impl Sqlite {
    /// All runs with what they hold, the oldest first. One that cannot be read wholly hides no other.
    pub fn overview(&self) -> Result<Vec<RunOverview>, StoreError> {
        let fault = |error| self.fault("read", error);
        let mut runs = self.runs().map_err(fault)?;
        for run in &mut runs {
            self.measure(run).map_err(fault)?;
            run.fault = Run::by_id(&self.db, &run.id).err().map(said);
        }
        Ok(runs)
    }

    /// One run with what it holds, if there is one of this id.
    pub fn overview_of(&self, run_id: &str) -> Result<Option<RunOverview>, StoreError> {
        let fault = |error| self.fault("read", error);
        let runs = self.runs().map_err(fault)?;
        let Some(mut run) = runs.into_iter().find(|run| run.id == run_id) else {
            return Ok(None);
        };
        self.measure(&mut run).map_err(fault)?;
        run.fault = Run::by_id(&self.db, run_id).err().map(said);
        Ok(Some(run))
    }

    /// The names of all runs, the oldest first.
    pub fn run_names(&self) -> Result<Vec<String>, StoreError> {
        let runs = self.runs().map_err(|error| self.fault("read", error))?;
        Ok(runs.into_iter().map(|run| run.id).collect())
    }

    /// The ids and the labels of all runs, the oldest first.
    pub fn run_labels(&self) -> Result<Vec<(String, String)>, StoreError> {
        let runs = self.runs().map_err(|error| self.fault("read", error))?;
        Ok(runs.into_iter().map(|run| (run.id, run.name)).collect())
    }

    /// All runs, without what they hold. What is no text is shown as far as it is one.
    pub(super) fn runs(&self) -> rusqlite::Result<Vec<RunOverview>> {
        let sql = "SELECT runs.id, experiment_name, runs.status, runs.created_at, runs.name, runs.tags, note, seen_at, ended_at FROM runs
            LEFT JOIN experiments ON experiments.id = experiment_id ORDER BY runs.created_at, runs.key";
        let text = |line: &rusqlite::Row<'_>, column| {
            line.get_ref(column).map(|value| match value {
                ValueRef::Text(text) | ValueRef::Blob(text) => {
                    String::from_utf8_lossy(text).into_owned()
                }
                _ => String::new(),
            })
        };
        let known = |line: &rusqlite::Row<'_>, column| {
            text(line, column).map(|text| Some(text).filter(|t| !t.is_empty()))
        };
        self.db
            .prepare_cached(sql)?
            .query_map([], |line| {
                Ok(RunOverview {
                    id: text(line, 0)?,
                    experiment: text(line, 1)?,
                    status: text(line, 2)?.parse().ok(),
                    created_at: text(line, 3)?,
                    name: text(line, 4)?,
                    tags: serde_json::from_str(&text(line, 5)?).unwrap_or_default(),
                    note: known(line, 6)?,
                    seen_at: known(line, 7)?,
                    ended_at: known(line, 8)?,
                    steps: 0,
                    span: None,
                    values: 0,
                    fault: None,
                })
            })?
            .collect()
    }

    /// The metrics of the last `steps` steps of a run, by step, split and name.
    pub fn last_metrics(&self, run_id: &str, steps: u64) -> Result<Vec<Metric>, StoreError> {
        self.metrics_of_last(run_id, steps)
            .map_err(|error| self.fault("read metrics", error))
    }

    /// How many steps and numbers a run has, and which steps.
    fn measure(&self, run: &mut RunOverview) -> rusqlite::Result<()> {
        let mut select = self.db.prepare_cached(self.reading.extent)?;
        select.query_row([&run.id], |line| {
            let ends: (Option<i64>, Option<i64>) = (line.get(1)?, line.get(2)?);
            run.steps = natural_at(line, 0)?;
            run.span = ends
                .0
                .zip(ends.1)
                .map(|(first, last)| (first.unsigned_abs(), last.unsigned_abs()));
            run.values = natural_at(line, 3)?;
            Ok(())
        })
    }

    fn metrics_of_last(&self, run_id: &str, steps: u64) -> rusqlite::Result<Vec<Metric>> {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        let sql = "SELECT step, name, value, split FROM metrics WHERE run_id = ?1 AND step >= ?2 ORDER BY step, split, name";
        let first: Option<i64> = self
            .db
            .prepare_cached(self.reading.last)?
            .query_row(params![run_id, steps], |line| line.get(0))?;
        self.db
            .prepare_cached(sql)?
            .query_map(params![run_id, first], metric)?
            .collect()
    }
}

/// What cannot be read of a run, and why.
fn said(error: rusqlite::Error) -> String {
    let unread = |column, source: &dyn Error| {
        let column = Run::COLUMNS.split(", ").nth(column).unwrap_or("name");
        format!("its {column} cannot be read: {source}")
    };
    match error {
        rusqlite::Error::FromSqlConversionFailure(column, _, source) => {
            unread(column, source.as_ref())
        }
        rusqlite::Error::Utf8Error(column, source) => unread(column, &source),
        rusqlite::Error::InvalidColumnType(_, column, kind) => {
            format!("its {column} cannot be read: found {kind}")
        }
        error => error.to_string(),
    }
}
