//! Why columns are not a batch.

use thiserror::Error;

/// Why a record's columns are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("expected `group_sizes` or `group_ids`, found neither")]
    NoGrouping,
    #[error("expected `group_sizes` or `group_ids`, found both")]
    BothGroupings,
    #[error("`rewards` is missing")]
    NoRewards,
    #[error("`{field}`: expected a column of {expected}, found one of {found}")]
    ColumnKind {
        field: &'static str,
        expected: &'static str,
        found: &'static str,
    },
    #[error("`{field}`: expected two dimensions, found one")]
    Flat { field: &'static str },
    #[error("`{field}`: expected {expected} values (one for each of the {per}), found {found}")]
    Length {
        field: String,
        per: &'static str,
        expected: usize,
        found: usize,
    },
    #[error(
        "`group_sizes`: expected sizes that add up to the {completions} completions of `rewards`, found a sum of {sum}"
    )]
    GroupSizes { sum: u64, completions: usize },
    #[error("`{field}` needs `completion_lengths`, which is missing")]
    MissingLengths { field: &'static str },
    #[error(
        "`{field}`: expected {expected} cells (the sum of `completion_lengths`), found {found}"
    )]
    Tokens {
        field: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("`{field}`: expected {expected} rows (one for each completion), found {found}")]
    Rows {
        field: &'static str,
        expected: usize,
        found: usize,
    },
    #[error(
        "`{field}`: completion {completion} has {length} tokens that end at cell {end} of its row, but a row has {width} cells"
    )]
    Width {
        field: &'static str,
        completion: usize,
        length: usize,
        end: usize,
        width: usize,
    },
    #[error(
        "`{field}`: expected rows whose cells lie side by side, found a stride; hand in a contiguous copy"
    )]
    Stride { field: &'static str },
    #[error(
        "`{field}`: expected 0 or 1, found {found} at token {position} of completion {completion}"
    )]
    Mask {
        field: &'static str,
        completion: usize,
        position: usize,
        found: u8,
    },
    #[error(
        "`padding_mask`: the ones of completion {completion} have a gap at cell {position}; mask tokens that do not count by `loss_mask`"
    )]
    PaddingGap { completion: usize, position: usize },
    #[error(
        "`padding_mask` counts {found} tokens for completion {completion}, `completion_lengths` says {expected}"
    )]
    PaddingLength {
        completion: usize,
        expected: usize,
        found: usize,
    },
    #[error(
        "`q`: expected a value for every completion or no `q` at all, found none for completion {completion}"
    )]
    PartialQ { completion: usize },
}
