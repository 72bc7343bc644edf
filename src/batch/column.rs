//! What a column of a record holds, one for each of what it is for, and the column itself as it is handed in.

use std::borrow::Cow;

use ndarray::ArrayView2;

use super::values::Values;
use crate::batch::tokens::{Extent, TokenColumn, TokenIds, TokenMask};

/// What one column has one cell for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `G` cells.
    Group,
    /// `n` cells.
    Completion,
    /// `S` cells, completion after completion; or padded rows `[n, t]`.
    Token,
    /// Padded rows `[n, t]`, with a cell for each place of a row, whether or not a token stands there.
    Place,
    /// One cell.
    Record,
}

impl Shape {
    /// The shape as documents write it: `n` completions, `G` groups, `S` completion tokens.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Group => "G",
            Self::Completion => "n",
            Self::Token => "S",
            Self::Place => "[n, t]",
            Self::Record => "-",
        }
    }
}

/// One field of `Columns` as a column.
pub(super) trait Field<'a>: Sized {
    const KIND: ColumnKind;

    /// The column, if it is given.
    fn column(&self) -> Option<Column<'a>>;

    /// The field that holds the column; `None` if that is of another kind.
    fn of(column: Column<'a>) -> Option<Self>;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($column:ty) $label:literal;)*) => {
        /// What the cells of a column are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ColumnKind { $($(#[$doc])* $kind,)* }

        impl ColumnKind {
            /// The type of a cell, as documents write it.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }

        /// A column of any kind, borrowed.
        #[derive(Clone, Debug)]
        pub enum Column<'a> { $($(#[$doc])* $kind($column),)* }

        impl Column<'_> {
            /// What its cells are.
            #[must_use]
            pub const fn kind(&self) -> ColumnKind {
                match self { $(Self::$kind(_) => ColumnKind::$kind,)* }
            }
        }
    };
}

kinds! {
    /// One double a completion or group, or none.
    Numbers(Values<'a>) "f64";
    /// One whole number a completion or group.
    Naturals(&'a [u32]) "u32";
    /// One id a completion.
    Ids(&'a [u64]) "u64 or text";
    /// One true or false a completion.
    Bits(&'a [bool]) "bool";
    /// One text a completion.
    Texts(&'a [String]) "text";
    /// By name, as [`ColumnKind::Numbers`] each.
    Components(Vec<(Cow<'a, str>, Values<'a>)>) "map name -> f64 or null";
    /// One single a token.
    Tokens(TokenColumn<'a>) "f32";
    /// One 0 or 1 a token.
    TokenBits(TokenMask<'a>) "0/1";
    /// One whole number a token.
    TokenNaturals(TokenIds<'a>) "u32";
    /// One double of the record.
    Number(f64) "f64";
    /// One whole number of the record.
    Natural(u32) "u32";
}

impl Column<'_> {
    /// How many cells a token column has; `None` of the other kinds.
    pub(super) fn extent(&self) -> Option<Extent> {
        match self {
            Self::Tokens(tokens) => Some(tokens.extent()),
            Self::TokenBits(mask) => Some(mask.extent()),
            Self::TokenNaturals(ids) => Some(ids.extent()),
            _ => None,
        }
    }
}

macro_rules! fields {
    ($($kind:ident: $given:ty;)*) => {$(
        impl<'a> Field<'a> for Option<$given> {
            const KIND: ColumnKind = ColumnKind::$kind;

            fn column(&self) -> Option<Column<'a>> {
                self.map(Column::$kind)
            }

            fn of(column: Column<'a>) -> Option<Self> {
                match column {
                    Column::$kind(given) => Some(Some(given)),
                    _ => None,
                }
            }
        }
    )*};
}

fields! {
    Numbers: Values<'a>;
    Naturals: &'a [u32];
    Bits: &'a [bool];
    Texts: &'a [String];
    Tokens: TokenColumn<'a>;
    TokenBits: TokenMask<'a>;
    TokenNaturals: TokenIds<'a>;
    Number: f64;
    Natural: u32;
}

/// A column that every record has.
impl<'a> Field<'a> for Values<'a> {
    const KIND: ColumnKind = ColumnKind::Numbers;

    fn column(&self) -> Option<Column<'a>> {
        Some(Column::Numbers(*self))
    }

    fn of(column: Column<'a>) -> Option<Self> {
        Option::of(column)?
    }
}

/// Places of padded rows; a flat mask has none.
impl<'a> Field<'a> for Option<ArrayView2<'a, u8>> {
    const KIND: ColumnKind = ColumnKind::TokenBits;

    fn column(&self) -> Option<Column<'a>> {
        self.map(|rows| Column::TokenBits(TokenMask::Padded(rows)))
    }

    fn of(column: Column<'a>) -> Option<Self> {
        match column {
            Column::TokenBits(TokenMask::Padded(rows)) => Some(Some(rows)),
            _ => None,
        }
    }
}

impl<'a> Field<'a> for Vec<(Cow<'a, str>, Values<'a>)> {
    const KIND: ColumnKind = ColumnKind::Components;

    fn column(&self) -> Option<Column<'a>> {
        (!self.is_empty()).then(|| Column::Components(self.clone()))
    }

    fn of(column: Column<'a>) -> Option<Self> {
        match column {
            Column::Components(named) => Some(named),
            _ => None,
        }
    }
}
