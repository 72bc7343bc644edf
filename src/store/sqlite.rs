//! The embedded store: one `SQLite` file that `sqlite3` and pandas read as it is.

#[cfg(feature = "serve")]
mod change;
mod check;
mod courses;
#[cfg(feature = "serve")]
mod fields;
mod open;
mod overview;
mod place;
#[cfg(feature = "serve")]
mod predicted;
mod remove;
mod rows;
mod run;
mod schema_1;
mod series;
mod table;
#[cfg(feature = "serve")]
mod together;
mod transaction;

use std::cell::Cell;
use std::path::Path;

use rusqlite::{Connection, params};

use super::record::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Metric, Prediction, Run, RunPatch, Split,
    Stored,
};
use super::{Logged, Store, StoreError, place};
use crate::row::run::Status;
use crate::row::{Metrics, Row};
#[cfg(feature = "serve")]
pub(crate) use change::Progress;
pub use check::FileFacts;
pub use courses::{Course, Courses};
#[cfg(feature = "serve")]
pub(crate) use fields::{Fields, Loose};
pub use open::NEWEST as SCHEMA;
pub use overview::RunOverview;
use place::Place;
#[cfg(feature = "serve")]
pub(crate) use predicted::{Beginning, Predicted};
use rows::{Known, Written};
use series::{METRICS, Reading};
pub use series::{Point, StoredRow};
use table::{Table, text_of_json, text_of_list};
#[cfg(feature = "serve")]
pub(crate) use together::Untogether;

/// Which predictions are of a run, and of a kind where one is said.
const PREDICTIONS: &str = "run_id = ?1 AND (?2 IS NULL OR kind = ?2)";

/// The embedded store, a single file.
///
/// Every write is one transaction that is on the disk when the call returns (a write-ahead log that is synced). Several
/// processes may write the same file: one waits for the other, up to 30 s. Readers never wait. Doubles come back to the
/// last bit, infinities too, but for the sign of a zero, which `SQLite` does not keep.
///
/// A file that is deleted or replaced while it is open is not written any more: with the next write, the runs that were written
/// here go on in the file that is at the path then, or in a new one, as they were. A path leads where it led at the opening,
/// whatever becomes of its links. Where there is no going on, writes fail for now ([`StoreError::is_permanent`] is false).
#[derive(Debug)]
pub struct Sqlite {
    db: Connection,
    path: String,
    /// `None` where it is only read.
    place: Option<Place>,
    known: Known,
    reading: &'static Reading,
    /// Whether writes are parts of a transaction that is under way.
    is_together: bool,
}

impl Sqlite {
    /// Opens the store at `path`, making it if need be; an older schema is brought up to date.
    ///
    /// # Errors
    /// If `path` cannot be opened, is no database or another program's, or was written by a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let db = open::writable(path)?;
        let place = Place::of(&db, path)?;
        Ok(Self::over(db, path, Some(place), &series::READING))
    }

    /// Opens the store at `path` for reading, also while others write, and also where nothing can be written. Writing to it is an
    /// error. An older schema is read as it is.
    ///
    /// # Errors
    /// As [`Sqlite::open`], and if there is no store: reading makes none.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let (db, reading) = open::readable(path)?;
        Ok(Self::over(db, path, None, reading))
    }

    fn over(db: Connection, path: &Path, place: Option<Place>, reading: &'static Reading) -> Self {
        db.set_prepared_statement_cache_capacity(64);
        Self {
            db,
            path: path.display().to_string(),
            place,
            known: Known::default(),
            reading,
            is_together: false,
        }
    }

    /// Notes a run that is written.
    fn keeps(&mut self, run_id: &str) {
        if let Some(place) = &mut self.place {
            place.keeps(run_id);
        }
    }

    fn fault(&self, act: &'static str, error: rusqlite::Error) -> StoreError {
        open::fault(&self.path, act, error)
    }

    fn insert<T: Table>(
        &mut self,
        act: &'static str,
        belongs_to: impl FnOnce() -> String,
        record: &T,
    ) -> Result<Stored<T>, StoreError> {
        self.write(act, belongs_to, |db| record.insert(db, None))
    }

    /// The predictions of [`Store::list_predictions`], one by one, until `each` has enough.
    #[cfg(feature = "serve")]
    pub(crate) fn each_prediction(
        &self,
        run_id: &str,
        kind: Option<&str>,
        each: impl FnMut(Stored<Prediction>) -> bool,
    ) -> Result<(), StoreError> {
        self.read("read records", |db| {
            Prediction::each(db, PREDICTIONS, params![run_id, kind], each)
        })
    }

    fn list<T: Table>(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<Stored<T>>, StoreError> {
        T::select(&self.db, condition, values).map_err(|error| self.fault("read records", error))
    }
}

