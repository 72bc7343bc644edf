//! What a request writes.

use std::slice;

use serde_json::{Map, Value, json};

use super::change::{Change, Patch};
use super::create::{Create, Record};
use super::record::{self, loose_row, row, row_with};
use super::refusal::Refusal;
use super::row::{Logged, Told};
use super::word::said;
use crate::store::{Fields, Run, Sqlite, Store, Stored};

/// What a request writes.
#[derive(Debug)]
pub(super) enum Write {
    Create(Create),
    Change(Change),
    Log(Logged),
    Touch { run_id: String },
    Delete { experiment_id: String },
}

impl Write {
    /// Writes it, and says what the client is told once it is on the disk.
    pub fn done(self, store: &mut Sqlite, owner: &str) -> Result<Vec<u8>, Refusal> {
        let result = match self {
            Self::Log(logged) => {
                must_be_there(store, "runs", "run", &logged.run_id)?;
                let row = slice::from_ref(&logged.row);
                store.log_windows(&logged.run_id, row, logged.split)?;
                return Ok(logged.acknowledgement);
            }
            Self::Create(create) => create.done(store, owner)?,
            Self::Change(change) => change.done(store, owner)?,
            Self::Touch { run_id } => {
                must_be_there(store, "runs", "run", &run_id)?;
                json!(store.touch_run(&run_id)?)
            }
            Self::Delete { experiment_id } => {
                let removed = store.remove_experiment(&experiment_id)?;
                tracing::info!("{owner} removed the experiment `{experiment_id}`");
                let (groups, runs) = (removed.groups, removed.runs);
                json!({"id": experiment_id, "experiments": 1, "groups": groups, "runs": runs})
            }
        };
        serde_json::to_vec(&Told { result: &result }).map_err(|error| Refusal::Unfit {
            reason: error.to_string(),
        })
    }
}

/// Looked at before a write that would note the run as one that is written here.
fn must_be_there(store: &Sqlite, table: &'static str, kind: &str, id: &str) -> Result<(), Refusal> {
    if store.has(table, id)? {
        return Ok(());
    }
    Err(Refusal::NoSuch {
        what: format!("{kind} `{}`", said(id)),
    })
}

impl Create {
    fn done(self, store: &mut Sqlite, owner: &str) -> Result<Value, Refusal> {
        let fields = &self.fields;
        match &self.record {
            Record::Experiment(new) => {
                let stored = store.create_experiment(new)?;
                kept(store, &stored, owner, fields)
            }
            Record::Group(new) => {
                let stored = store.create_group(new)?;
                kept(store, &stored, owner, fields)
            }
            Record::Run(new) => {
                let stored = store.create_run(new)?;
                // Its name is its id where it was given none.
                let stored: Stored<Run> = store.get_run(&stored.id)?;
                kept(store, &stored, owner, fields)
            }
            Record::Checkpoint(new) => {
                must_be_there(store, "runs", "run", &new.run_id)?;
                let stored = store.add_checkpoint(new)?;
                kept(store, &stored, owner, fields)
            }
            Record::Eval(new) => {
                must_be_there(store, "runs", "run", &new.run_id)?;
                let stored = store.create_eval(new)?;
                kept(store, &stored, owner, fields)
            }
            Record::Prediction(new) => {
                must_be_there(store, "runs", "run", &new.run_id)?;
                let stored = store.add_prediction(new)?;
                kept(store, &stored, owner, fields)
            }
            Record::Project => loose(store, "projects", owner, fields),
            Record::Goal => loose(store, "goals", owner, fields),
        }
    }
}

/// Keeps the fields of a new record; its row.
fn kept<T: record::Record>(
    store: &mut Sqlite,
    stored: &Stored<T>,
    owner: &str,
    fields: &Map<String, Value>,
) -> Result<Value, Refusal> {
    store.keep_fields(T::TABLE, &stored.id, owner, fields)?;
    let kept = Fields {
        user_id: owner.to_owned(),
        fields: fields.clone(),
    };
    Ok(row_with(stored, Some(kept)))
}

fn loose(
    store: &mut Sqlite,
    kind: &'static str,
    owner: &str,
    fields: &Map<String, Value>,
) -> Result<Value, Refusal> {
    let id = store.keep_loose(kind, owner, fields)?;
    let all = store.loose(kind)?;
    let new = all.into_iter().find(|loose| loose.id == id);
    Ok(new.map_or(Value::Null, loose_row))
}

impl Change {
    fn done(self, store: &mut Sqlite, owner: &str) -> Result<Value, Refusal> {
        let Self {
            id,
            patch,
            columns,
            fields,
        } = self;
        match patch {
            Patch::Experiment(patch) => {
                must_be_there(store, "experiments", "experiment", &id)?;
                store.set_columns("experiments", &id, &columns, String::new)?;
                change_fields(store, "experiments", &id, owner, fields)?;
                let changed = store.update_experiment(&id, &patch)?;
                Ok(row(store, &changed)?)
            }
            Patch::Run(patch) => {
                must_be_there(store, "runs", "run", &id)?;
                let group = columns.iter().find(|(column, _)| *column == "group_id");
                let group = group.and_then(|(_, id)| id.clone()).unwrap_or_default();
                store.set_columns("runs", &id, &columns, || format!("group `{group}`"))?;
                change_fields(store, "runs", &id, owner, fields)?;
                let changed = store.update_run(&id, &patch)?;
                Ok(row(store, &changed)?)
            }
        }
    }
}

/// Fields that no column has: those that are null go, and the others come or change.
fn change_fields(
    store: &mut Sqlite,
    table: &'static str,
    id: &str,
    owner: &str,
    changed: Map<String, Value>,
) -> Result<(), Refusal> {
    if changed.is_empty() {
        return Ok(());
    }
    let before = store.fields_of(table, id)?;
    // Whoever made the record stays its owner.
    let (owner, mut fields) = before.map_or_else(
        || (owner.to_owned(), Map::new()),
        |before| (before.user_id, before.fields),
    );
    fields.extend(changed);
    fields.retain(|_, value| !value.is_null());
    Ok(store.keep_fields(table, id, &owner, &fields)?)
}
