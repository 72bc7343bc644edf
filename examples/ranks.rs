//! Ranks that are threads of one process: `cargo run --example ranks -- 4` prints the row of a step over all of them, which has
//! the same bits for any number of ranks.

use std::error::Error;
use std::thread;
use std::time::Duration;

use grpo_metrics::gather::Threads;
use grpo_metrics::{Batch, Columns, Engine, Grouping, Metrics};

/// What one rank knows: every `world`-th of the groups, each of four completions.
fn rewards_of(rank: u32, world: u32) -> Vec<f64> {
    let groups = (0..8).filter(|group| group % world == rank);
    groups
        .flat_map(|group| (0..4).map(move |i| f64::from(group * i % 5) / 5.0))
        .collect()
}

/// One step on one rank; its row at rank 0, `None` elsewhere.
fn step(
    gather: Threads,
    rank: u32,
    world: u32,
) -> Result<Option<Metrics>, Box<dyn Error + Send + Sync>> {
    let mut engine = Engine::builder().gather(gather).build()?;
    let rewards = rewards_of(rank, world);
    let sizes = vec![4; rewards.len() / 4];
    engine.observe(&Batch::of(Columns::new(Grouping::Sizes(&sizes), &rewards))?)?;
    Ok(engine.step(1)?.map(|row| row.metrics))
}

fn row(world: u32) -> Result<Metrics, Box<dyn Error + Send + Sync>> {
    let gathers = Threads::of(world, Duration::from_secs(60));
    let ranks = (0..).zip(gathers);
    let ranks = ranks.map(|(rank, gather)| thread::spawn(move || step(gather, rank, world)));
    let mut root = None;
    for rank in ranks.collect::<Vec<_>>() {
        let row = rank.join().map_err(|_| "a rank panicked")??;
        root = root.or(row);
    }
    root.ok_or_else(|| "expected a row at rank 0, found none".into())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let world = std::env::args().nth(1).map_or(Ok(4), |n| n.parse())?;
    for (key, value) in row(world)?.iter() {
        println!("{key} = {value}");
    }
    Ok(())
}

#[test]
fn the_row_is_the_same_for_any_number_of_ranks() {
    let bits = |world| -> Vec<(String, u64)> {
        let row = row(world).unwrap();
        row.iter()
            .map(|(key, value)| (key.to_owned(), value.to_bits()))
            .collect()
    };
    for world in 2..=8 {
        assert_eq!(bits(world), bits(1), "{world} ranks");
    }
}
