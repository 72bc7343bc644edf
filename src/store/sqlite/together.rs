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
        let begun = begun.and_then(|_| restored);
        begun.map_err(|error| self.fault("begin to write", error))
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
