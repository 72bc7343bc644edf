//! Ranks' shards from bytes to a named row.

mod ranks;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use grpo_metrics::gather::Answer;
use ranks::{part, row};

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group.sample_size(10);
    for ranks in [64, 1024_u32] {
        let answers: Vec<Answer> = (0..ranks)
            .map(|rank| Answer::of(rank, part(rank, false).expect("a shard of a batch")))
            .collect();
        group.bench_function(ranks.to_string(), |b| {
            b.iter_batched(
                || answers.clone(),
                |answers| black_box(row(answers).expect("shards of one step")),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
