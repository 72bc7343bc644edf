//! Reading a store of schema 1 as it is: its tables under the names that schema 2 has.

use rusqlite::Connection;

use super::series::Reading;

/// Lays views over the tables, for this connection alone.
pub(super) fn lay_over(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA temp_store = MEMORY;
        CREATE TEMP VIEW runs AS
            SELECT rowid AS rowid, rowid AS key, *, id AS name, '[]' AS tags, NULL AS note, NULL AS seen_at, NULL AS ended_at FROM main.runs;
        CREATE TEMP TABLE windows (run_id, step, split, steps, PRIMARY KEY (run_id, step, split)) WITHOUT ROWID;",
    )?;
    if db.table_exists(Some("main"), "windows")? {
        db.execute_batch("INSERT INTO temp.windows SELECT * FROM main.windows")?;
    }
    Ok(())
}

/// Each text goes through all numbers of the run.
pub(super) const READING: Reading = Reading {
    names: "SELECT DISTINCT split, name FROM metrics WHERE run_id = ?1 ORDER BY split, name",
    series: "SELECT step, NULL, value FROM metrics WHERE run_id = ?1 AND name = ?2 AND split = ?3 ORDER BY step",
    rows: "SELECT * FROM (
            SELECT step, split, NULL, coalesce(steps, 1), count(*), row_number() OVER (ORDER BY step, split) AS written
            FROM metrics LEFT JOIN windows USING (run_id, step, split) WHERE run_id = ?1 GROUP BY step, split
        ) WHERE written > ?2 ORDER BY written",
    extent: "SELECT count(DISTINCT step), min(step), max(step), count(*) FROM metrics WHERE run_id = ?1",
    last: "SELECT min(step) FROM (SELECT DISTINCT step FROM metrics WHERE run_id = ?1 ORDER BY step DESC LIMIT ?2)",
    is_by_place: false,
};
