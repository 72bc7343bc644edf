//! The columns of one record, owned: as they are read, and as they are copied from a batch.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use crate::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use crate::batch::{Batch, Column, Values};
#[cfg(feature = "cli")]
use crate::batch::{ColumnInfo, Shape};
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

/// The columns of the completions that `keep` says, flat. Of what stands for groups only their sizes are kept.
#[cfg(feature = "cli")]
pub(super) fn kept(fields: &Fields, keep: &[bool]) -> Fields {
    let lengths = match fields.get("completion_lengths") {
        Some(Owned::Naturals(lengths)) => lengths.as_slice(),
        _ => &[],
    };
    let tokens: Vec<bool> = keep
        .iter()
        .zip(lengths)
        .flat_map(|(keep, length)| std::iter::repeat_n(*keep, *length as usize))
        .collect();
    let of = |name: &'static str, column: &Owned| {
        let column = match (name, column, ColumnInfo::of(name)?.shape) {
            ("group_sizes", Owned::Naturals(sizes), _) => Owned::Naturals(sizes_of(sizes, keep)),
            (_, _, Shape::Group | Shape::Place) => return None,
            (_, column, Shape::Token) => column.only(&tokens),
            (_, column, Shape::Completion) => column.only(keep),
            (_, column, Shape::Record) => column.clone(),
        };
        Some((name, column))
    };
    let columns = fields.iter();
    columns
        .filter_map(|(name, column)| of(name, column))
        .collect()
}

/// The columns without the tokens that `loss_mask` leaves out, flat; as they are without one.
#[cfg(feature = "cli")]
pub(super) fn trained(fields: &Fields) -> Fields {
    let (Some(Owned::TokenBits(mask)), Some(Owned::Naturals(lengths))) =
        (fields.get("loss_mask"), fields.get("completion_lengths"))
    else {
        return fields.clone();
    };
    let mask: Vec<bool> = mask.cells.iter().map(|cell| *cell != 0).collect();
    let mut left = mask.iter();
    let mut counted = |length: &u32| {
        let tokens = left.by_ref().take(*length as usize);
        let counted = tokens.filter(|counts| **counts).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    };
    let lengths: Vec<u32> = lengths.iter().map(&mut counted).collect();
    let of = |name: &'static str, column: &Owned| {
        let column = match (name, ColumnInfo::of(name)?.shape) {
            ("loss_mask", _) => return None,
            ("completion_lengths", _) => Owned::Naturals(lengths.clone()),
            (_, Shape::Token) => column.only(&mask),
            _ => column.clone(),
        };
        Some((name, column))
    };
    let columns = fields.iter();
    columns
        .filter_map(|(name, column)| of(name, column))
        .collect()
}

#[cfg(feature = "cli")]
fn sizes_of(sizes: &[u32], keep: &[bool]) -> Vec<u32> {
    let mut left = keep.iter();
    let kept = |size: &u32| {
        left.by_ref()
            .take(*size as usize)
            .filter(|keep| **keep)
            .count()
    };
    let kept = sizes.iter().map(kept);
    kept.map(|size| u32::try_from(size).unwrap_or(u32::MAX))
        .collect()
}

#[cfg(feature = "cli")]
impl Owned {
    /// Its cells that `keep` says.
    fn only(&self, keep: &[bool]) -> Self {
        fn only<T: Clone>(cells: &[T], keep: &[bool]) -> Vec<T> {
            let cells = cells.iter().zip(keep);
            cells
                .filter(|(_, keep)| **keep)
                .map(|(cell, _)| cell.clone())
                .collect()
        }
        let numbers = |numbers: &Numbers| {
            let cells = numbers.iter().zip(keep);
            cells
                .filter(|(_, keep)| **keep)
                .map(|(cell, _)| cell)
                .collect()
        };
        match self {
            Self::Numbers(column) => Self::Numbers(numbers(column)),
            Self::Naturals(cells) => Self::Naturals(only(cells, keep)),
            Self::Ids(cells) => Self::Ids(only(cells, keep)),
            Self::Bits(cells) => Self::Bits(only(cells, keep)),
            Self::Texts(cells) => Self::Texts(only(cells, keep)),
            Self::Components(named) => {
                let named = named.iter();
                let kept = named.map(|(name, column)| (name.clone(), numbers(column)));
                Self::Components(kept.collect())
            }
            Self::Tokens(tokens) => Self::Tokens(Cells::flat(only(&tokens.cells, keep))),
            Self::TokenBits(mask) => Self::TokenBits(Cells::flat(only(&mask.cells, keep))),
            Self::TokenNaturals(ids) => Self::TokenNaturals(Cells::flat(only(&ids.cells, keep))),
            Self::Number(number) => Self::Number(*number),
            Self::Natural(natural) => Self::Natural(*natural),
        }
    }
}
