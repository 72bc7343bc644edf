//! A journal that this process has, and what it found in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::super::owned::Owned;
use super::super::{Receipt, Sink, SinkError, after};
use super::backlog::OnDisk;
use super::journal::{self, Appender, JournalError, Opened};
use super::notes::{self, Runs};
use super::options::{DurableOptions, Fsync};
use super::outlet::{Outlet, ToSink};
use super::shared::Shared;
use super::sync;
use super::worker::Worker;
use super::{Durable, NAME, Running};
use crate::row::Row;
use crate::row::run::Ending;

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
    pub(super) fn tell(&self, dir: &Path) {
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
    ending: Option<Ending>,
    passing: bool,
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
        let journal = Self::found(dir, policy)?;
        journal.recovered.tell(&journal.dir);
        Ok(journal)
    }

    /// As [`Journal::open`], of one that may be let go of again: nothing is said of what it holds.
    pub(super) fn found(dir: impl AsRef<Path>, policy: DurableOptions) -> Result<Self, SinkError> {
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
        Ok(Self {
            opened,
            dir: dir.to_owned(),
            policy,
            recovered,
            ending: notes::ended(dir).unwrap_or_default(),
            passing: false,
        })
    }

    /// Has the folder removed once everything in it is delivered, and the two above it where nothing else is in them.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.passing = true;
        self
    }

    /// The folder that it is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What opening it found.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// How the run ended whose last rows are still here, where the earlier process lived to say so. Whoever delivers them, and does not
    /// go on with the run, hands this to [`Sink::ended`].
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Notes where the rows are meant to go, for whoever finds them.
    pub(super) fn meant_for(self, place: Option<&str>) -> Result<Self, SinkError> {
        let noted = notes::note_meant(&self.dir, place);
        noted.map_err(journal::io_error("write beside", &self.dir))?;
        Ok(self)
    }

    /// Lets go of it, and removes it if it holds nothing.
    pub(super) fn remove(self) {
        if self.recovered.pending == 0 {
            let segments = self.opened.segments;
            if segments
                .iter()
                .all(|first| journal::remove(&self.dir, *first).is_ok())
            {
                let _ = notes::forget_dropped(&self.dir);
                notes::remove_journal(&self.dir);
            }
        }
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
        let runs = self.taken_over(sink.run())?;
        self.start(NAME, Box::new(sink), runs)
    }

    /// Which runs its rows are of once rows of `run` come; what was noted of the process before is forgotten.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn taken_over(&self, run: Option<&str>) -> Result<Runs, SinkError> {
        let next = self.opened.appender.extent().next;
        let noted = run.map_or(Ok(Runs::default()), |run| {
            let runs = Runs::of(&self.dir).unwrap_or_default();
            runs.and_then(&self.dir, run, self.opened.mark.settled(), next)
        });
        let noted = noted.and_then(|runs| {
            notes::forget_dropped(&self.dir)?;
            notes::forget_ended(&self.dir)?;
            Ok(runs)
        });
        Ok(noted.map_err(journal::io_error("write beside", &self.dir))?)
    }

    /// Begins to deliver to `sink`; it is called `name` in receipts.
    ///
    /// # Errors
    /// If no thread could be started.
    pub(super) fn start(
        self,
        name: &'static str,
        sink: Box<dyn Sink>,
        runs: Runs,
    ) -> Result<Durable, SinkError> {
        let own = sink.run().map(str::to_owned);
        let resumed_after = sink.resumed_after();
        let Begun {
            worker,
            shared,
            appender,
            dir,
            policy,
            recovered,
        } = self.begin(name, Box::new(ToSink(sink)), runs, own);
        let deliver = spawned("deliver", &dir, move || worker.run())?;
        let running = Running {
            shared: Arc::clone(&shared),
            appender,
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

    /// Delivers what it holds on this thread, for as long as the policy's patience is at most. What cannot be delivered by then stays.
    pub(super) fn deliver(self, outlet: Box<dyn Outlet<Row>>) -> Receipt {
        let runs = Runs::of(&self.dir).unwrap_or_default();
        let ending = self.ending.clone().unwrap_or_else(Ending::open);
        let deadline = after(self.policy.patience);
        let begun = self.begin(NAME, outlet, runs, None);
        {
            let mut state = begun.shared.lock();
            (state.deadline, state.ending, state.heard) = (Some(deadline), Some(ending), true);
        }
        begun.worker.run();
        begun.shared.lock().receipt()
    }

    fn begin(
        self,
        name: &'static str,
        outlet: Box<dyn Outlet<Row>>,
        runs: Runs,
        own: Option<String>,
    ) -> Begun {
        let Self {
            opened,
            dir,
            policy,
            recovered,
            passing,
            ..
        } = self;
        let shared = Arc::new(Shared::of_journal(name, &opened));
        let segment = opened.appender.extent().segment;
        let backlog = OnDisk::new(&dir, segment, opened.mark, opened.lock, policy.fsync)
            .of_runs(runs, own)
            .passing(passing);
        let worker = Worker::new(outlet, Box::new(backlog), &policy, Arc::clone(&shared));
        Begun {
            worker,
            shared,
            appender: opened.appender,
            dir,
            policy,
            recovered,
        }
    }
}

/// What delivers a journal, before it does.
struct Begun {
    worker: Worker<Row>,
    shared: Arc<Shared<Row>>,
    appender: Appender,
    dir: PathBuf,
    policy: DurableOptions,
    recovered: Recovered,
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
