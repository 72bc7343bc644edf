//! One record, owned.

use std::borrow::Cow;

use super::fault::Fault;
use super::field::{COMPONENTS, Cells, Column, Fields};
use crate::batch::group::Grouping;
use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use crate::batch::{Batch, BatchError, Columns, Place, Values};
use crate::kernel::tokens::{Cells as Borrowed, Columns as Picked};

/// One rank's view of one micro-batch of one step, owned: a line of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub step: u64,
    pub rank: u32,
    pub world_size: u32,
    /// Tells a rank's micro-batches of a step apart and orders them.
    pub micro: u32,
    pub scalars: Scalars,
    pub weighting: Option<Weighting>,
    /// Every column that was given; the rewards and one of the groupings always are.
    pub(super) fields: Fields,
}

/// The numbers that say which record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub step: u64,
    pub rank: u32,
    pub world_size: u32,
    pub micro: u32,
}

impl Record {
    /// A copy of what a rank hands in, without padding and with every token column in single precision.
    #[must_use]
    pub fn of(step: u64, world_size: u32, place: Place, batch: &Batch<'_>) -> Self {
        let c = batch.columns();
        Self {
            step,
            rank: place.rank,
            world_size,
            micro: place.micro,
            scalars: c.scalars.clone(),
            weighting: c.weighting.clone(),
            fields: fields(batch),
        }
    }

    /// The record of these columns, which must have the two that every record has.
    pub(super) fn from_parts(
        head: Head,
        fields: Fields,
        scalars: Scalars,
        weighting: Option<Weighting>,
    ) -> Result<Self, Fault> {
        let has = |name| fields.contains_key(name);
        match (has("group_sizes"), has("group_ids")) {
            (true, true) => return Err(Fault::BothGroupings),
            (false, false) => return Err(Fault::NoGrouping),
            _ => {}
        }
        if !has("rewards") {
            return Err(Fault::Missing {
                field: "rewards",
                of: "batch",
            });
        }
        Ok(Self {
            step: head.step,
            rank: head.rank,
            world_size: head.world_size,
            micro: head.micro,
            scalars,
            weighting,
            fields,
        })
    }

