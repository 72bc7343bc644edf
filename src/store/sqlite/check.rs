//! Whether a store's file is sound, as far as can be told by reading it.

use rusqlite::Connection;

use super::super::StoreError;
use super::Sqlite;

/// How many faults of a kind are named.
const NAMED: u32 = 20;

/// What a store's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The version of the schema.
    pub schema: u32,
    /// Bytes of the database, without its log.
    pub bytes: u64,
    /// Bytes of it that hold nothing, after something was removed.
    pub free: u64,
}

impl Sqlite {
    /// What the file is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn facts(&self) -> Result<FileFacts, StoreError> {
        let number = |name| self.db.pragma_query_value(None, name, |line| line.get(0));
        let facts = || -> rusqlite::Result<FileFacts> {
            let page: i64 = number("page_size")?;
            let pages = |name| number(name).map(|pages: i64| pages.saturating_mul(page));
            Ok(FileFacts {
                schema: self
                    .db
                    .pragma_query_value(None, "user_version", |line| line.get(0))?,
                bytes: pages("page_count")?.unsigned_abs(),
                free: pages("freelist_count")?.unsigned_abs(),
            })
        };
        facts().map_err(|error| self.fault("read", error))
    }

    /// What is wrong with the file, in `SQLite`'s words or ours; nothing where it is sound. `thoroughly` also holds the indexes
    /// against their tables, which reads all of it.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub fn faults(&self, thoroughly: bool) -> Result<Vec<String>, StoreError> {
        let found = look(&self.db, thoroughly);
        found.map_err(|error| self.fault("examine", error))
    }
}

fn look(db: &Connection, thoroughly: bool) -> rusqlite::Result<Vec<String>> {
    // The quick look first: what it finds would take the other long.
    let mut faults = integrity(db, "quick_check")?;
    if thoroughly && faults.is_empty() {
        faults = integrity(db, "integrity_check")?;
    }
    if !faults.is_empty() {
        return Ok(faults);
    }
    faults.extend(strangers(db)?);
    faults.extend(miscounted(db)?);
    Ok(faults)
}

fn integrity(db: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let sql = format!("PRAGMA {check}({NAMED})");
    let mut said: Vec<String> = db
        .prepare(&sql)?
        .query_map([], |line| line.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    said.retain(|line| line != "ok");
    Ok(said)
}

/// Records of a table that refer to what is not there.
fn strangers(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2";
    db.prepare(sql)?
        .query_map([], |line| {
            let (table, parent): (String, String) = (line.get(0)?, line.get(1)?);
            let count: i64 = line.get(2)?;
            Ok(format!(
                "{count} of `{table}` belong to no record of `{parent}`"
            ))
        })?
        .collect()
}

/// Rows say how many numbers they have.
fn miscounted(db: &Connection) -> rusqlite::Result<Option<String>> {
    let there =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('rows', 'numbers')";
    let tables: i64 = db.query_row(there, [], |line| line.get(0))?;
    if tables < 2 {
        return Ok(None);
    }
    let sql = "SELECT (SELECT count(*) FROM numbers), (SELECT coalesce(sum(count), 0) FROM rows)";
    let (found, said): (i64, i64) =
        db.query_row(sql, [], |line| Ok((line.get(0)?, line.get(1)?)))?;
    Ok((found != said)
        .then(|| format!("its rows say that they have {said} numbers, found {found}")))
}
