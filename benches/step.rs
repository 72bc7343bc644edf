//! One optimizer step from checked batches to the finished `maxent` dictionary: the shard of each rank, merge, summary, names.

mod inputs;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grpo_metrics::batch::Batch;
use grpo_metrics::shard::{Detail, Thresholds};
use inputs::step::{RANKS, Rank, row};

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for (completions, components) in [(512, 3), (4096, 4), (65536, 4)] {
        let ranks: Vec<Rank> = (0..RANKS)
            .map(|rank| Rank::new(rank, completions / RANKS, components))
            .collect();
        let batches: Vec<Batch<'_>> = ranks.iter().map(Rank::batch).collect();
        group.throughput(Throughput::Elements(completions as u64));
        group.bench_function(format!("{completions}x{components}"), |b| {
            b.iter(|| row(black_box(&batches), &Thresholds::default()));
        });
        if completions == 4096 {
            let extended = Thresholds {
                detail: Detail::Extended,
                ..Thresholds::default()
            };
            group.bench_function("4096x4-extended", |b| {
                b.iter(|| row(black_box(&batches), &extended));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
