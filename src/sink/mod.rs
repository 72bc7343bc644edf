//! Where rows go. A sink takes a row, answers for it, and says at the end what became of every row it accepted.

mod console;
mod fanout;
mod jsonl;
mod log;
mod memory;
#[cfg(feature = "tensorboard")]
mod tensorboard;

use std::error::Error;
use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::metrics::{Metrics, Row};
use crate::table::Table;

pub use console::Console;
pub(crate) use console::{compact, line_of, named, one_line};
pub use fanout::Fanout;
pub(crate) use fanout::said;
pub use jsonl::{Jsonl, Repair};
pub use log::LogLines;
pub use memory::Memory;
#[cfg(feature = "tensorboard")]
pub use tensorboard::TensorBoard;

/// Something that takes rows.
///
/// The law every sink keeps: `accepted == written + dropped + pending` (nothing is pending after `close`, unless a
/// durable sink says that it will be delivered at the next start).
pub trait Sink: Send {
    /// The sink's name in receipts and errors.
    fn name(&self) -> &'static str;

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

    /// Brings everything taken so far to where it can be read.
    ///
    /// # Errors
    /// If something taken could not be brought there.
    fn flush(&mut self) -> Result<(), SinkError>;

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
    /// Rows kept on this machine's disk, to be delivered at the next start (durable sinks only).
    pub pending: u64,
    /// The last error, if there was one.
    pub error: Option<String>,
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
    /// The store behind the sink refused; the source is its own error.
    #[error("store: {0}")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// The sink panicked; it is asked again for the next row.
    #[error("{sink}: panicked: {reason}")]
    Panicked { sink: &'static str, reason: String },
    /// Several sinks of a fanout failed; the others have the row.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<SinkError>),
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
