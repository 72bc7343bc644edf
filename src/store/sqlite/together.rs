//! Many requests in one transaction, so that one sync is for all of them, and each whole or not at all.

use super::super::StoreError;
use super::Sqlite;
use super::open;
use super::place::Place;

/// Why requests that were made together are not known to be on the disk.
#[derive(Debug)]
pub(crate) enum Untogether {
    /// None of them is in the store.
    Undone(StoreError),
    /// They are in the store, and a power cut may cost them.
    Unsynced(StoreError),
}

impl Sqlite {
    /// One transaction for all that `body` writes: on the disk when this returns. Another writer is waited for 5 s.
    ///
    /// # Errors
    /// If there is no beginning it, no committing it, or no bringing it to the disk.
    pub(crate) fn together<T>(
        &mut self,
        body: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, Untogether> {
        self.begin().map_err(Untogether::Undone)?;
        self.is_together = true;
        let value = body(self);
        self.is_together = false;
        if let Err(error) = self.commit() {
            if !self.db.is_autocommit() {
                let _ = self.db.execute_batch("ROLLBACK");
            }
            self.known.clear();
            return Err(Untogether::Undone(error));
        }
        let synced = self.place.as_ref().map_or(Ok(()), Place::sync);
        synced.map(|()| value).map_err(Untogether::Unsynced)
    }

    /// One request of those that are made together: where it fails it leaves no trace, and the others as they are.
    pub(crate) fn each<T, E: From<StoreError>>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.is_whole()?;
        self.say("SAVEPOINT request")?;
        let outcome = body(self);
        if outcome.is_err() {
            self.known.clear();
            // A full disk may have undone all of them.
            if !self.db.is_autocommit() {
                self.say("ROLLBACK TO request")?;
            }
        }
        if !self.db.is_autocommit() {
            self.say("RELEASE request")?;
        }
        outcome
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.find_place()?;
        let begun = open::be_prompt(&mut self.db)
            .and_then(|()| self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]));
        let restored = open::be_patient(&mut self.db);
        begun
            .and(restored)
            .map_err(|error| self.fault("begin to write", error))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.is_whole()?;
        // It may have waited long for its turn.
        self.place.as_ref().map_or(Ok(()), Place::stands)?;
        self.say("COMMIT")
    }

    fn say(&self, sql: &'static str) -> Result<(), StoreError> {
        let said = self
            .db
            .prepare_cached(sql)
            .and_then(|mut said| said.execute([]));
        said.map(drop).map_err(|error| self.fault("write", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Metrics;
    use crate::store::{Experiment, Run, Split, Store};

    fn scene() -> (tempfile::TempDir, Sqlite, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        let experiment = store.create_experiment(&Experiment::default()).unwrap();
        let run = Run {
            experiment_id: experiment.id,
            ..Run::default()
        };
        let run = store.create_run(&run).unwrap();
        (dir, store, run.id)
    }

    fn row(keys: u32) -> Metrics {
        (0..keys).map(|key| (format!("k{key}"), 0.5)).collect()
    }

    /// Writes rows of these steps together; which of them were refused.
    fn written(
        store: &mut Sqlite,
        run: &str,
        steps: std::ops::Range<u64>,
        keys: u32,
    ) -> (Result<(), Untogether>, Vec<u64>) {
        let mut refused = Vec::new();
        let outcome = store.together(|store| {
            for step in steps {
                let outcome: Result<_, StoreError> =
                    store.each(|store| store.log_rows(run, &[(step, &row(keys))], Split::Train));
                if outcome.is_err() {
                    refused.push(step);
                }
            }
        });
        (outcome, refused)
    }

    fn steps(store: &Sqlite, run: &str) -> Vec<u64> {
        store
            .rows(run)
            .unwrap()
            .iter()
            .map(|row| row.step)
            .collect()
    }

    #[test]
    fn what_is_written_together_is_there_when_it_returns_and_a_refused_one_is_not() {
        let (_dir, mut store, run) = scene();
        let outcome = store.together(|store| {
            for (step, run) in [(1, run.as_str()), (2, "nobody"), (3, run.as_str())] {
                let half: Result<(), StoreError> = store.each(|store| {
                    store.create_experiment(&Experiment::default())?;
                    store.log_rows(run, &[(step, &row(3))], Split::Train)?;
                    Ok(())
                });
                assert_eq!(half.is_err(), run == "nobody");
            }
        });
        assert!(outcome.is_ok());
        assert_eq!(steps(&store, &run), [1, 3]);
        assert_eq!(store.list_experiments().unwrap().len(), 3);
        assert_eq!(store.faults(true).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_full_disk_leaves_no_half_and_rows_go_on_when_there_is_room_again() {
        let (_dir, mut store, run) = scene();
        let (outcome, refused) = written(&mut store, &run, 0..10, 50);
        assert!(outcome.is_ok() && refused.is_empty());
        let pages: i64 = store
            .db
            .pragma_query_value(None, "page_count", |line| line.get(0))
            .unwrap();
        let room = |store: &Sqlite, pages: i64| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            store.db.query_row(&sql, [], |_| Ok(())).unwrap();
        };
        room(&store, pages + 8);
        let (outcome, refused) = written(&mut store, &run, 10..200, 50);
        let before = steps(&store, &run);
        match outcome {
            Ok(()) => assert_eq!(before.len() + refused.len(), 200),
            Err(Untogether::Undone(_)) => assert_eq!(before.len(), 10),
            Err(other) => panic!("{other:?}"),
        }
        assert!(!refused.is_empty());
        assert_eq!(store.faults(true).unwrap(), Vec::<String>::new());
        room(&store, 1 << 30);
        let (outcome, refused) = written(&mut store, &run, 200..210, 50);
        assert!(outcome.is_ok() && refused.is_empty());
        assert_eq!(steps(&store, &run).len(), before.len() + 10);
        assert_eq!(store.faults(true).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_comes_after_all_was_undone_does_not_stand_alone() {
        let (_dir, mut store, run) = scene();
        let outcome = store.together(|store| {
            let first: Result<_, StoreError> =
                store.each(|store| store.log_rows(&run, &[(1, &row(3))], Split::Train));
            assert!(first.is_ok());
            // As the database does where the disk fails.
            store.db.execute_batch("ROLLBACK").unwrap();
            let second: Result<_, StoreError> =
                store.each(|store| store.log_rows(&run, &[(2, &row(3))], Split::Train));
            assert!(second.is_err_and(|error| !error.is_permanent()));
        });
        assert!(matches!(outcome, Err(Untogether::Undone(_))));
        assert_eq!(steps(&store, &run), [0_u64; 0]);
        let (outcome, _) = written(&mut store, &run, 3..4, 3);
        assert!(outcome.is_ok());
        assert_eq!(steps(&store, &run), [3]);
    }
}
