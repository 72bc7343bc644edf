//! What makes columns a batch: their lengths agree, masks are 0 or 1, groups cover the completions.

use std::borrow::Cow;

use thiserror::Error;

use super::{Batch, Columns, Values};
use crate::batch::group::Grouping;
use crate::batch::tokens::Extent;

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
}

impl Batch<'_> {
    pub(super) fn check_tokens(&self) -> Result<(), BatchError> {
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
                    let end = span.start.saturating_add(span.length);
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

pub(super) fn check_grouping(c: &Columns<'_>, n: usize) -> Result<(), BatchError> {
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

pub(super) fn check_lengths(c: &Columns<'_>, n: usize) -> Result<(), BatchError> {
    let per = "completions";
    let values = |column: &Option<Values<'_>>| column.as_ref().map(Values::len);
    let texts = |column: Option<&[String]>| column.map(<[String]>::len);
    check_length("rewards", per, n, absent_length(&c.rewards, n))?;
    for (name, column) in &c.reward_components {
        let field = format!("reward_components.{name}");
        check_length(&*field, per, n, Some(column.len()))?;
        check_length(field, per, n, absent_length(column, n))?;
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
pub(super) type Lengths<'a> = (Option<Cow<'a, [u32]>>, Vec<usize>);

pub(super) fn lengths<'a>(c: &Columns<'a>, n: usize) -> Result<Lengths<'a>, BatchError> {
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
