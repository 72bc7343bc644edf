//! Records as table rows: one list of columns each, for writing and reading.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row as Line, params};
use serde_json::Value;

use super::super::record::{Checkpoint, Eval, Experiment, Group, Prediction, Run, Split, Stored};
use crate::row::run::Status;

/// A record that is kept as one row of a table of its own.
pub(super) trait Table: Clone {
    /// The table and its columns but `id` and `created_at`, in the order of [`Table::insert`] and [`Table::read`].
    const NAME: &'static str;
    const COLUMNS: &'static str;

    /// Writes the row under `id`, or under a random one, and returns what the table made of it.
    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>>;

    /// Reads the columns.
    fn read(line: &Line<'_>) -> rusqlite::Result<Self>;

    /// The rows that satisfy `condition`, the oldest first.
    fn select(
        db: &Connection,
        condition: &str,
        values: impl Params,
    ) -> rusqlite::Result<Vec<Stored<Self>>> {
        let mut found = Vec::new();
        Self::each(db, condition, values, |record| {
            found.push(record);
            true
        })?;
        Ok(found)
    }

    /// The rows that satisfy `condition`, the oldest first, until `each` has enough.
    fn each(
        db: &Connection,
        condition: &str,
        values: impl Params,
        mut each: impl FnMut(Stored<Self>) -> bool,
    ) -> rusqlite::Result<()> {
        let (columns, table) = (Self::COLUMNS, Self::NAME);
        let sql = format!(
            "SELECT {columns}, id, created_at FROM {table} WHERE {condition} ORDER BY created_at, rowid"
        );
        let mut select = db.prepare_cached(&sql)?;
        let mut lines = select.query(values)?;
        while let Some(line) = lines.next()? {
            let stored = Stored {
                record: Self::read(line)?,
                id: line.get("id")?,
                created_at: line.get("created_at")?,
            };
            if !each(stored) {
                break;
            }
        }
        Ok(())
    }

    /// The row of this id.
    fn by_id(db: &Connection, id: &str) -> rusqlite::Result<Option<Stored<Self>>> {
        Ok(Self::select(db, "id = ?1", [id])?.pop())
    }

    /// Writes `values`: the id first, then the columns in order.
    fn put(&self, db: &Connection, values: impl Params) -> rusqlite::Result<Stored<Self>> {
        let (columns, table) = (Self::COLUMNS, Self::NAME);
        let marks: Vec<String> = (0..columns.split(',').count())
            .map(|i| format!("?{}", i + 2))
            .collect();
        let marks = marks.join(", ");
        let sql = format!(
            "INSERT INTO {table} (id, {columns}) VALUES (coalesce(?1, lower(hex(randomblob(8)))), {marks}) \
             RETURNING id, created_at"
        );
        db.prepare_cached(&sql)?.query_row(values, |line| {
            Ok(Stored {
                record: self.clone(),
                id: line.get(0)?,
                created_at: line.get(1)?,
            })
        })
    }
}

/// A table as the list of its columns, each with the form its values have there.
macro_rules! table {
    ($record:ident as $table:literal: $first:ident $first_form:ident $(, $column:ident $form:ident)*) => {
        impl Table for $record {
            const NAME: &'static str = $table;
            const COLUMNS: &'static str = concat!(stringify!($first), $(", ", stringify!($column)),*);

            fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
                self.put(db, params![id, $first_form::put(&self.$first)?, $($form::put(&self.$column)?),*])
            }

            fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
                Ok(Self {
                    $first: $first_form::get(line, stringify!($first))?,
                    $($column: $form::get(line, stringify!($column))?),*
                })
            }
        }
    };
}

table!(Experiment as "experiments": experiment_name plain, project_id plain, hypothesis plain, tags json, status plain,
    conclusion plain, error_message plain);
table!(Group as "groups": experiment_id plain, name plain, description plain);
table!(Run as "runs": name plain, tags json, note plain, experiment_id plain, group_id plain, dataset_id plain, seed plain, recipe_kind plain, run_config json,
    status plain, error_message plain, wandb_run_url plain);
table!(Checkpoint as "checkpoints": run_id plain, uri plain, label plain, step natural, base_model plain, is_final plain);
table!(Eval as "evals": run_id plain, benchmark_id plain, checkpoint_id plain, model_ref plain, step natural, metrics json,
    breakdowns json, sdk_version plain);
table!(Prediction as "predictions": run_id plain, kind plain, eval_id plain, task_id plain, instruction plain,
    model_output plain, expected plain, reward plain, advantage plain, step natural, sample_idx natural, metadata json);

/// Values that the database has a type for.
mod plain {
    use super::{FromSql, Line, ToSql};

    #[allow(clippy::unnecessary_wraps, reason = "as the other forms")]
    pub(super) fn put<T: ToSql>(value: &T) -> rusqlite::Result<&T> {
        Ok(value)
    }

    pub(super) fn get<T: FromSql>(line: &Line<'_>, column: &str) -> rusqlite::Result<T> {
        line.get(column)
    }
}

/// Natural numbers: `SQLite` counts in i64.
mod natural {
    use super::Line;
    use rusqlite::Error;

    #[allow(clippy::ref_option, reason = "as the other forms")]
    pub(super) fn put(number: &Option<u64>) -> rusqlite::Result<Option<i64>> {
        let signed = number.map(i64::try_from).transpose();
        signed.map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
    }

    pub(super) fn get(line: &Line<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
        let stored: Option<i64> = line.get(column)?;
        let natural = stored.map(u64::try_from).transpose();
        let place = line.as_ref().column_index(column)?;
        natural.map_err(|_| Error::IntegralValueOutOfRange(place, stored.unwrap_or_default()))
    }
}

/// JSON as its text; null as the database's own.
mod json {
    use rusqlite::Error;
    use rusqlite::types::Type;
    use serde::{Serialize, de::DeserializeOwned};

    use super::Line;

    pub(super) fn put(value: &impl Serialize) -> rusqlite::Result<Option<String>> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok((text != "null").then_some(text))
    }

    pub(super) fn get<T: DeserializeOwned>(line: &Line<'_>, column: &str) -> rusqlite::Result<T> {
        let text: Option<String> = line.get(column)?;
        let place = line.as_ref().column_index(column)?;
        serde_json::from_str(text.as_deref().unwrap_or("null"))
            .map_err(|error| Error::FromSqlConversionFailure(place, Type::Text, Box::new(error)))
    }
}

/// An id for a record that has none of its own.
pub(super) fn random_id(db: &Connection) -> rusqlite::Result<String> {
    db.query_row("SELECT lower(hex(randomblob(8)))", [], |line| line.get(0))
}

/// A JSON value as its text; null as the database's own.
pub(super) fn text_of_json(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// A list of texts as JSON.
pub(super) fn text_of_list(list: &[String]) -> String {
    Value::from(list).to_string()
}

macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(FromSqlError::other)
            }
        }
    )+};
}

as_text!(Status, Split);
