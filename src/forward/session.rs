//! A forward on its way: the file, line by line, to the store.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::ledger::{Call, Ledger};
use super::row::{self, Skip};
use super::source::{LONGEST_LINE, Line, Position, Source};
use super::trail;
use super::{Event, Forward, ForwardError, Forwarded, Gone, Recipient};
use crate::row::Row;
use crate::sink::Held;
use crate::store::Split;

/// A forward on its way.
pub(super) struct Session<'a> {
    forward: &'a Forward,
    store: &'a mut dyn Recipient,
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
    #[expect(dead_code, reason = "it is held by being there")]
    lock: Option<Held>,
}

impl<'a> Session<'a> {
    pub fn new(
        forward: &'a Forward,
        store: &'a mut dyn Recipient,
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
        let Some(path) = self.forward.place() else {
            return Ok(());
        };
        let ledger = self.forward.ledger(&path);
        let lock = ledger.lock(&path)?;
        let mut forgot = |path: &Path, why: &io::Error| {
            (self.observe)(Event::Forgot { path, why });
        };
        let source = if let Some(position) = ledger.load(&mut forgot)? {
            self.where_left(&path, &position)?
        } else {
            let source = Source::open(&path).map_err(unreadable(&path))?;
            // Before anything is sent: should this process die and the file be rotated, the next one knows which it was.
            let position = source.position().map_err(unreadable(&path))?;
            ledger.save(&position)?;
            Some(source)
        };
        let Some(source) = source else {
            return Ok(());
        };
        self.done.file = Some(path.clone());
        self.open = Some(Open {
            path,
            source,
            ledger,
            lock,
        });
        self.resend()?;
        self.walk()
    }

    /// The file that was left at `position`, ready to go on there; where that is gone, what came after it. `None` where
    /// there is neither yet.
    fn where_left(
        &mut self,
        path: &Path,
        position: &Position,
    ) -> Result<Option<Source>, ForwardError> {
        let left = trail::left(path, position).map_err(unreadable(path))?;
        if left.is_some() {
            return Ok(left);
        }
        let Some(next) = trail::since(path, position).map_err(unreadable(path))? else {
            return Ok(None);
        };
        if position.offset > 0 {
            self.gone(path, position.lines, &Gone::NotThere);
        }
        (self.observe)(Event::Restarted { path: &next.path });
        Ok(Some(next))
    }

    /// Sends the rest of the file that is open, and what came after it.
    fn walk(&mut self) -> Result<(), ForwardError> {
        self.drain()?;
        while self.next_file()? {
            self.drain()?;
        }
        Ok(())
    }

    /// Opens the file that came after the one that is open; whether there is one.
    fn next_file(&mut self) -> Result<bool, ForwardError> {
        let over = |open: &Open| !trail::is_current(&open.path, &open.source);
        if !self.open.as_ref().is_some_and(over) {
            return Ok(false);
        }
        // What was written between the last look and the rotation.
        self.drain()?;
        let Some(open) = self.open.as_mut().filter(|_| !self.store.is_over()) else {
            return Ok(false);
        };
        let next = trail::after(&open.path, &open.source).map_err(unreadable(&open.path))?;
        let Some(next) = next else {
            return Ok(false);
        };
        self.end_file();
        (self.observe)(Event::Restarted { path: &next.path });
        if let Some(open) = &mut self.open {
            open.source = next;
        }
        Ok(true)
    }

    /// A follower's look: what was appended, or what the file has become.
    pub fn look_again(&mut self) -> Result<(), ForwardError> {
        let Some(open) = &mut self.open else {
            return self.once();
        };
        let path = open.path.clone();
        let before = open.source.position().map_err(unreadable(&path))?;
        let cut = !open.source.holds(&before).map_err(unreadable(&path))?;
        if cut {
            let source = self.where_left(&path, &before)?;
            let (Some(source), Some(open)) = (source, &mut self.open) else {
                return Ok(());
            };
            open.source = source;
            return self.walk();
        }
        self.drain()?;
        // Whoever writes to it has not been told of a new one yet.
        let grew = |open: &Open| open.source.offset > before.offset;
        if !self.open.as_ref().is_some_and(grew) && self.next_file()? {
            self.walk()?;
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

    fn gone(&mut self, path: &Path, line: u64, why: &Gone) {
        self.done.gone += 1;
        (self.observe)(Event::Gone { path, line, why });
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
            self.batch.push(call?);
            if self.batch.len() >= self.forward.batch {
                self.send()?;
            }
            if self.store.is_over() {
                // They stay to be sent again, also those that were taken.
                return Ok(());
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
        while !self.store.is_over() {
            let Some(open) = &mut self.open else {
                return Ok(());
            };
            self.done.torn = false;
            let line = match open.source.next() {
                Ok(line) => line,
                // Nobody writes what is missing of it any more.
                Err(error) if open.source.is_gzipped() => {
                    open.source.is_over = true;
                    let (path, line) = (open.source.path.clone(), open.source.lines);
                    self.gone(&path, line, &Gone::Damaged(error));
                    break;
                }
                Err(error) => return Err(unreadable(&open.source.path)(error)),
            };
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
                    let rewound = open.source.rewind();
                    rewound.map_err(unreadable(&open.source.path))?;
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
                let step = parsed.step;
                let others = parsed.left_out.iter();
                self.done.left_out += parsed.left_out.len() as u64;
                let nan = parsed.nan().map(|key| (key, "NaN"));
                for (key, found) in nan.chain(others.map(|(key, found)| (key.as_str(), *found))) {
                    let left_out = Event::LeftOut {
                        line,
                        step,
                        key,
                        found,
                    };
                    (self.observe)(left_out);
                }
                let splits = [(Split::Train, parsed.train), (Split::Val, parsed.val)];
                let calls = splits
                    .into_iter()
                    .filter(|(_, metrics)| !metrics.is_empty());
                self.batch.extend(calls.map(|(split, metrics)| Call {
                    line,
                    split,
                    row: Row {
                        step,
                        timestamp: parsed.time,
                        metrics,
                        ..Row::default()
                    },
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
        let Some(split) = calls.first().map(|call| call.split) else {
            return Vec::new();
        };
        let rows: Vec<Row> = calls.iter_mut().map(|c| mem::take(&mut c.row)).collect();
        let error = match self.store.log_rows(&self.forward.run_id, &rows, split) {
            Ok(logged) => {
                self.done.sent += calls.len() as u64;
                self.done.nan += logged.nan;
                return Vec::new();
            }
            Err(error) => error,
        };
        for (call, row) in calls.iter_mut().zip(rows) {
            call.row = row;
        }
        if calls.len() > 1 {
            let each = calls.drain(..);
            return each.flat_map(|call| self.log(vec![call])).collect();
        }
        self.done.failed += 1;
        (self.observe)(Event::Failed {
            line: calls[0].line,
            error: &error,
        });
        calls
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> ForwardError + use<> {
    let path = path.display().to_string();
    move |source| ForwardError::Read {
        path: path.clone(),
        source,
    }
}
