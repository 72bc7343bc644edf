//! A run by its name: a new one with what it belongs to, or one that goes on.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::super::StoreError;
use super::super::name::made_up;
use super::super::record::{Experiment, Group, Run, Stored};
use super::super::spec::{Begun, OURS, OpenedRun, Resume, RunSpec, differing, noted, with_options};
use super::open::be_patient;
use super::table::{Table, text_of_json};
use super::{Sqlite, unknown};
use crate::row::run::Status;
use crate::sink::chance;

/// How long a sign of life waits for another writer; the next comes soon.
const MOMENT: Duration = Duration::from_millis(100);

impl Sqlite {
    /// Opens the run that `spec` describes: one of that name that is there, or a new one, with its experiment and group where they are
    /// missing ([`RunSpec::resume`]). Of a run that goes on, what `spec` leaves open stays as it is. Two processes that open a new run of
    /// the same name at once get two.
    ///
    /// # Errors
    /// If the run must be there and is not, or is in another experiment or group only, or was begun with other options.
    pub fn open_run(&mut self, spec: &RunSpec) -> Result<OpenedRun, StoreError> {
        let opened = self.write("open a run", String::new, |db| {
            let before = match (&spec.id, spec.resume) {
                (Some(id), _) => Run::by_id(db, id)?,
                (None, Resume::Never) => None,
                (None, _) => of_name(db, spec)?.pop(),
            };
            match before {
                Some(run) => go_on(db, spec, run),
                None if spec.id.is_some() || spec.resume == Resume::Must => {
                    Ok(Err(missing(db, spec)?))
                }
                None => new_run(db, spec).map(Ok),
            }
        })??;
        self.keeps(&opened.run.id);
        Ok(opened)
    }

    /// The runs that `name` is the name or the id of, the oldest first.
    pub fn runs_named(&self, name: &str) -> Result<Vec<Stored<Run>>, StoreError> {
        of_name(&self.db, &RunSpec::new(name)).map_err(|error| self.fault("read runs", error))
    }

    /// Notes a sign of life, at little cost to whoever writes: it does not wait for the disk, and for other writers a moment at most.
    /// What was deleted or replaced is left alone, as the next row goes on elsewhere ([`Place::stands`](super::Place::stands)).
    pub(super) fn give_sign(&mut self, id: &str) -> Result<(), StoreError> {
        if self
            .place
            .as_ref()
            .is_some_and(|place| place.stands().is_err())
        {
            return Ok(());
        }
        let sql = "UPDATE runs SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?1";
        // A commit alone does not sync the log: `Sqlite::write` does, after it.
        let touched = self
            .db
            .busy_timeout(MOMENT)
            .and_then(|()| self.db.prepare_cached(sql)?.execute([id]));
        let restored = be_patient(&mut self.db);
        let fault = |error| self.fault("note the sign of life of a run", error);
        restored.map_err(fault)?;
        match touched.map_err(fault)? {
            0 => Err(unknown("run", id)),
            _ => Ok(()),
        }
    }
}

/// How an experiment stands follows from its runs: running while one is, else failed where one is, else cancelled where one is,
/// completed when all are.
pub(super) fn follow_runs(db: &Connection, run_id: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE experiments SET status = (
            SELECT CASE WHEN max(status = 'running') THEN 'running'
                WHEN max(status = 'failed') THEN 'failed'
                WHEN max(status = 'cancelled') THEN 'cancelled'
                WHEN min(status = 'completed') THEN 'completed'
                WHEN min(status = 'pending') THEN 'pending'
                ELSE 'running' END
            FROM runs WHERE experiment_id = experiments.id
        ) WHERE id = (SELECT experiment_id FROM runs WHERE id = ?1)";
    db.prepare_cached(sql)?.execute([run_id]).map(drop)
}

/// The runs that a name is the name or the id of, where they are asked for, the oldest first.
fn of_name(db: &Connection, spec: &RunSpec) -> rusqlite::Result<Vec<Stored<Run>>> {
    let condition = "(name = ?1 OR id = ?1)
        AND (?2 IS NULL OR experiment_id IN (SELECT id FROM experiments WHERE experiment_name = ?2))
        AND (?3 IS NULL OR group_id IN (SELECT id FROM groups WHERE name = ?3))";
    Run::select(
        db,
        condition,
        params![spec.name, spec.experiment, spec.group],
    )
}

