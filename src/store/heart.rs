//! The sign of life of a run that is being written, so that one whose writer was killed is not taken for a running one.

use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Store;

/// How often a run gives a sign.
const BEAT: Duration = Duration::from_secs(15);

/// A store that a writer and a heart have together.
pub(super) type Shared = Arc<Mutex<Box<dyn Store>>>;

/// Notes every 15 s that the writer of a run is alive, on a thread of its own, until it is dropped.
///
/// A forked child has no such thread, and what it has of this one's does nothing.
pub(super) struct Heart {
    beating: Arc<Beating>,
    /// `None` where there is nothing to note.
    thread: Option<JoinHandle<()>>,
    process: u32,
}

struct Beating {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Heart {
    /// One that does not beat.
    pub fn still() -> Self {
        Self {
            beating: Arc::new(Beating {
                stopped: Mutex::new(false),
                told: Condvar::new(),
            }),
            thread: None,
            process: process::id(),
        }
    }

    /// Gives the first sign at once; one that does not beat where the store notes none, or no thread could be started.
    pub fn of(store: &Shared, run_id: &str) -> Self {
        Self::beating(store, run_id, BEAT)
    }

    fn beating(store: &Shared, run_id: &str, every: Duration) -> Self {
        let mut heart = Self::still();
        if !beat(&mut lock(store), run_id) {
            return heart;
        }
        let (beating, store, run_id) = (
            Arc::clone(&heart.beating),
            Arc::clone(store),
            run_id.to_owned(),
        );
        let started = thread::Builder::new()
            .name("grpo-heart".to_owned())
            .spawn(move || beating.beat(&store, &run_id, every));
        match started {
            Ok(thread) => heart.thread = Some(thread),
            Err(error) => tracing::warn!(
                "no thread could be started that says that the run goes on, so it will seem to have stopped: {error}"
            ),
        }
        heart
    }
}

impl Beating {
    fn beat(&self, store: &Shared, run_id: &str, every: Duration) {
        let mut due = Instant::now() + every;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(stopped);
                beat(&mut lock(store), run_id);
                due = Instant::now() + every;
                stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.told.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether the store notes signs of life. One that cannot be noted now is not worth a word: the next comes soon.
fn beat(store: &mut Box<dyn Store>, run_id: &str) -> bool {
    store.touch_run(run_id).unwrap_or(true)
}

/// What a panicking thread left of a store is what its last transaction left.
pub(super) fn lock(store: &Shared) -> MutexGuard<'_, Box<dyn Store>> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Heart {
    fn drop(&mut self) {
        if self.process != process::id() {
            // The thread is the parent's, and so is whoever holds these locks.
            std::mem::forget(self.thread.take());
            return;
        }
        let stopped = self.beating.stopped.lock();
        *stopped.unwrap_or_else(PoisonError::into_inner) = true;
        self.beating.told.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::store::{RunSpec, Sqlite};

    /// A store with a run, and what somebody else sees of its last sign.
    fn scene() -> (tempfile::TempDir, Shared, impl Fn() -> Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let mut store = Sqlite::open(&path).unwrap();
        store.open_run(&RunSpec::new("r")).unwrap();
        let store: Shared = Arc::new(Mutex::new(Box::new(store)));
        let seen = move || {
            let store = Sqlite::open_read_only(&path).ok()?;
            store.overview().ok()?.pop()?.seen_at
        };
        (dir, store, seen)
    }

    fn soon(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !what() {
            assert!(Instant::now() < deadline, "it did not come");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_heart_beats_until_it_is_dropped() {
        let (_dir, store, seen) = scene();
        assert_eq!(seen(), None);
        let heart = Heart::beating(&store, "r", Duration::from_millis(5));
        let first = seen();
        assert!(first.is_some());
        soon(|| seen() > first);
        drop(heart);
        let last = seen();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(seen(), last);
        assert_eq!(Arc::strong_count(&store), 1, "its thread is gone");
    }

    #[test]
    fn a_store_that_was_deleted_is_not_made_again_by_a_heart() {
        let (dir, store, _) = scene();
        let _heart = Heart::beating(&store, "r", Duration::from_millis(5));
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(dir.path().join(format!("runs.db{suffix}"))).unwrap();
        }
        thread::sleep(Duration::from_millis(100));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_heart_that_another_process_has_is_neither_stopped_nor_waited_for() {
        let (_dir, store, seen) = scene();
        let mut heart = Heart::beating(&store, "r", Duration::from_millis(5));
        heart.process += 1; // as a forked child has it
        drop(heart);
        let then = seen();
        soon(|| seen() > then);
    }

    #[test]
    fn a_sign_waits_for_no_other_writer() {
        let (dir, store, _) = scene();
        let other = rusqlite::Connection::open(dir.path().join("runs.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let since = Instant::now();
        assert!(lock(&store).touch_run("r").is_err());
        // A row waits 30 s for its turn.
        assert!(since.elapsed() < Duration::from_secs(10));
        other.execute_batch("COMMIT").unwrap();
        assert!(lock(&store).touch_run("r").unwrap());
    }
}
