//! A sink that delivers what earlier trainings left before it goes on with its own.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::{Delivery, Receipt, Sink, SinkError};
use super::Journal;
use super::outlet::{Outlet, ToSink};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Opens what the rows of a journal go to.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Sink>, SinkError> + Send>;

/// A journal of a training that is over, and what its rows go to.
pub(super) struct Leftover {
    journal: Journal,
    /// `None` where they go to the sink that they come before.
    to: Option<Opener>,
}

impl Leftover {
    pub(super) fn new(journal: Journal, to: Option<Opener>) -> Self {
        Self { journal, to }
    }

    /// Delivers it on this thread, and says what stays; whether nothing does.
    fn deliver(self, sink: &Shared) -> bool {
        let Self { journal, to } = self;
        let dir = journal.dir().to_owned();
        let outlet: Box<dyn Outlet<Row>> = match to {
            None => Box::new(Lent(Arc::clone(sink))),
            Some(open) => match open() {
                Ok(sink) => Box::new(ToSink(sink)),
                Err(error) => {
                    tracing::warn!("journal {}: its rows stay there: {error}", dir.display());
                    return true; // nobody has waited for it
                }
            },
        };
        let receipt = journal.deliver(outlet);
        if receipt.pending > 0 {
            let reason = receipt.error.unwrap_or_else(|| "no time left".to_owned());
            let (dir, rows) = (dir.display(), receipt.pending);
            tracing::warn!("journal {dir}: {rows} rows stay there: {reason}");
        }
        receipt.pending == 0
    }
}

/// What a sink is to deliver first; to be added to by whoever finds something.
#[derive(Clone, Default)]
pub(super) struct Before(Arc<Mutex<Vec<Leftover>>>);

impl Before {
    pub(super) fn push(&self, leftover: Leftover) {
        self.lock().push(leftover);
    }

    fn take(&self) -> Vec<Leftover> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Leftover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Before").field(&self.lock().len()).finish()
    }
}

type Shared = Arc<Mutex<Option<Box<dyn Sink>>>>;

/// A sink, and the journals whose rows go first. Everything is done by the thread that calls it: a sink that is an object of another
/// language is called by one thread alone.
pub(super) struct Preceded {
    name: &'static str,
    run: Option<String>,
    resumed_after: Option<u64>,
    /// `None` once closed.
    sink: Shared,
    before: Before,
}

impl Preceded {
    pub(super) fn new(sink: Box<dyn Sink>) -> (Self, Before) {
        let before = Before::default();
        let preceded = Self {
            name: sink.name(),
            run: sink.run().map(str::to_owned),
            resumed_after: sink.resumed_after(),
            sink: Arc::new(Mutex::new(Some(sink))),
            before: before.clone(),
        };
        (preceded, before)
    }

    /// The sink, once what goes first is delivered, or cannot be for now.
    fn with<T>(&self, act: impl FnOnce(&mut dyn Sink) -> T) -> Option<T> {
        let mut left = self.before.take().into_iter();
        if !left.all(|leftover| leftover.deliver(&self.sink)) && left.len() > 0 {
            // This training's own rows do not wait for one after the other.
            tracing::warn!(
                "the journals of {} more trainings stay as they are, for the next",
                left.len()
            );
        }
        lock(&self.sink).as_mut().map(|sink| act(sink.as_mut()))
    }

    fn tried(
        &self,
        act: impl FnOnce(&mut dyn Sink) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        self.with(act).unwrap_or(Ok(()))
    }
}

fn lock(sink: &Shared) -> MutexGuard<'_, Option<Box<dyn Sink>>> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for Preceded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    fn resumed_after(&self) -> Option<u64> {
        self.resumed_after
    }

    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        self.tried(|sink| sink.turn_to(run))
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.tried(|sink| sink.write(row))
    }

    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.tried(|sink| sink.show(table))
    }

    fn write_batch(&mut self, rows: &[Row]) -> Delivery {
        self.with(|sink| sink.write_batch(rows)).unwrap_or_default()
    }

    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        self.with(|sink| sink.holds(row)).unwrap_or(Ok(false))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.tried(|sink| sink.flush())
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.tried(|sink| sink.ended(ending))
    }

    fn close(self: Box<Self>) -> Receipt {
        self.with(|_| ());
        let sink = lock(&self.sink).take();
        sink.map_or_else(Receipt::default, Sink::close)
    }

    fn close_by(self: Box<Self>, deadline: Instant) -> Receipt {
        self.with(|_| ());
        let sink = lock(&self.sink).take();
        sink.map_or_else(Receipt::default, |sink| sink.close_by(deadline))
    }
}

/// The sink of a [`Preceded`], for the rows that go first. It is not closed with them.
struct Lent(Shared);

impl Lent {
    fn with<T: Default>(&self, act: impl FnOnce(&mut dyn Sink) -> T) -> T {
        let mut sink = lock(&self.0);
        sink.as_mut()
            .map_or_else(T::default, |sink| act(sink.as_mut()))
    }
}

impl Outlet<Row> for Lent {
    fn name(&self) -> &'static str {
        lock(&self.0).as_ref().map_or("sink", |sink| sink.name())
    }

    fn take(&mut self, rows: &[Row]) -> Delivery {
        self.with(|sink| sink.write_batch(rows))
    }

    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        let mut sink = lock(&self.0);
        sink.as_mut().map_or(Ok(false), |sink| sink.holds(row))
    }

    fn close(self: Box<Self>, _: Option<Ending>) -> Option<String> {
        let mut sink = lock(&self.0);
        sink.as_mut()?.flush().err().map(|error| error.to_string())
    }
}
