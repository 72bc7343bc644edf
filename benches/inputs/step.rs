//! A step's completions, over [`RANKS`] ranks, and what is timed of them.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns, Place};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::shard::{Shard, Thresholds};
use grpo_metrics::summary::Summary;

use super::stream;

pub const RANKS: usize = 8;
const GROUP: usize = 8;

/// Uniform numbers in [0, 1).
fn uniform(seed: u64, n: usize) -> Vec<f64> {
    let mut next = stream(seed);
    (0..n)
        .map(|_| next() as f64 / 18_446_744_073_709_551_616.0)
        .collect()
}

/// What one rank holds.
pub struct Rank {
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
    /// Its part of so many completions.
    pub fn new(rank: usize, completions: usize, components: usize) -> Self {
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

    pub fn batch(&self) -> Batch<'_> {
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

/// Batches to the finished row: the shard of each rank, merge, summary, names. How many numbers it has.
pub fn row(batches: &[Batch<'_>], thresholds: &Thresholds) -> usize {
    let mut step = Shard::default();
    for (rank, batch) in (0..).zip(batches) {
        let place = Place { rank, micro: 0 };
        step.merge(Shard::counted(batch, place, thresholds))
            .expect("one step");
    }
    Dialect::MaxEnt.row(&Summary::from(&step)).len()
}
