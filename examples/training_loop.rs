//! One process, one training loop: `cargo run --example training_loop -- RUNS.db` computes a row every tenth step and stores it.

use std::error::Error;
use std::path::Path;

use grpo_metrics::sink::{Queued, Receipt};
use grpo_metrics::store::StoreSink;
use grpo_metrics::{Batch, Columns, Dialect, Engine, Grouping};

fn train(store: &Path) -> Result<Vec<Receipt>, Box<dyn Error>> {
    let mut engine = Engine::builder()
        .dialect(Dialect::Trl)
        .logging_steps(10)
        .sink(Queued::new(StoreSink::open(store, "my-run")?)?) // no step waits for the disk
        .build()?;
    for step in 1..=20 {
        // Every micro-batch. Columns are borrowed, and checked once.
        let (rewards, advantages) = ([0.0, 1.0, 0.5, 1.0], [-1.0, 1.0, -1.0, 1.0]);
        let mut columns = Columns::new(Grouping::Sizes(&[2, 2]), &rewards);
        columns.reward_components = vec![("accuracy".into(), (&rewards).into())];
        columns.advantages = Some((&advantages).into());
        engine.observe(&Batch::of(columns)?)?;

        // Every optimizer step; every tenth has a row.
        if let Some(row) = engine.step(step)? {
            println!("step {step}: reward {:?}", row.metrics.get("reward"));
        }
    }
    // What became of the rows: accepted == written + dropped + pending.
    Ok(engine.finish())
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = std::env::args()
        .nth(1)
        .ok_or("expected a path for the store")?;
    for receipt in train(Path::new(&store))? {
        println!("{receipt:?}");
    }
    Ok(())
}

#[test]
fn both_rows_are_in_the_store() {
    use grpo_metrics::store::{Sqlite, Store};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let receipts = train(&path).unwrap();
    assert_eq!((receipts[0].accepted, receipts[0].written), (2, 2));
    let store = Sqlite::open_read_only(&path).unwrap();
    let rewards = store.get_metrics("my-run", Some("reward"), None).unwrap();
    let points: Vec<_> = rewards
        .iter()
        .map(|point| (point.step, point.value))
        .collect();
    assert_eq!(points, [(10, 0.625), (20, 0.625)]);
}
