//! The joinable state of a step: what one record, rank, step or window knows, without a name for any of it.

mod detail_level;
pub(crate) mod extended;
mod merge;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::{Batch, Place};
use crate::family::completions::Completions;
use crate::family::completions::advantages::totals_of;
use crate::family::groups::Groups;
use crate::family::number_totals::NumberTotals;
use crate::family::policy::Policy;
use crate::family::rewards::PARALLEL_FROM;
use crate::family::rewards::column::Column;
pub use crate::family::rewards::column::Retain;
use crate::family::rewards::components::{ComponentRows, Components};
pub use crate::family::thresholds::{
    Detail, KlKind, KlPenalty, Rejection, RejectionBounds, RejectionStatistic, Success, Thresholds,
};
use crate::family::tokens::Tokens;
use crate::family::tokens::token_pass::token_sums;
pub use detail_level::DetailError;
use extended::Extended;
pub use merge::MergeError;

/// What one record reported beside its columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub completions: u64,
    pub scalars: Scalars,
    pub weighting: Option<Weighting>,
    pub seed_alpha_effective: Option<f64>,
    pub seed_max_possible_entropy: Option<f64>,
}

/// By step and place. In boxes, as a node of a map has room for eleven, of which a shard mostly has one.
pub(crate) type Reports = BTreeMap<(u64, Place), Box<Report>>;

/// Which steps a shard is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Span {
    /// Of whatever step it is joined to.
    #[default]
    Any,
    /// Of one step, more of which may come.
    Step(u64),
    /// Of steps that are over: a window.
    Closed,
}

/// A partial result over some completions of a step (or, once closed, of several steps).
///
/// The laws of [`crate::stat::Statistic`] hold for it, bit for bit in the numbers it comes to: an empty shard changes
/// nothing, neither does the way completions are split over shards, nor the order in which those are merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    pub(crate) span: Span,
    /// What tokens were counted against, while there are any and the step is open.
    pub(crate) counted: Option<(Thresholds, Place)>,
    pub(crate) reports: Reports,
    pub(crate) rewards: Column,
    pub(crate) components: Components,
    pub(crate) component_rows: ComponentRows,
    pub(crate) advantages: NumberTotals,
    /// The advantages of records without token advantages.
    pub(crate) completion_advantages: NumberTotals,
    pub(crate) groups: Groups,
    pub(crate) completions: Completions,
    pub(crate) tokens: Tokens,
    /// From [`Detail::Policy`] on.
    pub(crate) policy: Option<Box<Policy>>,
    /// At [`Detail::Extended`].
    pub(crate) extended: Option<Box<Extended>>,
}

impl Shard {
    /// What a record knows, its tokens counted against the clip range of its own snapshot (0.2 either side without one).
    ///
    /// Total: a checked batch cannot fail. A record without completions gives a shard of its scalars and snapshot.
    #[must_use]
    pub fn of(batch: &Batch<'_>) -> Self {
        let weighting = batch.columns().weighting.as_ref();
        let clip_range = weighting.map(Weighting::clip_range).unwrap_or_default();
        let place = batch.place().unwrap_or_default();
        Self::counted(
            batch,
            place,
            &Thresholds {
                clip_range,
                ..Thresholds::default()
            },
        )
    }

    /// What the record of `place` knows, its tokens counted against `thresholds`.
    #[must_use]
    pub fn counted(batch: &Batch<'_>, place: Place, thresholds: &Thresholds) -> Self {
        let c = batch.columns();
        let report = Report {
            completions: batch.completions() as u64,
            scalars: c.scalars.clone(),
            weighting: c.weighting.clone(),
            seed_alpha_effective: c.seed_alpha_effective,
            seed_max_possible_entropy: c.seed_max_possible_entropy,
        };
        let columns = || {
            let components: Components = c
                .reward_components
                .iter()
                .map(|(name, values)| (name.to_string(), Box::new(Column::of(values))))
                .collect();
            let advantages: NumberTotals = c.advantages.as_ref().map(totals_of).unwrap_or_default();
            let rows = ComponentRows::of(batch, &components);
            (Column::of(&c.rewards), components, rows, advantages)
        };
        let extended = thresholds.detail >= Detail::Extended;
        let success = extended.then_some(&thresholds.success);
        let groups = || Groups::of(batch, place, success);
        let ((rewards, components, component_rows, advantages), groups) =
            if batch.completions() < PARALLEL_FROM {
                (columns(), groups())
            } else {
                rayon::join(columns, groups)
            };
        let bounds = thresholds.bounds();
        let (sums, sketches) = token_sums(batch, &bounds, extended);
        let extended = extended
            .then(|| {
                let tokens = (&sums[..], sketches);
                Extended::of(batch, &thresholds.success, &rewards, &components, tokens)
            })
            .map(Box::new);
        Self {
            span: Span::Any,
            counted: (batch.has_tokens() || thresholds.detail > Detail::Plain)
                .then(|| (thresholds.clone(), place)),
            reports: BTreeMap::from([((0, place), Box::new(report))]),
            rewards,
            component_rows,
            components,
            completion_advantages: match c.token_advantages {
                Some(_) => NumberTotals::default(),
                None => advantages.clone(),
            },
            advantages,
            groups,
            completions: Completions::of(batch),
            tokens: Tokens::of(batch, &sums, &bounds),
            policy: (thresholds.detail >= Detail::Policy)
                .then(|| Box::new(Policy::of(batch, &sums, thresholds, &bounds))),
            extended,
        }
    }

