//! Where rows go. A sink takes a row, answers for it, and says at the end what became of every row it accepted.

use crate::metrics::Row;

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
