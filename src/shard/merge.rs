//! Joining two shards: what must agree, and then everything at once.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::column::Retain;
use super::thresholds::Thresholds;
use super::{Shard, Span};
use crate::batch::Place;

/// Why two shards cannot be joined; neither has changed.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum MergeError {
    #[error("expected a shard of step {expected}, found one of step {found}")]
    Step { expected: u64, found: u64 },
    #[error(
        "expected shards of steps that are both over or both open: close a step before it joins a window"
    )]
    Open,
    #[error("step {step}: rank {rank}, micro-batch {micro} is there twice")]
    Twice { step: u64, rank: u32, micro: u32 },
    #[error(
        "rank {rank} counted its tokens against {found:?}, rank {other} against {expected:?}: give every rank the same options and the same clip range (in the options, or a weighting snapshot on each rank)"
    )]
    Thresholds {
        rank: u32,
        found: Box<Thresholds>,
        other: u32,
        expected: Box<Thresholds>,
    },
    #[error(
        "rank {rank} retains its rewards as {found:?}, rank {other} as {expected:?}: give every rank the same `retain`"
    )]
    Retained {
        rank: u32,
        found: Retain,
        other: u32,
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
        self.span = span;
        self.counted = counted;
        // One by one: `append` builds the whole map anew.
        self.reports.extend(std::mem::take(&mut other.reports));
        self.rewards.merge(other.rewards);
        for (name, column) in other.components {
            match self.components.get_mut(&name) {
                Some(mine) => mine.merge(*column),
                None => {
                    self.components.insert(name, column);
                }
            }
        }
        self.component_rows.merge(&other.component_rows);
        self.advantages.merge(&other.advantages);
        self.completion_advantages
            .merge(&other.completion_advantages);
        self.groups.merge(other.groups);
        self.completions.merge(&other.completions);
        self.tokens.merge(&other.tokens);
        join(&mut self.policy, other.policy, |mine, theirs| {
            mine.merge(&theirs);
        });
        join(&mut self.extended, other.extended, |mine, theirs| {
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
        let (Some(mine), Some(theirs)) = (&self.counted, &other.counted) else {
            return Ok(self.counted.as_ref().or(other.counted.as_ref()).cloned());
        };
        let (low, high) = if mine.1 <= theirs.1 {
            (mine, theirs)
        } else {
            (theirs, mine)
        };
        if low.0 == high.0 {
            return Ok(Some(low.clone()));
        }
        Err(MergeError::Thresholds {
            rank: high.1.rank,
            found: Box::new(high.0.clone()),
            other: low.1.rank,
            expected: Box::new(low.0.clone()),
        })
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

/// Takes `theirs` into `mine`, either of which may not have been read.
fn join<T>(mine: &mut Option<T>, theirs: Option<T>, merge: impl FnOnce(&mut T, T)) {
    match (mine, theirs) {
        (_, None) => {}
        (Some(mine), Some(theirs)) => merge(mine, theirs),
        (mine @ None, theirs) => *mine = theirs,
    }
}
