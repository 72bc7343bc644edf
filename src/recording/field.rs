//! The columns of a record: their names, what each holds, and how it lies in memory.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use crate::batch::Values;

/// What a column holds; the shapes are RECORDING.md's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One double a completion or group, or none.
    Numbers,
    Naturals,
    Ids,
    Bits,
    /// One single a token.
    Tokens,
    /// One 0 or 1 a token.
    TokenBits,
    TokenNaturals,
    /// Where padded rows hold a token: in a tensor file alone, JSON has no padding.
    Padding,
    Texts,
    Number,
    Natural,
    Components,
}

/// Every column by its name in a record.
pub(super) const FIELDS: &[(&str, Kind)] = &[
    ("group_sizes", Kind::Naturals),
    ("group_ids", Kind::Ids),
    ("completion_index", Kind::Naturals),
    ("rewards", Kind::Numbers),
    (COMPONENTS, Kind::Components),
    ("advantages", Kind::Numbers),
    ("q", Kind::Numbers),
    ("weights", Kind::Numbers),
    ("completion_lengths", Kind::Naturals),
    ("padding_mask", Kind::Padding),
    ("max_completion_length", Kind::Natural),
    ("prompt_lengths", Kind::Naturals),
    ("max_prompt_length", Kind::Natural),
    ("terminated", Kind::Bits),
    ("token_logps", Kind::Tokens),
    ("old_token_logps", Kind::Tokens),
    ("ref_token_logps", Kind::Tokens),
    ("sampling_token_logps", Kind::Tokens),
    ("token_entropies", Kind::Tokens),
    ("token_advantages", Kind::Tokens),
    ("returns", Kind::Tokens),
    ("values", Kind::Tokens),
    ("loss_mask", Kind::TokenBits),
    ("token_ids", Kind::TokenNaturals),
    ("semantic_entropies", Kind::Numbers),
    ("advantage_scales", Kind::Numbers),
    ("seed_alpha_effective", Kind::Number),
    ("seed_max_possible_entropy", Kind::Number),
    ("prompts", Kind::Texts),
    ("completions", Kind::Texts),
    ("trajectory_ids", Kind::Texts),
    ("tags", Kind::Texts),
];

pub(super) const COMPONENTS: &str = "reward_components";

/// The column that `name` names.
pub(super) fn field(name: &str) -> Option<(&'static str, Kind)> {
    FIELDS.iter().copied().find(|(known, _)| *known == name)
}

/// The columns of one record by name; what is not there was not given.
pub(super) type Fields = BTreeMap<&'static str, Column>;

/// One column, owned.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    Numbers(Numbers),
    Naturals(Vec<u32>),
    Ids(Vec<u64>),
    Bits(Vec<bool>),
    Tokens(Cells<f32>),
    TokenBits(Cells<u8>),
    TokenNaturals(Cells<u32>),
    Texts(Vec<String>),
    Number(f64),
    Natural(u32),
    Components(BTreeMap<String, Numbers>),
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
