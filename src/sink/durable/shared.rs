//! What the thread that takes rows and the thread that delivers them know of each other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Receipt, SinkError, after};
use super::NAME;
use super::journal::{Extent, Opened};
use super::policy::{DurableOptions, Full};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Tables that wait to be shown at most. They are for the eye, and a later one says more than an earlier one.
const TABLES: usize = 8;

/// No number of pending rows wakes the worker.
pub(super) const NEVER: u64 = u64::MAX;

/// A thread that ends on time needs a moment to say so.
const GRACE: Duration = Duration::from_millis(500);

/// What the caller and the worker know of each other; held for moments, never over a read, a write or a wait for either.
pub(super) struct Shared {
    /// What the sink is called in receipts and errors.
    pub(super) name: &'static str,
    state: Mutex<State>,
    /// There is something to deliver, or to stop for.
    pub(super) work: Condvar,
    /// Something was delivered, or the worker ended.
    pub(super) progress: Condvar,
}

pub(super) struct State {
    /// Where the journal ends, and the segments it consists of, the oldest first.
    pub(super) extent: Extent,
    pub(super) segments: VecDeque<u64>,
    /// The first entry that the mark on the disk does not count as settled.
    pub(super) noted: u64,
    /// The rows themselves, where they wait in memory alone.
    rows: VecDeque<Row>,
    name: &'static str,
    accepted: u64,
    pub(super) written: u64,
    pub(super) dropped: u64,
    /// Those of them that could not be read back.
    pub(super) damaged: u64,
    pub(super) error: Option<String>,
    /// What is to be shown once nothing is pending; the oldest first.
    pub(super) tables: VecDeque<Table>,
    /// How many rows have to be pending for the worker to be woken, as waking costs the caller more than writing: one where
    /// it has nothing to do, [`NEVER`] where it has.
    pub(super) wakes_at: u64,
    /// Whether the sink behind is to be flushed once nothing is pending.
    pub(super) flush: bool,
    /// Until when there is to be delivered, once the end is asked for.
    pub(super) deadline: Option<Instant>,
    pub(super) ended: bool,
    /// Whether the caller hears what became of the rows.
    pub(super) heard: bool,
    /// How the run ended, once that is known.
    pub(super) ending: Option<Ending>,
}

impl State {
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

    /// Whether what is waiting is to be delivered at once.
    pub(super) fn hurries(&self, policy: &DurableOptions) -> bool {
        self.flush
            || self.deadline.is_some()
            || policy.full != Full::Spill
            || self.pending() >= policy.batch as u64
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

impl Shared {
    /// What a journal holds.
    pub(super) fn of_journal(opened: &Opened) -> Self {
        let extent = opened.appender.extent();
        Self::new(NAME, extent, opened.segments.clone(), opened.mark.settled())
    }

    /// Nothing yet, and what comes stays in memory: one segment that grows.
    pub(super) fn of_memory(name: &'static str) -> Self {
        let extent = Extent {
            segment: 0,
            len: 0,
            next: 0,
        };
        Self::new(name, extent, VecDeque::from([0]), 0)
    }

    fn new(name: &'static str, extent: Extent, segments: VecDeque<u64>, noted: u64) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                extent,
                segments,
                noted,
                rows: VecDeque::new(),
                name,
                accepted: extent.next - noted,
                written: 0,
                dropped: 0,
                damaged: 0,
                error: None,
                tables: VecDeque::new(),
                wakes_at: NEVER,
                flush: false,
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
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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

    /// Takes a row into memory.
    pub(super) fn keep(&self, row: Row) {
        let extent = {
            let mut state = self.lock();
            state.rows.push_back(row);
            Extent {
                next: state.extent.next + 1,
                ..state.extent
            }
        };
        self.taken(Some(extent), None);
    }

    /// The first rows in memory, `limit` at most.
    pub(super) fn take(&self, limit: usize) -> Vec<Row> {
        let mut state = self.lock();
        let count = limit.min(state.rows.len());
        state.rows.drain(..count).collect()
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

    pub(super) fn flush(&self, deadline: Instant) -> Receipt {
        let mut state = self.lock();
        state.flush = true;
        self.work.notify_all();
        while (state.pending() > 0 || state.flush) && !state.ended && Instant::now() < deadline {
            state = wait(&self.progress, state, Some(deadline));
        }
        state.flush = false;
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

    /// Waits for `time`, or for the end of all delivering.
    pub(super) fn pause(&self, time: Duration) {
        let until = after(time);
        let mut state = self.lock();
        while Instant::now() < until && !state.over() {
            let until = state.deadline.map_or(until, |deadline| until.min(deadline));
            state = wait(&self.work, state, Some(until));
        }
    }
}

pub(super) fn wait<'a>(
    condvar: &Condvar,
    state: MutexGuard<'a, State>,
    until: Option<Instant>,
) -> MutexGuard<'a, State> {
    let Some(until) = until else {
        return condvar.wait(state).unwrap_or_else(PoisonError::into_inner);
    };
    let left = until.saturating_duration_since(Instant::now());
    let waited = condvar.wait_timeout(state, left);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
