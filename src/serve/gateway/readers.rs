//! Connections that only read, each lent to one question at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task;
use tokio::time::timeout;

use super::long::Long;
use super::read::Read;
use super::refusal::Refusal;
use crate::serve::answer::Answer;
use crate::sink::identity;
use crate::store::{Sqlite, StoreError};

/// How many questions are answered at once: each has a thread, of which the server has few.
const AT_ONCE: usize = 4;

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that are kept for the next question.
const KEPT: usize = 4;

/// What tells a file from another at its path.
type File = Option<(u64, u64)>;

/// Connections over the store at a path, whichever file that is by now.
#[derive(Debug)]
pub(super) struct Readers {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<(File, Sqlite)>>,
}

impl Readers {
    pub fn of(path: &Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                idle: Mutex::default(),
            }),
            free: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The answer to a question. A long one is still being read while it goes out.
    pub async fn answer(&self, read: Read) -> Result<Answer, Refusal> {
        let free = Arc::clone(&self.free).acquire_owned();
        let free = timeout(PATIENCE, free).await.map_err(|_| Refusal::Busy)?;
        let free = free.map_err(|_| Refusal::Ended)?;
        let shared = Arc::clone(&self.shared);
        let (first, begun) = oneshot::channel();
        let runtime = Handle::current();
        task::spawn_blocking(move || {
            let _free = free;
            let mut long = Long::new(runtime, first);
            let outcome = shared.lent(|store| read.tell(store, &mut long));
            long.end(outcome);
        });
        begun.await.unwrap_or(Err(Refusal::Unreadable))
    }
}

impl Shared {
    fn lent(&self, ask: impl FnOnce(&Sqlite) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let there = identity(&self.path).ok().flatten();
        let idle = {
            let mut idle = self.idle();
            idle.retain(|(file, _)| *file == there);
            idle.pop()
        };
        let (file, store) = match idle {
            Some(idle) => idle,
            None => (there, Sqlite::open_read_only(&self.path)?),
        };
        ask(&store)?;
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push((file, store));
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(File, Sqlite)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
