//! Records as answers have them: all their columns, who made them, and the fields that no column has.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::row::word;
use crate::store::{
    Checkpoint, Eval, Experiment, Fields, Group, Loose, Prediction, Run, Sqlite, StoreError, Stored,
};

/// A record that has a table.
pub(super) trait Record: Serialize {
    const TABLE: &'static str;
    /// Its columns that may have no value: answers have them all the same, as a database's would.
    const COLUMNS: &'static [&'static str];

    /// What JSON has no word for.
    fn mend(&self, _row: &mut Map<String, Value>) {}
}

macro_rules! record {
    ($($record:ident in $table:literal: $($column:literal)*;)*) => {
        $(impl Record for $record {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$($column),*];
        })*
    };
}

record! {
    Experiment in "experiments": "project_id" "hypothesis" "conclusion" "error_message";
    Group in "groups": "description";
    Run in "runs": "name" "note" "group_id" "dataset_id" "seed" "recipe_kind" "run_config" "error_message" "wandb_run_url";
    Checkpoint in "checkpoints": "label" "step" "base_model";
    Eval in "evals": "checkpoint_id" "model_ref" "step" "metrics" "breakdowns" "sdk_version";
}

impl Record for Prediction {
    const TABLE: &'static str = "predictions";
    const COLUMNS: &'static [&'static str] = &[
        "eval_id",
        "task_id",
        "instruction",
        "model_output",
        "expected",
        "reward",
        "advantage",
        "step",
        "sample_idx",
        "metadata",
    ];

    fn mend(&self, row: &mut Map<String, Value>) {
        for (name, value) in [("reward", self.reward), ("advantage", self.advantage)] {
            let word = value.and_then(word);
            if let Some(word) = word {
                row.insert(name.to_owned(), word.into());
            }
        }
    }
}

/// The row of a record.
pub(super) fn row<T: Record>(store: &Sqlite, stored: &Stored<T>) -> Result<Value, StoreError> {
    let kept = store.fields_of(T::TABLE, &stored.id)?;
    Ok(row_with(stored, kept))
}

/// The row of a record, with what is kept beside it. One that no gateway made has nobody for an owner.
pub(super) fn row_with<T: Record>(stored: &Stored<T>, kept: Option<Fields>) -> Value {
    let Ok(Value::Object(mut row)) = serde_json::to_value(stored) else {
        return Value::Null;
    };
    stored.record.mend(&mut row);
    for column in T::COLUMNS {
        row.entry(*column).or_insert(Value::Null);
    }
    // An empty list is left out in a run's own JSON.
    if T::TABLE == Run::TABLE {
        row.entry("tags").or_insert_with(|| json!([]));
    }
    let (user, fields) = kept.map_or((Value::Null, Map::new()), |kept| {
        (kept.user_id.into(), kept.fields)
    });
    row.insert("user_id".to_owned(), user);
    for (name, value) in fields {
        row.entry(name).or_insert(value);
    }
    row.into()
}

/// The row of a record that has no table.
pub(super) fn loose_row(loose: Loose) -> Value {
    let mut row = loose.of.fields;
    row.insert("id".to_owned(), loose.id.into());
    row.insert("created_at".to_owned(), loose.created_at.into());
    row.insert("user_id".to_owned(), loose.of.user_id.into());
    row.into()
}