/// Why there is no run to go on with: none of the name, or none where it was asked for.
fn missing(db: &Connection, spec: &RunSpec) -> rusqlite::Result<StoreError> {
    let name = spec.id.as_ref().unwrap_or(&spec.name);
    let anywhere = of_name(db, &RunSpec::new(name))?.pop();
    let elsewhere = anywhere.map(|run| elsewhere(db, spec, &run)).transpose()?;
    Ok(elsewhere.flatten().unwrap_or_else(|| unknown("run", name)))
}

/// The error of a run that is in another experiment or group than `spec` asks for.
fn elsewhere(
    db: &Connection,
    spec: &RunSpec,
    run: &Stored<Run>,
) -> rusqlite::Result<Option<StoreError>> {
    let experiment = Experiment::by_id(db, &run.experiment_id)?.map(|e| e.record.experiment_name);
    let group = match &run.group_id {
        Some(id) => Group::by_id(db, id)?.map(|group| group.record.name),
        None => None,
    };
    let differs = |what: &str, expected: &Option<String>, found: Option<String>| {
        let expected = expected.as_ref()?;
        (Some(expected) != found.as_ref()).then(|| StoreError::Elsewhere {
            run: run.id.clone(),
            expected: format!("{what} `{expected}`"),
            found: found.map_or_else(|| format!("no {what}"), |found| format!("{what} `{found}`")),
        })
    };
    Ok(differs("experiment", &spec.experiment, experiment)
        .or_else(|| differs("group", &spec.group, group)))
}

/// Goes on with a run: what `spec` leaves open stays as it is.
fn go_on(
    db: &Connection,
    spec: &RunSpec,
    run: Stored<Run>,
) -> rusqlite::Result<Result<OpenedRun, StoreError>> {
    let Stored { id, record, .. } = run;
    if let Some((begun, found)) = differing(&record.run_config, &spec.options) {
        return Ok(Err(StoreError::Otherwise {
            run: id,
            begun,
            found,
        }));
    }
    let before = record.run_config;
    let mut config = spec.config.clone();
    if config.is_null() {
        config = before;
    } else if let Some(Value::Object(ours)) = before.get(OURS) {
        config = noted(config, OURS, ours.clone());
    }
    let config = text_of_json(&with_options(config, &spec.options));
    let sql = "UPDATE runs SET seed = coalesce(?2, seed), run_config = ?3 WHERE id = ?1";
    db.execute(sql, params![id, spec.seed, config])?;
    let sql = "SELECT max(step) FROM rows WHERE run = (SELECT key FROM runs WHERE id = ?1)";
    let last_step: Option<i64> = db.query_row(sql, [&id], |line| line.get(0))?;
    let begun = Begun::Before {
        last_step: last_step.map(i64::unsigned_abs),
    };
    let run = Run::by_id(db, &id)?;
    Ok(run
        .map(|run| OpenedRun { run, begun })
        .ok_or_else(|| unknown("run", &id)))
}

fn new_run(db: &Connection, spec: &RunSpec) -> rusqlite::Result<OpenedRun> {
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
    let name = if spec.name.is_empty() {
        let sql = "SELECT strftime('%Y-%m-%d-%H%M', 'now')";
        let time: String = db.query_row(sql, [], |line| line.get(0))?;
        made_up(&time, chance())
    } else {
        spec.name.clone()
    };
    let id = free_id(db, &name)?;
    let begun = if id == name || spec.name.is_empty() {
        Begun::New
    } else {
        Begun::Beside { name: name.clone() }
    };
    let run = Run {
        name: Some(name),
        experiment_id,
        group_id,
        seed: spec.seed,
        run_config: with_options(spec.config.clone(), &spec.options),
        ..Run::default()
    };
    let run = run.insert(db, Some(&id))?;
    Ok(OpenedRun { run, begun })
}

/// The name, if no run has it for an id; else the name with the lowest number from 2 on that makes it one's own.
fn free_id(db: &Connection, name: &str) -> rusqlite::Result<String> {
    let mut taken = db.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?;
    let mut id = name.to_owned();
    for nth in 2_u64.. {
        if !taken.exists([&id])? {
            break;
        }
        id = format!("{name}-{nth}");
    }
    Ok(id)
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
