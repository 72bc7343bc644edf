//! One record, checked: what a rank hands in of one micro-batch. After [`Batch::of`] nothing downstream can fail on it.

use std::borrow::Cow;

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::group::Grouping;
use crate::kernel::tokens::{Columns as TokenColumns, Completion};
use crate::scalars::{Scalars, Weighting};
use crate::tokens::{Extent, Span, TokenColumn, TokenIds, TokenMask};

/// Which rank and which of its micro-batches a record is of; it also orders the completions of a spread group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    pub rank: u32,
    pub micro: u32,
}

/// A per-completion (or per-group) column of doubles, borrowed. A non-finite value is counted and not used.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    values: ArrayView1<'a, f64>,
    /// True where the value does not apply; empty where every one does.
    absent: &'a [bool],
}

impl<'a> Values<'a> {
    /// A column of which the values marked in `absent` do not apply (a `null` in a record). Both have the same length.
    #[must_use]
    pub fn masked(values: &'a [f64], absent: &'a [bool]) -> Self {
        Self {
            values: values.into(),
            absent,
        }
    }

    /// How many values there are, the absent ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The column as it lies in memory if nothing in it is absent and it has no stride.
    pub(crate) fn whole(&self) -> Option<&'a [f64]> {
        self.values
            .to_slice()
            .filter(|_| !self.absent.contains(&true))
    }

    /// The values in order, `None` where absent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.values.iter().enumerate().map(|(i, &value)| {
            let absent = self.absent.get(i).copied().unwrap_or(false);
            (!absent).then_some(value)
        })
    }
}

