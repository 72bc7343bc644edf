//! Whole groups, laid out one after another.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::members::{Members, answer};
use crate::batch::{Batch, Place, Values};
use crate::family::groups::diversity::token_set::TokenSet;
use crate::family::marked_values::{GroupColumn, MarkedValues};
use crate::family::thresholds::Success;

/// What a record said of a whole group that may be in other records too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seed {
    pub id: u64,
    pub place: Place,
    pub semantic_entropy: Option<f64>,
    pub advantage_scale: Option<f64>,
}

/// Groups that are whole, their members laid out group by group.
pub(super) struct Whole<'a, 't> {
    pub sizes: Vec<usize>,
    pub rewards: GroupColumn<'a>,
    pub advantages: Option<GroupColumn<'a>>,
    pub q: Option<GroupColumn<'a>>,
    pub weights: Option<GroupColumn<'a>>,
    /// One a completion; `None` for a completion without tokens or texts.
    pub tokens: Option<Vec<Option<&'t TokenSet>>>,
    /// One a group.
    pub semantic_entropies: Option<GroupColumn<'a>>,
    pub advantage_scales: Option<GroupColumn<'a>>,
    /// Where the extended metrics are counted.
    pub outcomes: Option<WholeOutcomes<'a>>,
}

/// What the extended metrics need beside.
pub(super) struct WholeOutcomes<'a> {
    /// What success is judged by: at or above `threshold`.
    pub judged: Option<GroupColumn<'a>>,
    pub threshold: f64,
    /// In tokens.
    pub lengths: Option<Vec<Option<u32>>>,
    pub tags: Option<Vec<Option<&'a str>>>,
    pub answers: Option<Vec<Option<u64>>>,
}

impl<'a, 't> Whole<'a, 't> {
    /// The groups of a record that are in no other; `success` where the extended metrics are counted.
    pub fn of(
        batch: &Batch<'a>,
        sizes: &[u32],
        sets: Option<&'t [Option<TokenSet>]>,
        success: Option<&Success>,
    ) -> Self {
        let c = batch.columns();
        let column = |values: &Option<Values<'a>>| values.as_ref().map(GroupColumn::of);
        Self {
            sizes: sizes.iter().map(|&size| size as usize).collect(),
            rewards: GroupColumn::of(&c.rewards),
            advantages: column(&c.advantages),
            q: column(&c.q),
            weights: column(&c.weights),
            tokens: sets.map(|sets| sets.iter().map(Option::as_ref).collect()),
            semantic_entropies: column(&c.semantic_entropies),
            advantage_scales: column(&c.advantage_scales),
            outcomes: success.map(|success| WholeOutcomes {
                judged: success.column(c).map(GroupColumn::of),
                threshold: success.threshold,
                lengths: batch
                    .lengths()
                    .map(|lengths| lengths.iter().copied().map(Some).collect()),
                tags: c
                    .tags
                    .map(|tags| tags.iter().map(|tag| Some(tag.as_str())).collect()),
                answers: c
                    .answers
                    .map(|answers| answers.iter().map(|text| Some(answer(text))).collect()),
            }),
        }
    }

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
            outcomes: self.outcomes.as_ref().map(|outcomes| WholeOutcomes {
                judged: Some(outcomes.successes.arranged(permutation)),
                threshold: 1.0,
                lengths: (!outcomes.lengths.is_empty()).then(|| {
                    (0..self.ids.len())
                        .map(|i| outcomes.lengths[at(i)])
                        .collect()
                }),
                tags: (!outcomes.tags.is_empty()).then(|| {
                    (0..self.ids.len())
                        .map(|i| outcomes.tags[at(i)].as_deref())
                        .collect()
                }),
                answers: (!outcomes.answers.is_empty()).then(|| {
                    (0..self.ids.len())
                        .map(|i| outcomes.answers[at(i)])
                        .collect()
                }),
            }),
        }
    }
}

/// The seed value of each group: that of the lowest rank and micro-batch that gives one. If any gives one that is no number,
/// the group has none that could be trusted, and is counted so.
fn first_seeds(ids: &[u64], seeds: &[Seed]) -> (GroupColumn<'static>, GroupColumn<'static>) {
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
        values.collect::<MarkedValues>().into_column()
    };
    (
        column(|seed| seed.semantic_entropy),
        column(|seed| seed.advantage_scale),
    )
}
