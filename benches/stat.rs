//! The statistics that every step stands on: `cargo bench --bench stat`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grpo_metrics::stat::{ExactSum, Moments, Order, Quantile, Sketch, Statistic, exact};

/// Uniform values in [0, 1) from Knuth's congruential generator: the same in every run.
fn uniform(len: usize) -> Vec<f64> {
    let mut state = 1_u64;
    let draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / 2.0_f64.powi(53)
    };
    std::iter::repeat_with(draw).take(len).collect()
}

fn of<S: Statistic>(samples: &[f64]) -> S {
    let mut statistic = S::default();
    statistic.add(samples);
    statistic
}

fn stat(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stat");
    for len in [64, 4096] {
        let samples = uniform(len);
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(BenchmarkId::new("exact_sum", len), |b| {
            b.iter(|| of::<ExactSum>(black_box(&samples)).rounded());
        });
        group.bench_function(BenchmarkId::new("moments", len), |b| {
            b.iter(|| of::<Moments>(black_box(&samples)));
        });
        group.bench_function(BenchmarkId::new("order", len), |b| {
            b.iter(|| of::<Order>(black_box(&samples)).quantiles(&Quantile::SEVEN));
        });
        group.bench_function(BenchmarkId::new("sketch", len), |b| {
            b.iter(|| of::<Sketch>(black_box(&samples)));
        });
    }
    let samples = uniform(4096);
    let moments = of::<Moments>(&samples);
    group.throughput(Throughput::Elements(1));
    group.bench_function("moments/finish", |b| {
        b.iter(|| black_box(&moments).finish());
    });
    group.throughput(Throughput::Elements(8));
    group.bench_function(BenchmarkId::new("exact", 8), |b| {
        b.iter(|| exact(black_box(&samples[..8])));
    });
    group.finish();
}

criterion_group!(benches, stat);
criterion_main!(benches);
