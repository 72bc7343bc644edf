//! A sink that keeps its rows, for tests and for programs that read their own metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Receipt, Sink, SinkError, Tally};
use crate::row::Row;

/// Keeps every row in memory, without a bound. A clone reads the same rows and counts its own receipt, so one is
/// kept while the other goes to the engine.
#[derive(Debug, Default)]
pub struct Memory {
    rows: Arc<Mutex<Vec<Row>>>,
    tally: Tally,
}

impl Memory {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows so far, in the order they were written.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.lock().clone()
    }

    /// The last row, or `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<Row> {
        self.lock().last().cloned()
    }

    /// A row is pushed whole or not at all, so what a panicking thread left behind is sound.
    fn lock(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
            tally: Tally::default(),
        }
    }
}

impl Sink for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.lock().push(row.clone());
        self.tally.count(Ok(()))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Receipt {
        self.tally.receipt("memory")
    }
}
