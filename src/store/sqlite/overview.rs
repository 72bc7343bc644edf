//! What `show` reads.

use rusqlite::params;

use super::super::record::Metric;
use super::super::{Store, StoreError};
use super::{Sqlite, metric, natural};
use crate::run::Status;

/// A run in a list of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOverview {
    pub id: String,
    pub experiment: String,
    pub status: Status,
    pub created_at: String,
    /// Steps that have metrics.
    pub steps: u64,
    /// The first and the last of them, if there are any.
    pub span: Option<(u64, u64)>,
    /// Numbers stored.
    pub values: u64,
}

impl Sqlite {
    /// All runs with what they hold, the oldest first.
    pub fn overview(&self) -> Result<Vec<RunOverview>, StoreError> {
        self.list_runs(None, None)?
            .into_iter()
            .map(|run| {
                let experiment = self
                    .get_experiment(&run.experiment_id)?
                    .record
                    .experiment_name;
                let (steps, span) = self
                    .steps(&run.id)
                    .map_err(|error| self.fault("read", error))?;
                let values = self
                    .db
                    .query_row(
                        "SELECT count(*) FROM metrics WHERE run_id = ?1",
                        [&run.id],
                        natural,
                    )
                    .map_err(|error| self.fault("read", error))?;
                Ok(RunOverview {
                    experiment,
                    status: run.status,
                    created_at: run.created_at.unwrap_or_default(),
                    id: run.id,
                    steps,
                    span,
                    values,
                })
            })
            .collect()
    }

    /// The metrics of the last `steps` steps of a run, by step, split and name.
    pub fn last_metrics(&self, run_id: &str, steps: u64) -> Result<Vec<Metric>, StoreError> {
        self.metrics_of_last(run_id, steps)
            .map_err(|error| self.fault("read metrics", error))
    }

    /// How many steps a run has, the first and the last. Seeks from step to step, as each has many rows.
    fn steps(&self, run_id: &str) -> rusqlite::Result<(u64, Option<(u64, u64)>)> {
        let sql = "WITH RECURSIVE steps (step) AS (
                SELECT min(step) FROM metrics WHERE run_id = ?1
                UNION ALL
                SELECT (SELECT min(step) FROM metrics WHERE run_id = ?1 AND step > steps.step)
                FROM steps WHERE steps.step IS NOT NULL
            ) SELECT count(step), min(step), max(step) FROM steps";
        self.db.prepare_cached(sql)?.query_row([run_id], |line| {
            let ends: (Option<i64>, Option<i64>) = (line.get(1)?, line.get(2)?);
            let span = ends.0.zip(ends.1);
            Ok((
                natural(line)?,
                span.map(|(first, last)| (first.unsigned_abs(), last.unsigned_abs())),
            ))
        })
    }

    fn metrics_of_last(&self, run_id: &str, steps: u64) -> rusqlite::Result<Vec<Metric>> {
        let sql = "WITH RECURSIVE steps (step, n) AS (
                SELECT max(step), 1 FROM metrics WHERE run_id = ?1
                UNION ALL
                SELECT (SELECT max(step) FROM metrics WHERE run_id = ?1 AND step < steps.step), n + 1
                FROM steps WHERE steps.step IS NOT NULL AND n < ?2
            ) SELECT step, name, value, split FROM metrics
            WHERE run_id = ?1 AND step >= (SELECT min(step) FROM steps) AND ?2 > 0
            ORDER BY step, split, name";
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        self.db
            .prepare_cached(sql)?
            .query_map(params![run_id, steps], metric)?
            .collect()
    }
}
