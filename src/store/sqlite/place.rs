//! Which files a connection writes, and going on where somebody deleted or replaced them: a database that is open is written on
//! without an error when it has no name any more, and what is written so is gone when the process ends.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::StoreError;
#[cfg(feature = "serve")]
use super::fields;
use super::open;
use crate::sink::identity;

/// The database and the two files of its write-ahead log, as the file system tells them from others; `None` where there is none.
type Files = [Option<(u64, u64)>; 3];

/// Where a connection writes.
#[derive(Debug)]
pub(super) struct Place {
    /// Without links, as the log's files stand beside the file itself.
    path: PathBuf,
    /// What was opened; `None` where it was closed and nothing is open in its place.
    opened: Option<Files>,
    /// The log, to be synced after each commit; `None` where the database does so itself, as it has none.
    log: Option<File>,
    /// The runs that were written, which go along where the writing goes on in another file.
    runs: BTreeSet<String>,
}

impl Place {
    /// What `db` has just opened at `path`.
    pub(super) fn of(db: &Connection, path: &Path) -> Result<Self, StoreError> {
        let path = fs::canonicalize(path).map_err(|error| fault(path, error))?;
        let (opened, log) = files_of(db, &path)?;
        Ok(Self {
            opened: Some(opened),
            log,
            path,
            runs: BTreeSet::new(),
        })
    }

    /// Notes a run that is written.
    pub(super) fn keeps(&mut self, run_id: &str) {
        if !self.runs.contains(run_id) {
            self.runs.insert(run_id.to_owned());
        }
    }

    /// Whether the files at the path are still those that were opened.
    ///
    /// # Errors
    /// If they are not, or that cannot be found out: nothing may be committed then.
    pub(super) fn stands(&self) -> Result<(), StoreError> {
        if self.opened == Some(look(&self.path)?) {
            return Ok(());
        }
        Err(fault(&self.path, "it was deleted or replaced"))
    }

