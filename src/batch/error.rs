//! Why columns are not a batch.

use thiserror::Error;

/// Why a record's columns are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Nothing says which completions form a group.
    #[error("expected `group_sizes` or `group_ids`, found neither")]
    NoGrouping,
    /// Two columns say which completions form a group: give one of them.
    #[error("expected `group_sizes` or `group_ids`, found both")]
    BothGroupings,
    /// Some of a record's groups are named by texts and some by numbers.
    #[error("`group_ids[{completion}]`: expected a {expected} as before it, found a {found}")]
    MixedIds {
        /// The first completion whose id is not as those before it, from 0.
        completion: usize,
        /// What those before it are: `number` or `text`.
        expected: &'static str,
        /// What this one is.
        found: &'static str,
    },
    /// Every record has rewards, if only an empty column of them.
    #[error("`rewards` is missing")]
    NoRewards,
    /// A column holds cells of another kind than its field takes.
    #[error("`{field}`: expected a column of {expected}, found one of {found}")]
    ColumnKind {
        /// The column's name in a record.
        field: &'static str,
        /// The kind that the field takes, as [`ColumnKind::label`](crate::batch::ColumnKind::label) has it.
        expected: &'static str,
        /// The kind that was given, in the same words.
        found: &'static str,
    },
    /// A flat column was given where only padded rows `[n, t]` make sense.
    #[error("`{field}`: expected two dimensions, found one")]
    Flat {
        /// The column's name in a record.
        field: &'static str,
    },
    /// A column by completion or group is too long or too short; or its marks of absence are.
    #[error("`{field}`: expected {expected} values (one for each of the {per}), found {found}")]
    Length {
        /// The column's name in a record; of a reward component `reward_components.` and the component's name.
        field: String,
        /// What the column has one value for: `completions` or `groups`.
        per: &'static str,
        /// How many of those the record has.
        expected: usize,
        /// How many values, or marks of absence, the column has.
        found: usize,
    },
    /// The groups do not take up the record's completions exactly.
    #[error(
        "`group_sizes`: expected sizes that add up to the {completions} completions of `rewards`, found a sum of {sum}"
    )]
    GroupSizes {
        /// What `group_sizes` add up to, in completions.
        sum: u64,
        /// How many completions the record has, by `rewards`.
        completions: usize,
    },
    /// A token column was given without anything that says where each completion's tokens end.
    #[error("`{field}` needs `completion_lengths`, which is missing")]
    MissingLengths {
        /// The token column's name in a record.
        field: &'static str,
    },
    /// A flat token column does not have one cell for each completion token.
    #[error(
        "`{field}`: expected {expected} cells (the sum of `completion_lengths`), found {found}"
    )]
    Tokens {
        /// The token column's name in a record.
        field: &'static str,
        /// The sum of `completion_lengths`, in tokens.
        expected: usize,
        /// How many cells the column has.
        found: usize,
    },
    /// A padded column does not have one row for each completion.
    #[error("`{field}`: expected {expected} rows (one for each completion), found {found}")]
    Rows {
        /// The column's name in a record.
        field: &'static str,
        /// How many completions the record has.
        expected: usize,
        /// How many rows the column has.
        found: usize,
    },
    /// A completion's tokens do not fit into its padded row.
    #[error(
        "`{field}`: completion {completion} has {length} tokens that end at cell {end} of its row, but a row has {width} cells"
    )]
    Width {
        /// The column's name in a record.
        field: &'static str,
        /// Which completion of the record, from 0.
        completion: usize,
        /// The completion's length, in tokens.
        length: usize,
        /// Where its tokens would end, in cells from the start of the row: the padding before them and their number.
        end: usize,
        /// How many cells each row has.
        width: usize,
    },
    /// The cells of a padded row do not lie side by side in memory, so that no row can be borrowed as a slice.
    #[error(
        "`{field}`: expected rows whose cells lie side by side, found a stride; hand in a contiguous copy"
    )]
    Stride {
        /// The column's name in a record.
        field: &'static str,
    },
    /// A mask, `loss_mask` or `padding_mask`, holds something other than 0 and 1.
    #[error(
        "`{field}`: expected 0 or 1, found {found} at token {position} of completion {completion}"
    )]
    Mask {
        /// The mask's name in a record.
        field: &'static str,
        /// Which completion of the record, from 0.
        completion: usize,
        /// Where: of `loss_mask` the token within the completion, of `padding_mask` the cell within the row, from 0.
        position: usize,
        /// What stands there.
        found: u8,
    },
    /// The ones of a row of `padding_mask` are not one unbroken run.
    #[error(
        "`padding_mask`: the ones of completion {completion} have a gap at cell {position}; mask tokens that do not count by `loss_mask`"
    )]
    PaddingGap {
        /// Which completion of the record, from 0.
        completion: usize,
        /// The first cell of the gap, from 0 at the start of the row.
        position: usize,
    },
    /// `padding_mask` and `completion_lengths` say different things of one completion.
    #[error(
        "`padding_mask` counts {found} tokens for completion {completion}, `completion_lengths` says {expected}"
    )]
    PaddingLength {
        /// Which completion of the record, from 0.
        completion: usize,
        /// Its length by `completion_lengths`, in tokens.
        expected: usize,
        /// Its length by `padding_mask`, in tokens.
        found: usize,
    },
    /// More tool calls of a completion failed than there were.
    #[error(
        "`tool_failures[{completion}]`: expected at most {calls}, as many as `tool_calls` has there, found {failures}"
    )]
    ToolFailures {
        /// The first such completion, from 0.
        completion: usize,
        /// Its tool calls.
        calls: u32,
        /// Those that failed, as they were given.
        failures: u32,
    },
    /// A completion has no `q`, which is a distribution over its whole group.
    #[error(
        "`q`: expected a value for every completion or no `q` at all, found none for completion {completion}"
    )]
    PartialQ {
        /// The first completion without a value, from 0.
        completion: usize,
    },
}
