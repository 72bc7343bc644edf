//! Completions that succeed beside those that fail: how long they are, how sure the policy is, how far from its reference.

use serde::{Deserialize, Serialize};

use super::lengths::Lengths;
use crate::batch::{Batch, Values};
use crate::family::number_totals::count;
use crate::family::thresholds::Success;
use crate::family::tokens::token_totals::TokenTotal;
use crate::kernel::tokens::Sums;

/// What the completions of one outcome come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutcomeTotals {
    pub completions: u64,
    pub lengths: Lengths,
    pub entropies: TokenTotal,
    /// k3 of current to reference policy.
    pub k3: TokenTotal,
}

/// Completions that could be judged, by what became of them; nothing where neither lengths nor tokens are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ByOutcome {
    pub failed: OutcomeTotals,
    pub succeeded: OutcomeTotals,
}

impl OutcomeTotals {
    fn of(lengths: Option<&[u32]>, sums: &[Sums], members: &[usize]) -> Self {
        let mut totals = Self {
            completions: members.len() as u64,
            ..Self::default()
        };
        let lengths = lengths.unwrap_or_default();
        for length in members.iter().filter_map(|&i| lengths.get(i)) {
            totals.lengths.add(*length);
        }
        let own = || members.iter().filter_map(|&i| sums.get(i));
        totals.entropies = TokenTotal::of(own(), |s| s.entropies);
        totals.k3 = TokenTotal::of(own(), |s| s.reference.map(|r| r.divergence.k3()));
        totals
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            completions,
            lengths,
            entropies,
            k3,
        } = other;
        count(&mut self.completions, *completions);
        self.lengths.merge(lengths);
        self.entropies.merge(entropies);
        self.k3.merge(k3);
    }
}

impl ByOutcome {
    /// `sums` are those of the record's completions; none where it has no token columns.
    pub fn of(batch: &Batch<'_>, success: &Success, sums: &[Sums]) -> Self {
        let lengths = batch.lengths();
        let judged = success.column(batch.columns()).map(Values::iter);
        let (Some(judged), false) = (judged, lengths.is_none() && sums.is_empty()) else {
            return Self::default();
        };
        let [mut failed, mut succeeded] = [Vec::new(), Vec::new()];
        for (i, value) in judged.enumerate() {
            match value.filter(|x| x.is_finite()) {
                Some(x) if x >= success.threshold => succeeded.push(i),
                Some(_) => failed.push(i),
                None => {}
            }
        }
        Self {
            failed: OutcomeTotals::of(lengths, sums, &failed),
            succeeded: OutcomeTotals::of(lengths, sums, &succeeded),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { failed, succeeded } = other;
        self.failed.merge(failed);
        self.succeeded.merge(succeeded);
    }

    /// Whether it could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        let judged = self
            .failed
            .completions
            .checked_add(self.succeeded.completions);
        judged.is_some_and(|judged| judged <= completions)
    }
}

/// The completions of one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutcomeNumbers {
    /// Mean length, in tokens; `None` where no lengths are known, or there are none.
    pub mean_length: Option<f64>,
    /// Mean token entropy, in nats; `None` without token entropies.
    pub entropy: Option<f64>,
    /// Mean k3 of current to reference policy per token, in nats; `None` without both.
    pub k3: Option<f64>,
}

pub(crate) fn outcome_numbers(totals: &OutcomeTotals) -> OutcomeNumbers {
    OutcomeNumbers {
        mean_length: totals.lengths.mean(),
        entropy: totals.entropies.mean(),
        k3: totals.k3.mean(),
    }
}
