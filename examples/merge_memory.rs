//! The root's work over 1,024 ranks of 512 completions with four components, all doubles different: time and peak memory.
//! `cargo run --release --example merge_memory -- [RANKS] [sketch]`. The ranks' bytes are in memory beforehand, as a gather
//! leaves them, and count.

use std::error::Error;
use std::time::Instant;

use grpo_metrics::batch::{Batch, Columns, Values};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::gather::{Answer, Part};
use grpo_metrics::group::Grouping;
use grpo_metrics::metrics::Metrics;
use grpo_metrics::shard::Shard;
use grpo_metrics::summary::Summary;

const COMPLETIONS: usize = 512;

/// The part of a rank of 512 completions with four components, all doubles different.
fn part(rank: u32, sketch: bool) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut state = u64::from(rank) + 1;
    let mut column = || -> Vec<f64> {
        (0..COMPLETIONS)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            })
            .collect()
    };
    let rewards = column();
    let components = [column(), column(), column(), column()];
    let sizes = [8; COMPLETIONS / 8];
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
    columns.reward_components = ["a", "b", "c", "d"]
        .into_iter()
        .zip(&components)
        .map(|(name, values)| (name.into(), Values::from(values)))
        .collect();
    let batch = Batch::of(columns)?;
    let mut shard = Shard::of(&batch.at(rank, 0));
    if sketch {
        shard.sketch();
    }
    shard.assign(1)?;
    Ok(Part::of(shard).write()?)
}

/// Decode, merge as a tree on all cores, summarise, name.
fn row(answers: Vec<Answer>) -> Result<Metrics, Box<dyn Error>> {
    let mut shard = Part::default().join(answers).shard;
    shard.close(1)?;
    Ok(Dialect::default().row(&Summary::from(&shard)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let ranks: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(1024), |text| text.parse())?;
    let sketch = std::env::args().nth(2).is_some_and(|word| word == "sketch");
    let answers = (0..ranks)
        .map(|rank| Ok(Answer::of(rank, part(rank, sketch)?)))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let bytes: usize = answers
        .iter()
        .flat_map(|answer| &answer.bytes)
        .map(Vec::len)
        .sum();
    println!(
        "{ranks} ranks, {bytes} bytes, {} a rank",
        bytes / ranks.max(1) as usize
    );
    println!("resident with the ranks' bytes: {}", status("VmRSS:"));
    let begun = Instant::now();
    let row = row(answers)?;
    println!(
        "decoded, merged, summarised and named ({} keys) in {:.1} ms",
        row.len(),
        begun.elapsed().as_secs_f64() * 1e3
    );
    println!("peak resident: {}", status("VmHWM:"));
    Ok(())
}

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.map_or("unknown", str::trim).to_owned()
}
