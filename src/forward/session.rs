//! A forward on its way: the file, line by line, to the store.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::ledger::{Call, Ledger};
use super::row::{self, Skip};
use super::source::{Identity, LONGEST_LINE, Line, Position, Source, find};
use super::{Event, Forward, ForwardError, Forwarded};
use crate::metrics::Metrics;
use crate::store::{Split, Store};

/// A forward on its way.
pub(super) struct Session<'a> {
    forward: &'a Forward,
    store: &'a mut dyn Store,
    observe: &'a mut dyn FnMut(Event<'_>),
    open: Option<Open>,
    batch: Vec<Call>,
    pub done: Forwarded,
}

/// The file that is being read, and what is kept beside it.
struct Open {
    path: PathBuf,
    source: Source,
    ledger: Ledger,
}

impl<'a> Session<'a> {
    pub fn new(
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

    pub fn once(&mut self) -> Result<(), ForwardError> {
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
    pub fn look_again(&mut self) -> Result<(), ForwardError> {
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
    pub fn resend(&mut self) -> Result<(), ForwardError> {
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
