//! What became of the rows of a sink, and how that is counted.

use super::SinkError;

/// What became of the rows a sink was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The sink's name.
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
    pub(super) fn failed(sink: &str, error: &SinkError) -> Self {
        Self {
            sink: sink.to_owned(),
            error: Some(error.to_string()),
            ..Self::default()
        }
    }

    /// An error of `sink` if rows are still waiting.
    pub(super) fn delivered(self, sink: &'static str) -> Result<(), SinkError> {
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

impl Delivery {
    /// Hands `items` to `act` in order, as many at a time as `together` says of those that are left, up to the first that cannot be
    /// taken now. Several that are refused for good go one by one, so that the one at fault costs no other.
    pub fn of<T>(
        items: &[T],
        together: impl Fn(&[T]) -> usize,
        mut act: impl FnMut(&[T]) -> Result<(), SinkError>,
    ) -> Self {
        let mut delivery = Self::default();
        let (mut left, mut singly) = (items, 0);
        while !left.is_empty() {
            let size = if singly > 0 { 1 } else { together(left) };
            let (batch, rest) = left.split_at(size.clamp(1, left.len()));
            match act(batch) {
                Ok(()) => delivery.written += batch.len(),
                Err(error) if error.is_permanent() && batch.len() > 1 => {
                    singly = batch.len();
                    continue;
                }
                Err(error) => {
                    let is_permanent = error.is_permanent();
                    delivery.error = Some(error);
                    if !is_permanent {
                        break;
                    }
                    delivery.dropped += 1;
                }
            }
            left = rest;
            singly = singly.saturating_sub(1);
        }
        delivery
    }
}

/// Counts what a sink was given and what became of it, for a sink in which a row is either written or dropped.
///
/// ```
/// use grpo_metrics::row::Row;
/// use grpo_metrics::sink::{Receipt, Sink, SinkError, Tally};
///
/// #[derive(Default)]
/// struct Last {
///     step: u64,
///     tally: Tally,
/// }
///
/// impl Sink for Last {
///     fn name(&self) -> &'static str {
///         "last"
///     }
///     fn write(&mut self, row: &Row) -> Result<(), SinkError> {
///         let newer = row.step > self.step;
///         self.step = self.step.max(row.step);
///         let old = || SinkError::refused(format!("last: expected a step after {}, found {}", self.step, row.step));
///         self.tally.count(newer.then_some(()).ok_or_else(old))
///     }
///     fn flush(&mut self) -> Result<(), SinkError> {
///         Ok(())
///     }
///     fn close(self: Box<Self>) -> Receipt {
///         self.tally.receipt("last")
///     }
/// }
///
/// let mut sink = Box::new(Last::default());
/// assert!(sink.write(&Row { step: 2, ..Row::default() }).is_ok());
/// assert!(sink.write(&Row { step: 1, ..Row::default() }).is_err());
/// let receipt = sink.close();
/// assert_eq!((receipt.accepted, receipt.written, receipt.dropped), (2, 1, 1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tally {
    accepted: u64,
    written: u64,
    error: Option<String>,
}

impl Tally {
    /// Counts one row by the outcome of writing it, and passes the outcome on.
    ///
    /// # Errors
    /// The outcome's.
    pub fn count(&mut self, outcome: Result<(), SinkError>) -> Result<(), SinkError> {
        self.accepted += 1;
        self.written += u64::from(outcome.is_ok());
        self.note(outcome)
    }

    /// Counts the rows of a batch that are settled.
    pub fn count_batch(&mut self, delivery: &Delivery) {
        self.accepted += (delivery.written + delivery.dropped) as u64;
        self.written += delivery.written as u64;
        if let Some(error) = &delivery.error {
            self.error = Some(error.to_string());
        }
    }

    /// Remembers an error that concerns no single row, and passes the outcome on.
    ///
    /// # Errors
    /// The outcome's.
    pub fn note(&mut self, outcome: Result<(), SinkError>) -> Result<(), SinkError> {
        if let Err(error) = &outcome {
            self.error = Some(error.to_string());
        }
        outcome
    }

    /// The receipt of the sink of this name.
    #[must_use]
    pub fn receipt(self, sink: &str) -> Receipt {
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
