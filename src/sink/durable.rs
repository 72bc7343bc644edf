//! Sinks that take rows and deliver them behind the caller's back: from a journal on disk, or from memory.

mod backlog;
mod journal;
mod notes;
mod opened;
mod options;
mod outlet;
mod preceded;
mod queue;
mod queued;
mod shared;
mod shelf;
mod sync;
mod voice;
mod worker;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::owned::Owned;
use super::{Receipt, Sink, SinkError, after};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;
use journal::Appender;
pub(crate) use journal::Held;
pub use journal::JournalError;
use notes::Runs;
pub use opened::{Journal, Recovered};
pub use options::{DurableOptions, Fsync, Full};
pub use outlet::Outlet;
pub use preceded::Opener;
pub use queue::Queue;
pub use queued::Queued;
use shared::Shared;
pub use shelf::{Meant, Placed, Shelf};

/// The sink's name.
pub(super) const NAME: &str = "durable";

/// Puts a journal before another sink: a row is taken once it is in the journal, and a thread delivers it from there.
///
/// **Nothing is lost.** What `write` returned for is delivered, by this process or by the next that opens the same folder:
/// the process may be killed at any moment. Rows are delivered in order. What the sink behind refuses for now (a server that
/// is down, a disk that is full) is tried again, at growing intervals and without end; what it refuses for good
/// ([`SinkError::is_permanent`]) is dropped and counted, and the rest goes on.
///
/// **Nothing is there twice.** Rows are handed on at least once. What the last process may have delivered without living to
/// note it is asked for first ([`Sink::holds`]); and a store has one number for a run, step, split and name. A
/// [`Fanout`](super::Fanout) behind it is asked as a whole, so give each of several sinks a journal of its own.
///
/// **Runs do not mix.** The journal notes which run its rows are of ([`Sink::run`]). Rows that an earlier process left go to its run,
/// though the sink behind writes another by now ([`Sink::turn_to`]).
///
/// **Training does not wait.** Taking a row is one `write` to the page cache, whatever the sink behind is doing. Beyond the limit of
/// [`Full`] a row is dropped, counted and told of; so it is on a full disk, once nothing in the journal is delivered that could make
/// room for it.
///
/// At any time `accepted == written + dropped + pending`, where rows that an earlier process left count as accepted by
/// this one. One process uses a folder at a time.
pub struct Durable {
    running: Owned<Running>,
    policy: DurableOptions,
    dir: PathBuf,
    recovered: Recovered,
    resumed_after: Option<u64>,
}

struct Running {
    shared: Arc<Shared<Row>>,
    appender: Appender,
    threads: Vec<JoinHandle<()>>,
}

impl Durable {
    /// Puts the journal in the folder `dir` before `sink`, making it if need be, and begins with what it holds.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn new(sink: impl Sink + 'static, dir: impl AsRef<Path>) -> Result<Self, SinkError> {
        Self::with(sink, dir, DurableOptions::default())
    }

    /// As [`Durable::new`], with another policy.
    ///
    /// # Errors
    /// As [`Durable::new`].
    pub fn with(
        sink: impl Sink + 'static,
        dir: impl AsRef<Path>,
        policy: DurableOptions,
    ) -> Result<Self, SinkError> {
        Journal::open(dir, policy)?.before(sink)
    }

    /// What opening the journal found.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Rows of the journal that could not be read back so far; they are among the dropped.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.shared().map_or(0, |shared| shared.lock().damaged)
    }

    /// Whether there is a journal in the folder `dir`.
    #[must_use]
    pub fn is_in(dir: impl AsRef<Path>) -> bool {
        let dir = dir.as_ref();
        ["lock", "delivered"].map(|name| dir.join(name).is_file()) == [true, true]
    }

    /// The run that the newest rows of the journal in the folder `dir` belong to ([`Sink::run`]); `None` where that is not noted.
    ///
    /// # Errors
    /// If the note cannot be read.
    pub fn run_of(dir: impl AsRef<Path>) -> Result<Option<String>, SinkError> {
        let dir = dir.as_ref();
        let runs = Runs::of(dir).map_err(journal::io_error("read the run of", dir))?;
        Ok(runs.last().map(str::to_owned))
    }

    /// How many rows of the journal in the folder `dir` are not delivered yet, as far as is written there. Nothing is taken or changed: it
    /// may be in use.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn waiting_in(dir: impl AsRef<Path>) -> Result<u64, SinkError> {
        let dir = dir.as_ref();
        Ok(journal::waiting(dir).map_err(journal::io_error("read", dir))?)
    }

    /// What became of every row so far.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        match self.shared() {
            Ok(shared) => shared.lock().receipt(),
            Err(error) => Receipt::failed(NAME, &error),
        }
    }

    /// Waits until every row is delivered and flushed behind, `within` at most; what became of them.
    pub fn flush_within(&mut self, within: Duration) -> Receipt {
        match self.shared() {
            Ok(shared) => shared.flush(after(within)),
            Err(error) => Receipt::failed(NAME, &error),
        }
    }

    fn shared(&self) -> Result<&Shared<Row>, SinkError> {
        Ok(&self.running.get(NAME)?.shared)
    }

    /// Ends delivery by `deadline`. A thread that is caught in the sink behind ends when that lets go of it.
    ///
    /// # Errors
    /// In another process than the one that made it, or where it has ended.
    fn end(&mut self, deadline: Instant) -> Result<Receipt, SinkError> {
        let Running {
            shared,
            appender,
            threads,
        } = self.running.take(NAME)?;
        let receipt = shared.end(deadline);
        for thread in threads {
            if thread.is_finished() || receipt.is_some() {
                // It answers for nothing that is not in the receipt.
                let _ = thread.join();
            }
        }
        let receipt = receipt.unwrap_or_else(|| shared.lock().receipt());
        let ending = shared.lock().ending.clone();
        if let Some(ending) =
            ending.filter(|ending| receipt.pending > 0 && ending.status.is_final())
            && let Err(error) = notes::note_ended(&self.dir, &ending)
        {
            let error = journal::io_error("note how the run ended beside", &self.dir)(error);
            tracing::warn!("{error}");
        }
        if receipt.pending > 0
            && self.policy.fsync != Fsync::Never
            && let Err(error) = appender.sync()
        {
            tracing::warn!("{error}");
        }
        Ok(receipt)
    }
}

