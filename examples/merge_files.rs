//! Shards in files, merged by whoever comes later: `cargo run --example merge_files -- FOLDER` writes one file a rank there, reads
//! them back and prints the step's row. (The command does the second half: `grpo-metrics merge FOLDER/*.shard`.)

use std::error::Error;
use std::fs;
use std::path::Path;

use grpo_metrics::batch::Place;
use grpo_metrics::engine::EngineOptions;
use grpo_metrics::{Batch, Columns, Grouping, Metrics, Shard, wire};

const STEP: u64 = 7;

/// What a rank does: count its completions, and leave the bytes.
fn leave(folder: &Path, rank: u32, rewards: &[f64]) -> Result<(), Box<dyn Error>> {
    let batch = Batch::of(Columns::new(Grouping::Sizes(&[2]), rewards))?;
    let place = Place { rank, micro: 0 };
    let mut shard = EngineOptions::default().count(&batch, place, None);
    shard.assign(STEP)?;
    fs::write(
        folder.join(format!("rank-{rank}.shard")),
        wire::write(&shard)?,
    )?;
    Ok(())
}

/// The row of all shards of a folder, in whatever order they are found.
fn merged(folder: &Path) -> Result<Metrics, Box<dyn Error>> {
    let mut whole = Shard::default();
    for entry in fs::read_dir(folder)? {
        whole.merge(wire::read(&fs::read(entry?.path())?)?)?;
    }
    Ok(EngineOptions::default().row(whole, None)?)
}

fn run(folder: &Path) -> Result<Metrics, Box<dyn Error>> {
    for (rank, rewards) in [(0, [0.0, 1.0]), (1, [0.5, 1.0]), (2, [0.25, 0.25])] {
        leave(folder, rank, &rewards)?;
    }
    merged(folder)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected an empty folder")?;
    for (key, value) in run(Path::new(&folder))?.iter() {
        println!("{key} = {value}");
    }
    Ok(())
}

#[test]
fn the_row_is_over_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let row = run(folder.path()).unwrap();
    assert_eq!(row.get("train/reward"), Some(0.5));
    assert_eq!(row.get("train/global_step"), Some(7.0));
}
