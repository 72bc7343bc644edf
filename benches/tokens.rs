//! The token pass on one thread, on two, and with the distributions of entropy, ratio and k3, beside the memory's limit: one
//! sum over the same arrays.

mod inputs;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grpo_metrics::batch::Place;
use grpo_metrics::shard::{Detail, Shard, Thresholds};
use inputs::tokens::Tokens;

/// The memory's limit: one wide sum over a column.
fn read(column: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 64];
    let (chunks, rest) = column.as_chunks::<64>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().chain(rest).sum()
}

fn tokens(c: &mut Criterion) {
    let tokens = Tokens::new();
    let batch = tokens.batch();
    let mut group = c.benchmark_group("tokens");
    group.throughput(Throughput::Elements(tokens.columns[0].len() as u64));
    group.bench_function("read", |b| {
        b.iter(|| {
            tokens
                .columns
                .each_ref()
                .map(|column| read(black_box(column)))
        });
    });
    let sketched = Thresholds {
        detail: Detail::Extended,
        ..Thresholds::default()
    };
    for (name, threads, thresholds) in [
        ("shard", 1, Thresholds::default()),
        ("shard-2-threads", 2, Thresholds::default()),
        ("shard-sketches", 1, sketched),
    ] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        group.bench_function(name, |b| {
            pool.install(|| {
                b.iter(|| Shard::counted(black_box(&batch), Place::default(), &thresholds));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
