//! Taking runs out of the store.

use rusqlite::Connection;

use super::super::StoreError;
use super::{Sqlite, unknown};

impl Sqlite {
    /// Removes a run with all that belongs to it: its numbers, checkpoints, evaluations and predictions. Its experiment and group
    /// stay. How many bytes of the file are free now: the file keeps its size, and what is written next takes them.
    ///
    /// # Errors
    /// If there is no such run, or the file cannot be written.
    pub fn remove_run(&mut self, run_id: &str) -> Result<u64, StoreError> {
        let freed = self.write("remove a run", String::new, |db| {
            let before = free(db)?;
            let removed = remove(db, run_id)?;
            Ok(removed.then_some(free(db)?.saturating_sub(before)))
        })?;
        freed.ok_or_else(|| unknown("run", run_id))
    }
}

/// What was removed with an experiment.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub groups: u64,
    pub runs: u64,
}

#[cfg(feature = "serve")]
impl Sqlite {
    /// Removes an experiment with its groups and runs, and all that belongs to these.
    ///
    /// # Errors
    /// If there is no such experiment, or the file cannot be written.
    pub(crate) fn remove_experiment(&mut self, id: &str) -> Result<Removed, StoreError> {
        let removed = self.write("remove an experiment", String::new, |db| {
            let mut runs = db.prepare_cached("SELECT id FROM runs WHERE experiment_id = ?1")?;
            let runs: Vec<String> = runs
                .query_map([id], |line| line.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for run in &runs {
                remove(db, run)?;
            }
            let groups = db.execute("DELETE FROM groups WHERE experiment_id = ?1", [id])?;
            let found = db.execute("DELETE FROM experiments WHERE id = ?1", [id])? > 0;
            Ok(found.then_some(Removed {
                groups: groups as u64,
                runs: runs.len() as u64,
            }))
        })?;
        self.known.clear();
        removed.ok_or_else(|| unknown("experiment", id))
    }
}

/// What belongs to others goes before them. Whether there was a run.
fn remove(db: &Connection, run_id: &str) -> rusqlite::Result<bool> {
    for table in ["predictions", "evals", "checkpoints"] {
        db.execute(&format!("DELETE FROM {table} WHERE run_id = ?1"), [run_id])?;
    }
    let of_run = "(SELECT key FROM runs WHERE id = ?1)";
    let numbers = format!(
        "DELETE FROM numbers WHERE id IN (SELECT rows.id + place FROM rows CROSS JOIN series USING (run, split) WHERE run = {of_run})"
    );
    db.execute(&numbers, [run_id])?;
    for table in ["rows", "series"] {
        db.execute(
            &format!("DELETE FROM {table} WHERE run = {of_run}"),
            [run_id],
        )?;
    }
    Ok(db.execute("DELETE FROM runs WHERE id = ?1", [run_id])? > 0)
}

/// The bytes of the file that hold nothing.
fn free(db: &Connection) -> rusqlite::Result<u64> {
    let number = |name| db.pragma_query_value(None, name, |line| super::natural_at(line, 0));
    Ok(number("freelist_count")? * number("page_size")?)
}
