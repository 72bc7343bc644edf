//! What a gateway keeps beside the records: who made them, the fields that no column has, and records of kinds that have no table.

use rusqlite::{Connection, OptionalExtension, ToSql, params, params_from_iter};
use serde_json::{Map, Value};

use super::super::StoreError;
use super::{Sqlite, table};

/// The records that have a table, by its name.
const TABLES: [&str; 6] = [
    "experiments",
    "groups",
    "runs",
    "checkpoints",
    "evals",
    "predictions",
];

/// Fields of one record, with who made it.
#[derive(Debug)]
pub(crate) struct Fields {
    pub user_id: String,
    pub fields: Map<String, Value>,
}

/// A record of a kind that has no table.
#[derive(Debug)]
pub(crate) struct Loose {
    pub id: String,
    pub created_at: String,
    pub of: Fields,
}

/// Makes the table where it is missing. What belongs to a record that is removed goes with it, whoever removes it.
pub(super) fn lay_out(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS gateway_fields (
            kind       TEXT NOT NULL, -- the table of the record; `projects` and `goals` have none
            id         TEXT NOT NULL,
            user_id    TEXT NOT NULL, -- the name of the key that made it
            fields     TEXT NOT NULL, -- a JSON object
            created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
            UNIQUE (kind, id)
        ) STRICT;",
    )?;
    for table in TABLES {
        db.execute_batch(&format!(
            "CREATE TRIGGER IF NOT EXISTS gateway_fields_of_{table} AFTER DELETE ON {table} BEGIN
                DELETE FROM gateway_fields WHERE kind = '{table}' AND id = old.id;
            END;"
        ))?;
    }
    Ok(())
}

/// Whether there are any.
pub(super) fn are_there(db: &Connection) -> rusqlite::Result<bool> {
    db.table_exists(Some("main"), "gateway_fields")
}

/// Makes the table in `next` where `db` has one.
pub(super) fn follow(db: &Connection, next: &Connection) -> rusqlite::Result<()> {
    if are_there(db)? {
        lay_out(next)
    } else {
        Ok(())
    }
}

/// What goes along with the run `?1` to another file.
pub(super) const CARRIED: &str = "INSERT OR IGNORE INTO present.gateway_fields (kind, id, user_id, fields, created_at)
    SELECT kind, id, user_id, fields, created_at FROM main.gateway_fields WHERE kind IN ('projects', 'goals')
        OR (kind = 'runs' AND id = ?1)
        OR (kind = 'experiments' AND id = (SELECT experiment_id FROM main.runs WHERE id = ?1))
        OR (kind = 'groups' AND id = (SELECT group_id FROM main.runs WHERE id = ?1))
        OR (kind = 'checkpoints' AND id IN (SELECT id FROM main.checkpoints WHERE run_id = ?1))
        OR (kind = 'evals' AND id IN (SELECT id FROM main.evals WHERE run_id = ?1))
        OR (kind = 'predictions' AND id IN (SELECT id FROM main.predictions WHERE run_id = ?1))";

impl Sqlite {
    /// Makes room for a gateway's fields.
    pub(crate) fn lay_out_fields(&mut self) -> Result<(), StoreError> {
        self.write("make room for a gateway's fields", String::new, lay_out)
    }

    /// Notes who made a record, and fields of it that no column has.
    pub(crate) fn keep_fields(
        &mut self,
        kind: &'static str,
        id: &str,
        user_id: &str,
        fields: &Map<String, Value>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO gateway_fields (kind, id, user_id, fields) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (kind, id) DO UPDATE SET user_id = excluded.user_id, fields = excluded.fields";
        let text = Value::from(fields.clone()).to_string();
        self.write("keep fields of a record", String::new, |db| {
            db.prepare_cached(sql)?
                .execute(params![kind, id, user_id, text])
                .map(drop)
        })
    }

    /// A new record of a kind that has no table; its id.
    pub(crate) fn keep_loose(
        &mut self,
        kind: &'static str,
        user_id: &str,
        fields: &Map<String, Value>,
    ) -> Result<String, StoreError> {
        let id = table::random_id(&self.db);
        let id = id.map_err(|error| self.fault("make an id", error))?;
        self.keep_fields(kind, &id, user_id, fields)?;
        Ok(id)
    }

    /// The fields of a record; `None` of one that no gateway made.
    pub(crate) fn fields_of(
        &self,
        kind: &'static str,
        id: &str,
    ) -> Result<Option<Fields>, StoreError> {
        let sql = "SELECT user_id, fields FROM gateway_fields WHERE kind = ?1 AND id = ?2";
        self.read("read fields of a record", |db| {
            let mut select = db.prepare_cached(sql)?;
            select
                .query_row([kind, id], |line| fields_at(line, 0))
                .optional()
        })
    }

    /// The records of a kind that has no table, the oldest first.
    pub(crate) fn loose(&self, kind: &'static str) -> Result<Vec<Loose>, StoreError> {
        let sql = "SELECT user_id, fields, id, created_at FROM gateway_fields WHERE kind = ?1 ORDER BY rowid";
        self.read("read records", |db| {
            db.prepare_cached(sql)?
                .query_map([kind], |line| {
                    Ok(Loose {
                        id: line.get(2)?,
                        created_at: line.get(3)?,
                        of: fields_at(line, 0)?,
                    })
                })?
                .collect()
        })
    }

    /// Sets columns of a record; `None` takes away what is there. The columns are ours, not a client's words.
    pub(crate) fn set_columns(
        &mut self,
        kind: &'static str,
        id: &str,
        columns: &[(&'static str, Option<String>)],
        belongs_to: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        if columns.is_empty() {
            return Ok(());
        }
        let set = columns.iter().enumerate();
        let set: Vec<String> = set
            .map(|(at, (column, _))| format!("{column} = ?{}", at + 2))
            .collect();
        let sql = format!("UPDATE {kind} SET {} WHERE id = ?1", set.join(", "));
        self.write("change a record", belongs_to, |db| {
            let values = columns.iter().map(|(_, value)| value as &dyn ToSql);
            let id: [&dyn ToSql; 1] = [&id];
            db.prepare_cached(&sql)?
                .execute(params_from_iter(id.into_iter().chain(values)))
                .map(drop)
        })
    }

    /// Whether there is a record of this id.
    pub(crate) fn has(&self, kind: &'static str, id: &str) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM {kind} WHERE id = ?1");
        self.read("read records", |db| db.prepare_cached(&sql)?.exists([id]))
    }
}

fn fields_at(line: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Fields> {
    let text: String = line.get(column + 1)?;
    Ok(Fields {
        user_id: line.get(column)?,
        // What somebody else put there hides no record.
        fields: serde_json::from_str(&text).unwrap_or_default(),
    })
}
