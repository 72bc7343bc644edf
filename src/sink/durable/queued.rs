//! A sink that takes rows into memory, and delivers them behind the caller's back.

use std::fmt;
use std::time::{Duration, Instant};

use super::super::{Receipt, Sink, SinkError};
use super::outlet::ToSink;
use super::queue::Queue;
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
    queue: Queue<Row>,
    name: &'static str,
    resumed_after: Option<u64>,
    patience: Duration,
}

impl Queued {
    /// Puts a queue before `sink`.
    ///
    /// # Errors
    /// If no thread could be started.
    pub fn new(sink: impl Sink + 'static) -> Result<Self, SinkError> {
        let name = sink.name();
        let resumed_after = sink.resumed_after();
        let queue = Queue::new(name, CAPACITY);
        queue.start(ToSink(Box::new(sink)))?;
        Ok(Self {
            queue,
            name,
            resumed_after,
            patience: PATIENCE,
        })
    }

    /// How many rows may wait; 4096 by default. Beyond them a row is dropped, counted and told of.
    #[must_use]
    pub fn capacity(self, rows: u64) -> Self {
        self.queue.set_capacity(rows);
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
        self.queue.receipt()
    }
}

#[cfg(test)]
impl Queued {
    /// Becomes what a forked child has of it.
    pub(super) fn inherit(&mut self) {
        self.queue.inherit();
    }
}

impl Sink for Queued {
    fn name(&self) -> &'static str {
        self.name
    }

    fn resumed_after(&self) -> Option<u64> {
        self.resumed_after
    }

    /// Takes the row, which will be delivered before this is closed.
    ///
    /// # Errors
    /// If there is no room. The row is then dropped.
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.queue.push([row.clone()])
    }

    /// Leaves the table to the thread that delivers, which shows it once no row is waiting.
    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.queue.show(table.clone())
    }

    /// Waits until every row is delivered and flushed behind, for as long as [`Queued::patience`] says.
    ///
    /// # Errors
    /// If rows are still waiting then; they are tried on.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.queue.delivered(self.patience)
    }

    /// Kept until the last row is delivered, when the sink behind is told.
    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.queue.ended(ending.clone())
    }

    fn close(self: Box<Self>) -> Receipt {
        self.queue.close(self.patience)
    }

    fn close_by(self: Box<Self>, deadline: Instant) -> Receipt {
        self.queue
            .close(deadline.saturating_duration_since(Instant::now()))
    }
}

/// One that is not closed delivers what is waiting all the same; nobody has said how the run ended, so it has not.
impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.ended_unless_told(Ending::open());
        // Nobody is left to read the receipt.
        self.queue.close(self.patience);
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued")
            .field("receipt", &self.receipt())
            .finish_non_exhaustive()
    }
}
