//! What can go wrong with a sink.

use std::error::Error;
use std::io;

use super::durable::JournalError;

/// Why a sink could not take or keep a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The file or stream behind the sink refused.
    #[error("{sink}: could not {act} {target}: {source}")]
    Io {
        /// The kind of sink, such as `jsonl` or `csv`.
        sink: &'static str,
        /// What was tried, as a verb: `open`, `write to`, ...
        act: &'static str,
        /// What it was tried on: a path, or words such as "its output".
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file ends in something that no row begins with: it is not this sink's to repair.
    #[error("jsonl: expected a file of JSON rows, found {found} at byte {at} of {path}")]
    NotRows {
        /// The file.
        path: String,
        /// Where its last line begins, in bytes from the file's start.
        at: u64,
        /// The beginning of that line, 20 characters at most.
        found: String,
    },
    /// The row of this step has no JSON form.
    #[error("{sink}: could not write step {step} as JSON: {source}")]
    Json {
        /// The kind of sink, such as `jsonl`.
        sink: &'static str,
        /// The row's step.
        step: u64,
        /// What the JSON writer said.
        source: serde_json::Error,
    },
    /// The store behind the sink refused the row for good; the source is its own error.
    #[error("store: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The store behind the sink could not take the row; the source is its own error.
    #[error("store: {0}")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// What a sink of one's own has to say: [`SinkError::other`], [`SinkError::refused`].
    #[error("{message}")]
    Other {
        /// The error, in the sink's own words.
        message: String,
        /// Whether the same row would be refused again: then it is dropped, else it is tried again where rows wait.
        is_permanent: bool,
    },
    /// The sink panicked; it is asked again for the next row.
    #[error("{sink}: panicked: {reason}")]
    Panicked {
        /// The kind of sink.
        sink: &'static str,
        /// What it panicked with, as far as that is a text.
        reason: String,
    },
    /// Another process opened the sink, and this one was forked from it: what is open is that one's alone.
    #[error(
        "{sink}: process {owner} opened it, and what it has open is its own: a process that was forked from it opens another"
    )]
    Inherited {
        /// The kind of sink.
        sink: &'static str,
        /// The id of the process that opened it.
        owner: u32,
    },
    /// Something is wrong with the journal in which rows wait.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// As many rows are waiting as may be; this one is dropped.
    #[error("{sink}: expected room for a row, found {pending} waiting to be delivered")]
    Full {
        /// The kind of sink that has the queue or the journal.
        sink: &'static str,
        /// How many rows are waiting.
        pending: u64,
    },
    /// Rows are not delivered yet; they stay in the journal.
    #[error("{sink}: {rows} rows are still waiting to be delivered: {reason}")]
    Pending {
        /// The kind of sink that has the queue or the journal.
        sink: &'static str,
        /// How many rows are waiting.
        rows: u64,
        /// The last error of the sink behind it; without one, "no time left".
        reason: String,
    },
    /// Several sinks of a fanout failed; the others have the row.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<SinkError>),
}

impl SinkError {
    /// An error of a sink of one's own, in its own words: the row could not be taken now, and may be later.
    #[must_use]
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            is_permanent: false,
        }
    }

    /// As [`SinkError::other`], of a row that would be refused whenever it came: what stands before the sink drops it, and goes on.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            is_permanent: true,
        }
    }

    /// Whether the same row would be refused again, whenever it came.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Json { .. } | Self::Refused(_) => true,
            Self::Other { is_permanent, .. } => *is_permanent,
            _ => false,
        }
    }
}
