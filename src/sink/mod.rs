//! Where rows go. A sink takes a row, answers for it, and says at the end what became of every row it accepted.

mod console;
mod durable;
mod fanout;
mod file;
mod jsonl;
mod log;
mod memory;
mod owned;
mod shown;
#[cfg(feature = "tensorboard")]
mod tensorboard;

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::row::run::Ending;
use crate::row::table::Table;
use crate::row::{Metrics, Row};

pub use console::Console;
pub(crate) use console::{compact, line_of, named};
pub(crate) use durable::Held;
pub use durable::{Durable, DurableOptions, Fsync, Full, JournalError, Queued, Recovered};
pub use fanout::Fanout;
pub(crate) use fanout::said;
#[cfg(feature = "sqlite")]
pub(crate) use file::identity;
pub use jsonl::{Jsonl, Repair};
pub use log::LogLines;
pub use memory::Memory;
#[cfg(feature = "cli")]
pub(crate) use shown::lines;
pub(crate) use shown::one_line;
#[cfg(feature = "tensorboard")]
pub use tensorboard::TensorBoard;

/// The moment so much later than now; a century later for what no clock reaches, as with `Duration::MAX`.
pub(crate) fn after(time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + time.min(CENTURY)
}

/// A number that is another in each process and at each call, for waits that are not to fall together.
pub(crate) fn chance() -> u64 {
    RandomState::new().hash_one(())
}

/// Something that takes rows.
///
/// The law every sink keeps: `accepted == written + dropped + pending` (nothing is pending after `close`, unless a
/// durable sink says that it will be delivered at the next start).
pub trait Sink: Send {
    /// The sink's name in receipts and errors.
    fn name(&self) -> &'static str;

    /// The run that the rows go to, if the sink writes one: a journal keeps its name with the rows.
    fn run(&self) -> Option<&str> {
        None
    }

    /// Takes one row.
    ///
    /// # Errors
    /// If the row could not be taken. The row then counts as dropped; the sink stays usable.
    fn write(&mut self, row: &Row) -> Result<(), SinkError>;

    /// Shows a table of samples, if the sink is one for the eye; any other does nothing. No row, so no receipt counts it.
    ///
    /// # Errors
    /// If the table could not be shown.
    fn show(&mut self, _table: &Table) -> Result<(), SinkError> {
        Ok(())
    }

    /// Takes rows in order, as few acts as the sink can make of them. By default one after the other, up to the first that
    /// cannot be taken now; one that never can ([`SinkError::is_permanent`]) is dropped, and the rest goes on.
    fn write_batch(&mut self, rows: &[Row]) -> Delivery {
        let mut delivery = Delivery::default();
        for row in rows {
            match self.write(row) {
                Ok(()) => delivery.written += 1,
                Err(error) => {
                    let permanent = error.is_permanent();
                    delivery.error = Some(error);
                    if !permanent {
                        break;
                    }
                    delivery.dropped += 1;
                }
            }
        }
        delivery
    }

    /// Whether `row`, which an earlier process may have written here, is here already. A durable sink asks so after a crash,
    /// row by row until the first no. No by default, which is right where writing a row again changes nothing.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn holds(&mut self, _row: &Row) -> Result<bool, SinkError> {
        Ok(false)
    }

    /// Brings everything taken so far to where it can be read.
    ///
    /// # Errors
    /// If something taken could not be brought there.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Says how the run ended; what comes next is [`Sink::close`]. A sink that keeps no run has nothing to do; one that does takes
    /// a run for completed where nothing was said.
    ///
    /// # Errors
    /// If that could not be noted.
    fn ended(&mut self, _ending: &Ending) -> Result<(), SinkError> {
        Ok(())
    }

    /// Flushes, ends the sink and accounts for every row.
    fn close(self: Box<Self>) -> Receipt;
}

/// What became of the rows a sink was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub sink: String,
    /// Rows that `write` was called with.
    pub accepted: u64,
    /// Rows that are where they should be.
    pub written: u64,
    /// Rows that are lost, each with an error told before or in `error`.
    pub dropped: u64,
    /// Rows still to be delivered; of a sink that is closed, those on this machine's disk, which the next start delivers (durable sinks
    /// only).
    pub pending: u64,
    /// The last error, if there was one.
    pub error: Option<String>,
}

impl Receipt {
    /// Of a sink that took nothing here.
    fn failed(sink: &str, error: &SinkError) -> Self {
        Self {
            sink: sink.to_owned(),
            error: Some(error.to_string()),
            ..Self::default()
        }
    }

    /// An error of `sink` if rows are still waiting.
    fn delivered(self, sink: &'static str) -> Result<(), SinkError> {
        if self.pending == 0 {
            return Ok(());
        }
        Err(SinkError::Pending {
            sink,
            rows: self.pending,
            reason: self.error.unwrap_or_else(|| "no time left".to_owned()),
        })
    }
}

/// What became of a batch: of its rows the first `written + dropped` are settled, the others are to be handed over again.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Rows that are where they should be.
    pub written: usize,
    /// Rows that are lost for good.
    pub dropped: usize,
    /// The last error, of a row dropped or of the first that is not settled.
    pub error: Option<SinkError>,
}