impl Sink for Durable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn resumed_after(&self) -> Option<u64> {
        self.resumed_after
    }

    /// Takes the row: it will be delivered, though perhaps by the next process.
    ///
    /// # Errors
    /// If the disk refuses the journal, or [`Full::Drop`] the row. The row is then dropped.
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let Running {
            shared, appender, ..
        } = self.running.get_mut(NAME)?;
        let admitted = shared.admit(self.policy.full);
        let outcome = admitted.and_then(|()| Ok(appender.append(row, || shared.lock().noted)?));
        // The row is in the journal: if the disk cannot promise more than that, it is told, and delivered all the same.
        let synced = match (&outcome, self.policy.fsync) {
            (Ok(_), Fsync::Each) => appender.sync(),
            _ => Ok(()),
        };
        shared.taken(outcome.as_ref().ok().copied(), outcome.as_ref().err());
        outcome.map(drop)?;
        if let Err(error) = &synced {
            shared.lock().error = Some(error.to_string());
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// Leaves the table to the thread that delivers, which shows it once no row is waiting. It is in no journal: what is not shown
    /// when the process ends, and the oldest where more than eight wait, is never shown.
    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.shared()?.show(table.clone());
        Ok(())
    }

    /// Waits until every row is delivered and flushed behind, [`DurableOptions::patience`] at most.
    ///
    /// # Errors
    /// If rows are still pending then; they stay in the journal and are tried on.
    fn flush(&mut self) -> Result<(), SinkError> {
        let receipt = self.shared()?.flush(after(self.policy.patience));
        receipt.delivered(NAME)
    }

    /// Kept until the last row is delivered, when the sink behind is told. Where rows stay, it stays noted beside them, for whoever
    /// delivers them; who goes on with the run forgets it.
    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.shared()?.lock().ending = Some(ending.clone());
        if ending.status.is_final() {
            // Now, as this process may not live to find that rows stay; what fails here is told then.
            let _ = notes::note_ended(&self.dir, ending);
        }
        Ok(())
    }

    /// Delivers what is waiting, [`DurableOptions::patience`] at most, and closes the sink behind if all of it was delivered. What
    /// is pending then waits in the journal for the next process.
    fn close(self: Box<Self>) -> Receipt {
        let deadline = after(self.policy.patience);
        self.close_by(deadline)
    }

    fn close_by(mut self: Box<Self>, deadline: Instant) -> Receipt {
        if let Ok(shared) = self.shared() {
            shared.lock().heard = true;
        }
        let ended = self.end(deadline);
        ended.unwrap_or_else(|error| Receipt::failed(NAME, &error))
    }
}

/// One that is not closed leaves what is waiting to the next process, and the run as it stands.
impl Drop for Durable {
    fn drop(&mut self) {
        if let Ok(shared) = self.shared() {
            shared.lock().ending.get_or_insert_with(Ending::open);
            // Nobody is left to read the receipt.
            let _ = self.end(Instant::now());
        }
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("dir", &self.dir)
            .field("receipt", &self.receipt())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;

    /// What a forked child has of it: the memory, and none of the threads.
    #[test]
    fn a_child_of_the_process_that_opened_them_writes_delivers_and_waits_for_nothing() {
        let since = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new();
        let mut durable = Durable::new(memory.clone(), dir.path()).unwrap();
        durable.running = Owned::inherited(durable.running.take(NAME).unwrap());
        let mut queued = Queued::new(memory.clone()).unwrap();
        queued.inherit();
        let sinks: [Box<dyn Sink>; 2] = [Box::new(durable), Box::new(queued)];
        for mut sink in sinks {
            let refused = [
                sink.write(&Row::default()),
                sink.flush(),
                sink.ended(&Ending::completed()),
            ];
            for outcome in refused {
                assert!(matches!(outcome, Err(SinkError::Inherited { .. })));
            }
            let receipt = sink.close();
            assert_eq!((receipt.accepted, receipt.dropped), (0, 0));
            assert!(receipt.error.unwrap().contains("forked"));
        }
        // Neither the patience of the one, 10 s, nor that of the other, 30 s.
        assert!(since.elapsed() < Duration::from_secs(8));
        assert!(memory.rows().is_empty());
        // And what the parent has is still the parent's.
        let error = Durable::new(Memory::new(), dir.path()).unwrap_err();
        assert!(
            matches!(error, SinkError::Journal(JournalError::InUse { .. })),
            "{error}"
        );
    }
}
