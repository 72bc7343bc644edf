//! A sink of one's own, behind a journal: `cargo run --example own_sink -- FOLDER` appends a line to `FOLDER/rewards.txt` for each
//! row, and a training that is killed loses none.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use grpo_metrics::row::Row;
use grpo_metrics::sink::{Durable, Receipt, Sink, SinkError, Tally};
use grpo_metrics::{Batch, Columns, Engine, Grouping};

/// Appends the mean reward of each row to a file.
struct Rewards {
    file: File,
    tally: Tally,
}

impl Rewards {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new().append(true).create(true).open(path)?,
            tally: Tally::default(),
        })
    }

    fn put(&mut self, row: &Row) -> Result<(), SinkError> {
        let reward = row.metrics.get("train/reward").ok_or_else(|| {
            // Whenever it comes again, it will have none: it is dropped, and the rest goes on.
            SinkError::refused(format!("step {}: expected a reward, found none", row.step))
        })?;
        // A disk that is full now may not be so later: the journal keeps the row, and tries again.
        writeln!(self.file, "{} {reward}", row.step)
            .map_err(|error| SinkError::other(format!("could not write the rewards: {error}")))
    }
}

impl Sink for Rewards {
    fn name(&self) -> &'static str {
        "rewards"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(row);
        self.tally.count(outcome)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.file.sync_all();
        let told = |error| SinkError::other(format!("could not flush the rewards: {error}"));
        self.tally.note(outcome.map_err(told))
    }

    fn close(mut self: Box<Self>) -> Receipt {
        let _ = self.flush(); // what fails is in the receipt
        self.tally.receipt("rewards")
    }
}

/// Three steps of a training; what became of their rows.
fn train(folder: &Path) -> Result<Vec<Receipt>, Box<dyn Error>> {
    let rewards = Rewards::open(&folder.join("rewards.txt"))?;
    let mut engine = Engine::builder()
        .sink(Durable::new(rewards, folder.join("journal"))?)
        .build()?;
    for (step, best) in [(1, 0.5), (2, 1.0)] {
        engine.observe(&Batch::of(Columns::new(
            Grouping::Sizes(&[2]),
            &[0.0, best],
        ))?)?;
        engine.step(step)?;
    }
    engine.log(3, [("eval/accuracy", 0.75)].into_iter().collect());
    Ok(engine.finish())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected a folder")?;
    for receipt in train(&PathBuf::from(folder))? {
        println!("{receipt:?}");
    }
    Ok(())
}

#[test]
fn rows_are_written_and_one_that_the_sink_refuses_for_good_is_dropped_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let receipts = train(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("rewards.txt")).unwrap();
    assert_eq!(text, "1 0.25\n2 0.5\n");
    assert_eq!((receipts[0].accepted, receipts[0].written), (3, 2));
    assert_eq!((receipts[0].dropped, receipts[0].pending), (1, 0));
    let error = receipts[0].error.as_deref();
    assert_eq!(error, Some("step 3: expected a reward, found none"));
}
