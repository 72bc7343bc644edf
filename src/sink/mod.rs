//! Where rows go. A sink takes a row, answers for it, and says at the end what became of every row it accepted.

mod console;
mod csv;
mod durable;
mod error;
mod fanout;
mod file;
mod jsonl;
mod log;
mod memory;
mod owned;
mod receipt;
mod shown;
mod target;
#[cfg(feature = "tensorboard")]
mod tensorboard;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::row::run::Ending;
use crate::row::table::Table;
use crate::row::{Metrics, Row};

pub use console::Console;
pub(crate) use console::{compact, line_of, named};
pub use csv::Csv;
#[cfg(feature = "sqlite")]
pub(crate) use csv::number as csv_number;
#[cfg(feature = "cli")]
pub(crate) use csv::number;
pub(crate) use durable::Held;
pub use durable::{
    Durable, DurableOptions, Fsync, Full, Journal, JournalError, Meant, Opener, Outlet, Placed,
    Queue, Queued, Recovered, Shelf,
};
pub use error::SinkError;
pub use fanout::Fanout;
pub(crate) use fanout::said;
#[cfg(feature = "sqlite")]
pub(crate) use file::identity;
pub(crate) use file::why;
pub use jsonl::{Jsonl, Repair};
pub use log::LogLines;
pub use memory::Memory;
pub use receipt::{Delivery, Receipt, Tally};
pub(crate) use shown::one_line;
#[cfg(feature = "cli")]
pub(crate) use shown::{json, lines};
pub use target::{KINDS, SinkKind, Target, TargetError};
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

    /// The last step that the sink's run had when it was resumed, if it was: an engine marks the rows up to there ([`Row::again`]).
    fn resumed_after(&self) -> Option<u64> {
        None
    }

    /// Says that the rows that come next belong to `run`, as an earlier process has noted that they do, or again to the sink's own
    /// where it is `None`. A sink that keeps no runs has nothing to do.
    ///
    /// # Errors
    /// If that run cannot be found out about; the rows wait then.
    fn turn_to(&mut self, _run: Option<&str>) -> Result<(), SinkError> {
        Ok(())
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
        Delivery::of(rows, |_| 1, |row| self.write(&row[0]))
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

    /// As [`Sink::close`], of a process that has little time left: what waits for its delivery is waited for until `deadline` at most. A
    /// sink that waits for nothing has nothing to do.
    #[must_use]
    fn close_by(self: Box<Self>, _deadline: Instant) -> Receipt {
        self.close()
    }
}

/// A sink whose kind is known only when the program runs, as [`Target::open`] gives one.
impl Sink for Box<dyn Sink> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn run(&self) -> Option<&str> {
        self.as_ref().run()
    }

    fn resumed_after(&self) -> Option<u64> {
        self.as_ref().resumed_after()
    }

    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        self.as_mut().turn_to(run)
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        self.as_mut().write(row)
    }

    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        self.as_mut().show(table)
    }

    fn write_batch(&mut self, rows: &[Row]) -> Delivery {
        self.as_mut().write_batch(rows)
    }

    fn holds(&mut self, row: &Row) -> Result<bool, SinkError> {
        self.as_mut().holds(row)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.as_mut().flush()
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.as_mut().ended(ending)
    }

    fn close(self: Box<Self>) -> Receipt {
        (*self).close()
    }

    fn close_by(self: Box<Self>, deadline: Instant) -> Receipt {
        (*self).close_by(deadline)
    }
}

/// A row's nested JSON form: `{"ts", "step", "metrics"}`, with `"again"` where the run had that step before, and `"run"` on the row
/// that carries the run's text.
pub(crate) struct Nested<'a>(pub(crate) &'a Row);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ts", &Number(row.timestamp))?;
        map.serialize_entry("step", &row.step)?;
        if row.again {
            map.serialize_entry("again", &true)?;
        }
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
pub(crate) struct Number(pub(crate) f64);

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
