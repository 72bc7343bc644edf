//! One optimizer step from checked batches to the finished `maxent` dictionary: the shard of each rank, merge, summary, names.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grpo_metrics::batch::{Batch, Columns, Place};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::group::Grouping;
use grpo_metrics::shard::{Detail, Shard, Thresholds};
use grpo_metrics::summary::Summary;

const RANKS: usize = 8;
const GROUP: usize = 8;

/// Uniform numbers in [0, 1) from a fixed seed (splitmix64), so that every run times the same data.
fn uniform(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as f64 / 18_446_744_073_709_551_616.0
        })
        .collect()
}

/// What one rank holds.
struct Rank {
    sizes: Vec<u32>,
    rewards: Vec<f64>,
    components: Vec<(String, Vec<f64>)>,
    advantages: Vec<f64>,
    q: Vec<f64>,
    weights: Vec<f64>,
}

/// Masses of groups of [`GROUP`] that add up to 1 each.
fn masses(seed: u64, n: usize) -> Vec<f64> {
    let mut masses = uniform(seed, n);
    for group in masses.chunks_mut(GROUP) {
        let sum: f64 = group.iter().sum();
        for mass in group {
            *mass /= sum;
        }
    }
    masses
}

impl Rank {
    fn new(rank: usize, completions: usize, components: usize) -> Self {
        let seed = |column: usize| (rank * 100 + column) as u64;
        Self {
            sizes: vec![8; completions / GROUP],
            rewards: uniform(seed(0), completions),
            components: (0..components)
                .map(|c| (format!("reward_{c}"), uniform(seed(10 + c), completions)))
                .collect(),
            advantages: uniform(seed(1), completions)
                .into_iter()
                .map(|x| x - 0.5)
                .collect(),
            q: masses(seed(2), completions),
            weights: masses(seed(3), completions),
        }
    }

    fn batch(&self) -> Batch<'_> {
        let mut columns = Columns::new(Grouping::Sizes(&self.sizes), &self.rewards);
        columns.reward_components = self
            .components
            .iter()
            .map(|(name, values)| (name.as_str().into(), values.into()))
            .collect();
        columns.advantages = Some((&self.advantages).into());
        columns.q = Some((&self.q).into());
        columns.weights = Some((&self.weights).into());
        Batch::of(columns).expect("the columns fit")
    }
}

fn row(batches: &[Batch<'_>], thresholds: &Thresholds) -> usize {
    let mut step = Shard::default();
    for (rank, batch) in (0..).zip(batches) {
        let place = Place { rank, micro: 0 };
        step.merge(Shard::counted(batch, place, thresholds))
            .expect("one step");
    }
    Dialect::MaxEnt.row(&Summary::from(&step)).len()
}

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
