//! A journal that this process has, and what it found in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::super::owned::Owned;
use super::super::{Sink, SinkError};
use super::backlog::OnDisk;
use super::journal::{self, JournalError, Opened};
use super::notes::{self, Runs};
use super::options::{DurableOptions, Fsync};
use super::outlet::ToSink;
use super::shared::Shared;
use super::sync;
use super::worker::Worker;
use super::{Durable, NAME, Running};

/// What opening a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Rows that an earlier process took and did not deliver. They go first.
    pub pending: u64,
    /// Bytes of a row that was being written when the earlier process died, and that was never taken; cut off.
    pub torn_bytes: u64,
    /// Rows that an earlier process dropped for good, and did not live to say so in a receipt.
    pub dropped: u64,
    /// Why the last of them was.
    pub dropped_for: Option<String>,
}

impl Recovered {
    fn tell(&self, dir: &Path) {
        let dir = dir.display();
        if self.pending > 0 || self.torn_bytes > 0 {
            tracing::warn!(
                "journal {dir}: found {} rows that are not delivered yet, and {} bytes of a row that was never taken",
                self.pending,
                self.torn_bytes
            );
        }
        if let Some(error) = &self.dropped_for {
            let rows = self.dropped;
            tracing::warn!(
                "journal {dir}: the process before dropped {rows} rows for good: {error}"
            );
        }
    }
}

/// A journal that this process has to itself, with no sink behind it yet: where opening the sink changes something, the journal comes
/// first, as it may be another process's.
pub struct Journal {
    opened: Opened,
    dir: PathBuf,
    policy: DurableOptions,
    recovered: Recovered,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .field("recovered", &self.recovered)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Takes the journal in the folder `dir`, making it if need be.
    ///
    /// # Errors
    /// If `dir` is empty, another process uses the folder, it cannot be written, or a newer version wrote it.
    pub fn open(dir: impl AsRef<Path>, policy: DurableOptions) -> Result<Self, SinkError> {
        let dir = dir.as_ref();
        let opened = journal::open(dir, policy.segment_bytes)?;
        let dropped = notes::dropped(dir).unwrap_or_else(|error| {
            tracing::warn!(
                "journal {}: the note of dropped rows: {error}",
                dir.display()
            );
            None
        });
        let recovered = Recovered {
            pending: opened.appender.extent().next - opened.mark.settled(),
            torn_bytes: opened.torn,
            dropped: dropped.as_ref().map_or(0, |dropped| dropped.rows),
            dropped_for: dropped.map(|dropped| dropped.error),
        };
        recovered.tell(dir);
        Ok(Self {
            opened,
            dir: dir.to_owned(),
            policy,
            recovered,
        })
    }

    /// Says that all rows that it holds are of `run`, whatever is noted of them.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn all_of(self, run: &str) -> Result<Self, SinkError> {
        let noted = Runs::all_of(&self.dir, run);
        noted.map_err(journal::io_error("write beside", &self.dir))?;
        Ok(self)
    }

    /// Puts it before `sink`, and begins with what it holds.
    ///
    /// # Errors
    /// If the disk refuses, or no thread could be started.
    pub fn before(self, sink: impl Sink + 'static) -> Result<Durable, SinkError> {
        let Self {
            opened,
            dir,
            policy,
            recovered,
        } = self;
        let own = sink.run().map(str::to_owned);
        let resumed_after = sink.resumed_after();
        let next = opened.appender.extent().next;
        let noted = own.as_deref().map_or(Ok(Runs::default()), |run| {
            Runs::of(&dir)
                .unwrap_or_default()
                .and_then(&dir, run, opened.mark.settled(), next)
        });
        let runs = noted
            .and_then(|runs| notes::forget_dropped(&dir).map(|()| runs))
            .map_err(journal::io_error("write beside", &dir))?;
        let shared = Arc::new(Shared::of_journal(&opened));
        let segment = opened.appender.extent().segment;
        let backlog =
            OnDisk::new(&dir, segment, opened.mark, opened.lock, policy.fsync).of_runs(runs, own);
        let worker = Worker::new(
            Box::new(ToSink(Box::new(sink))),
            Box::new(backlog),
            &policy,
            Arc::clone(&shared),
        );
        let deliver = spawned("deliver", &dir, move || worker.run())?;
        let running = Running {
            shared: Arc::clone(&shared),
            appender: opened.appender,
            threads: vec![deliver],
        };
        let mut durable = Durable {
            running: Owned::new(running),
            dir,
            recovered,
            resumed_after,
            policy,
        };
        if let Fsync::Every(interval) = durable.policy.fsync {
            let folder = durable.dir.clone();
            let sync = move || sync::sync_every(interval, &folder, &shared);
            let thread = spawned("fsync", &durable.dir, sync)?;
            durable.running.get_mut(NAME)?.threads.push(thread);
        }
        Ok(durable)
    }
}

fn spawned(
    what: &str,
    dir: &Path,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, JournalError> {
    thread::Builder::new()
        .name(format!("grpo-{what}"))
        .spawn(body)
        .map_err(journal::io_error("start a thread for", dir))
}
