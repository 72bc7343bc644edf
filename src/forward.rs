//! Forwards a metrics file to a store: what a training wrote beside itself, row by row, and each row once.

mod ledger;
mod place;
mod row;
mod session;
mod source;
mod state;
mod trail;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::row::Row;
use crate::store::{Logged, Split, Store, StoreError};
use ledger::Ledger;
use place::{find_below, find_near};
pub use row::Skip;
use session::Session;

/// What the metrics file is called where nobody says otherwise.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// How often a follower tries again what the store refused.
const RESEND_EVERY: Duration = Duration::from_secs(30);

/// How many rows a store is handed at once, which takes any number.
pub(crate) const BATCH: usize = 256;

/// What to forward, and for whom.
///
/// A file is lines of JSON, or a trainer's state: one JSON text with its rows in a list called `log_history` (as transformers'
/// `trainer_state.json` has them), or that list by itself. Of a state that is written anew, the rows that it has more are sent.
///
/// A line has its numbers in an object called `metrics`, in one called `data` (as verl's file logger writes), or beside its step.
/// The rows of a line are those of its numbers whose keys begin `val/` (split val) and of all others (split train): a call
/// of the store each. A row that the store refuses is kept beside the file and sent again by the next forward.
///
/// How far it came is in `.<file>.<16 hex digits>.forwarded.json` beside the metrics file, one for each store and run, with
/// hashes of what was read. It is written after every batch that the store took, so that a crash sends no more than one batch
/// twice; a store replaces a metric that comes again. One that is damaged is set aside. While a forward is at it, another of the same
/// file, store and run is refused.
///
/// Of a file that was rotated the rest is read first, whether it was moved aside (to any name in the folder), copied and
/// truncated, or gzipped; then, the oldest first, each that came after it and was rotated too: those with a number or a date
/// behind the file's name or before its extension. What is in none of them is [`Gone`], which is told and counted.
#[derive(Clone, Debug)]
pub struct Forward {
    run_dir: PathBuf,
    file: String,
    store_name: String,
    run_id: String,
    batch: usize,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// Rows that the store took: calls, of which a line with both splits is two.
    pub sent: u64,
    /// Lines that are no row.
    pub skipped: u64,
    /// Rows that the store refused; they are kept.
    pub failed: u64,
    /// Numbers that were NaN, which a store leaves out.
    pub nan: u64,
    /// Values that are no numbers (texts, lists, objects), or stand beside the object that holds a row's metrics.
    pub left_out: u64,
    /// How often a file was gone, or damaged, before all of it was read; how many rows that were nobody knows.
    pub gone: u64,
    /// Whether the file ends in half a line, which is left for the next forward.
    pub torn: bool,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// A line is no row.
    Skipped {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'a Skip,
    },
    /// A value of a row goes to no store.
    LeftOut {
        /// The line, from 1.
        line: u64,
        /// The row's step.
        step: u64,
        /// The value's key.
        key: &'a str,
        /// What it is: `NaN`, `a text`, `an array`, `an object`, or `beside the metrics`.
        found: &'static str,
    },
    /// The store refused a row, which is kept.
    Failed {
        /// The line of the metrics file that the row is from, from 1; for a row that was kept, in the file that was
        /// read then.
        line: u64,
        /// Why the store refused it.
        error: &'a StoreError,
    },
    /// This many of the file's bytes are read.
    Progress {
        /// Where the next line begins, in bytes of the text (unzipped, where the file is gzipped).
        read: u64,
        /// Bytes of the text as a whole; of a gzipped file only what was read is known, so the two are the same.
        of: u64,
    },
    /// Another file is read now: one that came after the last, or the same, written anew.
    Restarted {
        /// The file that is read now.
        path: &'a Path,
    },
    /// What said how far the forward came was damaged: it is set aside under this name, and the file is read from its start.
    Forgot {
        /// The name under which the damaged state was set aside.
        path: &'a Path,
        /// Why it could not be read.
        why: &'a io::Error,
    },
    /// What was written to the file after this line cannot be sent.
    Gone {
        /// The file in which something is missing: the metrics file itself, or a gzipped one beside it.
        path: &'a Path,
        /// The last line that was read of it, from 1; 0 where none was.
        line: u64,
        /// Why the rest cannot be sent.
        why: &'a Gone,
    },
}

/// Why what was written to a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// It no longer holds what was read of it, and no other file does.
    #[error("it was cut or replaced, and what it held is under no other name beside it")]
    NotThere,
    /// It is gzipped, and does not unzip any further.
    #[error("it does not unzip: {0}")]
    Damaged(io::Error),
}

/// What rows are forwarded to: any [`Store`], or what takes rows as one does.
pub trait Recipient: Send {
    /// Takes the rows of a run, all or none, as [`Store::log_windows`]: each with the time at which it was written, 0 where it does
    /// not say.
    ///
    /// # Errors
    /// If it refuses them; they are kept, and sent again.
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError>;

    /// How many rows it can be handed at once and still take all or none.
    fn rows_at_once(&self) -> usize {
        1
    }

    /// Whether it is to be handed no more rows: somebody wishes to stop. What is left is for the next forward.
    fn is_over(&self) -> bool {
        false
    }
}

