//! What the extended metrics stand on: read only where [`super::Detail::Extended`] asks for it.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::family::completions::repetition::repetition;
use crate::family::completions::tags::Tags;
use crate::family::number_totals::NumberTotals;
use crate::family::rewards::column::Column;
use crate::family::rewards::components::Components;
use crate::family::rewards::correlations::Correlations;
use crate::family::thresholds::Success;
use crate::family::tokens::sketches::Sketches;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extended {
    pub correlations: Correlations,
    pub sketches: Sketches,
    /// One a completion: the share of its 4-grams that it has had before.
    pub repeated: NumberTotals,
    pub tags: Tags,
}

impl Extended {
    /// `rewards` and `components` are the record's, counted already.
    pub fn of(
        batch: &Batch<'_>,
        success: &Success,
        rewards: &Column,
        components: &Components,
        sketches: Sketches,
    ) -> Self {
        Self {
            correlations: Correlations::of(batch, rewards, components),
            sketches,
            repeated: repetition(batch),
            tags: Tags::of(batch, success),
        }
    }

    /// Whether it could be of a shard of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        self.tags.is_consistent(completions) && self.correlations.is_consistent()
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            correlations,
            sketches,
            repeated,
            tags,
        } = other;
        self.correlations.merge(correlations);
        self.sketches.merge(&sketches);
        self.repeated.merge(&repeated);
        self.tags.merge(&tags);
    }
}
