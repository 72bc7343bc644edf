//! Forwards a metrics file to a store: what a training wrote beside itself, row by row, and each row once.

mod ledger;
mod row;
mod source;

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::store::{Split, Store, StoreError};
use ledger::{Call, Ledger};
pub use row::Skip;
use source::{Identity, LONGEST_LINE, Line, Position, Source, find};

/// What the metrics file is called where nobody says otherwise.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// How often a follower tries again what the store refused.
const RESEND_EVERY: Duration = Duration::from_secs(30);

/// What to forward, and for whom.
///
/// The rows of a line are those of its numbers whose keys begin `val/` (split val) and of all others (split train): a call
/// of the store each. A row that the store refuses is kept beside the file and sent again by the next forward.
///
/// How far it came is in `.<file>.<16 hex digits>.forwarded.json` beside the metrics file, one for each store and run, with
/// hashes of what was read: a file that was cut or written anew is read from its start, and of one that was moved aside
/// (to a name that begins with its own) the rest is read first. It is written after every batch that the store took, so that
/// a crash sends no more than one batch twice; a store replaces a metric that comes again. One forward of a file, store and
/// run at a time.
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
    /// Whether the file ends in half a line, which is left for the next forward.
    pub torn: bool,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// A line is no row.
    Skipped { line: u64, reason: &'a Skip },
    /// The store refused a row, which is kept.
    Failed { line: u64, error: &'a StoreError },
    /// This many of the file's bytes are read.
    Progress { read: u64, of: u64 },
    /// The file is another one, or was cut: it is read from its start.
    Restarted { path: &'a Path },
}

/// Why a forward ended early. What it had sent is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The metrics file cannot be read.
    #[error("{path}: could not read the metrics: {source}")]
    Read { path: String, source: io::Error },
    /// What says how far it came cannot be read or written.
    #[error("{path}: could not {act} what says how far the forward came: {source}")]
    State {
        path: String,
        act: &'static str,
        source: io::Error,
    },
}

/// Forwards once, as the original does: the rows sent; 0 where the store, the run, the folder or the file is missing, and
/// where the file cannot be read. `store_name` tells this store from others in what is remembered.
pub fn forward_step_metrics(
    store: Option<&mut dyn Store>,
    store_name: &str,
    run_id: &str,
    run_dir: &Path,
    metrics_file: &str,
) -> u64 {
    let Some(store) = store.filter(|_| !run_id.is_empty()) else {
        return 0;
    };
    let forward = Forward::new(run_dir, store_name, run_id).file(metrics_file);
    let mut log = |event: Event<'_>| match event {
        Event::Failed { line, error } => tracing::warn!(line, %error, "a row could not be sent"),
        Event::Skipped { line, reason } => tracing::debug!(line, %reason, "a line was skipped"),
        _ => {}
    };
    let mut session = Session::new(&forward, store, &mut log);
    let outcome = session.once();
    if let Err(error) = outcome {
        tracing::warn!(%error, "the forward ended early");
    }
    session.done.sent
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

    /// Sends what is new, after what was refused before. Nothing where there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, or what says how far it came neither read nor written.
    pub fn once(
        &self,
        store: &mut dyn Store,
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
        store: &mut dyn Store,
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

/// A forward on its way.
struct Session<'a> {
    forward: &'a Forward,
    store: &'a mut dyn Store,
    observe: &'a mut dyn FnMut(Event<'_>),
    open: Option<Open>,
    batch: Vec<Call>,
    done: Forwarded,
}

/// The file that is being read, and what is kept beside it.
struct Open {
    path: PathBuf,
    source: Source,
    ledger: Ledger,
}

impl<'a> Session<'a> {
    fn new(
        forward: &'a Forward,
        store: &'a mut dyn Store,
        observe: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        Self {
            forward,
            store,
            observe,
            open: None,
            batch: Vec::new(),
            done: Forwarded::default(),
        }
    }

