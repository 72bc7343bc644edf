//! Joining two shards: what must agree, and then everything at once.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Detail, Shard, Span};
use crate::batch::Place;
use crate::family::join;
use crate::family::rewards::column::Retain;
use crate::family::rewards::components;
use crate::family::thresholds::Thresholds;

/// Why two shards cannot be joined; neither has changed.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MergeError {
    /// The two are of different open steps.
    #[error("expected a shard of step {expected}, found one of step {found}")]
    Step {
        /// The step that was asked for: of the shard that takes the other in, or as assigned.
        expected: u64,
        /// The step that the shard is of.
        found: u64,
    },
    /// One of the two is closed (a step that is over, or a window) and the other one is open; or a closed one was to be
    /// assigned a step.
    #[error(
        "expected shards of steps that are both over or both open: close a step before it joins a window"
    )]
    Open,
    /// Both hold the same record.
    #[error("step {step}: rank {rank}, micro-batch {micro} is there twice")]
    Twice {
        /// The record's step, as the shard that was to be merged in has it: 0 where that was assigned none.
        step: u64,
        /// The record's rank.
        rank: u32,
        /// The record's micro-batch.
        micro: u32,
    },
    /// The two counted their tokens against different options or clip ranges. Tokens are not kept, so they cannot be
    /// counted again.
    #[error(
        "rank {rank} counted its tokens against {}, rank {other} against {}: give every rank the same options and the same clip range (in the options, or a weighting snapshot on each rank)",
        found.unlike(expected), expected.unlike(found)
    )]
    Thresholds {
        /// The rank of the higher place of the two.
        rank: u32,
        /// What `rank` counted its tokens against.
        found: Box<Thresholds>,
        /// The rank of the lower place of the two.
        other: u32,
        /// What `other` counted its tokens against.
        expected: Box<Thresholds>,
    },
    /// One keeps its rewards whole, the other as a sketch, which cannot be taken apart again.
    #[error(
        "rank {rank} retains its rewards as {found} values, rank {other} as {expected} values: give every rank the same `retain`"
    )]
    Retained {
        /// The lowest rank of the shard that was to be merged in.
        rank: u32,
        /// How that shard keeps its rewards.
        found: Retain,
        /// The lowest rank of the shard that was to take it in.
        other: u32,
        /// How this one keeps its rewards.
        expected: Retain,
    },
}