impl<'a> From<&'a [f64]> for Values<'a> {
    fn from(values: &'a [f64]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<&'a Vec<f64>> for Values<'a> {
    fn from(values: &'a Vec<f64>) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Values<'a> {
    fn from(values: &'a [f64; N]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<ArrayView1<'a, f64>> for Values<'a> {
    fn from(values: ArrayView1<'a, f64>) -> Self {
        Self {
            values,
            absent: &[],
        }
    }
}

/// The columns of a record, unchecked, as RECORDING.md names them. Start from [`Columns::new`] and set what is there.
///
/// `n` completions, `G` groups, `S` completion tokens.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // RECORDING.md's table is the documentation of the columns
pub struct Columns<'a> {
    pub grouping: Grouping<'a>,
    /// `n`: place of the completion within its group.
    pub completion_index: Option<&'a [u32]>,
    /// `n`: total utility.
    pub rewards: Values<'a>,
    /// `n` each, by name.
    pub reward_components: Vec<(Cow<'a, str>, Values<'a>)>,
    pub advantages: Option<Values<'a>>,
    /// `n`: listwise target distribution over a group's completions; for all completions or for none.
    pub q: Option<Values<'a>>,
    /// `n`: update weights over a group's completions.
    pub weights: Option<Values<'a>>,
    /// `n`: tokens. Token columns need it; padded ones may give `padding_mask` instead.
    pub completion_lengths: Option<&'a [u32]>,
    /// `[n, t]` of 0 and 1: where padded rows hold a token; one unbroken run a row.
    pub padding_mask: Option<ArrayView2<'a, u8>>,
    /// `n`: tokens of the prompts.
    pub prompt_lengths: Option<&'a [u32]>,
    /// Tokens: where prompts are cut.
    pub max_prompt_length: Option<u32>,
    /// Tokens: the generation cap.
    pub max_completion_length: Option<u32>,
    /// `n`: ended by itself.
    pub terminated: Option<&'a [bool]>,
    pub token_logps: Option<TokenColumn<'a>>,
    pub old_token_logps: Option<TokenColumn<'a>>,
    pub ref_token_logps: Option<TokenColumn<'a>>,
    pub sampling_token_logps: Option<TokenColumn<'a>>,
    pub token_entropies: Option<TokenColumn<'a>>,
    pub token_advantages: Option<TokenColumn<'a>>,
    pub returns: Option<TokenColumn<'a>>,
    pub values: Option<TokenColumn<'a>>,
    pub loss_mask: Option<TokenMask<'a>>,
    pub token_ids: Option<TokenIds<'a>>,
    /// `G`, with group ids in order of first appearance.
    pub semantic_entropies: Option<Values<'a>>,
    /// `G`, likewise.
    pub advantage_scales: Option<Values<'a>>,
    pub seed_alpha_effective: Option<f64>,
    pub seed_max_possible_entropy: Option<f64>,
    /// `n` texts each, for the sample table (and for diversity where no token ids are given).
    pub prompts: Option<&'a [String]>,
    pub completions: Option<&'a [String]>,
    pub trajectory_ids: Option<&'a [String]>,
    /// `n` texts: data source, task or environment, for metrics by tag.
    pub tags: Option<&'a [String]>,
    pub scalars: Scalars,
    pub weighting: Option<Weighting>,
}

impl<'a> Columns<'a> {
    /// The two columns that every record has, and nothing else.
    #[must_use]
    pub fn new(grouping: Grouping<'a>, rewards: impl Into<Values<'a>>) -> Self {
        Self {
            grouping,
            rewards: rewards.into(),
            completion_index: None,
            reward_components: Vec::new(),
            advantages: None,
            q: None,
            weights: None,
            completion_lengths: None,
            padding_mask: None,
            prompt_lengths: None,
            max_prompt_length: None,
            max_completion_length: None,
            terminated: None,
            token_logps: None,
            old_token_logps: None,
            ref_token_logps: None,
            sampling_token_logps: None,
            token_entropies: None,
            token_advantages: None,
            returns: None,
            values: None,
            loss_mask: None,
            token_ids: None,
            semantic_entropies: None,
            advantage_scales: None,
            seed_alpha_effective: None,
            seed_max_possible_entropy: None,
            prompts: None,
            completions: None,
            trajectory_ids: None,
            tags: None,
            scalars: Scalars::default(),
            weighting: None,
        }
    }

    fn token_columns(&self) -> [(&'static str, Option<TokenColumn<'a>>); 8] {
        [
            ("token_logps", self.token_logps),
            ("old_token_logps", self.old_token_logps),
            ("ref_token_logps", self.ref_token_logps),
            ("sampling_token_logps", self.sampling_token_logps),
            ("token_entropies", self.token_entropies),
            ("token_advantages", self.token_advantages),
            ("returns", self.returns),
            ("values", self.values),
        ]
    }
}

/// Why a record's columns are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
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
    #[error("`reward_components` names `{name}` twice")]
    ComponentTwice { name: String },
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
}

impl<'a> Batch<'a> {
    /// Checks the columns.
    ///
    /// # Errors
    /// The first column that does not fit: its name, what was expected and what was found.
    pub fn of(columns: Columns<'a>) -> Result<Self, BatchError> {
        let n = columns.rewards.len();
        check_grouping(&columns, n)?;
        check_lengths(&columns, n)?;
        let (lengths, starts) = lengths(&columns, n)?;
        let mut offsets = Vec::new();
        if let Some(lengths) = &lengths {
            offsets.reserve(n + 1);
            offsets.push(0);
            let mut end = 0;
            for &length in lengths.iter() {
                end += length as usize;
                offsets.push(end);
            }
        }
        let batch = Self {
            columns,
            place: None,
            lengths,
            starts,
            offsets,
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

    fn span(&self, completion: usize) -> Span {
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
        self.columns
            .token_columns()
            .iter()
            .any(|(_, c)| c.is_some())
    }

    fn check_tokens(&self) -> Result<(), BatchError> {
        let c = &self.columns;
        let numbers = c.token_columns();
        let extents = numbers
            .iter()
            .map(|(field, column)| (*field, column.map(|column| column.extent())))
            .chain([
                ("loss_mask", c.loss_mask.map(|mask| mask.extent())),
                ("token_ids", c.token_ids.map(|ids| ids.extent())),
            ]);
        for (field, extent) in extents {
            if let Some(extent) = extent {
                self.check_extent(field, extent)?;
            }
        }
        if let Some(mask) = c.loss_mask {
            for completion in 0..self.completions() {
                let cells = mask.at(self.span(completion));
                if let Some(position) = cells.iter().position(|&cell| cell > 1) {
                    return Err(BatchError::Mask {
                        field: "loss_mask",
                        completion,
                        position,
                        found: cells[position],
                    });
                }
            }
        }
        Ok(())
    }

    fn check_extent(&self, field: &'static str, extent: Extent) -> Result<(), BatchError> {
        let Some(lengths) = &self.lengths else {
            return Err(BatchError::MissingLengths { field });
        };
        match extent {
            Extent::Flat(found) => {
                let expected = self.offsets.last().copied().unwrap_or(0);
                if found != expected {
                    return Err(BatchError::Tokens {
                        field,
                        expected,
                        found,
                    });
                }
            }
            Extent::Rows {
                rows,
                width,
                contiguous,
            } => {
                if rows != lengths.len() {
                    return Err(BatchError::Rows {
                        field,
                        expected: lengths.len(),
                        found: rows,
                    });
                }
                if !contiguous {
                    return Err(BatchError::Stride { field });
                }
                for completion in 0..rows {
                    let span = self.span(completion);
                    let end = span.start + span.length;
                    if end > width {
                        return Err(BatchError::Width {
                            field,
                            completion,
                            length: span.length,
                            end,
                            width,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_length(
    field: impl Into<String>,
    per: &'static str,
    expected: usize,
    found: Option<usize>,
) -> Result<(), BatchError> {
    match found {
        Some(found) if found != expected => Err(BatchError::Length {
            field: field.into(),
            per,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

fn check_grouping(c: &Columns<'_>, n: usize) -> Result<(), BatchError> {
    match c.grouping {
        Grouping::Sizes(sizes) => {
            let sum: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
            if sum != n as u64 {
                return Err(BatchError::GroupSizes {
                    sum,
                    completions: n,
                });
            }
        }
        Grouping::Ids(ids) => check_length("group_ids", "completions", n, Some(ids.len()))?,
    }
    if c.semantic_entropies.is_some() || c.advantage_scales.is_some() {
        let groups = c.grouping.count();
        for (field, column) in [
            ("semantic_entropies", &c.semantic_entropies),
            ("advantage_scales", &c.advantage_scales),
        ] {
            check_length(field, "groups", groups, column.as_ref().map(Values::len))?;
        }
    }
    Ok(())
}

fn check_lengths(c: &Columns<'_>, n: usize) -> Result<(), BatchError> {
    let per = "completions";
    let values = |column: &Option<Values<'_>>| column.as_ref().map(Values::len);
    let texts = |column: Option<&[String]>| column.map(<[String]>::len);
    check_length("rewards", per, n, absent_length(&c.rewards, n))?;
    for (i, (name, column)) in c.reward_components.iter().enumerate() {
        let field = format!("reward_components.{name}");
        check_length(&*field, per, n, Some(column.len()))?;
        check_length(field, per, n, absent_length(column, n))?;
        if c.reward_components[..i]
            .iter()
            .any(|(other, _)| other == name)
        {
            return Err(BatchError::ComponentTwice {
                name: name.to_string(),
            });
        }
    }
    check_length(
        "completion_index",
        per,
        n,
        c.completion_index.map(<[u32]>::len),
    )?;
    check_length("advantages", per, n, values(&c.advantages))?;
    check_length("q", per, n, values(&c.q))?;
    check_length("weights", per, n, values(&c.weights))?;
    check_length(
        "completion_lengths",
        per,
        n,
        c.completion_lengths.map(<[u32]>::len),
    )?;
    check_length("terminated", per, n, c.terminated.map(<[bool]>::len))?;
    check_length("prompts", per, n, texts(c.prompts))?;
    check_length("completions", per, n, texts(c.completions))?;
    check_length("trajectory_ids", per, n, texts(c.trajectory_ids))?;
    check_length("tags", per, n, texts(c.tags))?;
    check_length("prompt_lengths", per, n, c.prompt_lengths.map(<[u32]>::len))?;
    for column in [&c.advantages, &c.q, &c.weights].into_iter().flatten() {
        check_length("absent", per, n, absent_length(column, n))?;
    }
    if let Some(completion) =
        c.q.as_ref()
            .and_then(|q| q.iter().position(|x| x.is_none()))
    {
        return Err(BatchError::PartialQ { completion });
    }
    Ok(())
}

/// The length of a column's marks of absence, where it has any.
fn absent_length(column: &Values<'_>, n: usize) -> Option<usize> {
    (!column.absent.is_empty() || n == 0).then_some(column.absent.len())
}

/// The lengths, given or read off the padding mask, and where each padded row starts.
type Lengths<'a> = (Option<Cow<'a, [u32]>>, Vec<usize>);

fn lengths<'a>(c: &Columns<'a>, n: usize) -> Result<Lengths<'a>, BatchError> {
    let Some(mask) = c.padding_mask else {
        return Ok((c.completion_lengths.map(Cow::Borrowed), Vec::new()));
    };
    if mask.nrows() != n {
        return Err(BatchError::Rows {
            field: "padding_mask",
            expected: n,
            found: mask.nrows(),
        });
    }
    let (mut counted, mut starts) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for (completion, row) in mask.rows().into_iter().enumerate() {
        if let Some((position, &found)) = row.iter().enumerate().find(|(_, cell)| **cell > 1) {
            return Err(BatchError::Mask {
                field: "padding_mask",
                completion,
                position,
                found,
            });
        }
        let start = row.iter().position(|&cell| cell == 1).unwrap_or(0);
        let length = row
            .iter()
            .skip(start)
            .take_while(|&&cell| cell == 1)
            .count();
        if row.iter().skip(start + length).any(|&cell| cell == 1) {
            return Err(BatchError::PaddingGap {
                completion,
                position: start + length,
            });
        }
        if let Some(given) = c.completion_lengths
            && given[completion] as usize != length
        {
            return Err(BatchError::PaddingLength {
                completion,
                expected: given[completion] as usize,
                found: length,
            });
        }
        counted.push(u32::try_from(length).unwrap_or(u32::MAX));
        starts.push(start);
    }
    Ok((Some(Cow::Owned(counted)), starts))
}
