//! The lock of an open file, where no process is forked.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A locked file, for as long as it lives.
pub(crate) struct Held(#[expect(dead_code, reason = "it is held by being open")] File);

impl Held {
    /// The lock, or who has it.
    pub(crate) fn take(path: &Path) -> io::Result<Result<Self, String>> {
        let file = super::open(path)?;
        match file.try_lock() {
            Ok(()) => {
                super::note_owner(&file);
                Ok(Ok(Self(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(super::noted_owner(&file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "nothing takes such a lock away"
    )]
    pub(crate) fn hold(&self) -> io::Result<Result<(), String>> {
        Ok(Ok(()))
    }
}
