//! Whole groups, laid out one after another.

use std::ops::Range;

use super::{Members, Seed};
use crate::batch::{Batch, Values};
use crate::shard::cells::{Cells, Column};
use crate::shard::diversity::TokenSet;

/// Groups that are whole, their members laid out group by group.
pub(super) struct Whole<'a, 't> {
    pub sizes: Vec<usize>,
    pub rewards: Column<'a>,
    pub advantages: Option<Column<'a>>,
    pub q: Option<Column<'a>>,
    pub weights: Option<Column<'a>>,
    /// One a completion; `None` for a completion without tokens or texts.
    pub tokens: Option<Vec<Option<&'t TokenSet>>>,
    /// One a group.
    pub semantic_entropies: Option<Column<'a>>,
    pub advantage_scales: Option<Column<'a>>,
}

impl Whole<'_, '_> {
    /// The members of each non-empty group.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let mut ranges = Vec::with_capacity(self.sizes.len());
        for &size in &self.sizes {
            if size > 0 {
                ranges.push(start..start + size);
            }
            start += size;
        }
        ranges
    }
}

impl Members {
    /// All members group by group (groups by id, members by slot), as whole groups.
    pub(super) fn whole(&self, seeds: &[Seed]) -> Whole<'_, '_> {
        let key = |i: usize| (self.ids[i], self.slots[i]);
        let sorted = (1..self.ids.len()).all(|i| key(i - 1) <= key(i));
        let permutation = (!sorted).then(|| {
            let mut permutation: Vec<usize> = (0..self.ids.len()).collect();
            permutation.sort_unstable_by_key(|&i| key(i));
            permutation
        });
        let permutation = permutation.as_deref();
        let at = |i: usize| permutation.map_or(i, |permutation| permutation[i]);
        let mut sizes: Vec<usize> = Vec::new();
        let mut ids: Vec<u64> = Vec::new();
        for i in 0..self.ids.len() {
            let id = self.ids[at(i)];
            match sizes.last_mut() {
                Some(size) if ids.last() == Some(&id) => *size += 1,
                _ => {
                    ids.push(id);
                    sizes.push(1);
                }
            }
        }
        let (semantic_entropies, advantage_scales) = first_seeds(&ids, seeds);
        Whole {
            sizes,
            rewards: self.rewards.arranged(permutation),
            advantages: Some(self.advantages.arranged(permutation)),
            q: Some(self.q.arranged(permutation)),
            weights: Some(self.weights.arranged(permutation)),
            tokens: (!self.tokens.is_empty()).then(|| {
                (0..self.ids.len())
                    .map(|i| self.tokens[at(i)].as_ref())
                    .collect()
            }),
            semantic_entropies: Some(semantic_entropies),
            advantage_scales: Some(advantage_scales),
        }
    }
}

/// The seed value of each group: that of the lowest rank and micro-batch that gives one. If any gives one that is no number,
/// the group has none that could be trusted, and is counted so.
fn first_seeds(ids: &[u64], seeds: &[Seed]) -> (Column<'static>, Column<'static>) {
    let mut sorted: Vec<&Seed> = seeds.iter().collect();
    sorted.sort_by_key(|seed| (seed.id, seed.place));
    let column = |of: fn(&Seed) -> Option<f64>| {
        let values = ids.iter().map(|id| {
            let start = sorted.partition_point(|seed| seed.id < *id);
            let given = sorted[start..]
                .iter()
                .take_while(|seed| seed.id == *id)
                .filter_map(|seed| of(seed));
            given.reduce(|first, next| if next.is_finite() { first } else { next })
        });
        values.collect::<Cells>().into_column()
    };
    (
        column(|seed| seed.semantic_entropy),
        column(|seed| seed.advantage_scale),
    )
}

/// The groups of a record that are in no other.
pub(super) fn whole<'a, 't>(
    batch: &Batch<'a>,
    sizes: &[u32],
    sets: Option<&'t [Option<TokenSet>]>,
) -> Whole<'a, 't> {
    let c = batch.columns();
    let column = |values: &Option<Values<'a>>| values.as_ref().map(Column::of);
    Whole {
        sizes: sizes.iter().map(|&size| size as usize).collect(),
        rewards: Column::of(&c.rewards),
        advantages: column(&c.advantages),
        q: column(&c.q),
        weights: column(&c.weights),
        tokens: sets.map(|sets| sets.iter().map(Option::as_ref).collect()),
        semantic_entropies: column(&c.semantic_entropies),
        advantage_scales: column(&c.advantage_scales),
    }
}
