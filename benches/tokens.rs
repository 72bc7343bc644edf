//! The token pass on one thread, on two, and with the distributions of entropy, ratio and k3, beside the memory's limit: one
//! sum over the same arrays.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grpo_metrics::batch::{Batch, Columns, Place};
use grpo_metrics::group::Grouping;
use grpo_metrics::shard::{Detail, Shard, Thresholds};

const COMPLETIONS: usize = 1024;

/// A fixed-seed stream of integers (splitmix64).
fn stream(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[allow(clippy::cast_possible_truncation)] // uniform in [low, high), as singles
fn singles(seed: u64, n: usize, low: f64, high: f64) -> Vec<f32> {
    let mut next = stream(seed);
    (0..n)
        .map(|_| (low + (high - low) * (next() as f64 / u64::MAX as f64)) as f32)
        .collect()
}

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
    let mut next = stream(7);
    let lengths: Vec<u32> = (0..COMPLETIONS)
        .map(|_| u32::try_from(16 + next() % 4081).unwrap_or(16))
        .collect();
    let n = lengths.iter().map(|&l| l as usize).sum();
    let current = singles(1, n, -4.0, 0.0);
    let near = |seed| -> Vec<f32> {
        current
            .iter()
            .zip(singles(seed, n, -0.3, 0.3))
            .map(|(c, d)| (c + d).min(0.0))
            .collect()
    };
    let (old, reference, entropies) = (near(2), near(3), singles(4, n, 0.0, 3.0));
    let rewards = vec![1.0; COMPLETIONS];
    let sizes = [8; COMPLETIONS / 8];
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
    columns.completion_lengths = Some(&lengths);
    columns.token_logps = Some((&current).into());
    columns.old_token_logps = Some((&old).into());
    columns.ref_token_logps = Some((&reference).into());
    columns.token_entropies = Some((&entropies).into());
    let batch = Batch::of(columns).expect("the columns fit");

    let mut group = c.benchmark_group("tokens");
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function("read", |b| {
        b.iter(|| [&current, &old, &reference, &entropies].map(|column| read(black_box(column))));
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
                b.iter(|| Shard::counted(black_box(&batch), Place::default(), &thresholds))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
