//! The columns of a record, each told once: the table below makes [`Columns`], and everything that goes through all of
//! them (checks, recordings, Python, the documents) goes through [`Columns::ALL`].

use std::borrow::Cow;
use std::fmt;

use ndarray::ArrayView2;

use super::column::{Column, ColumnKind, Field, Shape};
use super::error::BatchError;
use super::values::Values;
use crate::batch::group::Grouping;
use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::tokens::{TokenColumn, TokenIds, TokenMask};

/// One line of the table: what there is to know of a column.
#[non_exhaustive]
pub struct ColumnInfo {
    /// The field of [`Columns`], of a recording's batch, and Python's keyword.
    pub name: &'static str,
    /// What its cells are.
    pub kind: ColumnKind,
    /// What it has a cell for.
    pub shape: Shape,
    /// The unit of its cells: `1` of a plain number, `-` where there is none.
    pub unit: &'static str,
    /// What its cells say.
    pub meaning: &'static str,
    /// What holds where it is not given.
    pub absent: &'static str,
    column: for<'a> fn(&Columns<'a>) -> Option<Column<'a>>,
    set: for<'a> fn(&mut Columns<'a>, Column<'a>) -> bool,
}

macro_rules! columns {
    (
        grouping {$(
            $(#[doc = $group_meaning:literal])+
            $group:ident: $variant:ident of $kind:ident, $group_unit:literal per $group_shape:ident,
            absent: $group_absent:literal;
        )*}
        fields {$(
            $(#[doc = $meaning:literal])+
            $name:ident: $field:ty, $unit:literal per $shape:ident, absent: $absent:literal;
        )*}
    ) => {
        /// The columns of a record, unchecked. Start from [`Columns::new`] and set what is there;
        /// [`Batch::of`](super::Batch::of) checks that they fit together.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct Columns<'a> {
            /// `group_sizes` or `group_ids`.
            pub grouping: Grouping<'a>,
            $(
                $(#[doc = $meaning])+
                #[doc = concat!("\n\nUnit: ", $unit, ", one for each [`Shape::", stringify!($shape), "`].")]
                #[doc = concat!("Where it is not given: ", $absent, ".")]
                pub $name: $field,
            )*
            /// Numbers of the step.
            pub scalars: Scalars,
            /// The controller's snapshot.
            pub weighting: Option<Weighting>,
        }

        impl<'a> Columns<'a> {
            /// Every column that a record can have, in the order in which recordings have them.
            pub const ALL: &'static [ColumnInfo] = &[
                $(ColumnInfo {
                    name: stringify!($group),
                    kind: ColumnKind::$kind,
                    shape: Shape::$group_shape,
                    unit: $group_unit,
                    meaning: concat!($($group_meaning),+),
                    absent: $group_absent,
                    column: |columns| match columns.grouping {
                        Grouping::$variant(cells) => Some(Column::$kind(cells)),
                        _ => None,
                    },
                    set: |columns, column| match column {
                        Column::$kind(cells) => {
                            columns.grouping = Grouping::$variant(cells);
                            true
                        }
                        _ => false,
                    },
                },)*
                $(ColumnInfo {
                    name: stringify!($name),
                    kind: <$field as Field>::KIND,
                    shape: Shape::$shape,
                    unit: $unit,
                    meaning: concat!($($meaning),+),
                    absent: $absent,
                    column: |columns| columns.$name.column(),
                    set: |columns, column| {
                        let field = Field::of(column);
                        field.map(|field| columns.$name = field).is_some()
                    },
                },)*
            ];
        }
    };
}

columns! {
    grouping {
        /// Completions per group, in order; these groups are whole and this record's own. A size of 0 is an empty
        /// group.
        group_sizes: Sizes of Naturals, "completions" per Group, absent: "`group_ids` are";
        /// The prompt that the completion belongs to, unique in the step; a group may go on in other ranks and
        /// micro-batches. Numbers, or texts, each of which is taken as the XXH3 (64 bits) of its UTF-8 bytes; not both in one
        /// record.
        group_ids: Ids of Ids, "-" per Completion, absent: "`group_sizes` are";
    }
    fields {
        /// Place of the completion within its group.
        completion_index: Option<&'a [u32]>, "1" per Completion,
            absent: "the order of ranks, micro-batches and completions";
        /// Total utility.
        rewards: Values<'a>, "reward" per Completion, absent: "every record has them";
        /// What each reward function gave; null where it does not apply. Ranks may have different sets of names.
        reward_components: Vec<(Cow<'a, str>, Values<'a>)>, "reward" per Completion,
            absent: "none applies to the completions";
        /// The reward after the penalties that the training takes off it, such as one for KL, where the trainer knows both.
        penalised_rewards: Option<Values<'a>>, "reward" per Completion,
            absent: "`rewards` less the KL by `kl_penalty`, where that is given; else they are the `rewards`";
        /// How much better than expected the completion was, as the loss takes it.
        advantages: Option<Values<'a>>, "1" per Completion,
            absent: "what looks at an advantage's sign or size leaves the completions out";
        /// Listwise target distribution over a group's completions; for all completions or for none.
        q: Option<Values<'a>>, "1" per Completion, absent: "no entropy of q for its groups";
        /// Update weights over a group's completions.
        weights: Option<Values<'a>>, "1" per Completion, absent: "no entropy of weights for its groups";
        /// Tokens of the completion. Token columns need it; padded ones may have `padding_mask` instead.
        completion_lengths: Option<&'a [u32]>, "tokens" per Completion,
            absent: "the runs of `padding_mask`; without that too, no lengths and no token columns";
        /// 1 where padded rows hold a token; one unbroken run a row. In memory and in tensor files: JSON has no
        /// padding.
        padding_mask: Option<ArrayView2<'a, u8>>, "0/1" per Place,
            absent: "a padded row begins with its tokens";
        /// The generation cap.
        max_completion_length: Option<u32>, "tokens" per Record,
            absent: "only `terminated` says what is clipped";
        /// Tokens of the prompt, for `prompt_length/*` and `perf/total_num_tokens`.
        prompt_lengths: Option<&'a [u32]>, "tokens" per Completion, absent: "those keys leave its completions out";
        /// Where prompts are cut.
        max_prompt_length: Option<u32>, "tokens" per Record,
            absent: "`prompt_length/clip_ratio` leaves its prompts out";
        /// Whether the completion ended by itself.
        terminated: Option<&'a [bool]>, "0/1" per Completion,
            absent: "one that reaches `max_completion_length` is clipped";
        /// Log-probabilities of the completion's tokens under the current policy.
        token_logps: Option<TokenColumn<'a>>, "nats" per Token, absent: "no ratio and no KL to the reference";
        /// The same under the behaviour policy.
        old_token_logps: Option<TokenColumn<'a>>, "nats" per Token,
            absent: "no ratio to it, and nothing of what is clipped; as METRICS.md says";
        /// The same under the reference policy.
        ref_token_logps: Option<TokenColumn<'a>>, "nats" per Token, absent: "only a reported `kl_loss`";
        /// The same as the sampler reported them.
        sampling_token_logps: Option<TokenColumn<'a>>, "nats" per Token, absent: "no difference to the sampler";
        /// The policy's entropy at each token.
        token_entropies: Option<TokenColumn<'a>>, "nats" per Token,
            absent: "only a reported `policy_entropy`";
        /// Advantages by token, for trainers that have them.
        token_advantages: Option<TokenColumn<'a>>, "1" per Token, absent: "the completion's own";
        /// Returns by token, for trainers that have them.
        returns: Option<TokenColumn<'a>>, "reward" per Token, absent: "no `returns/*`";
        /// What the critic expected at each token, for trainers that have one.
        values: Option<TokenColumn<'a>>, "reward" per Token, absent: "no `values/*`";
        /// 1 where the token counts, 0 where it does not, as in a tool's output.
        loss_mask: Option<TokenMask<'a>>, "0/1" per Token, absent: "every token counts";
        /// The tokens, for diversity and repetition.
        token_ids: Option<TokenIds<'a>>, "-" per Token, absent: "the words of `completions`";
        /// Version of the weights that each token was sampled with, counted as `weight_version` counts.
        weight_versions: Option<TokenIds<'a>>, "versions" per Token, absent: "nothing of staleness";
        /// How much the meanings of a group's completions differ; with `group_ids`, groups in order of first
        /// appearance.
        semantic_entropies: Option<Values<'a>>, "nats" per Group, absent: "0 in `seed_grpo/*`";
        /// What a group's advantages are scaled by; groups likewise.
        advantage_scales: Option<Values<'a>>, "1" per Group,
            absent: "0 as a mean, 1 as an extreme in `seed_grpo/*`";
        /// SEED-GRPO's alpha as it took effect.
        seed_alpha_effective: Option<f64>, "1" per Record, absent: "0 where no rank gives it";
        /// The largest semantic entropy that there could be.
        seed_max_possible_entropy: Option<f64>, "nats" per Record, absent: "0 where no rank gives it";
        /// The prompt's text, for the sample table, and for `compare` to know it again.
        prompts: Option<&'a [String]>, "-" per Completion, absent: "an empty text";
        /// The completion's text, for the sample table, and for diversity where no token ids are given.
        completions: Option<&'a [String]>, "-" per Completion, absent: "an empty text";
        /// Which trajectory the completion is of, for the sample table.
        trajectory_ids: Option<&'a [String]>, "-" per Completion, absent: "no such column in the sample table";
        /// Data source, task or environment, for `tags/{tag}/*`; beyond 64 tags, those that sort last by their bytes
        /// are counted under `other`.
        tags: Option<&'a [String]>, "-" per Completion, absent: "no `tags/*` counts the completions";
        /// Turns of the conversation that the completion is.
        turns: Option<&'a [u32]>, "turns" per Completion, absent: "`turns/*` leaves the completions out";
        /// Tool calls in the completion.
        tool_calls: Option<&'a [u32]>, "calls" per Completion, absent: "`tools/*` leaves the completions out";
        /// Those of its tool calls that failed.
        tool_failures: Option<&'a [u32]>, "calls" per Completion,
            absent: "the share of tool calls that fail leaves the completions out";
        /// 1 where generation was broken off and the completion is not meant to be trained on.
        aborted: Option<&'a [bool]>, "0/1" per Completion,
            absent: "nothing says which lengths are of whole completions";
        /// 1 where the environment or the reward failed.
        errors: Option<&'a [bool]>, "0/1" per Completion, absent: "no share of completions that failed so";
        /// Why the completion ended (`stop`, `length`, `max_turns`), for `stop_conditions/{condition}/*`; beyond 64
        /// conditions, those that sort last by their bytes are counted under `other`.
        stop_conditions: Option<&'a [String]>, "-" per Completion,
            absent: "no `stop_conditions/*` counts the completions";
        /// The answer that was read out of the completion, for `maj@all/*`; an empty text where there is none,
        /// which is counted as an answer of its own.
        answers: Option<&'a [String]>, "-" per Completion, absent: "no `maj@all/*` for its groups";
    }
}

impl ColumnInfo {
    /// The column that `name` names.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        Columns::ALL.iter().find(|column| column.name == name)
    }
}