impl<S: Store> Recipient for S {
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError> {
        Store::log_windows(self, run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        Store::rows_at_once(self)
    }
}

impl Recipient for Box<dyn Store> {
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError> {
        self.as_mut().log_windows(run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        self.as_ref().rows_at_once()
    }
}

/// Why a forward ended early. What it had sent is not sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The metrics file cannot be read.
    #[error("{path}: could not read the metrics: {source}")]
    Read {
        /// The metrics file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another forward, of this process or another, sends the file to the same store and run.
    #[error("{path}: it is being forwarded to this store and run already, by process {owner}")]
    InUse {
        /// The metrics file.
        path: String,
        /// The id of the process that has the lock, as far as its lock file says.
        owner: String,
    },
    /// What says how far it came cannot be read or written.
    #[error("{path}: could not {act} what says how far the forward came: {source}")]
    State {
        /// The state file, or the file of refused rows beside it.
        path: String,
        /// What was tried, as a verb: `read`, `write`, `lock`, ...
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Forwards once, as the original does: the rows sent; 0 where the store, the run, the folder or the file is missing, and
/// where the file cannot be read. `store_name` tells this store from others in what is remembered.
pub fn forward_step_metrics(
    store: Option<&mut dyn Recipient>,
    store_name: &str,
    run_id: &str,
    run_dir: &Path,
    metrics_file: &str,
) -> u64 {
    let Some(store) = store.filter(|_| !run_id.is_empty()) else {
        return 0;
    };
    let forward = Forward::new(run_dir, store_name, run_id)
        .file(metrics_file)
        .batch(store.rows_at_once().min(BATCH));
    let mut first_skipped = None;
    let mut log = |event: Event<'_>| match event {
        Event::Failed { line, error } => tracing::warn!(line, %error, "a row could not be sent"),
        Event::Skipped { line, reason } => {
            first_skipped.get_or_insert_with(|| format!("line {line}: {reason}"));
        }
        Event::Forgot { path, why } => {
            tracing::warn!(path = %path.display(), %why, "how far the forward came is not known, and the file is read from its start");
        }
        Event::Gone { path, line, why } => {
            tracing::warn!(path = %path.display(), line, %why, "what was written after a line is gone");
        }
        Event::LeftOut { .. } | Event::Progress { .. } | Event::Restarted { .. } => {}
    };
    let mut session = Session::new(&forward, store, &mut log);
    let outcome = session.once();
    if let Err(error) = outcome {
        tracing::warn!(%error, "the forward ended early");
    }
    let Forwarded { sent, skipped, .. } = session.done;
    if let Some(first) = first_skipped {
        tracing::warn!(first, "{skipped} lines of {metrics_file} are no rows");
    }
    sent
}

impl Forward {
    /// The [`METRICS_FILE`] of `run_dir` to a run of a store. `store_name` is what tells the store from others: a path, an
    /// address; never a secret.
    pub fn new(
        run_dir: impl Into<PathBuf>,
        store_name: impl Into<String>,
        run_id: impl Into<String>,
    ) -> Self {
        Self {
            run_dir: run_dir.into(),
            file: METRICS_FILE.to_owned(),
            store_name: store_name.into(),
            run_id: run_id.into(),
            batch: 1,
        }
    }

    /// What the file is called: at `run_dir/logs/`, else `run_dir/`, else the shallowest anywhere below.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Self {
        self.file = name.into();
        self
    }

    /// How many rows a store takes at once; 1 by default, which 0 counts as. Those of a batch that a store refuses are
    /// sent again one by one: more than 1 is for stores that take a batch whole or not at all.
    #[must_use]
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows.max(1);
        self
    }

    /// Whether an earlier forward of this file to this store and run has left word how far it came.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        let ledger = self.ledger(Path::new(&self.file));
        let near = find_near(&self.run_dir, ledger.state());
        near.or_else(|| find_below(&self.run_dir, ledger.state()))
            .is_some()
    }

    /// Where the metrics file is; or was, while rotation has put no new one in its place. `None` while there is none.
    #[must_use]
    pub fn place(&self) -> Option<PathBuf> {
        let Self { run_dir, file, .. } = self;
        let ledger = self.ledger(Path::new(file));
        let was = |state: PathBuf| Some(state.with_file_name(file)).filter(|it| trail::is_left(it));
        find_near(run_dir, file)
            .or_else(|| find_near(run_dir, ledger.state()).and_then(was))
            .or_else(|| find_below(run_dir, file))
            .or_else(|| find_below(run_dir, ledger.state()).and_then(was))
    }

    fn ledger(&self, file: &Path) -> Ledger {
        Ledger::beside(file, &self.store_name, &self.run_id)
    }

    /// Sends what is new, after what was refused before. Nothing where there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, another forward sends it, or what says how far it came can neither be read nor written.
    pub fn once(
        &self,
        store: &mut dyn Recipient,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Forwarded, ForwardError> {
        let mut session = Session::new(self, store, observe);
        session.once()?;
        Ok(session.done)
    }

    /// As [`Forward::once`], then sends what is appended, through truncation and rotation, until `stop` says so: it is asked
    /// after every look at the file, of which there is one each `pause`. A file that is not there yet is waited for.
    ///
    /// # Errors
    /// As [`Forward::once`].
    pub fn follow(
        &self,
        store: &mut dyn Recipient,
        pause: Duration,
        observe: &mut dyn FnMut(Event<'_>),
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Forwarded, ForwardError> {
        let mut session = Session::new(self, store, observe);
        session.once()?;
        let mut resent = Instant::now();
        while !stop() {
            thread::sleep(pause);
            session.look_again()?;
            if resent.elapsed() >= RESEND_EVERY {
                session.resend()?;
                resent = Instant::now();
            }
        }
        Ok(session.done)
    }
}
