//! Token columns: one number a completion token, flat and ragged or padded, borrowed as the trainer holds them.

use half::bf16;
use ndarray::{ArrayView2, Axis};

use crate::kernel::tokens::Cells;

/// One token column of a record: log-probabilities (nats), entropies (nats), advantages, returns or values.
#[derive(Clone, Copy, Debug)]
pub enum TokenColumn<'a> {
    /// Completion after completion without padding: as many cells as the completion lengths add up to.
    Ragged(&'a [f32]),
    /// One row a completion, `[n, t]`; the cells of a row must lie side by side.
    Padded(ArrayView2<'a, f32>),
    /// As [`TokenColumn::Ragged`], in bfloat16.
    RaggedBf16(&'a [bf16]),
    /// As [`TokenColumn::Padded`], in bfloat16.
    PaddedBf16(ArrayView2<'a, bf16>),
}

/// A 0/1 column over tokens.
#[derive(Clone, Copy, Debug)]
pub enum TokenMask<'a> {
    /// Completion after completion without padding, as [`TokenColumn::Ragged`].
    Ragged(&'a [u8]),
    /// One row a completion, `[n, t]`, as [`TokenColumn::Padded`].
    Padded(ArrayView2<'a, u8>),
}

/// A column of token ids.
#[derive(Clone, Copy, Debug)]
pub enum TokenIds<'a> {
    /// Completion after completion without padding, as [`TokenColumn::Ragged`].
    Ragged(&'a [u32]),
    /// One row a completion, `[n, t]`, as [`TokenColumn::Padded`].
    Padded(ArrayView2<'a, u32>),
}

/// How many cells a column has: a flat length, or rows and their width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Flat(usize),
    Rows {
        rows: usize,
        width: usize,
        contiguous: bool,
    },
}

/// Where the tokens of one completion lie: in the flat column from `offset`, in a padded one from `start` of row `row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub row: usize,
    pub offset: usize,
    pub start: usize,
    pub length: usize,
}

impl Span {
    fn of_flat<T>(self, cells: &[T]) -> &[T] {
        &cells[self.offset..self.offset + self.length]
    }

    /// `Batch` has checked that rows are contiguous and long enough.
    fn of_rows<T>(self, mut rows: ArrayView2<'_, T>) -> &[T] {
        rows.collapse_axis(Axis(0), self.row);
        let row = rows.remove_axis(Axis(0)).to_slice().unwrap_or_default();
        row.get(self.start..self.start + self.length)
            .unwrap_or_default()
    }
}

fn extent_of_rows<T>(view: &ArrayView2<'_, T>) -> Extent {
    let (rows, width) = view.dim();
    Extent::Rows {
        rows,
        width,
        contiguous: width <= 1 || view.strides()[1] == 1,
    }
}

impl<'a> TokenColumn<'a> {
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Ragged(cells) => Extent::Flat(cells.len()),
            Self::RaggedBf16(cells) => Extent::Flat(cells.len()),
            Self::Padded(view) => extent_of_rows(view),
            Self::PaddedBf16(view) => extent_of_rows(view),
        }
    }

    pub(crate) fn at(&self, span: Span) -> Cells<'a> {
        match *self {
            Self::Ragged(cells) => Cells::F32(span.of_flat(cells)),
            Self::RaggedBf16(cells) => Cells::Bf16(span.of_flat(cells)),
            Self::Padded(view) => Cells::F32(span.of_rows(view)),
            Self::PaddedBf16(view) => Cells::Bf16(span.of_rows(view)),
        }
    }
}

impl<'a> TokenMask<'a> {
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Ragged(cells) => Extent::Flat(cells.len()),
            Self::Padded(view) => extent_of_rows(view),
        }
    }

    pub(crate) fn at(&self, span: Span) -> &'a [u8] {
        match *self {
            Self::Ragged(cells) => span.of_flat(cells),
            Self::Padded(view) => span.of_rows(view),
        }
    }
}

impl<'a> TokenIds<'a> {
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Ragged(cells) => Extent::Flat(cells.len()),
            Self::Padded(view) => extent_of_rows(view),
        }
    }

    pub(crate) fn at(&self, span: Span) -> &'a [u32] {
        match *self {
            Self::Ragged(cells) => span.of_flat(cells),
            Self::Padded(view) => span.of_rows(view),
        }
    }
}

impl<'a> From<&'a [f32]> for TokenColumn<'a> {
    fn from(cells: &'a [f32]) -> Self {
        Self::Ragged(cells)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for TokenColumn<'a> {
    fn from(cells: &'a [f32; N]) -> Self {
        Self::Ragged(cells)
    }
}

impl<'a> From<&'a Vec<f32>> for TokenColumn<'a> {
    fn from(cells: &'a Vec<f32>) -> Self {
        Self::Ragged(cells)
    }
}

impl<'a> From<ArrayView2<'a, f32>> for TokenColumn<'a> {
    fn from(rows: ArrayView2<'a, f32>) -> Self {
        Self::Padded(rows)
    }
}
