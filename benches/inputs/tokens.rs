//! A step's token columns: 1,024 completions of 16 to 4,096 tokens, out of cache.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};

use super::stream;

const COMPLETIONS: usize = 1024;

/// Current, old and reference log-probabilities and entropies.
pub struct Tokens {
    lengths: Vec<u32>,
    rewards: Vec<f64>,
    sizes: Vec<u32>,
    pub columns: [Vec<f32>; 4],
}

#[allow(clippy::cast_possible_truncation)] // uniform in [low, high), as singles
fn singles(seed: u64, n: usize, low: f64, high: f64) -> Vec<f32> {
    let mut next = stream(seed);
    (0..n)
        .map(|_| (low + (high - low) * (next() as f64 / u64::MAX as f64)) as f32)
        .collect()
}

impl Tokens {
    pub fn new() -> Self {
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
        let (old, reference) = (near(2), near(3));
        Self {
            lengths,
            rewards: vec![1.0; COMPLETIONS],
            sizes: vec![8; COMPLETIONS / 8],
            columns: [current, old, reference, singles(4, n, 0.0, 3.0)],
        }
    }

    pub fn batch(&self) -> Batch<'_> {
        let [current, old, reference, entropies] = &self.columns;
        let mut columns = Columns::new(Grouping::Sizes(&self.sizes), &self.rewards);
        columns.completion_lengths = Some(&self.lengths);
        columns.token_logps = Some(current.into());
        columns.old_token_logps = Some(old.into());
        columns.ref_token_logps = Some(reference.into());
        columns.token_entropies = Some(entropies.into());
        Batch::of(columns).expect("the columns fit")
    }
}
