//! What the thread that takes items and the thread that delivers them know of each other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Receipt, SinkError, after};
use super::journal::{Extent, Opened};
use super::options::{DurableOptions, Full};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Tables that wait to be shown at most. They are for the eye, and a later one says more than an earlier one.
const TABLES: usize = 8;

/// No number of pending items wakes the worker.
pub(super) const NEVER: u64 = u64::MAX;

/// A thread that ends on time needs a moment to say so.
const GRACE: Duration = Duration::from_millis(500);

/// How long somebody who may be called off waits at a time.
const LOOK: Duration = Duration::from_millis(100);

/// What the caller and the worker know of each other; held for moments, never over a read, a write or a wait for either.
pub(super) struct Shared<T> {
    /// What the sink is called in receipts and errors.
    pub(super) name: &'static str,
    state: Mutex<State<T>>,
    /// There is something to deliver, or to stop for.
    pub(super) work: Condvar,
    /// Something was delivered, or the worker ended.
    pub(super) progress: Condvar,
}

pub(super) struct State<T> {
    /// Where the journal ends, and the segments it consists of, the oldest first.
    pub(super) extent: Extent,
    pub(super) segments: VecDeque<u64>,
    /// The first entry that the mark on the disk does not count as settled.
    pub(super) noted: u64,
    /// The items themselves, where they wait in memory alone, and how many may.
    items: VecDeque<T>,
    pub(super) capacity: u64,
    name: &'static str,
    accepted: u64,
    pub(super) written: u64,
    pub(super) dropped: u64,
    /// Those of them that could not be read back.
    pub(super) damaged: u64,
    pub(super) error: Option<String>,
    /// What is to be shown once nothing is pending; the oldest first.
    pub(super) tables: VecDeque<Table>,
    /// How many items have to be pending for the worker to be woken, as waking costs the caller more than writing: one where
    /// it has nothing to do, [`NEVER`] where it has.
    pub(super) wakes_at: u64,
    /// Whether the sink behind is to be flushed once nothing is pending, and how many wait for that.
    pub(super) flush: bool,
    waiting: u32,
    /// Attempts that were begun, and the last of them that failed.
    pub(super) begun: u64,
    failed: u64,
    /// Until when there is to be delivered, once the end is asked for.
    pub(super) deadline: Option<Instant>,
    pub(super) ended: bool,
    /// Whether the caller hears what became of the items.
    pub(super) heard: bool,
    /// How the run ended, once that is known.
    pub(super) ending: Option<Ending>,
}

impl<T> State<T> {
    pub(super) fn pending(&self) -> u64 {
        self.accepted - self.written - self.dropped
    }

    pub(super) fn receipt(&self) -> Receipt {
        Receipt {
            sink: self.name.to_owned(),
            accepted: self.accepted,
            written: self.written,
            dropped: self.dropped,
            pending: self.pending(),
            error: self.error.clone(),
        }
    }

    /// Whether somebody waits until everything is delivered.
    fn is_awaited(&self) -> bool {
        self.waiting > 0 || self.deadline.is_some()
    }

    /// Whether what is waiting is to be delivered at once.
    pub(super) fn hurries(&self, policy: &DurableOptions) -> bool {
        self.is_awaited() || policy.full != Full::Spill || self.pending() >= policy.batch as u64
    }

    pub(super) fn over(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }

    /// The segment that entry `next` is in, to its end if another follows; `None` if there is nothing to read.
    pub(super) fn extent_of(&self, next: u64) -> Option<Extent> {
        if next >= self.extent.next {
            return None;
        }
        let after = self.segments.partition_point(|first| *first <= next);
        let segment = *self.segments.get(after.checked_sub(1)?)?;
        Some(match self.segments.get(after) {
            Some(following) => Extent {
                segment,
                len: u64::MAX,
                next: *following,
            },
            None => self.extent,
        })
    }
}

impl Shared<Row> {
    /// What a journal holds.
    pub(super) fn of_journal(name: &'static str, opened: &Opened) -> Self {
        let extent = opened.appender.extent();
        Self::new(name, extent, opened.segments.clone(), opened.mark.settled())
    }
}

impl<T> Shared<T> {
    /// Nothing yet, and what comes stays in memory, up to `capacity` items: one segment that grows.
    pub(super) fn of_memory(name: &'static str, capacity: u64) -> Self {
        let extent = Extent {
            segment: 0,
            len: 0,
            next: 0,
        };
        let shared = Self::new(name, extent, VecDeque::from([0]), 0);
        shared.lock().capacity = capacity;
        shared
    }