    /// The record as the checked input of a shard, at its rank and micro-batch; borrows the columns.
    ///
    /// # Errors
    /// If the columns do not fit together. A record that was loaded from a recording has been checked.
    pub fn batch(&self) -> Result<Batch<'_>, BatchError> {
        Batch::of(self.columns()).map(|batch| batch.at(self.rank, self.micro))
    }

    fn columns(&self) -> Columns<'_> {
        let grouping = match self.fields.get("group_ids") {
            Some(Column::Ids(ids)) => Grouping::Ids(ids),
            _ => Grouping::Sizes(self.naturals("group_sizes").unwrap_or_default()),
        };
        let rewards = self.numbers("rewards").unwrap_or(Values::from(&[]));
        Columns {
            completion_index: self.naturals("completion_index"),
            reward_components: self.components(),
            advantages: self.numbers("advantages"),
            q: self.numbers("q"),
            weights: self.numbers("weights"),
            completion_lengths: self.naturals("completion_lengths"),
            padding_mask: match self.fields.get("padding_mask") {
                Some(Column::TokenBits(mask)) => mask.view(),
                _ => None,
            },
            max_completion_length: self.natural("max_completion_length"),
            prompt_lengths: self.naturals("prompt_lengths"),
            max_prompt_length: self.natural("max_prompt_length"),
            terminated: match self.fields.get("terminated") {
                Some(Column::Bits(bits)) => Some(bits),
                _ => None,
            },
            token_logps: self.tokens("token_logps"),
            old_token_logps: self.tokens("old_token_logps"),
            ref_token_logps: self.tokens("ref_token_logps"),
            sampling_token_logps: self.tokens("sampling_token_logps"),
            token_entropies: self.tokens("token_entropies"),
            token_advantages: self.tokens("token_advantages"),
            returns: self.tokens("returns"),
            values: self.tokens("values"),
            loss_mask: match self.fields.get("loss_mask") {
                Some(Column::TokenBits(mask)) => Some(
                    mask.view()
                        .map_or(TokenMask::Ragged(&mask.cells), TokenMask::Padded),
                ),
                _ => None,
            },
            token_ids: match self.fields.get("token_ids") {
                Some(Column::TokenNaturals(ids)) => Some(
                    ids.view()
                        .map_or(TokenIds::Ragged(&ids.cells), TokenIds::Padded),
                ),
                _ => None,
            },
            semantic_entropies: self.numbers("semantic_entropies"),
            advantage_scales: self.numbers("advantage_scales"),
            seed_alpha_effective: self.number("seed_alpha_effective"),
            seed_max_possible_entropy: self.number("seed_max_possible_entropy"),
            prompts: self.texts("prompts"),
            completions: self.texts("completions"),
            trajectory_ids: self.texts("trajectory_ids"),
            tags: self.texts("tags"),
            scalars: self.scalars.clone(),
            weighting: self.weighting.clone(),
            ..Columns::new(grouping, rewards)
        }
    }

    fn numbers(&self, name: &str) -> Option<Values<'_>> {
        match self.fields.get(name) {
            Some(Column::Numbers(numbers)) => Some(numbers.view()),
            _ => None,
        }
    }

    fn naturals(&self, name: &str) -> Option<&[u32]> {
        match self.fields.get(name) {
            Some(Column::Naturals(naturals)) => Some(naturals),
            _ => None,
        }
    }

    fn natural(&self, name: &str) -> Option<u32> {
        match self.fields.get(name) {
            Some(Column::Natural(natural)) => Some(*natural),
            _ => None,
        }
    }

    fn tokens(&self, name: &str) -> Option<TokenColumn<'_>> {
        match self.fields.get(name) {
            Some(Column::Tokens(tokens)) => Some(
                tokens
                    .view()
                    .map_or(TokenColumn::Ragged(&tokens.cells), TokenColumn::Padded),
            ),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.fields.get(name) {
            Some(Column::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> Option<&[String]> {
        match self.fields.get(name) {
            Some(Column::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    fn components(&self) -> Vec<(Cow<'_, str>, Values<'_>)> {
        match self.fields.get(COMPONENTS) {
            Some(Column::Components(components)) => components
                .iter()
                .map(|(name, numbers)| (Cow::Borrowed(name.as_str()), numbers.view()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The columns of a batch, copied.
fn fields(batch: &Batch<'_>) -> Fields {
    let c = batch.columns();
    let numbers = |column: &Option<Values<'_>>| {
        let column = column.as_ref()?;
        Some(Column::Numbers(column.iter().collect()))
    };
    let texts = |column: Option<&[String]>| column.map(|texts| Column::Texts(texts.to_vec()));
    let naturals = |column: Option<&[u32]>| column.map(|cells| Column::Naturals(cells.to_vec()));
    let components = (!c.reward_components.is_empty()).then(|| {
        let owned = |(name, column): &(Cow<'_, str>, Values<'_>)| {
            (name.to_string(), column.iter().collect())
        };
        Column::Components(c.reward_components.iter().map(owned).collect())
    });
    let grouping = match c.grouping {
        Grouping::Sizes(sizes) => ("group_sizes", naturals(Some(sizes))),
        Grouping::Ids(ids) => ("group_ids", Some(Column::Ids(ids.to_vec()))),
    };
    let columns = [
        grouping,
        ("rewards", numbers(&Some(c.rewards))),
        ("completion_index", naturals(c.completion_index)),
        (COMPONENTS, components),
        ("advantages", numbers(&c.advantages)),
        ("q", numbers(&c.q)),
        ("weights", numbers(&c.weights)),
        ("completion_lengths", naturals(batch.lengths())),
        (
            "max_completion_length",
            c.max_completion_length.map(Column::Natural),
        ),
        ("prompt_lengths", naturals(c.prompt_lengths)),
        (
            "max_prompt_length",
            c.max_prompt_length.map(Column::Natural),
        ),
        (
            "terminated",
            c.terminated.map(|bits| Column::Bits(bits.to_vec())),
        ),
        ("token_logps", singles(batch, c.token_logps, |t| t.current)),
        (
            "old_token_logps",
            singles(batch, c.old_token_logps, |t| t.old),
        ),
        (
            "ref_token_logps",
            singles(batch, c.ref_token_logps, |t| t.reference),
        ),
        (
            "sampling_token_logps",
            singles(batch, c.sampling_token_logps, |t| t.sampling),
        ),
        (
            "token_entropies",
            singles(batch, c.token_entropies, |t| t.entropies),
        ),
        (
            "token_advantages",
            singles(batch, c.token_advantages, |t| t.advantages),
        ),
        ("returns", singles(batch, c.returns, |t| t.returns)),
        ("values", singles(batch, c.values, |t| t.values)),
        (
            "loss_mask",
            c.loss_mask.map(|_| Column::TokenBits(mask(batch))),
        ),
        (
            "token_ids",
            c.token_ids.map(|_| Column::TokenNaturals(ids(batch))),
        ),
        ("semantic_entropies", numbers(&c.semantic_entropies)),
        ("advantage_scales", numbers(&c.advantage_scales)),
        (
            "seed_alpha_effective",
            c.seed_alpha_effective.map(Column::Number),
        ),
        (
            "seed_max_possible_entropy",
            c.seed_max_possible_entropy.map(Column::Number),
        ),
        ("prompts", texts(c.prompts)),
        ("completions", texts(c.completions)),
        ("trajectory_ids", texts(c.trajectory_ids)),
        ("tags", texts(c.tags)),
    ];
    columns
        .into_iter()
        .filter_map(|(name, column)| column.map(|column| (name, column)))
        .collect()
}

/// A token column, if it is given, without its padding.
fn singles<'a>(
    batch: &Batch<'a>,
    given: Option<TokenColumn<'_>>,
    pick: impl Fn(&Picked<Borrowed<'a>>) -> Option<Borrowed<'a>>,
) -> Option<Column> {
    given?;
    let mut cells = Vec::new();
    for completion in 0..batch.completions() {
        match pick(&batch.tokens(completion).columns) {
            Some(Borrowed::F32(tokens)) => cells.extend_from_slice(tokens),
            Some(Borrowed::Bf16(tokens)) => cells.extend(tokens.iter().map(|x| x.to_f32())),
            None => {}
        }
    }
    Some(Column::Tokens(Cells::flat(cells)))
}

fn mask(batch: &Batch<'_>) -> Cells<u8> {
    let rows = (0..batch.completions()).filter_map(|completion| batch.tokens(completion).mask);
    Cells::flat(rows.flatten().copied().collect())
}

fn ids(batch: &Batch<'_>) -> Cells<u32> {
    let rows = (0..batch.completions()).filter_map(|completion| batch.token_ids(completion));
    Cells::flat(rows.flatten().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::field::FIELDS;

    /// Every field of `FIELDS` that is not in here is missing from the copy or from the borrowed columns.
    #[test]
    fn every_field_comes_through_a_batch_and_back() {
        let json = r#"{"step": 1, "rank": 0, "world_size": 1, "batch": {"group_sizes": [1], "completion_index": [1],
            "rewards": [2], "reward_components": {"a": [3]}, "advantages": [4], "q": [5], "weights": [6],
            "completion_lengths": [1], "max_completion_length": 7, "terminated": [true], "token_logps": [8],
            "old_token_logps": [9], "ref_token_logps": [10], "sampling_token_logps": [11], "token_entropies": [12],
            "token_advantages": [13], "returns": [14], "values": [15], "loss_mask": [1], "token_ids": [16],
            "semantic_entropies": [17], "advantage_scales": [18], "seed_alpha_effective": 19,
            "seed_max_possible_entropy": 20, "prompts": ["p"], "completions": ["c"], "trajectory_ids": ["t"], "tags": ["g"],
            "prompt_lengths": [21], "max_prompt_length": 22}}"#;
        for json in [json, &json.replace("group_sizes", "group_ids")] {
            let record = Record::from_json(json).unwrap();
            // The other grouping, and the mask of padded columns.
            assert_eq!(record.fields.len(), FIELDS.len() - 2);
            let batch = record.batch().unwrap();
            assert_eq!(Record::of(1, 1, Place::default(), &batch), record);
        }
    }
}