    fn once(&mut self) -> Result<(), ForwardError> {
        let Some(path) = find(&self.forward.run_dir, &self.forward.file) else {
            return Ok(());
        };
        let ledger = Ledger::beside(&path, &self.forward.store_name, &self.forward.run_id);
        let position = ledger.load()?;
        self.done.file = Some(path.clone());
        let source = Source::open(&path).map_err(unreadable(&path))?;
        self.open = Some(Open {
            path,
            source,
            ledger,
        });
        self.resend()?;
        if let Some(position) = position {
            self.resume(&position)?;
        }
        self.drain()
    }

    /// Goes on where the last forward left the file; of one that was moved aside since, the rest is sent first.
    fn resume(&mut self, position: &Position) -> Result<(), ForwardError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let path = open.path.clone();
        if open.source.resume(position).map_err(unreadable(&path))? {
            return Ok(());
        }
        if let Some(mut aside) = moved_aside(&path, position) {
            mem::swap(&mut open.source, &mut aside);
            self.drain()?;
            self.end_file();
            if let Some(open) = &mut self.open {
                open.source = aside;
            }
        }
        (self.observe)(Event::Restarted { path: &path });
        Ok(())
    }

    /// A follower's look: what was appended, or what the file has become.
    fn look_again(&mut self) -> Result<(), ForwardError> {
        let Some(open) = &mut self.open else {
            return self.once();
        };
        let path = open.path.clone();
        // Asked before the rest is read, so that what was written up to then is.
        let now = std::fs::metadata(&path).map(|metadata| Identity::of(&metadata));
        let before = open.source.offset;
        let replaced = now.is_ok_and(|identity| identity != open.source.identity);
        let cut =
            open.source.len().map_err(unreadable(&path))? < before || self.rewritten(&path)?;
        if !cut {
            self.drain()?;
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        // Of a file that was replaced, all there is must have been read.
        let over = replaced && open.source.offset == before;
        if over {
            self.end_file();
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if cut || over {
            open.source = match Source::open(&path) {
                Ok(source) => source,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(unreadable(&path)(source)),
            };
            (self.observe)(Event::Restarted { path: &path });
            self.drain()?;
        }
        Ok(())
    }

    /// Of a file that nobody writes any more, half a line at its end is a line.
    fn end_file(&mut self) {
        if let Some(open) = self.open.as_mut().filter(|_| self.done.torn) {
            open.source.lines += 1;
            self.skip(&Skip::NotJson("half a line".to_owned()));
            self.done.torn = false;
        }
    }

    /// Whether the file no longer holds what was read of it: it was cut and has grown again.
    fn rewritten(&mut self, path: &Path) -> Result<bool, ForwardError> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        let Some(position) = open.ledger.load()? else {
            return Ok(false);
        };
        let holds = open.source.holds(&position).map_err(unreadable(path))?;
        Ok(position.identity == open.source.identity && !holds)
    }

    /// Sends again what the store refused before.
    fn resend(&mut self) -> Result<(), ForwardError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let Some(kept) = open.ledger.kept()? else {
            return Ok(());
        };
        for call in kept {
            self.batch.push(call);
            if self.batch.len() >= self.forward.batch {
                self.send()?;
            }
        }
        self.send()?;
        if let Some(open) = &self.open {
            open.ledger.settle()?;
        }
        Ok(())
    }

    /// Sends every line up to the file's end.
    fn drain(&mut self) -> Result<(), ForwardError> {
        loop {
            let Some(open) = &mut self.open else {
                return Ok(());
            };
            let unreadable = unreadable(&open.path);
            let line = open.source.next().map_err(&unreadable)?;
            self.done.torn = false;
            match line {
                Line::End => break,
                Line::TooLong => {
                    open.source.take();
                    self.skip(&Skip::TooLong(LONGEST_LINE));
                }
                Line::Whole => {
                    open.source.take();
                    self.take_line();
                }
                // A row is whole when its object is; anything else may still be being written.
                Line::Torn if row::parse(&open.source.line).is_ok() => {
                    open.source.take();
                    self.take_line();
                }
                Line::Torn => {
                    self.done.torn = !open.source.line.trim_ascii().is_empty();
                    open.source.rewind().map_err(&unreadable)?;
                    break;
                }
            }
            if self.batch.len() >= self.forward.batch {
                self.send_and_save()?;
            }
        }
        self.send_and_save()
    }

    fn take_line(&mut self) {
        let Some(open) = &self.open else {
            return;
        };
        if open.source.line.trim_ascii().is_empty() {
            return;
        }
        let line = open.source.lines;
        match row::parse(&open.source.line) {
            Ok(parsed) => {
                let splits = [(Split::Train, parsed.train), (Split::Val, parsed.val)];
                let calls = splits
                    .into_iter()
                    .filter(|(_, metrics)| !metrics.is_empty());
                self.batch.extend(calls.map(|(split, metrics)| Call {
                    line,
                    step: parsed.step,
                    split,
                    metrics,
                }));
            }
            Err(reason) => self.skip(&reason),
        }
    }

    fn skip(&mut self, reason: &Skip) {
        let line = self.open.as_ref().map_or(0, |open| open.source.lines);
        self.done.skipped += 1;
        (self.observe)(Event::Skipped { line, reason });
    }

    fn send_and_save(&mut self) -> Result<(), ForwardError> {
        self.send()?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let unreadable = unreadable(&open.path);
        let position = open.source.position().map_err(&unreadable)?;
        open.ledger.save(&position)?;
        let of = open.source.len().map_err(&unreadable)?;
        (self.observe)(Event::Progress {
            read: position.offset,
            of,
        });
        Ok(())
    }

    /// Sends the batch, a call of the store for each split; what it refuses is kept.
    fn send(&mut self) -> Result<(), ForwardError> {
        let batch = mem::take(&mut self.batch);
        let (train, val): (Vec<Call>, Vec<Call>) = batch
            .into_iter()
            .partition(|call| call.split == Split::Train);
        let mut refused = self.log(train);
        refused.extend(self.log(val));
        if let Some(open) = self.open.as_ref().filter(|_| !refused.is_empty()) {
            open.ledger.keep(&refused)?;
        }
        Ok(())
    }

    /// Sends calls of one split, together or else one by one; those that the store refused.
    fn log(&mut self, mut calls: Vec<Call>) -> Vec<Call> {
        let rows: Vec<(u64, &Metrics)> = calls.iter().map(|c| (c.step, &c.metrics)).collect();
        let Some(split) = calls.first().map(|call| call.split) else {
            return Vec::new();
        };
        match self.store.log_rows(&self.forward.run_id, &rows, split) {
            Ok(logged) => {
                self.done.sent += calls.len() as u64;
                self.done.nan += logged.nan;
                Vec::new()
            }
            Err(_) if calls.len() > 1 => {
                let each = calls.drain(..);
                each.flat_map(|call| self.log(vec![call])).collect()
            }
            Err(error) => {
                self.done.failed += 1;
                let line = calls[0].line;
                (self.observe)(Event::Failed {
                    line,
                    error: &error,
                });
                calls
            }
        }
    }
}

/// The file that was at `path` when it was left at `position`, under the name it has now: one beside it that begins alike.
fn moved_aside(path: &Path, position: &Position) -> Option<Source> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let beside = std::fs::read_dir(path.parent()?).ok()?;
    beside
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .filter_map(|entry| Source::open(&entry.path()).ok())
        .filter(|source| source.identity == position.identity)
        .find_map(|mut source| source.resume(position).ok()?.then_some(source))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> ForwardError + use<> {
    let path = path.display().to_string();
    move |source| ForwardError::Read {
        path: path.clone(),
        source,
    }
}