/// Why a sink could not take or keep a row.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file or stream behind the sink refused.
    #[error("{sink}: could not {act} {target}: {source}")]
    Io {
        sink: &'static str,
        act: &'static str,
        target: String,
        source: io::Error,
    },
    /// The file ends in something that no row begins with: it is not this sink's to repair.
    #[error("jsonl: expected a file of JSON rows, found {found} at byte {at} of {path}")]
    NotRows {
        path: String,
        at: u64,
        found: String,
    },
    /// The row of this step has no JSON form.
    #[error("{sink}: could not write step {step} as JSON: {source}")]
    Json {
        sink: &'static str,
        step: u64,
        source: serde_json::Error,
    },
    /// The store behind the sink refused the row for good; the source is its own error.
    #[error("store: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The store behind the sink could not take the row; the source is its own error.
    #[error("store: {0}")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// The sink panicked; it is asked again for the next row.
    #[error("{sink}: panicked: {reason}")]
    Panicked { sink: &'static str, reason: String },
    /// Another process opened the sink, and this one was forked from it: what is open is that one's alone.
    #[error(
        "{sink}: process {owner} opened it, and what it has open is its own: a process that was forked from it opens another"
    )]
    Inherited { sink: &'static str, owner: u32 },
    /// Something is wrong with the journal in which rows wait.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// As many rows are waiting as may be; this one is dropped.
    #[error("{sink}: expected room for a row, found {pending} waiting to be delivered")]
    Full { sink: &'static str, pending: u64 },
    /// Rows are not delivered yet; they stay in the journal.
    #[error("{sink}: {rows} rows are still waiting to be delivered: {reason}")]
    Pending {
        sink: &'static str,
        rows: u64,
        reason: String,
    },
    /// Several sinks of a fanout failed; the others have the row.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<SinkError>),
}

impl SinkError {
    /// Whether the same row would be refused again, whenever it came.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Json { .. } | Self::Refused(_))
    }
}

/// Counts what a sink was given and what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    accepted: u64,
    written: u64,
    error: Option<String>,
}

impl Tally {
    /// Counts one row by the outcome of writing it, and passes the outcome on.
    pub(crate) fn count(&mut self, outcome: Result<(), SinkError>) -> Result<(), SinkError> {
        self.accepted += 1;
        self.written += u64::from(outcome.is_ok());
        self.note(outcome)
    }

    /// Counts the rows of a batch that are settled.
    pub(crate) fn count_batch(&mut self, delivery: &Delivery) {
        self.accepted += (delivery.written + delivery.dropped) as u64;
        self.written += delivery.written as u64;
        if let Some(error) = &delivery.error {
            self.error = Some(error.to_string());
        }
    }

    /// Remembers an error that concerns no single row, and passes the outcome on.
    pub(crate) fn note(&mut self, outcome: Result<(), SinkError>) -> Result<(), SinkError> {
        if let Err(error) = &outcome {
            self.error = Some(error.to_string());
        }
        outcome
    }

    /// The receipt of a sink in which a row is either written or dropped.
    pub(crate) fn receipt(self, sink: &str) -> Receipt {
        Receipt {
            sink: sink.to_owned(),
            accepted: self.accepted,
            written: self.written,
            dropped: self.accepted - self.written,
            pending: 0,
            error: self.error,
        }
    }
}

/// A row's nested JSON form: `{"ts", "step", "metrics"}`, and `"run"` on the row that carries the run's text.
pub(crate) struct Nested<'a>(pub(crate) &'a Row);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ts", &Number(row.timestamp))?;
        map.serialize_entry("step", &row.step)?;
        map.serialize_entry("metrics", &Numbers(&row.metrics))?;
        if !row.text.is_empty() {
            map.serialize_entry("run", &Texts(&row.text))?;
        }
        map.end()
    }
}

struct Numbers<'a>(&'a Metrics);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Number(value))))
    }
}

struct Texts<'a>(&'a [(String, String)]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, text)| (key, text)))
    }
}

/// JSON has no word for a non-finite number and `serde_json` would write `null`, which means undefined: the
/// recordings' words are used instead.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::chance;

    #[test]
    #[ignore = "run as another process"]
    fn another_process() {
        println!("chance {}", chance());
    }

    #[test]
    fn chance_is_another_in_every_process_and_at_every_call() {
        let elsewhere = || {
            let args = [
                "sink::tests::another_process",
                "--ignored",
                "--exact",
                "--nocapture",
            ];
            let output = Command::new(std::env::current_exe().unwrap())
                .args(args)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, said) = text.split_once("chance ").unwrap();
            let (number, _) = said.split_once('\n').unwrap();
            number.parse::<u64>().unwrap()
        };
        let chances = [chance(), chance(), elsewhere(), elsewhere()];
        for (i, one) in chances.iter().enumerate() {
            assert!(!chances[..i].contains(one), "{chances:?}");
        }
    }
}
