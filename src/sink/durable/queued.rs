//! A sink that takes rows into memory, and delivers them behind the caller's back.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::owned::Owned;
use super::super::{Receipt, Sink, SinkError, after};
use super::backlog::Backlog;
use super::policy::{DurableOptions, Full};
use super::shared::Shared;
use super::worker::Worker;
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Rows that wait at most, unless said otherwise: hours of a training whose store is gone, in some tens of megabytes.
const CAPACITY: u64 = 4096;

/// How long flushing and closing wait, unless said otherwise; a database that another process writes is waited for as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands rows to another sink on a thread of its own, so that no step waits for a disk or a server: a
/// [`Durable`](super::Durable) without the journal.
///
/// Rows are delivered in order. What the sink behind refuses for now is tried again, at growing intervals; what it refuses
/// for good is dropped and counted, and so is a row for which there is no room. Closing waits for what is left: rows that are
/// not delivered by then are dropped, with an error. A process that is killed loses the rows that were waiting, which is the
/// last one as a rule.
pub struct Queued {
    running: Owned<Running>,
    name: &'static str,
    capacity: u64,
    patience: Duration,
}

struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Queued {
    /// Puts a queue before `sink`.
    ///
    /// # Errors
    /// If no thread could be started.
    pub fn new(sink: impl Sink + 'static) -> Result<Self, SinkError> {
        let name = sink.name();
        let shared = Arc::new(Shared::of_memory(name));
        let policy = DurableOptions {
            full: Full::Drop(CAPACITY),
            ..DurableOptions::default()
        };
        let backlog = Backlog::Memory { next: 0 };
        let worker = Worker::new(Box::new(sink), backlog, &policy, Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("grpo-deliver".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| SinkError::Io {
                sink: name,
                act: "start a thread for",
                target: "its rows".to_owned(),
                source,
            })?;
        Ok(Self {
            running: Owned::new(Running { shared, thread }),
            name,
            capacity: CAPACITY,
            patience: PATIENCE,
        })
    }

    /// How many rows may wait; 4096 by default. Beyond them a row is dropped, counted and told of.
    #[must_use]
    pub fn capacity(mut self, rows: u64) -> Self {
        self.capacity = rows;
        self
    }

    /// How long flushing and closing wait for the sink behind; 30 s by default.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// What became of every row so far.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        match self.shared() {
            Ok(shared) => shared.lock().receipt(),
            Err(error) => Receipt::failed(self.name, &error),
        }
    }

    fn shared(&self) -> Result<&Shared, SinkError> {
        Ok(&self.running.get(self.name)?.shared)
    }

    /// Ends delivery by `deadline`. What is waiting then is lost: there is no next process that would know of it.
    ///
    /// # Errors
    /// In another process than the one that made it, or where it has ended.
    fn end(&mut self, deadline: Instant) -> Result<Receipt, SinkError> {
        let Running { shared, thread } = self.running.take(self.name)?;
        let ended = shared.end(deadline);
        if ended.is_some() || thread.is_finished() {
            // It answers for nothing that is not in the receipt.
            let _ = thread.join();
        }
        let mut receipt = ended.unwrap_or_else(|| shared.lock().receipt());
        if receipt.pending > 0 {
            let reason = receipt.error.as_deref().unwrap_or("no time left");
            let error = format!(
                "{}: {} rows were still waiting at the end, and are lost: {reason}",
                self.name, receipt.pending
            );
            receipt.dropped += receipt.pending;
            receipt.pending = 0;
            receipt.error = Some(error);
        }
        Ok(receipt)
    }
}

#[cfg(test)]
impl Queued {
    /// Becomes what a forked child has of it.
    pub(super) fn inherit(&mut self) {
        let running = self.running.take(self.name);
        self.running = Owned::inherited(running.expect("made here"));
    }
}

impl Sink for Queued {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Takes the row, which will be delivered before this is closed.
    ///
    /// # Errors
    /// If there is no room. The row is then dropped.
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let shared = self.shared()?;
        let admitted = shared.admit(Full::Drop(self.capacity));
        match &admitted {
            Ok(()) => shared.keep(row.clone()),
            Err(error) => shared.taken(None, Some(error)),
        }
        admitted
    }

    /// Leaves the table to the thread that delivers, which shows it once no row is waiting.
    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.shared()?.show(table.clone());
        Ok(())
    }

    /// Waits until every row is delivered and flushed behind, for as long as [`Queued::patience`] says.
    ///
    /// # Errors
    /// If rows are still waiting then; they are tried on.
    fn flush(&mut self) -> Result<(), SinkError> {
        let receipt = self.shared()?.flush(after(self.patience));
        receipt.delivered(self.name)
    }

    /// Kept until the last row is delivered, when the sink behind is told.
    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.shared()?.lock().ending = Some(ending.clone());
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Receipt {
        let ended = self.end(after(self.patience));
        ended.unwrap_or_else(|error| Receipt::failed(self.name, &error))
    }
}

/// One that is not closed delivers what is waiting all the same; nobody has said how the run ended, so it has not.
impl Drop for Queued {
    fn drop(&mut self) {
        if let Ok(shared) = self.shared() {
            shared.lock().ending.get_or_insert_with(Ending::open);
            // Nobody is left to read the receipt.
            let _ = self.end(after(self.patience));
        }
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued")
            .field("receipt", &self.receipt())
            .finish_non_exhaustive()
    }
}
