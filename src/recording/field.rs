//! The columns of one record, owned: as they are read, and as they are copied from a batch.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use crate::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use crate::batch::{Batch, Column, Values};
use crate::kernel::tokens::Cells as Borrowed;

pub(super) const COMPONENTS: &str = "reward_components";

/// The columns of one record by name; what is not there was not given.
pub(super) type Fields = BTreeMap<&'static str, Owned>;

/// One column, owned.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owned {
    Numbers(Numbers),
    Naturals(Vec<u32>),
    Ids(Vec<u64>),
    Bits(Vec<bool>),
    Texts(Vec<String>),
    Components(BTreeMap<String, Numbers>),
    Tokens(Cells<f32>),
    TokenBits(Cells<u8>),
    TokenNaturals(Cells<u32>),
    Number(f64),
    Natural(u32),
}

impl Owned {
    /// A copy of a batch's column, without padding and in single precision.
    pub fn of(column: Column<'_>, batch: &Batch<'_>) -> Self {
        let spans = (0..batch.completions()).map(|completion| batch.span(completion));
        match column {
            Column::Numbers(values) => Self::Numbers(values.iter().collect()),
            Column::Naturals(cells) => Self::Naturals(cells.to_vec()),
            Column::Ids(cells) => Self::Ids(cells.to_vec()),
            Column::Bits(cells) => Self::Bits(cells.to_vec()),
            Column::Texts(cells) => Self::Texts(cells.to_vec()),
            Column::Components(named) => {
                let copies = named.iter();
                let copies =
                    copies.map(|(name, values)| (name.to_string(), values.iter().collect()));
                Self::Components(copies.collect())
            }
            Column::Tokens(tokens) => {
                let mut cells = Vec::new();
                for span in spans {
                    match tokens.at(span) {
                        Borrowed::F32(singles) => cells.extend_from_slice(singles),
                        Borrowed::Bf16(halves) => cells.extend(halves.iter().map(|x| x.to_f32())),
                    }
                }
                Self::Tokens(Cells::flat(cells))
            }
            Column::TokenBits(mask) => {
                let cells = spans.flat_map(|span| mask.at(span)).copied();
                Self::TokenBits(Cells::flat(cells.collect()))
            }
            Column::TokenNaturals(ids) => {
                let cells = spans.flat_map(|span| ids.at(span)).copied();
                Self::TokenNaturals(Cells::flat(cells.collect()))
            }
            Column::Number(number) => Self::Number(number),
            Column::Natural(natural) => Self::Natural(natural),
        }
    }

    /// The column as a batch takes it.
    pub fn view(&self) -> Column<'_> {
        match self {
            Self::Numbers(numbers) => Column::Numbers(numbers.view()),
            Self::Naturals(cells) => Column::Naturals(cells),
            Self::Ids(cells) => Column::Ids(cells),
            Self::Bits(cells) => Column::Bits(cells),
            Self::Texts(cells) => Column::Texts(cells),
            Self::Components(named) => {
                let views = named.iter();
                let views = views.map(|(name, numbers)| (name.into(), numbers.view()));
                Column::Components(views.collect())
            }
            Self::Tokens(tokens) => {
                let flat = TokenColumn::Ragged(&tokens.cells);
                Column::Tokens(tokens.view().map_or(flat, TokenColumn::Padded))
            }
            Self::TokenBits(mask) => {
                let flat = TokenMask::Ragged(&mask.cells);
                Column::TokenBits(mask.view().map_or(flat, TokenMask::Padded))
            }
            Self::TokenNaturals(ids) => {
                let flat = TokenIds::Ragged(&ids.cells);
                Column::TokenNaturals(ids.view().map_or(flat, TokenIds::Padded))
            }
            Self::Number(number) => Column::Number(*number),
            Self::Natural(natural) => Column::Natural(*natural),
        }
    }
}

/// Doubles of which some may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// 0 where absent.
    values: Vec<f64>,
    /// Empty where none is absent.
    absent: Vec<bool>,
}

impl Numbers {
    pub fn view(&self) -> Values<'_> {
        Values::masked(&self.values, &self.absent)
    }

    /// The values if none is absent.
    pub fn whole(&self) -> Option<&[f64]> {
        self.absent.is_empty().then_some(&self.values)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<f64>> + '_ {
        self.values.iter().enumerate().map(|(i, value)| {
            let absent = self.absent.get(i).copied().unwrap_or(false);
            (!absent).then_some(*value)
        })
    }
}

impl FromIterator<Option<f64>> for Numbers {
    fn from_iter<I: IntoIterator<Item = Option<f64>>>(cells: I) -> Self {
        let (values, mut absent): (Vec<_>, Vec<_>) = cells
            .into_iter()
            .map(|cell| (cell.unwrap_or(0.0), cell.is_none()))
            .unzip();
        if !absent.contains(&true) {
            absent = Vec::new();
        }
        Self { values, absent }
    }
}

/// The cells of a token column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cells<T> {
    pub cells: Vec<T>,
    /// `[n, t]` of padded rows; without it the cells are flat, completion after completion.
    pub rows: Option<[usize; 2]>,
}

impl<T> Cells<T> {
    pub fn flat(cells: Vec<T>) -> Self {
        Self { cells, rows: None }
    }

    /// The padded rows, if it has such.
    pub fn view(&self) -> Option<ArrayView2<'_, T>> {
        self.rows
            .and_then(|rows| ArrayView2::from_shape(rows, &self.cells).ok())
    }
}