impl fmt::Debug for ColumnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ColumnInfo").field(&self.name).finish()
    }
}

impl<'a> Columns<'a> {
    /// The two columns that every record has, and nothing else.
    #[must_use]
    pub fn new(grouping: Grouping<'a>, rewards: impl Into<Values<'a>>) -> Self {
        Self {
            grouping,
            rewards: rewards.into(),
            ..Self::default()
        }
    }

    /// The columns that were given under their names, for code that holds columns of any kind.
    ///
    /// # Errors
    /// If there is not one grouping, or no rewards, or if a column is of another kind than its line says.
    pub fn of(
        given: impl IntoIterator<Item = (&'static ColumnInfo, Column<'a>)>,
    ) -> Result<Self, BatchError> {
        let mut columns = Self::default();
        let (mut groupings, mut rewards) = (0, false);
        for (info, column) in given {
            groupings += usize::from(["group_sizes", "group_ids"].contains(&info.name));
            rewards |= info.name == "rewards";
            columns.set(info, column)?;
        }
        match groupings {
            0 => Err(BatchError::NoGrouping),
            1 if rewards => Ok(columns),
            1 => Err(BatchError::NoRewards),
            _ => Err(BatchError::BothGroupings),
        }
    }

    fn set(&mut self, info: &'static ColumnInfo, column: Column<'a>) -> Result<(), BatchError> {
        let (field, found) = (info.name, column.kind());
        if (info.set)(self, column) {
            return Ok(());
        }
        Err(if info.kind == found {
            BatchError::Flat { field }
        } else {
            BatchError::ColumnKind {
                field,
                expected: info.kind.label(),
                found: found.label(),
            }
        })
    }

