//! The numbers of runs, kept as they were last read: what was written since is read on top of it.

mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::ReadError;
use crate::reading::Name;
use crate::store::Sqlite;
use run::Run;
pub(super) use run::{Digest, Numbers};

/// How many bytes of numbers are kept, unless told: all of ten runs of 10,000 steps of 150 keys.
pub(super) const BYTES: usize = 160 << 20;

/// What is kept of the runs that were asked for. A run is locked while it is read; others are not.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: usize,
    shelf: Mutex<Shelf>,
    uses: AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Which file the runs are of.
    file: u64,
    runs: HashMap<String, Arc<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    run: Mutex<Run>,
    bytes: AtomicUsize,
    /// When it was last asked for: as many uses had been before.
    used: AtomicU64,
}

impl Kept {
    /// Keeps so many bytes at most, and while one run is read what that takes.
    pub fn of(bytes: usize) -> Self {
        Self {
            bytes,
            shelf: Mutex::default(),
            uses: AtomicU64::default(),
        }
    }

    /// The series of these names, as the store has them at this moment.
    pub fn numbers(
        &self,
        store: &Sqlite,
        file: u64,
        run: &str,
        names: &[Name],
    ) -> Result<Numbers, ReadError> {
        self.with(store, file, run, |held| held.numbers(store, run, names))
    }

    /// What each of these names has come to.
    pub fn digests(
        &self,
        store: &Sqlite,
        file: u64,
        run: &str,
        names: &[Name],
    ) -> Result<Arc<BTreeMap<Name, Digest>>, ReadError> {
        self.with(store, file, run, |held| {
            held.digests(store, run, names, self.bytes / 4)
        })
    }

    fn with<T>(
        &self,
        store: &Sqlite,
        file: u64,
        run: &str,
        body: impl FnOnce(&mut Run) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let slot = self.slot(file, run);
        let outcome = {
            let mut kept = slot.run.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = kept.bring_up(store, run).and_then(|()| body(&mut kept));
            if outcome.is_err() {
                // Part of it may have been read.
                *kept = Run::default();
            }
            kept.shrink(self.bytes);
            slot.bytes.store(kept.bytes(), Ordering::Relaxed);
            outcome
        };
        self.shrink();
        outcome
    }

    /// The place of a run; one of its own where a newer file is kept already.
    fn slot(&self, file: u64, run: &str) -> Arc<Slot> {
        let mut shelf = self.shelf();
        if shelf.file < file {
            shelf.file = file;
            shelf.runs.clear();
        }
        if shelf.file > file {
            return Arc::default();
        }
        let slot = Arc::clone(shelf.runs.entry(run.to_owned()).or_default());
        let nth = self.uses.fetch_add(1, Ordering::Relaxed);
        slot.used.store(nth, Ordering::Relaxed);
        slot
    }

    /// Forgets the runs that were not asked for the longest.
    fn shrink(&self) {
        let mut runs = self.shelf();
        let runs = &mut runs.runs;
        let bytes = |slot: &Arc<Slot>| slot.bytes.load(Ordering::Relaxed);
        let mut sum: usize = runs.values().map(bytes).sum();
        while sum > self.bytes {
            let oldest = runs
                .iter()
                .min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                return;
            };
            sum -= runs.remove(&id).map_or(0, |slot| bytes(&slot));
        }
    }

    /// How many bytes of numbers are kept now.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let shelf = self.shelf();
        shelf
            .runs
            .values()
            .map(|slot| slot.bytes.load(Ordering::Relaxed))
            .sum()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
