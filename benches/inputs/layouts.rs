//! Ways to lay out the numbers of runs in a database, each with its SQL: that of schema 1 as its code wrote it, and those that schema 2
//! was chosen from.

use std::path::Path;
use std::sync::LazyLock;

use rusqlite::{Connection, params};

/// Keys of a step.
pub const KEYS: i64 = 149;

/// How numbers are found.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// Schema 1: by (run, step, split, name), with their names.
    Schema1,
    /// By (row, series).
    ByRow,
    /// By (series, row).
    BySeries,
    /// By one number of (row / 2^bits, series, row % 2^bits).
    Together(i64),
}

static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = (0..KEYS).map(|key| format!("train/some_metric_of_{key:03}/mean_x"));
    names.collect()
});

/// The key of a series. A third of the values never changes.
pub fn name(key: i64) -> &'static str {
    usize::try_from(key).map_or("", |key| &NAMES[key])
}

/// Full-precision doubles, and some that are constant.
pub fn value(run: i64, step: i64, key: i64) -> f64 {
    if key % 3 == 0 {
        return 0.2;
    }
    let mixed = (run * 1_000_003 + step * 149 + key).wrapping_mul(0x2545_F491_4F6C_DD1D);
    (mixed >> 11).unsigned_abs() as f64 / 7e15
}

/// The id of a run.
pub fn run_id(run: i64) -> String {
    format!("seed-{run}")
}

