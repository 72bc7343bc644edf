//! What waits for a store, and the thread that brings it there.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::job::Job;
use crate::sink::{after, said};
use crate::store::{Store, StoreError};

/// Between two attempts at a store that fails: this long at first, twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Makes the store, at the first need and again after a failure to.
pub(super) type Open = Box<dyn FnMut() -> Result<Box<dyn Store>, StoreError> + Send>;

/// What became of the records so far: `accepted == written + dropped + pending`. A record is a row, a checkpoint, a
/// prediction, a change of status, ...
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxReceipt {
    pub accepted: u64,
    /// In the store.
    pub written: u64,
    /// Refused for good by the store, or for want of room; each is in the log.
    pub dropped: u64,
    /// Waiting for the store.
    pub pending: u64,
    /// The last error, if there was one.
    pub error: Option<String>,
}

/// A view of a store logger's queue, to be kept when the logger has gone to the loop.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    delivery: OutboxReceipt,
    /// How many wait for it to be empty: the store is then asked again after short pauses.
    waiting: u32,
    /// No more jobs come, and the worker gives up then.
    close_by: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(capacity: u64) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            capacity,
        }))
    }

    /// Starts the thread that empties the queue.
    pub(super) fn start(&self, open: Open) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let worker = thread::Builder::new().name("grpo-metrics store".to_owned());
        worker.spawn(move || work(&shared, open)).map(drop)
    }

    /// Takes a job without waiting. Without room its records are dropped, counted and logged.
    pub(super) fn push(&self, job: Job) {
        let records = job.records();
        if records == 0 {
            return;
        }
        let mut queue = self.0.lock();
        queue.delivery.accepted += records;
        if queue.delivery.pending + records > self.0.capacity {
            let reason = format!("no room: {} records wait already", queue.delivery.pending);
            queue.drop_records(records, reason);
            return;
        }
        queue.delivery.pending += records;
        queue.jobs.push_back(job);
        self.0.changed.notify_all();
    }

    /// What became of the records so far.
    #[must_use]
    pub fn delivery(&self) -> OutboxReceipt {
        self.0.lock().delivery.clone()
    }

    /// Tries at once what waits for the store, and waits until all of it is there or the time is over; what became of it.
    /// What is still pending then is tried again later.
    #[must_use]
    pub fn flush(&self, within: Duration) -> OutboxReceipt {
        self.0.wait(self.0.lock(), within)
    }

    /// As [`Outbox::flush`], after which the worker ends.
    pub(super) fn close(&self, within: Duration) -> OutboxReceipt {
        let mut queue = self.0.lock();
        queue.close_by = Some(after(within));
        self.0.wait(queue, within)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outbox").field(&self.delivery()).finish()
    }
}

impl Queue {
    fn drop_records(&mut self, records: u64, reason: String) {
        tracing::error!(records, reason, "the store logger dropped records");
        self.delivery.dropped += records;
        self.delivery.error = Some(reason);
    }
}

impl Shared {
    /// A queue is changed whole under its lock, so what a panicking thread left behind is sound.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing is pending or the time is over.
    fn wait(&self, mut queue: MutexGuard<'_, Queue>, within: Duration) -> OutboxReceipt {
        queue.waiting += 1;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(queue, within, |queue| queue.delivery.pending > 0);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.waiting -= 1;
        queue.delivery.clone()
    }

    /// The next job, waiting for one; `None` once there are none and no more will come.
    fn next(&self) -> Option<Job> {
        let queue = self.lock();
        let idle = |queue: &mut Queue| queue.jobs.is_empty() && queue.close_by.is_none();
        let waited = self.changed.wait_while(queue, idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.jobs.pop_front()
    }

    fn written(&self, records: u64) {
        let mut queue = self.lock();
        queue.delivery.written += records;
        queue.delivery.pending -= records;
        self.changed.notify_all();
    }

    fn refused(&self, mut job: Job, reason: String) {
        let mut queue = self.lock();
        if let Some(jobs) = job.apart() {
            for job in jobs.into_iter().rev() {
                queue.jobs.push_front(job);
            }
            return;
        }
        queue.delivery.pending -= job.records();
        queue.drop_records(job.records(), reason);
        self.changed.notify_all();
    }

    /// Keeps the job for another attempt and waits a while; false if the time to close is over.
    fn later(&self, job: Job, reason: String, pause: Duration) -> bool {
        let mut queue = self.lock();
        queue.jobs.push_front(job);
        queue.delivery.error = Some(reason);
        let waited_for = queue.waiting > 0;
        let pause = if waited_for { FIRST_PAUSE } else { pause };
        let waited = self
            .changed
            .wait_timeout_while(queue, pause, |queue| waited_for || queue.waiting == 0);
        let queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.close_by.is_none_or(|by| Instant::now() < by)
    }
}

fn work(shared: &Shared, mut open: Open) {
    let mut store = None;
    let mut pause = FIRST_PAUSE;
    while let Some(job) = shared.next() {
        let attempt = AssertUnwindSafe(|| attempt(&mut store, &mut open, &job));
        match panic::catch_unwind(attempt) {
            Ok(Ok(())) => {
                shared.written(job.records());
                pause = FIRST_PAUSE;
            }
            Ok(Err(error)) if !error.is_permanent() => {
                tracing::warn!(%error, "the store failed; it is asked again");
                if !shared.later(job, error.to_string(), pause) {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(Err(error)) => shared.refused(job, error.to_string()),
            Err(payload) => shared.refused(job, format!("panicked: {}", said(payload.as_ref()))),
        }
    }
}

fn attempt(
    store: &mut Option<Box<dyn Store>>,
    open: &mut Open,
    job: &Job,
) -> Result<(), StoreError> {
    let store = match store {
        Some(store) => store,
        none => none.insert(open()?),
    };
    job.deliver(store.as_mut())
}
