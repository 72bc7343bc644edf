//! Records as table rows: one list of columns each, for writing and reading.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, Params, Row as Line, params};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::record::{
    Checkpoint, Eval, Experiment, Group, Prediction, Run, Split, Status, Stored,
};

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
        let (columns, table) = (Self::COLUMNS, Self::NAME);
        let sql = format!(
            "SELECT {columns}, id, created_at FROM {table} WHERE {condition} ORDER BY created_at, rowid"
        );
        db.prepare_cached(&sql)?
            .query_map(values, |line| {
                Ok(Stored {
                    record: Self::read(line)?,
                    id: line.get("id")?,
                    created_at: line.get("created_at")?,
                })
            })?
            .collect()
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

impl Table for Experiment {
    const NAME: &'static str = "experiments";
    const COLUMNS: &'static str =
        "experiment_name, project_id, hypothesis, tags, status, conclusion, error_message";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        let tags = text_of_list(&self.tags);
        self.put(
            db,
            params![
                id,
                self.experiment_name,
                self.project_id,
                self.hypothesis,
                tags,
                self.status,
                self.conclusion,
                self.error_message
            ],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            experiment_name: line.get(0)?,
            project_id: line.get(1)?,
            hypothesis: line.get(2)?,
            tags: json(line, 3)?,
            status: line.get(4)?,
            conclusion: line.get(5)?,
            error_message: line.get(6)?,
        })
    }
}

impl Table for Group {
    const NAME: &'static str = "groups";
    const COLUMNS: &'static str = "experiment_id, name, description";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        self.put(
            db,
            params![id, self.experiment_id, self.name, self.description],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            experiment_id: line.get(0)?,
            name: line.get(1)?,
            description: line.get(2)?,
        })
    }
}

impl Table for Run {
    const NAME: &'static str = "runs";
    const COLUMNS: &'static str = "experiment_id, group_id, dataset_id, seed, recipe_kind, run_config, status, error_message, wandb_run_url";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        self.put(
            db,
            params![
                id,
                self.experiment_id,
                self.group_id,
                self.dataset_id,
                self.seed,
                self.recipe_kind,
                text_of_json(&self.run_config),
                self.status,
                self.error_message,
                self.wandb_run_url
            ],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            experiment_id: line.get(0)?,
            group_id: line.get(1)?,
            dataset_id: line.get(2)?,
            seed: line.get(3)?,
            recipe_kind: line.get(4)?,
            run_config: json(line, 5)?,
            status: line.get(6)?,
            error_message: line.get(7)?,
            wandb_run_url: line.get(8)?,
        })
    }
}

impl Table for Checkpoint {
    const NAME: &'static str = "checkpoints";
    const COLUMNS: &'static str = "run_id, uri, label, step, base_model, is_final";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        self.put(
            db,
            params![
                id,
                self.run_id,
                self.uri,
                self.label,
                count(self.step)?,
                self.base_model,
                self.is_final
            ],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            run_id: line.get(0)?,
            uri: line.get(1)?,
            label: line.get(2)?,
            step: counted(line, 3)?,
            base_model: line.get(4)?,
            is_final: line.get(5)?,
        })
    }
}

impl Table for Eval {
    const NAME: &'static str = "evals";
    const COLUMNS: &'static str =
        "run_id, benchmark_id, checkpoint_id, model_ref, step, metrics, breakdowns, sdk_version";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        self.put(
            db,
            params![
                id,
                self.run_id,
                self.benchmark_id,
                self.checkpoint_id,
                self.model_ref,
                count(self.step)?,
                text_of_json(&self.metrics),
                text_of_json(&self.breakdowns),
                self.sdk_version
            ],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            run_id: line.get(0)?,
            benchmark_id: line.get(1)?,
            checkpoint_id: line.get(2)?,
            model_ref: line.get(3)?,
            step: counted(line, 4)?,
            metrics: json(line, 5)?,
            breakdowns: json(line, 6)?,
            sdk_version: line.get(7)?,
        })
    }
}

impl Table for Prediction {
    const NAME: &'static str = "predictions";
    const COLUMNS: &'static str = "run_id, kind, eval_id, task_id, instruction, model_output, expected, reward, advantage, step, sample_idx, metadata";

    fn insert(&self, db: &Connection, id: Option<&str>) -> rusqlite::Result<Stored<Self>> {
        self.put(
            db,
            params![
                id,
                self.run_id,
                self.kind,
                self.eval_id,
                self.task_id,
                self.instruction,
                self.model_output,
                self.expected,
                self.reward,
                self.advantage,
                count(self.step)?,
                count(self.sample_idx)?,
                text_of_json(&self.metadata)
            ],
        )
    }

    fn read(line: &Line<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            run_id: line.get(0)?,
            kind: line.get(1)?,
            eval_id: line.get(2)?,
            task_id: line.get(3)?,
            instruction: line.get(4)?,
            model_output: line.get(5)?,
            expected: line.get(6)?,
            reward: line.get(7)?,
            advantage: line.get(8)?,
            step: counted(line, 9)?,
            sample_idx: counted(line, 10)?,
            metadata: json(line, 11)?,
        })
    }
}

/// A JSON value as its text; null as the database's own.
pub(super) fn text_of_json(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// A list of texts as JSON.
pub(super) fn text_of_list(list: &[String]) -> String {
    Value::from(list).to_string()
}

/// `SQLite` counts in i64.
fn count(number: Option<u64>) -> rusqlite::Result<Option<i64>> {
    let signed = number.map(i64::try_from).transpose();
    signed.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn counted(line: &Line<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let stored: Option<i64> = line.get(column)?;
    let natural = stored.map(u64::try_from).transpose();
    natural
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, stored.unwrap_or_default()))
}

fn json<T: DeserializeOwned>(line: &Line<'_>, column: usize) -> rusqlite::Result<T> {
    let text: Option<String> = line.get(column)?;
    serde_json::from_str(text.as_deref().unwrap_or("null")).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
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
