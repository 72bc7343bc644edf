//! What makes columns a batch: their lengths agree, masks are 0 or 1, groups cover the completions.

use std::borrow::Cow;

use super::{Batch, BatchError, Column, ColumnInfo, Columns, Shape, Values};
use crate::batch::group::Grouping;
use crate::batch::tokens::{Extent, TokenMask};

impl Batch<'_> {
    /// Token columns fit the lengths, and masks hold nothing but 0 and 1.
    pub(super) fn check_tokens(&self) -> Result<(), BatchError> {
        let by_token = |info: &ColumnInfo| info.shape == Shape::Token;
        for (info, column) in self.columns.given_of(by_token) {
            if let Some(extent) = column.extent() {
                self.check_extent(info.name, extent)?;
            }
            if let Column::TokenBits(mask) = column {
                self.check_mask(info.name, mask)?;
            }
        }
        Ok(())
    }

    fn check_mask(&self, field: &'static str, mask: TokenMask<'_>) -> Result<(), BatchError> {
        for completion in 0..self.completions() {
            let cells = mask.at(self.span(completion));
            if let Some(position) = cells.iter().position(|&cell| cell > 1) {
                return Err(BatchError::Mask {
                    field,
                    completion,
                    position,
                    found: cells[position],
                });
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

/// Every column has a cell for each completion or group, whichever it is by.
pub(super) fn check_lengths(c: &Columns<'_>, n: usize) -> Result<(), BatchError> {
    if let Grouping::Sizes(sizes) = c.grouping {
        let sum: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
        if sum != n as u64 {
            return Err(BatchError::GroupSizes {
                sum,
                completions: n,
            });
        }
    }
    let by_cells = |info: &ColumnInfo| [Shape::Completion, Shape::Group].contains(&info.shape);
    let mut groups = None;
    for (info, column) in c.given_of(by_cells) {
        let expected = if info.shape == Shape::Completion {
            ("completions", n)
        } else {
            // Counted only for the few records that have a column by group.
            ("groups", *groups.get_or_insert_with(|| c.grouping.count()))
        };
        check_cells(info.name, &column, expected)?;
    }
    let (calls, failures) = (c.tool_calls, c.tool_failures);
    let both = calls.iter().zip(&failures);
    let mut both = both.flat_map(|(calls, failures)| calls.iter().zip(*failures).enumerate());
    if let Some((completion, (&calls, &failures))) = both.find(|(_, (all, failed))| failed > all) {
        return Err(BatchError::ToolFailures {
            completion,
            calls,
            failures,
        });
    }
    let absent =
        c.q.as_ref()
            .and_then(|q| q.iter().position(|x| x.is_none()));
    match absent {
        Some(completion) => Err(BatchError::PartialQ { completion }),
        None => Ok(()),
    }
}

/// What is by token or record has no such cells.
fn check_cells(
    field: &str,
    column: &Column<'_>,
    (per, expected): (&'static str, usize),
) -> Result<(), BatchError> {
    let check = |field: &str, found| {
        if found == expected {
            return Ok(());
        }
        Err(BatchError::Length {
            field: field.to_owned(),
            per,
            expected,
            found,
        })
    };
    let check_values = |field: &str, values: &Values<'_>| {
        check(field, values.len())?;
        match values.absent.len() {
            0 => Ok(()),
            marks => check(field, marks),
        }
    };
    match column {
        Column::Numbers(values) => check_values(field, values),
        Column::Components(named) => named
            .iter()
            .try_for_each(|(name, values)| check_values(&format!("{field}.{name}"), values)),
        Column::Naturals(cells) => check(field, cells.len()),
        Column::Ids(cells) => check(field, cells.len()),
        Column::Bits(cells) => check(field, cells.len()),
        Column::Texts(cells) => check(field, cells.len()),
        Column::Tokens(_)
        | Column::TokenBits(_)
        | Column::TokenNaturals(_)
        | Column::Number(_)
        | Column::Natural(_) => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_absence_are_as_many_as_the_values_by_completion_and_by_group() {
        for (name, per, expected) in [
            ("advantages", "completions", 3),
            ("semantic_entropies", "groups", 2),
        ] {
            let values = [0.5; 3];
            let column = Values::masked(&values[..expected], &[true]);
            let mut columns = Columns::new(Grouping::Ids(&[4, 9, 4]), &values);
            if per == "groups" {
                columns.semantic_entropies = Some(column);
            } else {
                columns.advantages = Some(column);
            }
            let refused = Batch::of(columns).unwrap_err();
            let length = BatchError::Length {
                field: name.to_owned(),
                per,
                expected,
                found: 1,
            };
            assert_eq!(refused, length);
        }
    }
}
