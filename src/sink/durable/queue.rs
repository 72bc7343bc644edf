//! Items that wait in memory, and the thread that delivers them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::owned::Owned;
use super::super::{Receipt, SinkError, after};
use super::backlog::InMemory;
use super::options::DurableOptions;
use super::outlet::Outlet;
use super::shared::Shared;
use super::worker::Worker;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Hands items on to an [`Outlet`] on a thread of its own, so that nobody who has one waits for a disk or a server.
/// [`Queued`](super::Queued) is this with rows, before a sink.
///
/// Items are delivered in order. What the outlet cannot take for now is tried again, at growing intervals, or soon after one
/// another while somebody waits for it; what it refuses for good ([`SinkError::is_permanent`]) is dropped and counted, and the
/// rest goes on. So is an item for which there is no room. At any time `accepted == written + dropped + pending`.
///
/// A clone is the same queue. In a process that was forked from the one that made it, it takes nothing and waits for nothing.
/// Letting go of the last clone ends the thread, and what is waiting is lost: [`Queue::close`] it before.
pub struct Queue<T> {
    name: &'static str,
    inner: Arc<Owned<Inner<T>>>,
}

struct Inner<T> {
    shared: Arc<Shared<T>>,
    /// None before the start, and after the end.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Whether what is pending is lost, as nobody will deliver it any more.
    is_over: AtomicBool,
}

#[allow(clippy::must_use_candidate)] // one may wait without asking what became of it
impl<T: Send + 'static> Queue<T> {
    /// An empty queue, in which `capacity` items may wait at most (at least one); `name` is what it is called in receipts and
    /// errors. Nothing is delivered before [`Queue::start`].
    #[must_use]
    pub fn new(name: &'static str, capacity: u64) -> Self {
        let inner = Inner {
            shared: Arc::new(Shared::of_memory(name, capacity)),
            thread: Mutex::default(),
            is_over: AtomicBool::default(),
        };
        Self {
            name,
            inner: Arc::new(Owned::new(inner)),
        }
    }

    /// Begins to deliver, to `outlet`. Call it once.
    ///
    /// # Errors
    /// If no thread could be started.
    pub fn start(&self, outlet: impl Outlet<T> + 'static) -> Result<(), SinkError> {
        let Inner { shared, thread, .. } = self.inner()?;
        let policy = DurableOptions {
            pace: Duration::ZERO, // there is no journal whose next row could be held up
            ..DurableOptions::default()
        };
        let backlog = Box::new(InMemory::default());
        let worker = Worker::new(Box::new(outlet), backlog, &policy, Arc::clone(shared));
        let started = thread::Builder::new()
            .name("grpo-deliver".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| SinkError::Io {
                sink: self.name,
                act: "start a thread for",
                target: "its rows".to_owned(),
                source,
            })?;
        *thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(())
    }

    /// How many items may wait from now on; at least one.
    pub fn set_capacity(&self, items: u64) {
        if let Ok(inner) = self.inner() {
            inner.shared.lock().capacity = items;
        }
    }

    /// Takes items, which go together as far as the outlet can; each that finds no room is dropped and counted.
    ///
    /// # Errors
    /// If one was dropped; the others are taken.
    pub fn push(&self, items: impl IntoIterator<Item = T>) -> Result<(), SinkError> {
        // Before the lock is taken: what makes the items may take its time, or ask this queue.
        let items: Vec<T> = items.into_iter().collect();
        self.inner()?.shared.keep(items)
    }

    /// What became of every item so far.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.asked(|inner| inner.shared.lock().receipt())
    }

    /// Waits until every item is delivered and flushed behind, `within` at most; what became of them. What is still pending is
    /// tried on.
    pub fn flush(&self, within: Duration) -> Receipt {
        self.asked(|inner| inner.shared.flush(after(within)))
    }

    /// As [`Queue::flush`], but waits no longer than to the next attempt that fails, and only while `goes_on`, which is asked now
    /// and then.
    pub fn attempt(&self, within: Duration, goes_on: impl FnMut() -> bool) -> Receipt {
        self.asked(|inner| inner.shared.attempt(after(within), goes_on))
    }

    /// As [`Queue::flush`], after which the thread ends. What was not delivered is lost, and counts as dropped.
    pub fn close(&self, within: Duration) -> Receipt {
        self.asked(|inner| inner.end(after(within)))
    }

    /// Whether this process was forked from the one that made it.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.inner().is_err()
    }

    /// As [`Queue::flush`]; an error where that left something.
    pub(super) fn delivered(&self, within: Duration) -> Result<(), SinkError> {
        let receipt = self.inner()?.shared.flush(after(within));
        receipt.delivered(self.name)
    }

    /// Shows a table behind what is waiting.
    pub(super) fn show(&self, table: Table) -> Result<(), SinkError> {
        self.inner()?.shared.show(table);
        Ok(())
    }

    /// Keeps how the run ended until the outlet is closed.
    pub(super) fn ended(&self, ending: Ending) -> Result<(), SinkError> {
        self.inner()?.shared.lock().ending = Some(ending);
        Ok(())
    }

    /// The same, unless somebody has said it.
    pub(super) fn ended_unless_told(&self, ending: Ending) {
        if let Ok(inner) = self.inner() {
            inner.shared.lock().ending.get_or_insert(ending);
        }
    }

    fn inner(&self) -> Result<&Inner<T>, SinkError> {
        self.inner.get(self.name)
    }

    fn asked(&self, ask: impl FnOnce(&Inner<T>) -> Receipt) -> Receipt {
        match self.inner() {
            Ok(inner) => inner.final_of(ask(inner)),
            Err(error) => Receipt::failed(self.name, &error),
        }
    }
}

impl<T> Inner<T> {
    fn end(&self, deadline: Instant) -> Receipt {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && (self.shared.end(deadline).is_some() || thread.is_finished())
        {
            // It answers for nothing that is not in the receipt.
            let _ = thread.join();
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.shared.lock().receipt()
    }

    /// The receipt, in which nothing is pending after the end.
    fn final_of(&self, receipt: Receipt) -> Receipt {
        let pending = receipt.pending;
        if pending == 0 || !self.is_over.load(Ordering::Relaxed) {
            return receipt;
        }
        let (sink, reason) = (&receipt.sink, receipt.error.as_deref());
        let reason = reason.unwrap_or("no time left");
        let error =
            format!("{sink}: {pending} rows were still waiting at the end, and are lost: {reason}");
        Receipt {
            dropped: receipt.dropped + pending,
            pending: 0,
            error: Some(error),
            ..receipt
        }
    }
}

/// Nobody is left to wait for the thread; it ends by itself.
impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.receipt()).finish()
    }
}

#[cfg(test)]
impl<T> Queue<T> {
    /// Becomes what a forked child has of it.
    pub(super) fn inherit(&mut self) {
        let owned = Arc::get_mut(&mut self.inner).expect("not cloned");
        let inner = owned.take(self.name);
        *owned = Owned::inherited(inner.expect("made here"));
    }
}
