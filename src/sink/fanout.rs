//! One row to several sinks, none of which can stop the others.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use super::owned::Owned;
use super::{Receipt, Sink, SinkError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::row::table::Table;

/// Hands every row to every sink.
///
/// A sink that fails or panics costs the others nothing: they get the row, and the error comes back once all have been
/// asked. It is asked again for the next row, since a sink stays usable after an error. Without a sink, a row is where it
/// should be: nowhere.
#[derive(Default)]
pub struct Fanout {
    branches: Vec<Branch>,
    accepted: u64,
}

struct Branch {
    name: &'static str,
    sink: Owned<Box<dyn Sink>>,
    /// Rows this fanout handed to the sink: the measure of its receipt, as a sink that panicked may have miscounted.
    handed: u64,
    error: Option<String>,
}

impl Fanout {
    /// A fanout over `sinks`, which are asked in this order.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        sinks.into_iter().fold(Self::default(), Self::with_boxed)
    }

    /// Adds a sink.
    #[must_use]
    pub fn with(self, sink: impl Sink + 'static) -> Self {
        self.with_boxed(Box::new(sink))
    }

    /// How many sinks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.branches.len()
    }

    /// Whether there is no sink.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// Closes every sink; one receipt each, in their order.
    #[must_use]
    pub fn close_each(self) -> Vec<Receipt> {
        self.close_each_by(None)
    }

    /// As [`Fanout::close_each`], all of them by `deadline` where there is one ([`Sink::close_by`]).
    #[must_use]
    pub fn close_each_by(self, deadline: Option<Instant>) -> Vec<Receipt> {
        let close = |branch: Branch| branch.close(deadline);
        self.branches.into_iter().map(close).collect()
    }

    fn with_boxed(mut self, sink: Box<dyn Sink>) -> Self {
        let branch = Branch {
            name: sink.name(),
            sink: Owned::new(sink),
            handed: 0,
            error: None,
        };
        self.branches.push(branch);
        self
    }

    fn each(
        &mut self,
        act: impl Fn(&mut Branch) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let mut errors: Vec<SinkError> = self
            .branches
            .iter_mut()
            .filter_map(|branch| act(branch).err())
            .collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(SinkError::Several(errors)),
        }
    }
}

impl Branch {
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.handed += 1;
        self.guarded(|sink| sink.write(row))
    }

    fn guarded(
        &mut self,
        act: impl FnOnce(&mut dyn Sink) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let sink = self.sink.get_mut(self.name)?;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| act(sink.as_mut())));
        let outcome = outcome.unwrap_or_else(|payload| {
            Err(SinkError::Panicked {
                sink: self.name,
                reason: said(payload.as_ref()),
            })
        });
        if let Err(error) = &outcome {
            self.error = Some(error.to_string());
        }
        outcome
    }

    /// The sink's own receipt, held against what it was handed: what it cannot show as written or pending is dropped.
    fn close(self, deadline: Option<Instant>) -> Receipt {
        let Self {
            name,
            mut sink,
            handed,
            error,
        } = self;
        let sink = match sink.take(name) {
            Ok(sink) => sink,
            // The rows that it was handed are not this process's to account for.
            Err(error) => return Receipt::failed(name, &error),
        };
        let mut receipt = panic::catch_unwind(AssertUnwindSafe(|| match deadline {
            None => sink.close(),
            Some(deadline) => sink.close_by(deadline),
        }))
        .unwrap_or_else(|payload| Receipt {
            sink: name.to_owned(),
            error: Some(format!(
                "{name}: panicked while closing: {}",
                said(payload.as_ref())
            )),
            ..Receipt::default()
        });
        let kept = receipt.written + receipt.pending;
        receipt.accepted = receipt.accepted.max(handed).max(kept);
        receipt.dropped = receipt.accepted - kept;
        receipt.error = receipt.error.or(error);
        receipt
    }
}

/// What a panic said.
pub(crate) fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "nothing that can be shown".to_owned())
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.branches.iter().map(|branch| branch.name).collect();
        f.debug_struct("Fanout")
            .field("sinks", &names)
            .finish_non_exhaustive()
    }
}

impl Sink for Fanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    /// The last step that any of them knows of.
    fn resumed_after(&self) -> Option<u64> {
        let of = |branch: &Branch| branch.sink.get(branch.name).ok()?.resumed_after();
        self.branches.iter().filter_map(of).max()
    }

    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        self.each(|branch| branch.guarded(|sink| sink.turn_to(run)))
    }

    /// # Errors
    /// If any sink failed: its own error, or [`SinkError::Several`]. The others have the row.
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.accepted += 1;
        self.each(|branch| branch.write(row))
    }

    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.each(|branch| branch.guarded(|sink| sink.show(table)))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.each(|branch| branch.guarded(|sink| sink.flush()))
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.each(|branch| branch.guarded(|sink| sink.ended(ending)))
    }

    /// One receipt for all: a row counts as written where every sink has it, so the numbers are those of the sink that
    /// has the fewest. [`Fanout::close_each`] has them one by one.
    fn close(self: Box<Self>) -> Receipt {
        let accepted = self.accepted;
        let receipts = self.close_each();
        let fewest = |count: fn(&Receipt) -> u64| {
            receipts
                .iter()
                .map(count)
                .min()
                .unwrap_or(accepted)
                .min(accepted)
        };
        let (written, kept) = (fewest(|r| r.written), fewest(|r| r.written + r.pending));
        let errors: Vec<String> = receipts
            .iter()
            .filter_map(|receipt| receipt.error.clone())
            .collect();
        Receipt {
            sink: "fanout".to_owned(),
            accepted,
            written,
            dropped: accepted - kept,
            pending: kept - written,
            error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;

    #[test]
    fn a_child_of_the_process_that_opened_a_sink_neither_writes_to_it_nor_ends_it() {
        let memory = Memory::new();
        let mut fanout = Fanout::default().with(memory.clone());
        for branch in &mut fanout.branches {
            branch.sink = Owned::inherited(branch.sink.take(branch.name).unwrap());
        }
        let outcome = fanout.write(&Row::default());
        assert!(matches!(outcome, Err(SinkError::Inherited { .. })));
        let [receipt] = fanout.close_each().try_into().unwrap();
        assert_eq!((receipt.accepted, receipt.dropped), (0, 0));
        assert!(receipt.error.unwrap().contains("forked"));
        assert!(memory.rows().is_empty());
    }
}
