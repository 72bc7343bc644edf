//! The thread that delivers.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::super::fanout::said;
use super::super::{Delivery, SinkError, chance};
use super::backlog::Backlog;
use super::journal::{Extent, Item};
use super::options::{DurableOptions, Fsync};
use super::outlet::Outlet;
use super::shared::{NEVER, Shared, wait};
use super::voice::Voice;
use crate::row::table::Table;

/// Delivers what waits.
pub(super) struct Worker<T> {
    outlet: Box<dyn Outlet<T>>,
    backlog: Box<dyn Backlog<T>>,
    policy: DurableOptions,
    shared: Arc<Shared<T>>,
    voice: Voice,
    /// The run that the outlet was last turned to, where it was another's than its own.
    turned_to: Option<String>,
    /// Whether the next items may have been delivered by an earlier process.
    in_doubt: bool,
    /// Whether items go one by one, to find the one that makes the outlet panic.
    one_by_one: bool,
    /// How often the outlet failed since it last took something.
    failures: u32,
    /// When items were last handed on.
    delivered: Option<Instant>,
    /// When the outlet was last flushed, and whether it took something since.
    flushed: Instant,
    unflushed: bool,
}

impl<T> Worker<T> {
    pub(super) fn new(
        outlet: Box<dyn Outlet<T>>,
        backlog: Box<dyn Backlog<T>>,
        policy: &DurableOptions,
        shared: Arc<Shared<T>>,
    ) -> Self {
        let pending = shared.lock().pending();
        Self {
            voice: Voice::of(outlet.name()),
            outlet,
            backlog,
            policy: policy.clone(),
            turned_to: None,
            in_doubt: pending > 0,
            shared,
            one_by_one: false,
            failures: 0,
            delivered: None,
            flushed: Instant::now(),
            unflushed: false,
        }
    }

    pub(super) fn run(mut self) {
        while let Some(extent) = self.await_work() {
            let limit = self.policy.batch.max(1);
            match self.backlog.read(&self.shared, extent, limit) {
                Ok(items) => self.deliver(items),
                Err(error) => self.failed(&error),
            }
        }
        self.finish();
    }