    /// The columns that are given, in the table's order.
    pub fn given(&self) -> impl Iterator<Item = (&'static ColumnInfo, Column<'a>)> + '_ {
        self.given_of(|_| true)
    }

    /// Those of them that are wanted.
    pub(super) fn given_of(
        &self,
        is_wanted: impl Fn(&ColumnInfo) -> bool,
    ) -> impl Iterator<Item = (&'static ColumnInfo, Column<'a>)> {
        let wanted = Self::ALL.iter().filter(move |info| is_wanted(info));
        wanted.filter_map(|info| Some((info, (info.column)(self)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> &'static ColumnInfo {
        ColumnInfo::of(name).unwrap()
    }

    #[test]
    fn columns_are_made_by_name_of_one_grouping_and_rewards() {
        let sizes = (info("group_sizes"), Column::Naturals(&[1]));
        let ids = (info("group_ids"), Column::Ids(&[7]));
        let rewards = (info("rewards"), Column::Numbers((&[0.5]).into()));
        let q = (info("q"), Column::Numbers((&[1.0]).into()));
        let made = |given: &[&(&'static ColumnInfo, Column<'static>)]| {
            Columns::of(given.iter().map(|column| (*column).clone()))
        };
        let columns = made(&[&q, &ids, &rewards]).unwrap();
        let given: Vec<_> = columns.given().map(|(info, _)| info.name).collect();
        assert_eq!(given, ["group_ids", "rewards", "q"]);
        for (given, fault) in [
            (&[&rewards][..], BatchError::NoGrouping),
            (&[&sizes, &q], BatchError::NoRewards),
            (&[&sizes, &rewards, &ids], BatchError::BothGroupings),
        ] {
            assert_eq!(made(given).err(), Some(fault));
        }
    }

    #[test]
    fn a_column_of_another_kind_is_refused_by_its_name() {
        let refused = |name, column| {
            let refused = Columns::of([(info(name), column)]).unwrap_err();
            refused.to_string()
        };
        assert_eq!(
            refused("token_logps", Column::Ids(&[1])),
            "`token_logps`: expected a column of f32, found one of u64 or text"
        );
        assert_eq!(
            refused("padding_mask", Column::TokenBits(TokenMask::Ragged(&[1]))),
            "`padding_mask`: expected two dimensions, found one"
        );
    }
}
