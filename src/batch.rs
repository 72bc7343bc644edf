//! One record, checked: what a rank hands in of one micro-batch. After [`Batch::of`] nothing downstream can fail on it.

mod check;
mod column;
mod columns;
mod error;
pub mod group;
mod name;
pub mod scalars;
pub mod tokens;
mod values;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::kernel::tokens::{Columns as TokenColumns, Completion};
use check::{check_lengths, lengths};
pub use column::{Column, ColumnKind, Shape};
pub use columns::{ColumnInfo, Columns};
pub use error::BatchError;
use tokens::{Span, TokenColumn};
pub use values::Values;

/// Which rank and which of its micro-batches a record is of; it also orders the completions of a spread group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// The rank, from 0.
    pub rank: u32,
    /// Which of the rank's micro-batches of the step, ascending; a later one counts as the rank's last.
    pub micro: u32,
}

/// A checked record: column lengths agree, masks are 0 or 1, groups cover the completions.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    columns: Columns<'a>,
    place: Option<Place>,
    /// `n`, where lengths are known; with flat columns the offsets follow from it.
    lengths: Option<Cow<'a, [u32]>>,
    /// Where each padded row's tokens start; empty: at 0.
    starts: Vec<usize>,
    /// `n` + 1 offsets into flat columns; empty without lengths.
    offsets: Vec<usize>,
    renamed: Vec<(String, String)>,
}

impl<'a> Batch<'a> {
    /// Checks the columns. Of reward components of one name the later ones are given names of their own
    /// ([`Batch::renamed`]).
    ///
    /// # Errors
    /// The first column that does not fit: its name, what was expected and what was found.
    pub fn of(mut columns: Columns<'a>) -> Result<Self, BatchError> {
        let renamed = name::set_apart(&mut columns.reward_components);
        let n = columns.rewards.len();
        check_lengths(&columns, n)?;
        let (lengths, starts) = lengths(&columns, n)?;
        let mut offsets = Vec::new();
        if let Some(lengths) = &lengths {
            offsets.reserve(n + 1);
            offsets.push(0);
            let mut end: usize = 0;
            for &length in lengths.iter() {
                // More than memory has cells, and so never what a column has.
                end = end.saturating_add(length as usize);
                offsets.push(end);
            }
        }
        let batch = Self {
            columns,
            place: None,
            lengths,
            starts,
            offsets,
            renamed,
        };
        batch.check_tokens()?;
        Ok(batch)
    }

    /// Says which rank and micro-batch the record is of. Without it the engine counts them itself.
    #[must_use]
    pub fn at(mut self, rank: u32, micro: u32) -> Self {
        self.place = Some(Place { rank, micro });
        self
    }

    /// The place given by [`Batch::at`].
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The checked columns.
    #[must_use]
    pub fn columns(&self) -> &Columns<'a> {
        &self.columns
    }

    /// The reward components that had another's name, each with the one it has now.
    #[must_use]
    pub fn renamed(&self) -> &[(String, String)] {
        &self.renamed
    }

    /// `n`.
    #[must_use]
    pub fn completions(&self) -> usize {
        self.columns.rewards.len()
    }

    /// Tokens of each completion, where they are known.
    #[must_use]
    pub fn lengths(&self) -> Option<&[u32]> {
        self.lengths.as_deref()
    }

    /// Whether a completion was cut off: it did not end by itself, or, in records that do not say how theirs ended, it is as long as the cap;
    /// `None` where neither is known.
    pub(crate) fn is_clipped(&self, completion: usize) -> Option<bool> {
        if let Some(terminated) = self.columns().terminated {
            return terminated.get(completion).map(|ended| !ended);
        }
        let length = self.lengths()?.get(completion)?;
        Some(*length >= self.columns().max_completion_length?)
    }

    /// Where the completion's tokens lie in a column.
    pub(crate) fn span(&self, completion: usize) -> Span {
        Span {
            row: completion,
            offset: self.offsets.get(completion).copied().unwrap_or(0),
            start: self.starts.get(completion).copied().unwrap_or(0),
            length: self.lengths.as_ref().map_or(0, |l| l[completion] as usize),
        }
    }

    /// The token columns of one completion; all empty where the record has no lengths.
    pub(crate) fn tokens(&self, completion: usize) -> Completion<'a> {
        let span = self.span(completion);
        let c = &self.columns;
        let cells = |column: Option<TokenColumn<'a>>| column.map(|column| column.at(span));
        Completion {
            length: span.length,
            mask: c.loss_mask.map(|mask| mask.at(span)),
            columns: TokenColumns {
                current: cells(c.token_logps),
                old: cells(c.old_token_logps),
                reference: cells(c.ref_token_logps),
                sampling: cells(c.sampling_token_logps),
                entropies: cells(c.token_entropies),
                advantages: cells(c.token_advantages),
                returns: cells(c.returns),
                values: cells(c.values),
            },
        }
    }

    /// The token ids of one completion, where the record has them.
    pub(crate) fn token_ids(&self, completion: usize) -> Option<&'a [u32]> {
        let span = self.span(completion);
        self.columns.token_ids.map(|ids| ids.at(span))
    }

    /// Whether the record has any column of numbers per token.
    pub(crate) fn has_tokens(&self) -> bool {
        let mut tokens = self
            .columns
            .given_of(|info| info.kind == ColumnKind::Tokens);
        tokens.next().is_some()
    }
}
