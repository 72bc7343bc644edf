//! What a forward leaves beside the metrics file, so that the next one sends only what is new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::iter;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::ForwardError;
use super::source::Position;
use crate::limits;
use crate::row::Row;
use crate::sink::Held;
use crate::store::Split;

/// One call of the store: numbers of one step and split, of one line.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub line: u64,
    pub split: Split,
    pub row: Row,
}

/// A call as it is kept: its numbers as the bits of doubles, which JSON has no words for all of.
#[derive(Serialize, Deserialize)]
struct Kept {
    line: u64,
    step: u64,
    /// When the row was written; 0 where it does not say.
    #[serde(default)]
    time: f64,
    split: Split,
    metrics: Vec<(String, u64)>,
}

/// The state file: for whom it is, for people who look, and how far the file has been read.
#[derive(Serialize, Deserialize)]
struct State {
    store: String,
    run: String,
    position: Position,
}

/// The files of one store and run: `.<file>.<16 hex digits>.forwarded.json`, which says how far it came,
/// `.<file>.<16 hex digits>.failed.jsonl`, which keeps what the store refused, and a lock.
#[derive(Debug)]
pub(super) struct Ledger {
    store: String,
    run: String,
    state: PathBuf,
    failed: PathBuf,
}

impl Ledger {
    pub fn beside(file: &Path, store: &str, run: &str) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // The zero byte keeps the two names apart.
        let key = xxh3_64(format!("{store}\0{run}").as_bytes());
        let path = |kind| file.with_file_name(format!(".{name}.{key:016x}.{kind}"));
        Self {
            store: store.to_owned(),
            run: run.to_owned(),
            state: path("forwarded.json"),
            failed: path("failed.jsonl"),
        }
    }

    /// The file that says how far the forward came.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Keeps other forwards from sending `file` too, for as long as what it gives lives; `None` where the file system has no
    /// locks, as some of clusters have none: that is no reason to send nothing.
    pub fn lock(&self, file: &Path) -> Result<Option<Held>, ForwardError> {
        let taken = match Held::take(&self.state.with_extension("lock")) {
            Err(error) if has_no_locks(&error) => return Ok(None),
            taken => taken.map_err(|source| self.fault("lock", source))?,
        };
        taken.map(Some).map_err(|owner| ForwardError::InUse {
            path: file.display().to_string(),
            owner,
        })
    }

    /// How far the last forward came, if there was one. What does not say so is set aside, and `forgot` is told its new name
    /// and why.
    pub fn load(
        &self,
        forgot: &mut dyn FnMut(&Path, &io::Error),
    ) -> Result<Option<Position>, ForwardError> {
        let state = match limits::whole(&self.state, limits::FORWARD_STATE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // It is too long to be one.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            Err(source) => return Err(self.fault("read", source)),
            Ok(bytes) => serde_json::from_slice::<State>(&bytes).map_err(io::Error::from),
        };
        match state {
            Ok(state) => Ok(Some(state.position)),
            Err(why) => {
                let aside = self.state.with_extension("json.damaged");
                fs::rename(&self.state, &aside)
                    .map_err(|source| self.fault("set aside", source))?;
                forgot(&aside, &why);
                Ok(None)
            }
        }
    }

    /// Says how far it came. A crash leaves the old or the new.
    pub fn save(&self, position: &Position) -> Result<(), ForwardError> {
        let state = State {
            store: self.store.clone(),
            run: self.run.clone(),
            position: position.clone(),
        };
        let write = || -> io::Result<()> {
            let partial = self.state.with_extension("partial");
            fs::write(&partial, serde_json::to_vec(&state)?)?;
            fs::rename(&partial, &self.state)
        };
        write().map_err(|source| self.fault("write", source))
    }

    /// Keeps calls that the store refused.
    pub fn keep(&self, calls: &[Call]) -> Result<(), ForwardError> {
        let open = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.failed);
        open.and_then(|file| write_calls(file, calls))
            .map_err(|source| self.fault("write", source))
    }

    /// Takes out what was kept, to be sent again: until [`Ledger::settle`], what is kept anew goes to another file, so that
    /// a crash in between loses neither.
    pub fn kept(
        &self,
    ) -> Result<Option<impl Iterator<Item = Result<Call, ForwardError>> + use<>>, ForwardError>
    {
        let resent = self.resent();
        if !resent.exists() {
            match fs::rename(&self.failed, &resent) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(self.fault("take up", source)),
            }
        }
        let file = File::open(&resent).map_err(|source| self.fault("read", source))?;
        let mut from = BufReader::new(file);
        let lines = iter::from_fn(move || {
            let mut line = Vec::new();
            let read = limits::line(&mut from, limits::KEPT_ROW, &mut line);
            let read = read.map_err(|source| ForwardError::State {
                path: resent.display().to_string(),
                act: "read",
                source,
            });
            read.map(|read| (read > 0).then_some(line)).transpose()
        });
        // A crash may have torn the last one, whose row is then sent from the metrics file.
        let call = |line: Vec<u8>| serde_json::from_slice::<Kept>(&line).ok().map(Call::from);
        Ok(Some(
            lines.filter_map(move |line| line.map(call).transpose()),
        ))
    }

    /// What [`Ledger::kept`] gave is sent, or kept again.
    pub fn settle(&self) -> Result<(), ForwardError> {
        fs::remove_file(self.resent()).map_err(|source| self.fault("remove", source))
    }

    fn resent(&self) -> PathBuf {
        self.failed.with_extension("resent")
    }

    fn fault(&self, act: &'static str, source: io::Error) -> ForwardError {
        ForwardError::State {
            path: self.state.display().to_string(),
            act,
            source,
        }
    }
}

fn write_calls(file: File, calls: &[Call]) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    // Behind what a crash may have torn.
    out.write_all(b"\n")?;
    for call in calls {
        serde_json::to_writer(&mut out, &Kept::from(call))?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

impl From<&Call> for Kept {
    fn from(call: &Call) -> Self {
        let bits = |(key, value): (&str, f64)| (key.to_owned(), value.to_bits());
        Self {
            line: call.line,
            step: call.row.step,
            time: call.row.timestamp,
            split: call.split,
            metrics: call.row.metrics.iter().map(bits).collect(),
        }
    }
}

impl From<Kept> for Call {
    fn from(kept: Kept) -> Self {
        let value = |(key, bits)| (key, f64::from_bits(bits));
        Self {
            line: kept.line,
            split: kept.split,
            row: Row {
                step: kept.step,
                timestamp: kept.time,
                metrics: kept.metrics.into_iter().map(value).collect(),
                ..Row::default()
            },
        }
    }
}

/// Whether a lock was refused because the file system knows none.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_file_system_without_locks_is_told_from_one_that_is_broken() {
        for errno in [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP] {
            assert!(has_no_locks(&errno.into()), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOENT, Errno::ROFS, Errno::AGAIN] {
            assert!(!has_no_locks(&errno.into()), "{errno}");
        }
    }
}
