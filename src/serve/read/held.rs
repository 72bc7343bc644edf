//! The numbers of runs, kept as they were last read: what was written since is read on top of it.

mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::ReadError;
use super::names::Rewards;
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
    pub rewards: Rewards,
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
            rewards: Rewards::default(),
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
        let mut shelved = self.shelf();
        if shelved.file < file {
            shelved.file = file;
            shelved.runs.clear();
        }
        if shelved.file > file {
            return Arc::default();
        }
        let slot = Arc::clone(shelved.runs.entry(run.to_owned()).or_default());
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
        let runs = &self.shelf().runs;
        runs.values()
            .map(|slot| slot.bytes.load(Ordering::Relaxed))
            .sum()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Metrics;
    use crate::store::{RunSpec, Split, Store};

    fn name(key: &str) -> Name {
        Name {
            key: key.to_owned(),
            split: Split::Train,
        }
    }

    fn log(store: &mut Sqlite, run: &str, step: u64, value: f64) {
        let row: Metrics = ["x", "y", "z"]
            .into_iter()
            .map(|key| (key.to_owned(), value))
            .collect();
        store.log_rows(run, &[(step, &row)], Split::Train).unwrap();
    }

    #[test]
    fn what_is_read_late_at_an_earlier_moment_is_not_kept_beside_what_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let mut writer = Sqlite::open(&path).unwrap();
        writer.open_run(&RunSpec::new("a")).unwrap();
        log(&mut writer, "a", 1, 1.0);
        log(&mut writer, "a", 2, 2.0);
        let kept = Kept::of(BYTES);
        let [early, late] = [(); 2].map(|()| Sqlite::open_read_only(&path).unwrap());
        let numbers: Result<Numbers, ReadError> = early.at_one_moment(|| {
            early.key_of("a")?;
            // One row is new and one written again, and somebody else reads that before.
            log(&mut writer, "a", 3, 3.0);
            log(&mut writer, "a", 1, -1.0);
            late.at_one_moment(|| kept.numbers(&late, 1, "a", &[name("x")]))?;
            kept.numbers(&early, 1, "a", &[name("x"), name("y")])
        });
        let numbers = numbers.unwrap();
        assert_eq!(**numbers.columns[0].as_ref().unwrap(), [-1.0, 2.0, 3.0]);
        assert_eq!(numbers.columns[0], numbers.columns[1]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_not_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        let runs = ["a", "b", "c"];
        for run in runs {
            store.open_run(&RunSpec::new(run)).unwrap();
            for step in 0..100 {
                log(&mut store, run, step, step as f64);
            }
        }
        let steps: Vec<f64> = (0..100).map(f64::from).collect();
        // Of a run 3 columns and what its steps take, of the others nothing; then not even that.
        for bytes in [8 * 700, 8 * 450, 0] {
            let kept = Kept::of(bytes);
            for run in runs.into_iter().chain(runs) {
                let names = ["x", "y", "z"].map(name);
                let numbers = kept.numbers(&store, 1, run, &names).unwrap();
                for column in numbers.columns {
                    assert_eq!(*column.unwrap(), steps);
                }
                let digests = kept.digests(&store, 1, run, &names).unwrap();
                assert_eq!(digests[&name("y")], [99.0, 49.5, 0.0, 99.0]);
                assert!(kept.bytes() <= bytes, "{} of {bytes}", kept.bytes());
            }
        }
        let kept = Kept::of(BYTES);
        for run in runs {
            kept.numbers(&store, 1, run, &[name("x")]).unwrap();
        }
        assert_eq!(kept.bytes(), 3 * 8 * 400);
        // Of another file, nothing is kept.
        kept.numbers(&store, 2, "a", &[]).unwrap();
        assert_eq!(kept.bytes(), 8 * 300);
    }
}
