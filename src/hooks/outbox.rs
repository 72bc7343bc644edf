//! What waits for a store logger's store, and how it gets there.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use super::job::Job;
use crate::sink::{Delivery, Outlet, Queue, Receipt, SinkError, said};
use crate::store::{Store, StoreError};

/// Makes the store, at the first need and again after a failure to.
pub(super) type Open = Box<dyn FnMut() -> Result<Box<dyn Store>, StoreError> + Send>;

/// A view of a store logger's queue, to be kept when the logger has gone to the loop. What it counts are records: a row, a
/// checkpoint, a prediction, a change of status, ...
#[derive(Clone, Debug)]
pub struct Outbox(pub(super) Queue<Job>);

impl Outbox {
    /// What became of the records so far.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.0.receipt()
    }

    /// Tries at once what waits for the store, and waits until all of it is there or the time is over; what became of it.
    /// What is still pending then is tried again later.
    #[must_use]
    pub fn flush(&self, within: Duration) -> Receipt {
        self.0.flush(within)
    }
}

/// The store that records go to.
pub(super) struct ToStore {
    open: Open,
    store: Option<Box<dyn Store>>,
}

impl ToStore {
    pub(super) fn opening(open: Open) -> Self {
        Self { open, store: None }
    }

    /// One until the store is open, and says it.
    fn at_once(&self) -> usize {
        self.store.as_ref().map_or(1, |store| store.rows_at_once())
    }

    fn store(&mut self, jobs: &[Job]) -> Result<(), StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert((self.open)()?),
        };
        Job::store(jobs, store.as_mut())
    }
}

impl Outlet<Job> for ToStore {
    fn name(&self) -> &'static str {
        "store logger"
    }

    /// As many in a call as the store writes all or none of: what is refused or fails can then come again, and is there once.
    fn take(&mut self, jobs: &[Job]) -> Delivery {
        let at_once = Cell::new(self.at_once());
        let together = |jobs: &[Job]| Job::together(jobs).min(at_once.get());
        Delivery::of(jobs, together, |jobs| {
            let stored = panic::catch_unwind(AssertUnwindSafe(|| Ok(self.store(jobs)?)));
            at_once.set(self.at_once());
            // Caught here, where it is known which they were: those before them are stored, and not to be stored again.
            stored.unwrap_or_else(|payload| {
                let reason = said(payload.as_ref());
                let error = format!("store logger: panicked: {reason}");
                Err(SinkError::refused(error))
            })
        })
    }
}
