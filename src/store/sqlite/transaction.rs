//! Writing in transactions, and what an error of one means.

use rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::super::StoreError;
use super::Sqlite;
use super::place::Place;
use super::rows::Known;

impl Sqlite {
    /// One transaction, begun as a writer: begun as a reader it could not wait for another writer.
    /// `belongs_to` names what the record being written must belong to, for the error if it is not there.
    pub(super) fn write<T>(
        &mut self,
        act: &'static str,
        belongs_to: impl FnOnce() -> String,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.write_knowing(act, belongs_to, |db, _| body(db))
    }

    /// As [`Sqlite::write`], with what is known of the runs in the file that is written. Of writes that are made
    /// [`together`](Sqlite::together), it is one, and no transaction of its own.
    pub(super) fn write_knowing<T>(
        &mut self,
        act: &'static str,
        belongs_to: impl FnOnce() -> String,
        body: impl FnOnce(&Connection, &mut Known) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let outcome = if self.is_together {
            self.is_whole()?;
            body(&self.db, &mut self.known).map(Ok)
        } else {
            self.find_place()?;
            self.alone(body)
        };
        if !matches!(outcome, Ok(Ok(_))) {
            self.known.clear();
        }
        outcome.map_err(|error| match error.sqlite_error() {
            Some(code) if code.extended_code == SQLITE_CONSTRAINT_FOREIGNKEY => {
                StoreError::Unknown { what: belongs_to() }
            }
            _ if matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
                StoreError::Unknown { what: belongs_to() }
            }
            _ if is_of_the_record(&error) => StoreError::Unfit {
                place: self.path.clone(),
                act,
                reason: error.to_string(),
            },
            _ => self.fault(act, error),
        })?
    }

    /// Goes on where the writing goes on, if somebody deleted or replaced the file.
    pub(super) fn find_place(&mut self) -> Result<(), StoreError> {
        if let Some(place) = &mut self.place
            && place.stands().is_err()
        {
            self.known.clear();
            place.move_on(&mut self.db)?;
        }
        Ok(())
    }

    /// Whether the transaction that writes are parts of is still under way: where the disk is full or fails, the database may undo it
    /// in the middle, and what came after would stand alone.
    pub(super) fn is_whole(&self) -> Result<(), StoreError> {
        if !self.db.is_autocommit() {
            return Ok(());
        }
        Err(StoreError::Backend {
            place: self.path.clone(),
            act: "write",
            source: "the database has undone what was under way".into(),
        })
    }

    /// A transaction of its own, on the disk when this returns.
    fn alone<T>(
        &mut self,
        body: impl FnOnce(&Connection, &mut Known) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Result<T, StoreError>> {
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = body(&transaction, &mut self.known)?;
        // It may have waited long for its turn.
        if let Some(Err(gone)) = self.place.as_ref().map(Place::stands) {
            return Ok(Err(gone));
        }
        transaction.commit()?;
        let synced = self.place.as_ref().map_or(Ok(()), Place::sync);
        Ok(synced.map(|()| value))
    }

    pub(super) fn read<T>(
        &self,
        act: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        body(&self.db).map_err(|error| self.fault(act, error))
    }
}

/// Whether what was written, or what it changes, is at fault and not the file: it would be refused again.
fn is_of_the_record(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::ToSqlConversionFailure(_)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..) => true,
        _ => error.sqlite_error_code() == Some(ErrorCode::TooBig),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::{Experiment, Store};

    #[test]
    fn a_write_is_on_the_disk_when_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        let pragma = |name| {
            store
                .db
                .pragma_query_value(None, name, |line| line.get::<_, i64>(0))
                .unwrap()
        };
        // The log is synced after the commit, so that others write meanwhile.
        let normal = 1;
        assert_eq!(pragma("synchronous"), normal);
        assert!(store.place.as_ref().is_some_and(Place::syncs));
        assert_eq!(pragma("foreign_keys"), 1);
    }

    #[test]
    fn a_write_waits_for_another_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let mut store = Sqlite::open(&path).unwrap();
        let other = Sqlite::open(&path).unwrap();
        other.db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writing = thread::spawn(move || store.create_experiment(&Experiment::default()));
        thread::sleep(Duration::from_millis(200));
        assert!(!writing.is_finished());
        other.db.execute_batch("COMMIT").unwrap();
        assert!(writing.join().unwrap().is_ok());
    }
}
