//! What the extended metrics stand on: read only where [`super::Detail::Extended`] asks for it.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::family::completions::by_outcome::ByOutcome;
use crate::family::completions::compression::compression;
use crate::family::completions::effective::Effective;
use crate::family::completions::repetition::repetition;
use crate::family::completions::tags::Tags;
use crate::family::number_totals::NumberTotals;
use crate::family::rewards::column::Column;
use crate::family::rewards::components::Components;
use crate::family::rewards::correlations::Correlations;
use crate::family::thresholds::Success;
use crate::family::tokens::sketches::Sketches;
use crate::kernel::tokens::Sums;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extended {
    pub correlations: Correlations,
    pub sketches: Sketches,
    /// One a completion: the share of its 4-grams that it has had before.
    pub repeated: NumberTotals,
    /// One a completion: how far its end can be compressed.
    pub compression: NumberTotals,
    pub tags: Tags,
    /// As tags, by why completions ended.
    pub stop_conditions: Tags,
    pub by_outcome: ByOutcome,
    pub effective: Effective,
}

impl Extended {
    /// `rewards`, `components` and `sums` are the record's, counted already.
    pub fn of(
        batch: &Batch<'_>,
        success: &Success,
        rewards: &Column,
        components: &Components,
        (sums, sketches): (&[Sums], Sketches),
    ) -> Self {
        Self {
            correlations: Correlations::of(batch, rewards, components),
            sketches,
            repeated: repetition(batch),
            compression: compression(batch),
            tags: Tags::of(batch, batch.columns().tags, success),
            stop_conditions: Tags::of(batch, batch.columns().stop_conditions, success),
            by_outcome: ByOutcome::of(batch, success, sums),
            effective: Effective::of(batch, sums),
        }
    }

    /// Whether it could be of a shard of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        self.tags.is_consistent(completions)
            && self.stop_conditions.is_consistent(completions)
            && self.correlations.is_consistent()
            && self.by_outcome.is_consistent(completions)
            && self.effective.is_consistent()
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            correlations,
            sketches,
            repeated,
            compression,
            tags,
            stop_conditions,
            by_outcome,
            effective,
        } = other;
        self.correlations.merge(correlations);
        self.sketches.merge(&sketches);
        self.repeated.merge(&repeated);
        self.compression.merge(&compression);
        self.tags.merge(&tags);
        self.stop_conditions.merge(&stop_conditions);
        self.by_outcome.merge(&by_outcome);
        self.effective.merge(&effective);
    }
}
