//! What a queue delivers to.

use super::super::{Delivery, Sink, SinkError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// What the items of a [`Queue`](super::Queue) are delivered to, on the queue's own thread.
///
/// Rows go to a [`Sink`]; this is for items of another kind. It may panic: that costs the item that makes it, and no other.
pub trait Outlet<T>: Send {
    /// Its name in the log.
    fn name(&self) -> &'static str;

    /// Takes items in order, as few acts as it can make of them; never called with none. Those that are not settled come again: the
    /// first of them, and all behind it. See [`Delivery::of`].
    fn take(&mut self, items: &[T]) -> Delivery;

    /// Whether an item that an earlier process may have delivered is there already.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn holds(&mut self, _item: &T) -> Result<bool, SinkError> {
        Ok(false)
    }

    /// Says which run the items that come next are of, where it is another than its own ([`Sink::turn_to`]).
    ///
    /// # Errors
    /// If that run cannot be found out about.
    fn turn_to(&mut self, _run: Option<&str>) -> Result<(), SinkError> {
        Ok(())
    }

    /// Shows a table, if it is one for the eye.
    ///
    /// # Errors
    /// If it could not be shown.
    fn show(&mut self, _table: &Table) -> Result<(), SinkError> {
        Ok(())
    }

    /// Brings what it took to where it can be read.
    ///
    /// # Errors
    /// If that failed.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Everything is delivered, and the run has ended so, where that is known; what went wrong at the end.
    #[must_use]
    fn close(self: Box<Self>, _ending: Option<Ending>) -> Option<String> {
        None
    }
}

/// A sink, whose items are rows.
pub(super) struct ToSink(pub(super) Box<dyn Sink>);

impl Outlet<Row> for ToSink {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn take(&mut self, rows: &[Row]) -> Delivery {
        self.0.write_batch(rows)
    }

    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        self.0.holds(row)
    }

    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        self.0.turn_to(run)
    }

    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.0.show(table)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.0.flush()
    }

    fn close(mut self: Box<Self>, ending: Option<Ending>) -> Option<String> {
        // What fails here is in the receipt.
        let _ = ending.map(|ending| self.0.ended(&ending));
        self.0.close().error
    }
}