impl Shard {
    /// Takes in all that `other` knows. Checks everything, then changes everything.
    ///
    /// # Errors
    /// If the two are of different open steps, hold the same record, or counted tokens against different thresholds.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError> {
        let span = self.joined_span(&other)?;
        self.check_places(&other)?;
        let counted = self.check_thresholds(&other)?;
        self.check_retained(&other)?;
        if let Span::Step(step) = span {
            self.assign(step)?;
            other.assign(step)?;
        }
        if self.is_empty() {
            *self = Self {
                span,
                counted,
                ..other
            };
            return Ok(());
        }
        let Self {
            span: _,
            counted: _,
            reports,
            rewards,
            components,
            ref component_rows,
            ref advantages,
            ref completion_advantages,
            groups,
            ref completions,
            ref tokens,
            policy,
            extended,
        } = other;
        self.span = span;
        self.counted = counted;
        // One by one: `append` builds the whole map anew.
        self.reports.extend(reports);
        self.rewards.merge(rewards);
        components::merge(&mut self.components, components);
        self.component_rows.merge(component_rows);
        self.advantages.merge(advantages);
        self.completion_advantages.merge(completion_advantages);
        self.groups.merge(groups);
        self.completions.merge(completions);
        self.tokens.merge(tokens);
        join(&mut self.policy, policy, |mine, theirs| {
            mine.merge(*theirs);
        });
        join(&mut self.extended, extended, |mine, theirs| {
            mine.merge(*theirs);
        });
        Ok(())
    }

    fn joined_span(&self, other: &Self) -> Result<Span, MergeError> {
        match (self.span, other.span) {
            (Span::Step(expected), Span::Step(found)) if expected != found => {
                Err(MergeError::Step { expected, found })
            }
            // An empty shard joins anything, a window too.
            (Span::Any, span) if self.reports.is_empty() => Ok(span),
            (span, Span::Any) if other.reports.is_empty() => Ok(span),
            (Span::Closed, Span::Closed) => Ok(Span::Closed),
            (Span::Closed, _) | (_, Span::Closed) => Err(MergeError::Open),
            (Span::Any, span) | (span, _) => Ok(span),
        }
    }

    /// Open shards are of one step: what tells their records apart is the place alone.
    fn check_places(&self, other: &Self) -> Result<(), MergeError> {
        let closed = self.span == Span::Closed;
        let known = |(step, place): &(u64, Place)| {
            if closed {
                self.reports.contains_key(&(*step, *place))
            } else {
                let own = self.reports.keys().next().map_or(0, |(step, _)| *step);
                self.reports.contains_key(&(own, *place))
            }
        };
        match other.reports.keys().find(|key| known(key)) {
            None => Ok(()),
            Some(&(step, Place { rank, micro })) => Err(MergeError::Twice { step, rank, micro }),
        }
    }

    /// What both were counted against. The lower place speaks for a shard and the higher one is told of, so that the
    /// message does not depend on which joins which.
    fn check_thresholds(&self, other: &Self) -> Result<Option<(Thresholds, Place)>, MergeError> {
        let (mine, theirs) = match (&self.counted, &other.counted) {
            (Some(mine), Some(theirs)) => (Cow::Borrowed(mine), Cow::Borrowed(theirs)),
            (Some(mine), None) => match other.plainly(mine) {
                Some(theirs) => (Cow::Borrowed(mine), Cow::Owned(theirs)),
                None => return Ok(Some(mine.clone())),
            },
            (None, Some(theirs)) => match self.plainly(theirs) {
                Some(mine) => (Cow::Owned(mine), Cow::Borrowed(theirs)),
                None => return Ok(Some(theirs.clone())),
            },
            (None, None) => return Ok(None),
        };
        let (low, high) = if mine.1 <= theirs.1 {
            (mine, theirs)
        } else {
            (theirs, mine)
        };
        if low.0 == high.0 {
            return Ok(Some(low.into_owned()));
        }
        Err(MergeError::Thresholds {
            rank: high.1.rank,
            found: Box::new(high.0.clone()),
            other: low.1.rank,
            expected: Box::new(low.0.clone()),
        })
    }

    /// What completions without tokens were counted against that lack the detail of `other`: all the same, but plainly.
    fn plainly(&self, other: &(Thresholds, Place)) -> Option<(Thresholds, Place)> {
        let ((_, place), _) = self.reports.first_key_value()?;
        let plain = || Thresholds {
            detail: Detail::Plain,
            ..other.0.clone()
        };
        (other.0.detail > Detail::Plain && self.completions() > 0).then(|| (plain(), *place))
    }

    /// A sketch cannot be taken apart again, so columns of values do not join it.
    fn check_retained(&self, other: &Self) -> Result<(), MergeError> {
        let lowest = |shard: &Self| shard.ranks().first().copied().unwrap_or(0);
        match (self.retain(), other.retain()) {
            (Some(expected), Some(found)) if expected != found => Err(MergeError::Retained {
                rank: lowest(other),
                found,
                other: lowest(self),
                expected,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::group::Grouping;
    use crate::batch::{Batch, Columns};

    fn counted(rank: u32, completions: &[f64], detail: Detail) -> Shard {
        let sizes = [u32::try_from(completions.len()).expect("few completions")];
        let batch = Batch::of(Columns::new(Grouping::Sizes(&sizes), completions));
        let thresholds = Thresholds {
            detail,
            ..Thresholds::default()
        };
        let place = Place { rank, micro: 0 };
        Shard::counted(&batch.expect("the columns fit"), place, &thresholds)
    }

    #[test]
    fn completions_counted_in_less_detail_do_not_join_those_counted_in_more() {
        for wanted in [Detail::Policy, Detail::Extended] {
            let (plain, detailed) = (
                || counted(0, &[1.0, 0.0], Detail::Plain),
                || counted(1, &[1.0, 0.5], wanted),
            );
            let (mut one, mut other) = (plain(), detailed());
            let refused = one.merge(detailed());
            assert!(matches!(
                &refused,
                Err(MergeError::Thresholds { rank: 1, other: 0, found, expected })
                    if found.detail == wanted && expected.detail == Detail::Plain
            ));
            assert_eq!(other.merge(plain()), refused);
            assert_eq!((one, other), (plain(), detailed()), "neither has changed");
        }
        // Who has no completions lacks nothing.
        let mut detailed = counted(1, &[1.0], Detail::Extended);
        assert_eq!(detailed.merge(counted(0, &[], Detail::Plain)), Ok(()));
    }

    #[test]
    fn an_empty_shard_becomes_what_it_is_merged_with() {
        let full = || counted(3, &[1.0, 0.5], Detail::Extended);
        let mut empty = Shard::default();
        empty.assign(7).expect("an open shard takes a step");
        empty.merge(full()).expect("one step");
        let mut expected = full();
        expected.assign(7).expect("an open shard takes a step");
        assert_eq!(empty, expected);
    }
}
