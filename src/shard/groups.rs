//! The groups of a shard: settled where a group is whole, its members kept where it may go on elsewhere.

mod settled;
mod whole;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cells::Cells;
use super::diversity::TokenSet;
use super::pass::by_completion;
use crate::batch::{Batch, Place, Values};
use crate::group::{Grouping, first_appearances};
pub(crate) use settled::{Settled, ZERO_STD};
use whole::whole;

/// Where a completion stands in its group: by `completion_index` where given, else by rank, micro-batch and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// `u64::MAX` where no index is given, so that those come last.
    pub index: u64,
    pub place: Place,
    pub position: u32,
}

/// Members of groups that may go on in other records: columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members {
    pub ids: Vec<u64>,
    pub slots: Vec<Slot>,
    pub rewards: Cells,
    pub advantages: Cells,
    pub q: Cells,
    pub weights: Cells,
    /// Empty, or one a member.
    pub tokens: Vec<Option<TokenSet>>,
}

/// What a record said of a whole group that may be in other records too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seed {
    id: u64,
    place: Place,
    semantic_entropy: Option<f64>,
    advantage_scale: Option<f64>,
}

/// The groups of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Groups {
    settled: Settled,
    members: Members,
    seeds: Vec<Seed>,
}

impl Groups {
    pub fn of(batch: &Batch<'_>, place: Place) -> Self {
        let mut groups = Self::default();
        let sets = token_sets(batch);
        match batch.columns().grouping {
            Grouping::Sizes(sizes) => groups.settled.add(&whole(batch, sizes, sets.as_deref())),
            Grouping::Ids(ids) => groups.keep(batch, place, ids, sets),
        }
        groups
    }

    fn keep(
        &mut self,
        batch: &Batch<'_>,
        place: Place,
        ids: &[u64],
        sets: Option<Vec<Option<TokenSet>>>,
    ) {
        let c = batch.columns();
        let n = ids.len();
        self.members = Members {
            ids: ids.to_vec(),
            slots: (0..n)
                .map(|i| Slot {
                    index: c.completion_index.map_or(u64::MAX, |index| index[i].into()),
                    place,
                    position: u32::try_from(i).unwrap_or(u32::MAX),
                })
                .collect(),
            rewards: Cells::of(Some(&c.rewards), n),
            advantages: Cells::of(c.advantages.as_ref(), n),
            q: Cells::of(c.q.as_ref(), n),
            weights: Cells::of(c.weights.as_ref(), n),
            tokens: sets.unwrap_or_default(),
        };
        if c.semantic_entropies.is_some() || c.advantage_scales.is_some() {
            let column = |values: &Option<Values<'_>>, groups: usize| match values {
                Some(values) => values.iter().collect(),
                None => vec![None; groups],
            };
            let ids = first_appearances(ids);
            let entropies = column(&c.semantic_entropies, ids.len());
            let scales = column(&c.advantage_scales, ids.len());
            for ((id, semantic_entropy), advantage_scale) in
                ids.into_iter().zip(entropies).zip(scales)
            {
                self.seeds.push(Seed {
                    id,
                    place,
                    semantic_entropy,
                    advantage_scale,
                });
            }
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.settled.merge(&other.settled);
        self.members.append(other.members);
        self.seeds.extend(other.seeds);
    }

    /// Whether some group may still go on elsewhere.
    pub fn is_open(&self) -> bool {
        !self.members.ids.is_empty() || !self.seeds.is_empty()
    }

    /// The finite rewards of the members it keeps.
    pub fn kept_rewards(&self) -> &[f64] {
        self.members.rewards.finite()
    }

    /// No more members will come: what all groups together come to.
    pub fn settle(&self) -> Settled {
        let mut settled = self.settled.clone();
        if self.is_open() {
            settled.add(&self.members.whole(&self.seeds));
        }
        settled
    }

    /// Replaces the kept members by what their groups come to.
    pub fn close(&mut self) {
        self.settled = self.settle();
        self.members = Members::default();
        self.seeds = Vec::new();
    }
}

impl Members {
    fn append(&mut self, other: Self) {
        let (mine, theirs) = (self.ids.len(), other.ids.len());
        if !self.tokens.is_empty() || !other.tokens.is_empty() {
            self.tokens.resize(mine, None);
            self.tokens.extend(other.tokens);
            self.tokens.resize(mine + theirs, None);
        }
        self.ids.extend(other.ids);
        self.slots.extend(other.slots);
        self.rewards.append(&other.rewards);
        self.advantages.append(&other.advantages);
        self.q.append(&other.q);
        self.weights.append(&other.weights);
    }
}

/// The token sets of a record's completions, where it has token ids or, failing those, texts.
fn token_sets(batch: &Batch<'_>) -> Option<Vec<Option<TokenSet>>> {
    let c = batch.columns();
    if c.token_ids.is_some() {
        let set = |i| batch.token_ids(i).map(TokenSet::of_ids);
        return Some(by_completion(batch, set));
    }
    let texts = c.completions?;
    Some(
        texts
            .par_iter()
            .map(|text| Some(TokenSet::of_text(text)))
            .collect(),
    )
}