    fn new(name: &'static str, extent: Extent, segments: VecDeque<u64>, noted: u64) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                extent,
                segments,
                noted,
                items: VecDeque::new(),
                capacity: u64::MAX,
                name,
                accepted: extent.next - noted,
                written: 0,
                dropped: 0,
                damaged: 0,
                error: None,
                tables: VecDeque::new(),
                wakes_at: NEVER,
                flush: false,
                waiting: 0,
                begun: 0,
                failed: 0,
                deadline: None,
                ended: false,
                heard: false,
                ending: None,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    /// Each change of the state is made whole, so what a panicking thread left is sound.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more row; may wait for it.
    pub(super) fn admit(&self, full: Full) -> Result<(), SinkError> {
        let (Full::Block(limit) | Full::Drop(limit)) = full else {
            return Ok(());
        };
        let mut state = self.lock();
        while state.pending() >= limit.max(1) {
            if matches!(full, Full::Drop(_)) || state.ended {
                return Err(SinkError::Full {
                    sink: self.name,
                    pending: state.pending(),
                });
            }
            state = wait(&self.progress, state, None);
        }
        Ok(())
    }

    /// Takes items into memory, all at once: the worker finds them together.
    ///
    /// # Errors
    /// If there was no room for one, which is dropped; the others are taken.
    pub(super) fn keep(&self, items: Vec<T>) -> Result<(), SinkError> {
        let mut outcome = Ok(());
        let mut state = self.lock();
        for item in items {
            let pending = state.pending();
            state.accepted += 1;
            if pending < state.capacity.max(1) {
                state.items.push_back(item);
                state.extent.next += 1;
                continue;
            }
            let sink = self.name;
            let error = SinkError::Full { sink, pending };
            state.dropped += 1;
            state.error = Some(error.to_string());
            outcome = Err(error);
        }
        self.wake(state);
        outcome
    }

    /// The first items in memory, `limit` at most.
    pub(super) fn take(&self, limit: usize) -> Vec<T> {
        let mut state = self.lock();
        let count = limit.min(state.items.len());
        state.items.drain(..count).collect()
    }

    /// Notes a row that was taken, up to `extent`, or that could not be.
    pub(super) fn taken(&self, extent: Option<Extent>, error: Option<&SinkError>) {
        let mut state = self.lock();
        state.accepted += 1;
        if let Some(extent) = extent {
            if extent.segment != state.extent.segment {
                state.segments.push_back(extent.segment);
            }
            state.extent = extent;
        } else {
            state.dropped += 1;
            state.error = error.map(ToString::to_string);
        }
        self.wake(state);
    }

    /// Wakes the worker if it waits for what is pending by now.
    fn wake(&self, state: MutexGuard<'_, State<T>>) {
        let wakes = state.pending() >= state.wakes_at;
        drop(state);
        if wakes {
            self.work.notify_all();
        }
    }

    /// Leaves a table for the worker to show; the oldest makes room where there is none.
    pub(super) fn show(&self, table: Table) {
        let mut state = self.lock();
        let dropped = (state.tables.len() >= TABLES)
            .then(|| state.tables.pop_front())
            .flatten();
        state.tables.push_back(table);
        let idle = state.wakes_at != NEVER;
        drop(state);
        if idle {
            self.work.notify_all();
        }
        if let Some(Table { name, step, .. }) = dropped {
            tracing::debug!("the table {name} of step {step} is not shown: too many were waiting");
        }
    }

    /// Waits until nothing is pending and what is behind is flushed, by `deadline`.
    pub(super) fn flush(&self, deadline: Instant) -> Receipt {
        self.wait_until(deadline, |_| false)
    }

    /// As [`Shared::flush`], but no longer than until an attempt fails that is begun from now on, or `goes_on` says no, which is
    /// asked now and then.
    pub(super) fn attempt(&self, deadline: Instant, mut goes_on: impl FnMut() -> bool) -> Receipt {
        let before = self.lock().begun;
        loop {
            let until = deadline.min(after(LOOK));
            let receipt = self.wait_until(until, |state| state.failed > before);
            let over = Instant::now() >= deadline || self.lock().failed > before;
            if receipt.pending == 0 || over || !goes_on() {
                return receipt;
            }
        }
    }

    fn wait_until(&self, deadline: Instant, enough: impl Fn(&State<T>) -> bool) -> Receipt {
        let mut state = self.lock();
        state.flush = true;
        state.waiting += 1;
        self.work.notify_all();
        while (state.pending() > 0 || state.flush)
            && !state.ended
            && !enough(&state)
            && Instant::now() < deadline
        {
            state = wait(&self.progress, state, Some(deadline));
        }
        state.waiting -= 1;
        state.flush &= state.waiting > 0;
        state.receipt()
    }

    /// Asks for the end by `deadline`; the receipt, or `None` if the worker did not end in time.
    pub(super) fn end(&self, deadline: Instant) -> Option<Receipt> {
        let mut state = self.lock();
        state.deadline = Some(deadline);
        self.work.notify_all();
        while !state.ended && Instant::now() < deadline + GRACE {
            state = wait(&self.progress, state, Some(deadline + GRACE));
        }
        state.ended.then(|| state.receipt())
    }

    /// Asks for the end now, and does not wait for it.
    pub(super) fn stop(&self) {
        self.lock().deadline.get_or_insert_with(Instant::now);
        self.work.notify_all();
    }

    /// Waits for `time` after an attempt that failed, but only for `short` while somebody waits for another, and not beyond the
    /// end of all delivering.
    pub(super) fn pause(&self, time: Duration, short: Duration) {
        let (long, short) = (after(time), after(time.min(short)));
        let mut state = self.lock();
        state.failed = state.begun;
        self.progress.notify_all();
        loop {
            let until = if state.is_awaited() { short } else { long };
            if Instant::now() >= until || state.over() {
                return;
            }
            let until = state.deadline.map_or(until, |deadline| until.min(deadline));
            state = wait(&self.work, state, Some(until));
        }
    }
}

pub(super) fn wait<'a, T>(
    condvar: &Condvar,
    state: MutexGuard<'a, State<T>>,
    until: Option<Instant>,
) -> MutexGuard<'a, State<T>> {
    let Some(until) = until else {
        return condvar.wait(state).unwrap_or_else(PoisonError::into_inner);
    };
    let left = until.saturating_duration_since(Instant::now());
    let waited = condvar.wait_timeout(state, left);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