    /// Brings what was committed to the disk. `SQLite` would do so before it lets go of the lock: so other processes write meanwhile,
    /// and one sync is for all who wait for it.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.log
            .as_ref()
            .map_or(Ok(()), File::sync_data)
            .map_err(|error| fault(&self.path, error))
    }

    /// Goes on in the database that is at the path now, or in a new one, with the runs that were written. What is in that database
    /// already stays.
    ///
    /// # Errors
    /// If there is something else at the path, or it cannot be written; nothing is lost then, and the next attempt may do better.
    pub(super) fn move_on(&mut self, db: &mut Connection) -> Result<(), StoreError> {
        let name = self.name();
        let now = look(&self.path)?;
        let same_database = self
            .opened
            .is_some_and(|opened| opened[0].is_some() && opened[0] == now[0]);
        let found = if same_database {
            "its write-ahead log was deleted"
        } else {
            "it was deleted or replaced"
        };
        let failed = |error: StoreError| {
            let found = format!("{found}, and there is no going on at its path: {error}");
            fault(&self.path, found)
        };
        if same_database {
            // The log is still open here: what is in it is brought into the database. Two logs of one database would spoil it.
            let (all, done): (i64, i64) = db
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |line| {
                    Ok((line.get(1)?, line.get(2)?))
                })
                .map_err(|error| open::fault(&name, "bring its log into", error))?;
            if done < all {
                return Err(fault(&self.path, format!("{found}, and it is being read")));
            }
            let closed = Connection::open_in_memory()
                .map(|nothing| std::mem::replace(db, nothing))
                .map_err(|error| open::fault(&name, "close", error))?;
            self.opened = None;
            drop(closed);
        } else {
            self.clear_away(now)
                .map_err(|error| fault(&self.path, error))?;
        }
        let next = open::writable(&self.path).map_err(failed)?;
        if !same_database && self.opened.is_some() {
            #[cfg(feature = "serve")]
            fields::follow(db, &next)
                .map_err(|error| open::fault(&name, "lay out the tables of", error))
                .map_err(failed)?;
            let carried = carry_over(db, &self.path, &self.runs);
            carried
                .map_err(|error| open::fault(&name, "carry its runs over to", error))
                .map_err(failed)?;
        }
        let (opened, log) = files_of(&next, &self.path).map_err(failed)?;
        (self.opened, self.log) = (Some(opened), log);
        *db = next;
        let runs: Vec<_> = self.runs.iter().map(|run| format!("`{run}`")).collect();
        tracing::warn!(
            "{name}: {found} while it was being written; what stands there now is written on, with the runs of before: {}",
            runs.join(", ")
        );
        Ok(())
    }

    /// Removes the log of the database that is gone: whoever opens another at the path would take it for that one's.
    fn clear_away(&self, now: Files) -> io::Result<()> {
        let opened = self.opened.unwrap_or_default();
        for (i, path) in paths(&self.path).into_iter().enumerate().skip(1) {
            if now[i].is_some() && now[i] == opened[i] {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Whether there is a log to sync.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> bool {
        self.log.is_some()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn look(path: &Path) -> Result<Files, StoreError> {
    let mut files = Files::default();
    for (file, each) in files.iter_mut().zip(paths(path)) {
        *file = identity(&each).map_err(|error| fault(path, error))?;
    }
    Ok(files)
}

fn paths(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    })
}

/// What `db` has open, if nobody was at it meanwhile: one that is missing already could not be missed later. From here on its log is
/// synced by [`Place::sync`].
fn files_of(db: &Connection, path: &Path) -> Result<(Files, Option<File>), StoreError> {
    let failed = |error| open::fault(&path.display().to_string(), "read", error);
    // The log's files are there from the first read on.
    let mode: String = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .and_then(|()| db.query_row("PRAGMA journal_mode", [], |line| line.get(0)))
        .map_err(failed)?;
    let files = look(path)?;
    let is_logged = mode == "wal";
    let needed = if is_logged { 3 } else { 1 };
    if cfg!(unix) && files[..needed].contains(&None) {
        return Err(fault(path, "it was deleted as it was opened"));
    }
    if !is_logged {
        return Ok((files, None));
    }
    let [_, log, _] = paths(path);
    let log = OpenOptions::new().read(true).write(true).open(log);
    let log = log.map_err(|error| fault(path, error))?;
    if look(path)? != files {
        return Err(fault(path, "it was deleted as it was opened"));
    }
    db.pragma_update(None, "synchronous", "NORMAL")
        .map_err(failed)?;
    Ok((files, Some(log)))
}

/// An error that may pass: the rows stay where they wait.
fn fault(path: &Path, found: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Backend {
        place: path.display().to_string(),
        act: "write to the file that was opened",
        source: found.into(),
    }
}

/// Adds to the database at `path` what `db` has of `runs` and that one has not.
fn carry_over(db: &mut Connection, path: &Path, runs: &BTreeSet<String>) -> rusqlite::Result<()> {
    let name = path.to_str();
    let name = name.ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    #[cfg(feature = "serve")]
    let with_fields = fields::are_there(db)?;
    db.execute("ATTACH DATABASE ?1 AS present", [name])?;
    let carried = db.transaction().and_then(|transaction| {
        for run in runs {
            for sql in CARRIED {
                transaction.execute(sql, [run])?;
            }
        }
        #[cfg(feature = "serve")]
        if with_fields {
            for run in runs {
                transaction.execute(fields::CARRIED, [run])?;
            }
        }
        transaction.commit()
    });
    let _ = db.execute("DETACH DATABASE present", []);
    carried
}

/// What goes along of the run `?1`, in the order in which records refer to each other. Keys and places are given anew.
const CARRIED: [&str; 10] = [
    "INSERT OR IGNORE INTO present.experiments SELECT * FROM main.experiments
        WHERE id = (SELECT experiment_id FROM main.runs WHERE id = ?1)
            AND NOT EXISTS (SELECT 1 FROM present.runs WHERE id = ?1)",
    "INSERT OR IGNORE INTO present.groups SELECT * FROM main.groups
        WHERE id = (SELECT group_id FROM main.runs WHERE id = ?1)
            AND NOT EXISTS (SELECT 1 FROM present.runs WHERE id = ?1)",
    "INSERT OR IGNORE INTO present.runs (id, name, experiment_id, group_id, dataset_id, seed, recipe_kind, run_config, tags, note,
            status, error_message, wandb_run_url, created_at, seen_at, ended_at)
        SELECT id, name, experiment_id, group_id, dataset_id, seed, recipe_kind, run_config, tags, note,
            status, error_message, wandb_run_url, created_at, seen_at, ended_at FROM main.runs WHERE id = ?1",
    "INSERT INTO present.series (run, split, name, place)
        SELECT there.key, split, series.name,
            (SELECT coalesce(max(place) + 4, 0) FROM present.series WHERE run = there.key) + (row_number() OVER () - 1) * 4
        FROM main.runs JOIN present.runs AS there ON there.id = runs.id JOIN main.series ON series.run = runs.key
        WHERE runs.id = ?1 AND NOT EXISTS (SELECT 1 FROM present.series AS other
            WHERE (other.run, other.split, other.name) = (there.key, series.split, series.name))",
    "INSERT INTO present.rows (id, run, step, split, time, steps, count, written)
        SELECT ((SELECT coalesce((max(id) >> 22) + 1, 0) FROM present.rows) + (n >> 2)) << 22 | (n & 3),
            run, step, split, time, steps, 0, (SELECT coalesce(max(written), 0) FROM present.rows WHERE run = new.run) + n + 1
        FROM (
            SELECT there.key AS run, step, split, time, steps, row_number() OVER (ORDER BY written) - 1 AS n
            FROM main.runs JOIN present.runs AS there ON there.id = runs.id JOIN main.rows ON rows.run = runs.key
            WHERE runs.id = ?1 AND NOT EXISTS (SELECT 1 FROM present.rows AS other
                WHERE (other.run, other.step, other.split) = (there.key, rows.step, rows.split))
        ) AS new",
    "INSERT OR IGNORE INTO present.numbers (id, value)
        SELECT row.id + name.place, value
        FROM main.runs CROSS JOIN present.runs AS there ON there.id = runs.id
        CROSS JOIN main.rows ON rows.run = runs.key
        CROSS JOIN present.rows AS row ON (row.run, row.step, row.split) = (there.key, rows.step, rows.split)
        CROSS JOIN main.series ON series.run = runs.key AND series.split = rows.split
        CROSS JOIN main.numbers ON numbers.id = rows.id + series.place
        CROSS JOIN present.series AS name ON (name.run, name.split, name.name) = (there.key, series.split, series.name)
        WHERE runs.id = ?1",
    "UPDATE present.rows AS row SET count = (SELECT count(*) FROM present.series AS name
            CROSS JOIN present.numbers AS number ON number.id = row.id + name.place WHERE (name.run, name.split) = (row.run, row.split))
        WHERE run = (SELECT key FROM present.runs WHERE id = ?1)",
    "INSERT OR IGNORE INTO present.checkpoints SELECT * FROM main.checkpoints WHERE run_id = ?1",
    "INSERT OR IGNORE INTO present.evals SELECT * FROM main.evals WHERE run_id = ?1",
    "INSERT OR IGNORE INTO present.predictions SELECT * FROM main.predictions WHERE run_id = ?1",
];
