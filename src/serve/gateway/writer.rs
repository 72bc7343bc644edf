//! The one thread that writes: all requests that wait for it are one transaction and one sync, and nobody hears of his before that.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::refusal::Refusal;
use super::write::Write;
use crate::store::{Sqlite, StoreError, Untogether};

/// How many requests may wait, and how many go in one transaction at most.
const WAITING: usize = 128;
const AT_ONCE: usize = 128;

/// How much may wait, in KiB of the bodies.
const WAITING_KIB: usize = 32 << 10;

type Outcome = Result<Vec<u8>, Refusal>;

/// A request on its way.
#[derive(Debug)]
struct Job {
    owner: String,
    write: Write,
    told: oneshot::Sender<Outcome>,
    /// Its part of what may wait.
    room: OwnedSemaphorePermit,
}

/// The thread that writes, as requests see it.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` at the end.
    queue: Option<Sender<Job>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it over a store that was opened at `path`.
    pub fn start(store: Sqlite, path: &Path) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(WAITING);
        let started = thread::Builder::new()
            .name("grpo-gateway".to_owned())
            .spawn(move || write(store, waiting));
        let thread = started.map_err(|error| StoreError::Backend {
            place: path.display().to_string(),
            act: "start the thread that writes to it",
            source: Box::new(error),
        })?;
        Ok(Self {
            queue: Some(queue),
            room: Arc::new(Semaphore::new(WAITING_KIB)),
            thread: Some(thread),
        })
    }

    /// Stores what a request of `bytes` writes; what its client is told. It is on the disk then.
    pub async fn store(&self, owner: &str, write: Write, bytes: usize) -> Outcome {
        let queue = self.queue.as_ref().ok_or(Refusal::Ended)?;
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib);
        let (told, outcome) = oneshot::channel();
        let job = Job {
            owner: owner.to_owned(),
            write,
            told,
            room: room.map_err(|_| Refusal::Behind)?,
        };
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Behind,
            mpsc::error::TrySendError::Closed(_) => Refusal::Ended,
        })?;
        outcome.await.unwrap_or(Err(Refusal::Ended))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(mut store: Sqlite, mut waiting: Receiver<Job>) {
    let mut jobs = Vec::with_capacity(AT_ONCE);
    while waiting.blocking_recv_many(&mut jobs, AT_ONCE) > 0 {
        // Whoever has gone will ask again, and would then have it twice.
        jobs.retain(|job| !job.told.is_closed());
        store_together(&mut store, &mut jobs);
    }
}

fn store_together(store: &mut Sqlite, jobs: &mut Vec<Job>) {
    let mut tell: Vec<(oneshot::Sender<Outcome>, Outcome)> = Vec::with_capacity(jobs.len());
    // Their room is free when all is over.
    let mut rooms = Vec::with_capacity(jobs.len());
    let stored = store.together(|store| {
        for job in jobs.drain(..) {
            let Job {
                owner,
                write,
                told,
                room,
            } = job;
            let outcome = store.each(|store| write.done(store, &owner));
            tell.push((told, outcome));
            rooms.push(room);
        }
    });
    let lost = match stored {
        Ok(()) => None,
        Err(Untogether::Unsynced(error)) => {
            tracing::error!("the gateway could not bring rows to the disk: {error}");
            Some(Refusal::Unsynced)
        }
        Err(Untogether::Undone(error)) => {
            // What undid them all was said to the one that met it.
            let outcomes = tell
                .iter()
                .filter_map(|(_, outcome)| outcome.as_ref().err());
            let met = { outcomes }.find(|refusal| refusal.is_of_the_store());
            Some(met.cloned().unwrap_or_else(|| error.into()))
        }
    };
    // Those that no transaction was begun for.
    for job in jobs.drain(..) {
        let refusal = lost.clone().unwrap_or(Refusal::Unwritable);
        let _ = job.told.send(Err(refusal));
    }
    for (told, outcome) in tell {
        let outcome = match &lost {
            // What was at fault itself stays so.
            Some(lost) => outcome.and_then(|_| Err(lost.clone())),
            None => outcome,
        };
        // Who has gone hears nothing.
        let _ = told.send(outcome);
    }
}
