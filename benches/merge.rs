//! Ranks' shards from bytes to a named row.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use grpo_metrics::batch::{Batch, Columns, Values};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::gather::{Answer, Part};
use grpo_metrics::group::Grouping;
use grpo_metrics::metrics::Metrics;
use grpo_metrics::shard::Shard;
use grpo_metrics::summary::Summary;

const COMPLETIONS: usize = 512;

/// The part of a rank of 512 completions with four components, all doubles different.
fn part(rank: u32) -> Vec<u8> {
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
    let batch = Batch::of(columns).expect("columns of one length");
    let mut shard = Shard::of(&batch.at(rank, 0));
    shard.assign(1).expect("a fresh shard");
    Part::of(shard).write().expect("a shard of a batch")
}

/// Decode, merge as a tree on all cores, summarise, name.
fn row(answers: Vec<Answer>) -> Metrics {
    let mut shard = Part::default().join(answers).shard;
    shard.close(1).expect("shards of one step");
    Dialect::default().row(&Summary::from(&shard))
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group.sample_size(10);
    for ranks in [64, 1024_u32] {
        let answers: Vec<Answer> = (0..ranks)
            .map(|rank| Answer::of(rank, part(rank)))
            .collect();
        group.bench_function(ranks.to_string(), |b| {
            b.iter_batched(
                || answers.clone(),
                |answers| black_box(row(answers)),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
