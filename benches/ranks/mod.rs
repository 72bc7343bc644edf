//! What ranks send and the root makes of it, for `benches/merge.rs` and `examples/merge_memory.rs`.

use std::error::Error;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns, Values};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::gather::{Answer, Part};
use grpo_metrics::row::Metrics;
use grpo_metrics::shard::Shard;
use grpo_metrics::summary::Summary;

const COMPLETIONS: usize = 512;

/// The part of a rank of 512 completions with four components, all doubles different.
pub fn part(rank: u32, sketch: bool) -> Result<Vec<u8>, Box<dyn Error>> {
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
pub fn row(answers: Vec<Answer>) -> Result<Metrics, Box<dyn Error>> {
    let mut shard = Part::default().join(answers).shard;
    shard.close(1)?;
    Ok(Dialect::default().row(&Summary::from(&shard)))
}