impl Store for Sqlite {
    fn create_experiment(
        &mut self,
        experiment: &Experiment,
    ) -> Result<Stored<Experiment>, StoreError> {
        self.insert("create an experiment", String::new, experiment)
    }

    fn update_experiment(
        &mut self,
        id: &str,
        patch: &ExperimentPatch,
    ) -> Result<Stored<Experiment>, StoreError> {
        let sql = "UPDATE experiments SET hypothesis = coalesce(?2, hypothesis), tags = coalesce(?3, tags),
            status = coalesce(?4, status), conclusion = coalesce(?5, conclusion),
            error_message = coalesce(?6, error_message) WHERE id = ?1";
        let tags = patch.tags.as_deref().map(text_of_list);
        let updated = self.write("update an experiment", String::new, |db| {
            db.prepare_cached(sql)?.execute(params![
                id,
                patch.hypothesis,
                tags,
                patch.status,
                patch.conclusion,
                patch.error_message
            ])?;
            Experiment::by_id(db, id)
        })?;
        updated.ok_or_else(|| unknown("experiment", id))
    }

    fn create_group(&mut self, group: &Group) -> Result<Stored<Group>, StoreError> {
        let experiment = || format!("experiment `{}`", group.experiment_id);
        self.insert("create a group", experiment, group)
    }

    fn create_run(&mut self, run: &Run) -> Result<Stored<Run>, StoreError> {
        let place = || {
            place(
                "experiment",
                &run.experiment_id,
                "group",
                run.group_id.as_deref(),
            )
        };
        let created = self.write("create a run", place, |db| {
            let id = table::random_id(db)?;
            let run = Run {
                name: run.name.clone().or_else(|| Some(id.clone())),
                ..run.clone()
            };
            run.insert(db, Some(&id))
        })?;
        self.keeps(&created.id);
        Ok(created)
    }

    fn update_run(&mut self, id: &str, patch: &RunPatch) -> Result<Stored<Run>, StoreError> {
        let sql = "UPDATE runs SET run_config = coalesce(?2, run_config), status = coalesce(?3, status),
            error_message = nullif(coalesce(?4, error_message), ''), wandb_run_url = coalesce(?5, wandb_run_url),
            name = coalesce(?6, name), tags = coalesce(?7, tags), note = nullif(coalesce(?8, note), ''),
            seen_at = CASE WHEN ?3 = 'running' THEN NULL ELSE seen_at END, ended_at = CASE WHEN ?3 IS NULL THEN ended_at WHEN ?9 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END WHERE id = ?1";
        let is_over = patch.status.is_some_and(Status::is_final);
        let tags = patch.tags.as_deref().map(text_of_list);
        let config = patch.run_config.as_ref().and_then(text_of_json);
        self.keeps(id);
        let updated = self.write("update a run", String::new, |db| {
            db.prepare_cached(sql)?.execute(params![
                id,
                config,
                patch.status,
                patch.error_message,
                patch.wandb_run_url,
                patch.name,
                tags,
                patch.note,
                is_over,
            ])?;
            if patch.status.is_some() {
                run::follow_runs(db, id)?;
            }
            Run::by_id(db, id)
        })?;
        updated.ok_or_else(|| unknown("run", id))
    }

    fn touch_run(&mut self, id: &str) -> Result<bool, StoreError> {
        self.give_sign(id).map(|()| true)
    }

    fn log_rows(
        &mut self,
        run_id: &str,
        rows: &[(u64, &Metrics)],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let rows = rows.iter().map(|(step, row)| Written::now(*step, row));
        self.write_rows(run_id, &rows.collect::<Vec<_>>(), split)
    }

