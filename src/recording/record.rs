//! One record, owned.

use super::fault::Fault;
#[cfg(feature = "cli")]
use super::field;
#[cfg(feature = "cli")]
use super::field::COMPONENTS;
use super::field::{Fields, Owned};
use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::{Batch, BatchError, ColumnInfo, Columns, Place, Shape};

/// One rank's view of one micro-batch of one step, owned: a line of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The optimizer step that the record is of.
    pub step: u64,
    /// The rank that hands it in, from 0.
    pub rank: u32,
    /// How many ranks there are; the same in every record of a recording.
    pub world_size: u32,
    /// Tells a rank's micro-batches of a step apart and orders them.
    pub micro: u32,
    /// Numbers of the step, such as its loss; empty where the rank reports none.
    pub scalars: Scalars,
    /// The controller's snapshot; `None` where this rank reports none.
    pub weighting: Option<Weighting>,
    /// Every column that was given.
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

    /// The record of these columns. Whether they fit together, [`Record::batch`] says.
    pub(super) fn from_parts(
        head: Head,
        fields: Fields,
        scalars: Scalars,
        weighting: Option<Weighting>,
    ) -> Result<Self, Fault> {
        if !fields.contains_key("rewards") {
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
        Batch::of(self.columns()?).map(|batch| batch.at(self.rank, self.micro))
    }

    /// The names of its reward components.
    #[cfg(feature = "cli")]
    pub(crate) fn reward_components(&self) -> impl Iterator<Item = &str> {
        let components = match self.fields.get(COMPONENTS) {
            Some(Owned::Components(components)) => Some(components.keys()),
            _ => None,
        };
        components.into_iter().flatten().map(String::as_str)
    }

    /// The record with the tokens too that the loss leaves out.
    #[cfg(feature = "cli")]
    pub(crate) fn unmasked(&self) -> Self {
        let mut record = self.clone();
        record.fields.remove("loss_mask");
        record
    }

    /// The record without the tokens that the loss leaves out, as if no completion had them.
    ///
    /// # Errors
    /// As [`Record::batch`].
    #[cfg(feature = "cli")]
    pub(crate) fn trained(&self) -> Result<Self, BatchError> {
        Ok(Self {
            fields: field::trained(&fields(&self.batch()?)),
            ..self.clone()
        })
    }

    /// The record without the completions that were cut off: those that did not end by themselves, or, where nobody says how they ended,
    /// that are as long as the cap. Groups' own columns are left out.
    ///
    /// # Errors
    /// As [`Record::batch`].
    #[cfg(feature = "cli")]
    pub(crate) fn terminated(&self) -> Result<Self, BatchError> {
        let batch = self.batch()?;
        let ended = |i: usize| batch.is_clipped(i) != Some(true);
        let keep: Vec<bool> = (0..batch.completions()).map(ended).collect();
        Ok(Self {
            fields: field::kept(&fields(&batch), &keep),
            ..self.clone()
        })
    }

    fn columns(&self) -> Result<Columns<'_>, BatchError> {
        let fields = self.fields.iter();
        let given =
            fields.filter_map(|(name, column)| Some((ColumnInfo::of(name)?, column.view())));
        Ok(Columns {
            scalars: self.scalars.clone(),
            weighting: self.weighting.clone(),
            ..Columns::of(given)?
        })
    }
}

/// The columns of a batch, copied. What a padding mask says is in the lengths then.
fn fields(batch: &Batch<'_>) -> Fields {
    let given = batch.columns().given();
    let without_padding = given.filter(|(info, _)| info.shape != Shape::Place);
    let copies = without_padding.map(|(info, column)| (info.name, Owned::of(column, batch)));
    let lengths = batch
        .lengths()
        .map(|lengths| Owned::Naturals(lengths.to_vec()));
    copies
        .chain(lengths.map(|lengths| ("completion_lengths", lengths)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::ColumnKind;

    /// A column of one completion with one token, as JSON; `nth` tells it from the others of its kind.
    fn sample(info: &ColumnInfo, nth: usize) -> String {
        match info.kind {
            // Sizes and lengths of 1, and marks.
            ColumnKind::Naturals | ColumnKind::Bits | ColumnKind::TokenBits => "[1]".to_owned(),
            ColumnKind::Numbers
            | ColumnKind::Tokens
            | ColumnKind::TokenNaturals
            | ColumnKind::Ids => format!("[{nth}]"),
            ColumnKind::Number | ColumnKind::Natural => format!("{nth}"),
            ColumnKind::Texts => format!("[\"{}\"]", info.name),
            ColumnKind::Components => format!("{{\"a\": [{nth}]}}"),
        }
    }

    #[test]
    fn every_column_comes_through_a_batch_and_back() {
        for other in ["group_ids", "group_sizes"] {
            let all = Columns::ALL.iter().enumerate();
            let given = all.filter(|(_, info)| info.name != other && info.shape != Shape::Place);
            let members =
                given.map(|(nth, info)| format!("\"{}\": {}", info.name, sample(info, nth)));
            let members: Vec<String> = members.collect();
            let json = format!(
                "{{\"step\": 1, \"rank\": 0, \"world_size\": 1, \"batch\": {{{}}}}}",
                members.join(", ")
            );
            let record = Record::from_json(&json).unwrap();
            // All but the other grouping, and the mask of padded columns.
            assert_eq!(record.fields.len(), Columns::ALL.len() - 2);
            let batch = record.batch().unwrap();
            assert_eq!(Record::of(1, 1, Place::default(), &batch), record);
        }
    }
}