    /// The part of what waits to read next; `None` when it is time to end. With no row to deliver it shows the tables that wait, and
    /// flushes the sink behind when that is asked for.
    fn await_work(&mut self) -> Option<Extent> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if state.over() {
                return None;
            }
            if let Some(extent) = state.extent_of(self.backlog.next()) {
                if let Some(at) = self.delivered
                    && !state.hurries(&self.policy)
                {
                    // A time that no clock reaches is waited for until something else wakes.
                    let due = at.checked_add(self.policy.pace);
                    if due.is_none_or(|due| due > Instant::now()) {
                        state.wakes_at = self.policy.batch as u64;
                        state = wait(&shared.work, state, due);
                        state.wakes_at = NEVER;
                        continue;
                    }
                }
                self.delivered = Some(Instant::now());
                return Some(extent);
            }
            if let Some(table) = state.tables.pop_front() {
                drop(state);
                self.show(&table);
                state = shared.lock();
                continue;
            }
            if state.deadline.is_some() {
                return None;
            }
            let due = self.flush_due();
            if state.flush || due.is_some_and(|due| due <= Instant::now()) {
                drop(state);
                self.flush();
                state = shared.lock();
                // A row that came meanwhile goes first.
                state.flush &= state.pending() > 0;
                shared.progress.notify_all();
                continue;
            }
            state.wakes_at = 1;
            state = wait(&shared.work, state, due);
            state.wakes_at = NEVER;
        }
    }

    /// When what the sink behind took should be brought to the disk.
    fn flush_due(&self) -> Option<Instant> {
        match self.policy.fsync {
            Fsync::Every(interval) if self.unflushed => self.flushed.checked_add(interval),
            _ => None,
        }
    }

    fn show(&mut self, table: &Table) {
        let outlet = self.outlet.as_mut();
        if let Err(error) = guarded(self.shared.name, || outlet.show(table)).unwrap_or_else(Err) {
            self.told(&error);
        }
    }

    fn flush(&mut self) {
        let outlet = self.outlet.as_mut();
        let outcome = guarded(self.shared.name, || outlet.flush()).unwrap_or_else(Err);
        if let Err(error) = outcome {
            self.told(&error);
        }
        (self.flushed, self.unflushed) = (Instant::now(), false);
    }

    /// Turns the outlet to the run of the items that were read last; false if the time was over before that.
    ///
    /// # Errors
    /// If the outlet will never turn to it.
    fn turn(&mut self) -> Result<bool, SinkError> {
        let run = self.backlog.run().map(str::to_owned);
        while run != self.turned_to {
            {
                let mut state = self.shared.lock();
                if state.over() {
                    return Ok(false);
                }
                state.begun += 1;
            }
            let outlet = self.outlet.as_mut();
            let turned = guarded(self.shared.name, || outlet.turn_to(run.as_deref()));
            match turned.unwrap_or_else(Err) {
                Ok(()) => self.turned_to.clone_from(&run),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => self.failed(&error),
            }
        }
        Ok(true)
    }

    /// Hands items on, in order, until all are settled or the time is over.
    fn deliver(&mut self, found: Vec<Item<T>>) {
        match self.turn() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.refused(&found, error),
        }
        let mut items = Vec::with_capacity(found.len());
        for item in found {
            match item {
                Item::Whole(item) => items.push(item),
                Item::Lost(count) => {
                    if !self.hand_on(&items) {
                        return;
                    }
                    items.clear();
                    self.lost(count);
                }
            }
        }
        self.hand_on(&items);
    }

    /// Drops items whose run the outlet will never take, so that they do not stand in the way of those behind them.
    fn refused(&mut self, found: &[Item<T>], error: SinkError) {
        let mut whole = 0;
        for item in found {
            match item {
                Item::Whole(_) => whole += 1,
                Item::Lost(count) => self.lost(*count),
            }
        }
        self.settle(&Delivery {
            dropped: whole,
            error: Some(error),
            ..Delivery::default()
        });
    }

    /// Hands items on until all are settled; false if the time was over before that.
    fn hand_on(&mut self, items: &[T]) -> bool {
        let mut left = items;
        while let Some(first) = left.first() {
            {
                let mut state = self.shared.lock();
                if state.over() {
                    return false;
                }
                state.begun += 1;
            }
            let delivery = if self.in_doubt {
                self.ask(first)
            } else {
                self.hand_over(left)
            };
            let settled = delivery.written + delivery.dropped;
            left = left.get(settled..).unwrap_or(&[]);
            if settled > 0 {
                self.failures = 0;
                self.voice.works();
            }
            self.settle(&delivery);
            match &delivery.error {
                Some(error) if !left.is_empty() => self.failed(error),
                Some(error) if delivery.dropped == 0 => self.told(error),
                _ => {}
            }
        }
        true
    }

    /// Asks whether the item is there already: then it counts as written. The first that is not ends all doubt, as they
    /// are delivered in order.
    fn ask(&mut self, item: &T) -> Delivery {
        let outlet = self.outlet.as_mut();
        match guarded(self.shared.name, || outlet.holds(item)).unwrap_or_else(Err) {
            Ok(held) => {
                self.in_doubt = held;
                Delivery {
                    written: usize::from(held),
                    ..Delivery::default()
                }
            }
            Err(error) => {
                // What cannot be asked for good cannot stay in doubt for good.
                self.in_doubt = !error.is_permanent();
                Delivery {
                    error: Some(error),
                    ..Delivery::default()
                }
            }
        }
    }

    fn hand_over(&mut self, items: &[T]) -> Delivery {
        let items = if self.one_by_one { &items[..1] } else { items };
        let outlet = self.outlet.as_mut();
        let delivery =
            guarded(self.shared.name, || outlet.take(items)).unwrap_or_else(|error| Delivery {
                // One item that makes the outlet panic must not stand in the way of all others.
                dropped: usize::from(items.len() == 1),
                error: Some(error),
                ..Delivery::default()
            });
        self.one_by_one =
            matches!(delivery.error, Some(SinkError::Panicked { .. })) && delivery.dropped == 0;
        self.unflushed |= delivery.written > 0;
        if self.policy.fsync == Fsync::Each && self.unflushed {
            self.flush();
        }
        delivery
    }

    fn lost(&mut self, count: u64) {
        self.shared.lock().damaged += count;
        self.drop_for_good(count, &self.backlog.damaged(count).to_string());
        self.advance(0, count);
    }

    fn settle(&mut self, delivery: &Delivery) {
        if delivery.dropped > 0 {
            let error = delivery.error.as_ref().map(ToString::to_string);
            self.drop_for_good(delivery.dropped as u64, &error.unwrap_or_default());
        }
        self.advance(delivery.written as u64, delivery.dropped as u64);
    }

    /// Tells of rows that are lost, and notes them for the next process: before they count as settled, as this one may die.
    fn drop_for_good(&mut self, rows: u64, error: &str) {
        self.voice.dropped(rows, error);
        self.shared.lock().error = Some(error.to_owned());
        if let Err(error) = self.backlog.note_dropped(rows, error) {
            self.told(&error);
        }
    }

    /// Notes, on the disk and to the caller, that so many more entries are done with; removes the segments that are.
    fn advance(&mut self, written: u64, dropped: u64) {
        if written + dropped == 0 {
            return;
        }
        let (settled, noted) = self.backlog.advance(written + dropped);
        if let Err(error) = &noted {
            self.told(error);
        }
        let finished: Vec<u64> = {
            let mut state = self.shared.lock();
            if noted.is_ok() {
                state.noted = settled;
            }
            state.written += written;
            state.dropped += dropped;
            let segments = &mut state.segments;
            let current = segments.partition_point(|first| *first <= settled);
            segments.drain(..current.saturating_sub(1)).collect()
        };
        self.shared.progress.notify_all();
        for first in finished {
            if let Err(error) = self.backlog.remove(first) {
                tracing::warn!("{error}");
            }
        }
    }

    /// Tells of an error, and waits the longer the more often there was one. Chance takes up to half of the wait off, so that the
    /// many that one outage has stopped do not all come back at once.
    fn failed(&mut self, error: &SinkError) {
        let pending = {
            let mut state = self.shared.lock();
            state.error = Some(error.to_string());
            state.pending()
        };
        self.voice.failed(error, pending);
        let (first, longest) = self.policy.backoff;
        let wait = first
            .saturating_mul(1 << self.failures.min(20))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        let share = chance() as f64 / u64::MAX as f64;
        let share = 1.0 - share / 2.0;
        self.shared.pause(wait.mul_f64(share), first.mul_f64(share));
    }

    fn told(&mut self, error: &SinkError) {
        self.voice.otherwise(error);
        self.shared.lock().error = Some(error.to_string());
    }

    /// Closes the sink behind if it has everything; a journal that holds nothing any more is emptied.
    fn finish(mut self) {
        self.voice.end();
        let (pending, heard) = {
            let state = self.shared.lock();
            (state.pending(), state.heard)
        };
        if pending == 0 {
            let outlet = self.outlet;
            let ending = self.shared.lock().ending.take();
            let closed = guarded(self.shared.name, || outlet.close(ending));
            let error = closed.unwrap_or_else(|error| Some(error.to_string()));
            let segments = {
                let mut state = self.shared.lock();
                state.error = state.error.take().or(error);
                std::mem::take(&mut state.segments)
            };
            self.backlog.clear(segments);
        } else {
            // Not flushed: what is pending says that the sink behind is not in a state to answer.
            drop(self.outlet);
        }
        self.backlog.leave(pending == 0, heard);
        // With it goes the lock of the journal, before anybody hears that this has ended.
        drop(self.backlog);
        self.shared.lock().ended = true;
        self.shared.progress.notify_all();
    }
}

/// The outer error is the sink's panic.
fn guarded<T>(name: &'static str, act: impl FnOnce() -> T) -> Result<T, SinkError> {
    panic::catch_unwind(AssertUnwindSafe(act)).map_err(|payload| SinkError::Panicked {
        sink: name,
        reason: said(payload.as_ref()),
    })
}