const COMMON: &str = "CREATE TABLE runs (key INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE series (run INTEGER NOT NULL, split TEXT NOT NULL, name TEXT NOT NULL, place INTEGER NOT NULL,
        PRIMARY KEY (run, split, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE rows (id INTEGER NOT NULL PRIMARY KEY, run INTEGER NOT NULL, step INTEGER NOT NULL, split TEXT NOT NULL,
        time INTEGER, steps INTEGER NOT NULL, count INTEGER NOT NULL, written INTEGER NOT NULL, UNIQUE (run, step, split)) STRICT;
    CREATE INDEX rows_by_writing ON rows (run, written);";

impl Layout {
    pub const ALL: [(&'static str, Self); 7] = [
        ("schema 1", Self::Schema1),
        ("(row, series)", Self::ByRow),
        ("(series, row)", Self::BySeries),
        ("one key, 1 row", Self::Together(0)),
        ("one key, 4 rows", Self::Together(2)),
        ("one key, 8 rows", Self::Together(3)),
        ("one key, 32 rows", Self::Together(5)),
    ];

    /// An empty database at `path` with `runs` runs.
    pub fn create(self, path: &Path, runs: i64) -> rusqlite::Result<Connection> {
        let db = Connection::open(path)?;
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch(match self {
            Self::Schema1 => include_str!("../../src/store/sqlite/schema_1.sql"),
            _ => COMMON,
        })?;
        db.execute_batch(match self {
            Self::Schema1 => "INSERT INTO experiments (id, experiment_name, tags, status) VALUES ('e', 'e', '[]', 'running')",
            Self::ByRow => "CREATE TABLE numbers (row INTEGER NOT NULL, series INTEGER NOT NULL, value REAL NOT NULL,
                PRIMARY KEY (row, series)) STRICT, WITHOUT ROWID",
            Self::BySeries => "CREATE TABLE numbers (row INTEGER NOT NULL, series INTEGER NOT NULL, value REAL NOT NULL,
                PRIMARY KEY (series, row)) STRICT, WITHOUT ROWID",
            Self::Together(_) => "CREATE TABLE numbers (id INTEGER NOT NULL PRIMARY KEY, value REAL NOT NULL) STRICT",
        })?;
        for run in 0..runs {
            if matches!(self, Self::Schema1) {
                let sql =
                    "INSERT INTO runs (id, experiment_id, status) VALUES (?1, 'e', 'running')";
                db.execute(sql, [run_id(run)])?;
                continue;
            }
            db.execute(
                "INSERT INTO runs VALUES (?1, ?2)",
                params![run, run_id(run)],
            )?;
            for key in 0..KEYS {
                let sql = "INSERT INTO series VALUES (?1, 'train', ?2, ?3)";
                db.execute(sql, params![run, name(key), self.place(run, key)])?;
            }
        }
        Ok(db)
    }

    fn place(self, run: i64, key: i64) -> i64 {
        match self {
            Self::Together(bits) => key << bits,
            _ => run * KEYS + key,
        }
    }

    /// Writes a step within a transaction.
    pub fn write(self, db: &Connection, run: i64, step: i64) -> rusqlite::Result<()> {
        if matches!(self, Self::Schema1) {
            let id = run_id(run);
            db.prepare_cached("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'windows'")?
                .query_row([], |_| Ok(()))?;
            let mut insert = db.prepare_cached(
                "INSERT INTO metrics (run_id, step, split, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (run_id, step, split, name) DO UPDATE SET value = excluded.value",
            )?;
            for key in 0..KEYS {
                insert.execute(params![id, step, "train", name(key), value(run, step, key)])?;
            }
            return Ok(());
        }
        let row = match self {
            Self::Together(bits) => {
                ((((step >> bits) << 8) | run) << (20 + bits)) | (step & ((1 << bits) - 1))
            }
            _ => (step << 8) | run,
        };
        db.prepare_cached("INSERT INTO rows VALUES (?1, ?2, ?3, 'train', ?4, 1, ?5, ?3)")?
            .execute(params![row, run, step, 1_763_700_000_000 + step, KEYS])?;
        let sql = match self {
            Self::Together(_) => "INSERT INTO numbers VALUES (?1 + ?2, ?3)",
            _ => "INSERT INTO numbers VALUES (?1, ?2, ?3)",
        };
        let mut insert = db.prepare_cached(sql)?;
        for key in 0..KEYS {
            insert.execute(params![row, self.place(run, key), value(run, step, key)])?;
        }
        Ok(())
    }

    fn numbers(self) -> &'static str {
        match self {
            Self::Together(_) => "numbers.id = rows.id + place",
            _ => "numbers.row = rows.id AND numbers.series = place",
        }
    }

    /// Reads step and value of one series; how many there are.
    pub fn series(self, db: &Connection, run: i64, key: i64) -> rusqlite::Result<usize> {
        let numbers = self.numbers();
        let sql = match self {
            Self::Schema1 => "SELECT step, value FROM metrics
                WHERE run_id = ?1 AND name = ?2 AND split = 'train' ORDER BY step, split, name".to_owned(),
            Self::BySeries => "SELECT step, value FROM runs CROSS JOIN series ON series.run = runs.key
                CROSS JOIN numbers ON numbers.series = place CROSS JOIN rows ON rows.id = numbers.row
                WHERE runs.id = ?1 AND name = ?2 AND series.split = 'train' ORDER BY step"
                .to_owned(),
            _ => format!("SELECT step, value FROM runs CROSS JOIN series ON series.run = runs.key
                CROSS JOIN rows ON rows.run = runs.key AND rows.split = series.split CROSS JOIN numbers ON {numbers}
                WHERE runs.id = ?1 AND name = ?2 AND series.split = 'train' ORDER BY step"),
        };
        let mut select = db.prepare_cached(&sql)?;
        let values = select.query_map(params![run_id(run), name(key)], |line| {
            line.get::<_, f64>(1)
        })?;
        values
            .collect::<Result<Vec<_>, _>>()
            .map(|values| values.len())
    }

    /// Reads all numbers of a run from `step` on, with their names; how many there are.
    pub fn from(self, db: &Connection, run: i64, step: i64) -> rusqlite::Result<usize> {
        let numbers = self.numbers();
        let sql = match self {
            Self::Schema1 => "SELECT step, name, value FROM metrics WHERE run_id = ?1 AND step >= ?2".to_owned(),
            _ => format!("SELECT step, name, value FROM runs CROSS JOIN rows ON rows.run = runs.key
                CROSS JOIN series ON series.run = runs.key AND series.split = rows.split CROSS JOIN numbers ON {numbers}
                WHERE runs.id = ?1 AND written >= ?2"),
        };
        let mut select = db.prepare_cached(&sql)?;
        let values = select.query_map(params![run_id(run), step], |line| {
            Ok((line.get::<_, String>(1)?, line.get::<_, f64>(2)?))
        })?;
        values
            .collect::<Result<Vec<_>, _>>()
            .map(|values| values.len())
    }

    /// Reads the names of a run's numbers; how many there are.
    pub fn names(self, db: &Connection, run: i64) -> rusqlite::Result<usize> {
        let sql = match self {
            Self::Schema1 => "SELECT DISTINCT split, name FROM metrics WHERE run_id = ?1",
            _ => {
                "SELECT split, name FROM runs CROSS JOIN series ON series.run = runs.key WHERE id = ?1"
            }
        };
        let mut select = db.prepare_cached(sql)?;
        let names = select.query_map([run_id(run)], |line| line.get::<_, String>(1))?;
        names
            .collect::<Result<Vec<_>, _>>()
            .map(|names| names.len())
    }
}