    /// Keeps sketches of its reward columns from here on ([`Retain::Sketch`]). Spread groups keep their members' rewards
    /// until the step is closed.
    pub fn sketch(&mut self) {
        self.rewards.sketch();
        for column in self.components.values_mut() {
            column.sketch();
        }
    }

    /// How its reward columns are kept; `None` where they hold no value.
    #[must_use]
    pub fn retain(&self) -> Option<Retain> {
        let mut columns =
            std::iter::once(&self.rewards).chain(self.components.values().map(Box::as_ref));
        columns.find_map(Column::retain)
    }

    /// Says which step an open shard is of; merging it with one of another step is then refused.
    ///
    /// # Errors
    /// If it is known to be of another step.
    pub fn assign(&mut self, step: u64) -> Result<(), MergeError> {
        match self.span {
            Span::Any => {
                self.span = Span::Step(step);
                let reports = std::mem::take(&mut self.reports);
                self.reports = reports
                    .into_iter()
                    .map(|((_, place), report)| ((step, place), report))
                    .collect();
                if let Some(policy) = &mut self.policy {
                    policy.assign(step);
                }
                Ok(())
            }
            Span::Step(found) if found == step => Ok(()),
            Span::Step(found) => Err(MergeError::Step {
                expected: step,
                found,
            }),
            Span::Closed => Err(MergeError::Open),
        }
    }

    /// Ends the step: no more of its completions will come, so its spread groups are whole. Closed shards of different
    /// steps merge into a window.
    ///
    /// # Errors
    /// As [`Shard::assign`].
    pub fn close(&mut self, step: u64) -> Result<(), MergeError> {
        self.assign(step)?;
        self.groups.close();
        self.counted = None;
        self.span = Span::Closed;
        Ok(())
    }

    /// The step of an open shard that has been assigned one.
    #[must_use]
    pub fn step(&self) -> Option<u64> {
        match self.span {
            Span::Step(step) => Some(step),
            Span::Any | Span::Closed => None,
        }
    }

    /// What its tokens were counted against, while it is open and has any.
    #[must_use]
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.counted
            .as_ref()
            .map(|(thresholds, _)| thresholds.clone())
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// How many completions it has seen.
    #[must_use]
    pub fn completions(&self) -> u64 {
        self.completions.seen
    }

    /// How many completion tokens it has seen (of completions whose length is known).
    #[must_use]
    pub fn completion_tokens(&self) -> u64 {
        self.completions.lengths.sum
    }

    /// Which ranks' records it holds, ascending.
    #[must_use]
    pub fn ranks(&self) -> Vec<u32> {
        let mut ranks: Vec<u32> = self.reports.keys().map(|(_, place)| place.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    /// Adds what a rank reports at the end of a step to its last record there, or as a record of its own.
    pub(crate) fn report(&mut self, rank: u32, scalars: Scalars, weighting: Option<Weighting>) {
        let last = self
            .reports
            .iter()
            .rev()
            .find(|((_, place), _)| place.rank == rank);
        let key = last.map_or(
            (self.step().unwrap_or(0), Place { rank, micro: 0 }),
            |(key, _)| *key,
        );
        let report = self.reports.entry(key).or_default();
        report.scalars.update(scalars);
        report.weighting = weighting.or(report.weighting.take());
    }
}
