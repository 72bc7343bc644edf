//! Opening the file: what it is, what version it has, how it is written.

use std::cell::Cell;
use std::io;
use std::path::{self, Path};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::super::StoreError;
use super::schema_1;
use super::series::{self, Reading};
use crate::sink::why;

/// How long a write waits for another process that is writing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long requests wait for it: those who made them give up before long.
#[cfg(feature = "serve")]
const PROMPT: Duration = Duration::from_secs(5);

/// Marks the file as a store of runs (`PRAGMA application_id`): "GRPO".
const APPLICATION: i64 = 0x4752_504f;

/// The newest schema version.
pub const NEWEST: u32 = 2;

/// What leads from each schema version to the next; the version of a file (`PRAGMA user_version`) is how many of these
/// it has been through. Only ever appended to.
const MIGRATIONS: [&str; NEWEST as usize] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Makes the connection wait for other writers. A write holds the lock for less than a millisecond, as its sync comes after: so the waits
/// are short. Those that `SQLite` has of its own grow to 100 ms, most of them with nobody writing.
pub(super) fn be_patient(db: &mut Connection) -> rusqlite::Result<()> {
    db.busy_handler(Some(|times| wait(times, PATIENCE)))
}

/// As [`be_patient`], where somebody waits for an answer.
#[cfg(feature = "serve")]
pub(super) fn be_prompt(db: &mut Connection) -> rusqlite::Result<()> {
    db.busy_handler(Some(|times| wait(times, PROMPT)))
}

/// Whether to ask again, after a wait.
fn wait(times: i32, patience: Duration) -> bool {
    thread_local! {
        static BEGUN: Cell<Instant> = Cell::new(Instant::now());
    }
    if times == 0 {
        BEGUN.set(Instant::now());
    }
    thread::sleep(Duration::from_micros(100 << times.clamp(0, 4)));
    BEGUN.get().elapsed() < patience
}

/// The path as it is shown, if it is a file's. The words that `SQLite` has for a database in memory, and a device, would take
/// every row and keep none.
fn name(path: &Path) -> Result<String, StoreError> {
    let name = path.display().to_string();
    let found = if name.is_empty() {
        "nothing"
    } else if name == ":memory:" {
        "SQLite's word for a database that is gone when it is closed (a file of that name is `./:memory:`)"
    } else if path.metadata().is_ok_and(|there| there.is_dir()) {
        "a folder"
    } else if path.metadata().is_ok_and(|there| !there.is_file()) {
        "something that is no file"
    } else {
        return Ok(name);
    };
    Err(StoreError::NotAStore {
        path: if name.is_empty() {
            "the path of the store".to_owned()
        } else {
            name
        },
        found: found.to_owned(),
    })
}

/// Opens a path as a path: `SQLite` takes one that begins with `file:` for a URI, which may say that nothing is to be kept.
fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Connection::open_with_flags(absolute, flags)
}

/// Opens for reading and writing, making the file if need be.
pub(super) fn writable(path: &Path) -> Result<Connection, StoreError> {
    let at = name(path)?;
    let failed = |error| fault(&at, "open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = connect(path, flags).map_err(|error| no_folder(path, &at, error))?;
    be_patient(&mut db).map_err(failed)?;
    // Before anything is written: a file of somebody else's is left as it is.
    let version = version(&db, &at)?;
    write_ahead(&db, Instant::now() + PATIENCE).map_err(failed)?;
    db.pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    if version < NEWEST {
        // A table that is made anew under its name keeps what refers to it.
        db.pragma_update(None, "foreign_keys", false)
            .map_err(failed)?;
        migrate(&mut db, &at)?;
        if version > 0 {
            // What was moved leaves its pages empty. The store is whole without.
            if let Err(error) = db.execute_batch("VACUUM") {
                tracing::warn!("{at}: is larger than it need be: {error}");
            }
        }
    }
    db.pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    Ok(db)
}

/// Why there is no making a store: `SQLite` does not say that the folder is missing.
fn no_folder(path: &Path, at: &str, error: rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) || path.exists() {
        return fault(at, "open", error);
    }
    let missing = io::Error::new(io::ErrorKind::NotFound, error);
    StoreError::Backend {
        place: at.to_owned(),
        act: "open",
        source: Box::new(why(path, missing)),
    }
}

/// Opens for reading only; never makes a store. `SQLITE_OPEN_READ_ONLY` would leave the log's two files behind, as it may not
/// clear them away.
pub(super) fn readable(path: &Path) -> Result<(Connection, &'static Reading), StoreError> {
    let at = name(path)?;
    if !path.exists() {
        return Err(StoreError::Missing { path: at });
    }
    let failed = |error| fault(&at, "open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = connect(path, flags).map_err(failed)?;
    if let Err(error) = tables(&db) {
        db = match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => as_it_lies(path, &at)?,
            _ => return Err(fault(&at, "read", error)),
        };
    }
    db.busy_timeout(PATIENCE).map_err(failed)?;
    let reading = match version(&db, &at)? {
        0 => {
            return Err(StoreError::NotAStore {
                path: at,
                found: "an empty database".to_owned(),
            });
        }
        1 => {
            schema_1::lay_over(&db).map_err(failed)?;
            &schema_1::READING
        }
        _ => &series::READING,
    };
    db.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok((db, reading))
}

