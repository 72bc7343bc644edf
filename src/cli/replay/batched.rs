//! Rows before a store, which takes many in one transaction about as quickly as one.

use std::time::{Duration, Instant};

use crate::row::Row;
use crate::row::run::Ending;
use crate::sink::{Receipt, Sink, SinkError};

/// The most rows that wait.
const ROWS: usize = 512;

/// From one transaction to the next, where rows come quicker: those of a slow input are not kept waiting for another.
const PACE: Duration = Duration::from_secs(1);

/// Hands rows over in batches. What waits is lost if the process is killed, as those rows are that were not read yet.
#[derive(Debug)]
pub(super) struct Batched<S> {
    sink: S,
    waiting: Vec<Row>,
    /// When rows were last handed over.
    at: Option<Instant>,
}

impl<S: Sink> Batched<S> {
    pub fn new(sink: S) -> Self {
        Self {
            sink,
            waiting: Vec::new(),
            at: None,
        }
    }

    fn hand_over(&mut self) -> Result<(), SinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let delivery = self.sink.write_batch(&self.waiting);
        self.waiting.drain(..delivery.written + delivery.dropped);
        self.at = Some(Instant::now());
        delivery.error.map_or(Ok(()), Err)
    }
}

impl<S: Sink> Sink for Batched<S> {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    fn run(&self) -> Option<&str> {
        self.sink.run()
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.waiting.push(row.clone());
        let is_due = self.at.is_none_or(|at| at.elapsed() >= PACE);
        if is_due || self.waiting.len() >= ROWS {
            return self.hand_over();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.hand_over()?;
        self.sink.flush()
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.sink.ended(ending)
    }

    fn close(mut self: Box<Self>) -> Receipt {
        let handed = self.hand_over();
        let left = self.waiting.len() as u64;
        let mut receipt = Box::new(self.sink).close();
        receipt.accepted += left;
        receipt.dropped += left;
        if let Err(error) = handed {
            receipt.error.get_or_insert(error.to_string());
        }
        receipt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Delivery, Tally};

    /// Notes how many rows came at once; refuses those of step 7 for good, and all for now while it is `shut`.
    #[derive(Default)]
    struct Counting {
        batches: Vec<usize>,
        is_shut: bool,
        tally: Tally,
    }

    impl Sink for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn write(&mut self, _row: &Row) -> Result<(), SinkError> {
            Err(SinkError::refused("in batches alone"))
        }

        fn write_batch(&mut self, rows: &[Row]) -> Delivery {
            self.batches.push(rows.len());
            let is_shut = self.is_shut;
            let delivery = Delivery::of(
                rows,
                |_| 1,
                |row| match row[0].step {
                    _ if is_shut => Err(SinkError::other("shut")),
                    7 => Err(SinkError::refused("step 7")),
                    _ => Ok(()),
                },
            );
            self.tally.count_batch(&delivery);
            delivery
        }

        fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }

        fn close(self: Box<Self>) -> Receipt {
            self.tally.receipt("counting")
        }
    }

    fn row(step: u64) -> Row {
        Row {
            step,
            ..Row::default()
        }
    }

    #[test]
    fn quick_rows_go_together_and_slow_ones_at_once() {
        let mut sink = Batched::new(Counting::default());
        for step in 10..10 + 2 * ROWS as u64 {
            sink.at = sink.at.map(|_| Instant::now()); // as if no time passed
            sink.write(&row(step)).unwrap();
        }
        assert_eq!(sink.sink.batches, [1, ROWS]);
        sink.flush().unwrap();
        assert_eq!(sink.sink.batches, [1, ROWS, ROWS - 1]);
        sink.at = Instant::now().checked_sub(PACE);
        sink.write(&row(1)).unwrap();
        assert_eq!(sink.sink.batches[3..], [1]);
    }

    #[test]
    fn every_row_is_accounted_for() {
        let mut sink = Box::new(Batched::new(Counting::default()));
        sink.write(&row(1)).unwrap();
        sink.at = Some(Instant::now() + PACE);
        for step in 5..=9 {
            sink.write(&row(step)).unwrap();
        }
        assert!(sink.flush().is_err());
        sink.sink.is_shut = true;
        sink.at = Some(Instant::now() + PACE);
        sink.write(&row(10)).unwrap();
        assert!(sink.flush().is_err());
        sink.write(&row(11)).unwrap_or_default();
        let receipt = sink.close();
        let numbers = (receipt.accepted, receipt.written, receipt.dropped);
        assert_eq!(numbers, (8, 5, 3));
        assert!(receipt.error.is_some());
    }
}
