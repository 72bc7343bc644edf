//! A run by its name: created with what it belongs to, or continued.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::record::{Experiment, Group, Run, Stored};
use super::super::{RunSpec, StoreError};
use super::table::{Table, text_of_json};
use super::{Sqlite, unknown};
use crate::row::run::Status;

impl Sqlite {
    /// Creates the run that `spec` describes, with its experiment and group where they are missing, or continues it: then
    /// what `spec` leaves open stays as it is.
    ///
    /// # Errors
    /// If the run belongs to another experiment or group than `spec` says.
    pub fn open_run(&mut self, spec: &RunSpec) -> Result<Stored<Run>, StoreError> {
        self.keeps(&spec.name);
        self.write("open a run", || format!("run `{}`", spec.name), |db| {
            let Some(run) = Run::by_id(db, &spec.name)? else {
                return new_run(db, spec).map(Ok);
            };
            if let Some(elsewhere) = elsewhere(db, spec, &run)? {
                return Ok(Err(elsewhere));
            }
            let sql = "UPDATE runs SET seed = coalesce(?2, seed), run_config = coalesce(?3, run_config)
                WHERE id = ?1";
            let config = text_of_json(&spec.config);
            db.execute(sql, params![spec.name, spec.seed, config])?;
            Ok(Run::by_id(db, &spec.name)?.ok_or_else(|| unknown("run", &spec.name)))
        })?
    }

    /// Notes that the run's writer is alive: `seen_at` is now.
    ///
    /// # Errors
    /// If there is no such run, or the file cannot be written.
    pub fn touch_run(&mut self, run_id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE runs SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?1";
        self.keeps(run_id);
        let touched = self.write("note the sign of life of a run", String::new, |db| {
            db.prepare_cached(sql)?.execute([run_id])
        })?;
        (touched > 0)
            .then_some(())
            .ok_or_else(|| unknown("run", run_id))
    }
}

/// The error of a run that is in another experiment or group than `spec` asks for.
fn elsewhere(db: &Connection, spec: &RunSpec, run: &Run) -> rusqlite::Result<Option<StoreError>> {
    let experiment = Experiment::by_id(db, &run.experiment_id)?.map(|e| e.record.experiment_name);
    let group = match &run.group_id {
        Some(id) => Group::by_id(db, id)?.map(|group| group.record.name),
        None => None,
    };
    let differs = |what: &str, expected: &Option<String>, found: Option<String>| {
        let expected = expected.as_ref()?;
        (Some(expected) != found.as_ref()).then(|| StoreError::Elsewhere {
            run: spec.name.clone(),
            expected: format!("{what} `{expected}`"),
            found: found.map_or_else(|| format!("no {what}"), |found| format!("{what} `{found}`")),
        })
    };
    Ok(differs("experiment", &spec.experiment, experiment)
        .or_else(|| differs("group", &spec.group, group)))
}

fn new_run(db: &Connection, spec: &RunSpec) -> rusqlite::Result<Stored<Run>> {
    let name = spec.experiment.as_deref().unwrap_or("default");
    let sql =
        "SELECT id FROM experiments WHERE experiment_name = ?1 ORDER BY created_at, rowid LIMIT 1";
    let found: Option<String> = db.query_row(sql, [name], |line| line.get(0)).optional()?;
    let experiment_id = if let Some(id) = found {
        id
    } else {
        let experiment = Experiment {
            experiment_name: name.to_owned(),
            status: Status::Running,
            ..Experiment::default()
        };
        experiment.insert(db, None)?.id
    };
    let group_id = match &spec.group {
        Some(name) => Some(group_of(db, &experiment_id, name)?),
        None => None,
    };
    let run = Run {
        name: Some(spec.name.clone()),
        experiment_id,
        group_id,
        seed: spec.seed,
        run_config: spec.config.clone(),
        ..Run::default()
    };
    run.insert(db, Some(&spec.name))
}

fn group_of(db: &Connection, experiment_id: &str, name: &str) -> rusqlite::Result<String> {
    let sql = "SELECT id FROM groups WHERE experiment_id = ?1 AND name = ?2 ORDER BY created_at, rowid LIMIT 1";
    let found = db
        .query_row(sql, [experiment_id, name], |line| line.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let group = Group {
        experiment_id: experiment_id.to_owned(),
        name: name.to_owned(),
        description: None,
    };
    Ok(group.insert(db, None)?.id)
}