/// Opens the file alone, without the log and its locks, for which the disk or the folder would have to be written.
fn as_it_lies(path: &Path, at: &str) -> Result<Connection, StoreError> {
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let escaped = |byte: &u8| match byte {
        b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let bytes = absolute.as_os_str().as_encoded_bytes();
    let escaped: String = bytes.iter().map(escaped).collect();
    let uri = format!("file:{escaped}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(uri, flags).map_err(|error| fault(at, "open", error))?;
    let mut log = absolute.into_os_string();
    log.push("-wal");
    match Path::new(&log).metadata() {
        Ok(log) if log.len() > 0 => tracing::warn!(
            "{at}: its folder cannot be written, so that the {} bytes of its log ({at}-wal) cannot be read: the last rows are missing here \
             (copy both files to where they can be written)",
            log.len()
        ),
        _ => tracing::warn!(
            "{at}: its folder cannot be written, so it is read as it lies: what somebody is writing to it now may be missing"
        ),
    }
    Ok(db)
}

fn tables(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |line| line.get(0))
}

/// An error of the database as the store's.
pub(super) fn fault(at: &str, act: &'static str, error: rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
        return StoreError::NotAStore {
            path: at.to_owned(),
            found: "a file that is no SQLite database".to_owned(),
        };
    }
    StoreError::Backend {
        place: at.to_owned(),
        act,
        source: Box::new(error),
    }
}

/// The schema version of the file, 0 if it is empty; refuses what this program did not write or does not know.
fn version(db: &Connection, at: &str) -> Result<u32, StoreError> {
    let number = |sql| {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| fault(at, "read", error))
    };
    let tables = tables(db).map_err(|error| fault(at, "read", error))?;
    let version = number("PRAGMA user_version")?;
    if tables == 0 {
        return Ok(0);
    }
    if number("PRAGMA application_id")? != APPLICATION {
        return Err(StoreError::NotAStore {
            path: at.to_owned(),
            found: "an SQLite database of another program".to_owned(),
        });
    }
    no_disguise(db, at)?;
    u32::try_from(version)
        .ok()
        .filter(|version| *version <= NEWEST)
        .ok_or_else(|| StoreError::Newer {
            path: at.to_owned(),
            found: version,
            known: NEWEST,
        })
}

/// Refuses what is called like a table of ours and is none: a view may have rows without end, and keeps none.
fn no_disguise(db: &Connection, at: &str) -> Result<(), StoreError> {
    let sql = "SELECT name, iif(sql LIKE 'CREATE VIRTUAL%', 'virtual table', type) AS kind FROM sqlite_schema
        WHERE lower(name) IN ('experiments', 'groups', 'runs', 'metrics', 'checkpoints', 'evals', 'predictions', 'windows',
            'series', 'rows', 'numbers')
        AND kind <> 'table' AND instr(?1, sql || ';') = 0 LIMIT 1";
    let ours = MIGRATIONS.concat();
    let found = db
        .query_row(sql, [ours], |line| {
            Ok((line.get::<_, String>(0)?, line.get::<_, String>(1)?))
        })
        .optional()
        .map_err(|error| fault(at, "read", error))?;
    found.map_or(Ok(()), |(name, kind)| {
        Err(StoreError::NotAStore {
            path: at.to_owned(),
            found: format!("a {kind} called `{name}` in the place of a table"),
        })
    })
}

/// Turns on the write-ahead log, which lets readers read while a writer writes. `SQLite` does not wait its busy time here
/// when two processes make the same file at once. Where a file system has no such log, the store works without.
fn write_ahead(db: &Connection, deadline: Instant) -> rusqlite::Result<()> {
    loop {
        let mode = db.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        });
        match mode {
            Err(error) if busy(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
            Ok(mode) => {
                if mode != "wal" {
                    tracing::warn!(
                        "the store's journal mode is {mode}, not wal: readers and the writer wait for each other"
                    );
                }
                return Ok(());
            }
        }
    }
}

fn busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Takes the schema to the newest version, in one transaction; another process may have done so just before.
fn migrate(db: &mut Connection, at: &str) -> Result<(), StoreError> {
    let failed = |error| fault(at, "lay out the tables of", error);
    // In KiB, for this connection: what does not fit is written to the log, and read again from there.
    let cache: i64 = db
        .pragma_query_value(None, "cache_size", |line| line.get(0))
        .map_err(failed)?;
    db.pragma_update(None, "cache_size", -262_144)
        .map_err(failed)?;
    let transaction = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let done = version(&transaction, at)? as usize;
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION)
        .and_then(|()| transaction.pragma_update(None, "user_version", NEWEST))
        .and_then(|()| transaction.commit())
        .and_then(|()| db.pragma_update(None, "cache_size", cache))
        .map_err(failed)
}