    fn log_windows(
        &mut self,
        run_id: &str,
        rows: &[Row],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let rows: Vec<_> = rows.iter().map(Written::of).collect();
        self.write_rows(run_id, &rows, split)
    }

    fn get_metrics(
        &self,
        run_id: &str,
        name: Option<&str>,
        split: Option<Split>,
    ) -> Result<Vec<Metric>, StoreError> {
        self.read("read metrics", |db| {
            db.prepare_cached(METRICS)?
                .query_map(params![run_id, name, split], metric)?
                .collect()
        })
    }

    fn add_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> Result<Stored<Checkpoint>, StoreError> {
        self.keeps(&checkpoint.run_id);
        let run = || format!("run `{}`", checkpoint.run_id);
        self.insert("add a checkpoint", run, checkpoint)
    }

    fn create_eval(&mut self, eval: &Eval) -> Result<Stored<Eval>, StoreError> {
        self.keeps(&eval.run_id);
        let place = || {
            place(
                "run",
                &eval.run_id,
                "checkpoint",
                eval.checkpoint_id.as_deref(),
            )
        };
        self.insert("create an evaluation", place, eval)
    }

    fn add_prediction(
        &mut self,
        prediction: &Prediction,
    ) -> Result<Stored<Prediction>, StoreError> {
        self.keeps(&prediction.run_id);
        self.insert("add a prediction", || place_of(prediction), prediction)
    }

    fn log_predictions(&mut self, predictions: &[Prediction]) -> Result<u64, StoreError> {
        for prediction in predictions {
            self.keeps(&prediction.run_id);
        }
        // The one being written, for the error that says what it should belong to.
        let at = Cell::new(None);
        let place = || at.get().map(place_of).unwrap_or_default();
        self.write("add predictions", place, |db| {
            for prediction in predictions {
                at.set(Some(prediction));
                prediction.insert(db, None)?;
            }
            Ok(predictions.len() as u64)
        })
    }

    fn get_experiment(&self, id: &str) -> Result<Stored<Experiment>, StoreError> {
        self.list("id = ?1", [id])?
            .pop()
            .ok_or_else(|| unknown("experiment", id))
    }

    fn get_run(&self, id: &str) -> Result<Stored<Run>, StoreError> {
        self.list("id = ?1", [id])?
            .pop()
            .ok_or_else(|| unknown("run", id))
    }

    fn list_experiments(&self) -> Result<Vec<Stored<Experiment>>, StoreError> {
        self.list("true", [])
    }

    fn list_groups(&self, experiment_id: &str) -> Result<Vec<Stored<Group>>, StoreError> {
        self.list("experiment_id = ?1", [experiment_id])
    }

    fn list_runs(
        &self,
        experiment_id: Option<&str>,
        group_id: Option<&str>,
    ) -> Result<Vec<Stored<Run>>, StoreError> {
        let condition = "(?1 IS NULL OR experiment_id = ?1) AND (?2 IS NULL OR group_id = ?2)";
        self.list(condition, params![experiment_id, group_id])
    }

    fn list_checkpoints(&self, run_id: &str) -> Result<Vec<Stored<Checkpoint>>, StoreError> {
        self.list("run_id = ?1", [run_id])
    }

    fn list_evals(&self, run_id: &str) -> Result<Vec<Stored<Eval>>, StoreError> {
        self.list("run_id = ?1", [run_id])
    }

    fn list_predictions(
        &self,
        run_id: &str,
        kind: Option<&str>,
    ) -> Result<Vec<Stored<Prediction>>, StoreError> {
        self.list(PREDICTIONS, params![run_id, kind])
    }
}

fn place_of(prediction: &Prediction) -> String {
    place(
        "run",
        &prediction.run_id,
        "evaluation",
        prediction.eval_id.as_deref(),
    )
}

fn unknown(kind: &str, id: &str) -> StoreError {
    StoreError::Unknown {
        what: format!("{kind} `{id}`"),
    }
}

fn natural_at(line: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = line.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

fn metric(line: &rusqlite::Row<'_>) -> rusqlite::Result<Metric> {
    Ok(Metric {
        step: natural_at(line, 0)?,
        name: line.get(1)?,
        value: line.get(2)?,
        split: line.get(3)?,
    })
}
