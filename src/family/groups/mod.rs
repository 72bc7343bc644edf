//! The groups of a shard: what whole ones come to, and the members of those that may go on elsewhere.

pub mod attempts;
pub mod best;
pub mod byte_columns;
pub mod diversity;
mod extended;
pub mod majority;
mod measured;
mod members;
pub mod pass_rates;
mod plain;
mod whole;
mod wire;

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::per_completion::by_completion;
use super::thresholds::Success;
use crate::batch::group::{Grouping, first_appearances};
use crate::batch::{Batch, Place, Values};
use crate::family::join;
use diversity::token_set::TokenSet;
pub(crate) use extended::ExtendedTotals;
pub use extended::{GroupShares, GroupStd};
pub(crate) use extended::{group_shares, group_std};
use members::Members;
pub(crate) use plain::{PlainTotals, ZERO_STD};
use whole::{Seed, Whole};

/// What whole groups come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupTotals {
    pub plain: PlainTotals,
    /// Where the extended metrics are counted.
    pub extended: Option<Box<ExtendedTotals>>,
}

/// The groups of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Groups {
    totals: GroupTotals,
    members: Members,
    seeds: Vec<Seed>,
}

impl Groups {
    /// `success` where the extended metrics are counted.
    pub fn of(batch: &Batch<'_>, place: Place, success: Option<&Success>) -> Self {
        let mut groups = Self::default();
        groups.totals.extended = success.map(|_| Box::default());
        let sets = token_sets(batch);
        match batch.columns().grouping {
            Grouping::Sizes(sizes) => {
                let whole = Whole::of(batch, sizes, sets.as_deref(), success);
                groups.totals.add(&whole);
            }
            Grouping::Ids(ids) => {
                groups.members = Members::of(batch, place, ids, sets, success);
                groups.seeds = seeds(batch, place, ids);
            }
        }
        groups
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            totals,
            members,
            seeds,
        } = other;
        self.totals.merge(totals);
        self.members.append(members);
        self.seeds.extend(seeds);
    }

    /// Whether some group may still go on elsewhere.
    pub fn is_open(&self) -> bool {
        self.members.len() > 0 || !self.seeds.is_empty()
    }

    /// Whether the extended metrics are counted.
    pub fn is_extended(&self) -> bool {
        self.totals.extended.is_some()
    }

    /// Whether they could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        let members = self.members.len() as u64;
        let outcomes = self.members.outcomes.is_some();
        let totals = self.totals.extended.as_ref();
        outcomes == (self.is_extended() && members > 0)
            && members <= completions
            && totals.is_none_or(|totals| totals.is_consistent(completions - members))
    }

    /// The rewards that are kept here completion by completion, in two parts.
    pub fn kept_rewards(&self) -> [&[f64]; 2] {
        let measured = self.totals.extended.as_ref();
        [
            self.members.rewards.finite(),
            measured.map_or(&[], |totals| totals.measured.rewards()),
        ]
    }

    /// No more members will come: what all groups together come to.
    pub fn totals(&self) -> Cow<'_, GroupTotals> {
        if !self.is_open() {
            return Cow::Borrowed(&self.totals);
        }
        let mut totals = self.totals.clone();
        totals.add(&self.members.whole(&self.seeds));
        Cow::Owned(totals)
    }

    /// Replaces the kept members by what their groups come to.
    pub fn close(&mut self) {
        if self.is_open() {
            self.totals.add(&self.members.whole(&self.seeds));
        }
        self.members = Members::default();
        self.seeds = Vec::new();
    }
}

impl GroupTotals {
    fn add(&mut self, whole: &Whole<'_, '_>) {
        let ranges = whole.ranges();
        self.plain.add(whole, &ranges);
        if let (Some(extended), Some(outcomes)) = (&mut self.extended, &whole.outcomes) {
            extended.add(whole, outcomes, &ranges);
        }
    }

    fn merge(&mut self, other: Self) {
        let Self {
            ref plain,
            extended,
        } = other;
        self.plain.merge(plain);
        join(&mut self.extended, extended, |mine, theirs| {
            mine.merge(*theirs);
        });
    }
}

/// What a record says of its groups, which may be in other records too.
fn seeds(batch: &Batch<'_>, place: Place, ids: &[u64]) -> Vec<Seed> {
    let c = batch.columns();
    if c.semantic_entropies.is_none() && c.advantage_scales.is_none() {
        return Vec::new();
    }
    let ids = first_appearances(ids);
    let column = |values: &Option<Values<'_>>| match values {
        Some(values) => values.iter().collect(),
        None => vec![None; ids.len()],
    };
    let (entropies, scales) = (column(&c.semantic_entropies), column(&c.advantage_scales));
    let rows = ids.into_iter().zip(entropies).zip(scales);
    rows.map(|((id, semantic_entropy), advantage_scale)| Seed {
        id,
        place,
        semantic_entropy,
        advantage_scale,
    })
    .collect()
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
