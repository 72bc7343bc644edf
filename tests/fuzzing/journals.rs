//! Journals: a folder whose files were changed is opened, and what is left of it delivered. What is delivered is a row that
//! was taken, and none is delivered twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use grpo_metrics::row::Row;
use grpo_metrics::sink::{Durable, DurableOptions, Fsync, Memory, Receipt, Sink, SinkError};
use tempfile::TempDir;

use super::{Random, Target};

const ROWS: u64 = 12;

pub struct Journals {
    folder: TempDir,
    names: Vec<PathBuf>,
    files: Vec<Box<[u8]>>,
    rows: Vec<Row>,
}

/// Takes no row, so that all stay in the journal.
#[derive(Debug)]
struct Deaf;

impl Sink for Deaf {
    fn name(&self) -> &'static str {
        "deaf"
    }
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        Err(SinkError::Store(
            format!("it hears nothing of step {}", row.step).into(),
        ))
    }
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Receipt {
        Receipt::default()
    }
}

fn policy() -> DurableOptions {
    DurableOptions {
        fsync: Fsync::Never,
        patience: Duration::from_secs(10),
        pace: Duration::ZERO,
        segment_bytes: 512,
        ..DurableOptions::default()
    }
}

fn rows() -> Vec<Row> {
    let row = |step: u64| Row {
        step,
        timestamp: 1e9 + step as f64,
        metrics: [
            ("train/reward".to_owned(), step as f64),
            (format!("own/{step}"), f64::NAN),
        ]
        .into_iter()
        .collect(),
        ..Row::default()
    };
    (1..=ROWS).map(row).collect()
}

impl Journals {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = rows();
        let hasty = DurableOptions {
            patience: Duration::ZERO,
            ..policy()
        };
        let sink = Durable::with(Deaf, folder.path(), hasty).expect("a journal");
        let mut sink = Box::new(sink);
        for row in &rows {
            sink.write(row).expect("room for a row");
        }
        sink.close();
        let mut names: Vec<PathBuf> = fs::read_dir(folder.path())
            .expect("a journal")
            .map(|entry| entry.expect("a journal").path())
            .filter(|path| path.is_file())
            .collect();
        names.sort();
        let files = names
            .iter()
            .map(|path| fs::read(path).expect("a journal").into())
            .collect();
        Self {
            folder,
            names,
            files,
            rows,
        }
    }
}

impl Target for Journals {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        // Whatever the last turn's journal has made.
        for entry in fs::read_dir(self.folder.path()).map_err(|e| e.to_string())? {
            fs::remove_file(entry.map_err(|e| e.to_string())?.path()).map_err(|e| e.to_string())?;
        }
        let changed = random.below(self.files.len());
        for (nth, (name, bytes)) in self.names.iter().zip(&self.files).enumerate() {
            if nth != changed {
                fs::write(name, bytes).map_err(|e| e.to_string())?;
            } else if random.below(16) > 0 {
                let bytes = random.change(bytes, &self.files);
                fs::write(name, bytes).map_err(|e| e.to_string())?;
            }
        }
        let memory = Memory::default();
        let Ok(mut sink) = Durable::with(memory.clone(), self.folder.path(), policy()) else {
            return Ok("refused whole");
        };
        let last = Row {
            step: ROWS + 1,
            ..Row::default()
        };
        let taken = sink.write(&last).is_ok();
        let receipt = Box::new(sink).close();
        if receipt.accepted != receipt.written + receipt.dropped + receipt.pending {
            return Err(format!("rows that nobody accounts for: {receipt:?}"));
        }
        let delivered = memory.rows();
        if taken && delivered.last().map(|row| row.step) != Some(last.step) {
            return Err(format!("a new row was not delivered: {receipt:?}"));
        }
        let mut steps = BTreeSet::new();
        for row in delivered.iter().filter(|row| row.step <= ROWS) {
            let known = usize::try_from(row.step - 1)
                .ok()
                .and_then(|at| self.rows.get(at));
            // `NaN` is a number of them, so that rows are compared as they read.
            if known.map(|row| format!("{row:?}")) != Some(format!("{row:?}")) {
                return Err(format!("a row that nobody wrote was delivered: {row:?}"));
            }
            if !steps.insert(row.step) {
                return Err(format!("step {} was delivered twice", row.step));
            }
        }
        Ok(match steps.len() as u64 {
            ROWS => "every row delivered",
            0 => "no row left",
            _ => "some rows delivered",
        })
    }
}
