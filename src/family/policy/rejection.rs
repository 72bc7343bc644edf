//! What rejection sampling by the ratio to the sampler leaves out: token by token, and completion by completion.

pub mod numbers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TokenSums;
use crate::batch::Batch;
use crate::family::number_totals::{NumberTotals, count};
use crate::family::per_completion::by_completion;
use crate::family::thresholds::{self, KlKind, RejectionLevel, RejectionStatistic};
use crate::kernel::exp::exp;
use crate::kernel::tokens::{self, VERL_LOG_RATIO};
use crate::stat::{Extent, Statistic};

/// Behaviour policy against sampler, over counted tokens that have both log-probabilities and completions with such tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rejection {
    /// By each statistic that was asked for.
    pub by: BTreeMap<RejectionStatistic, Rejected>,
    pub tokens: u64,
    pub completions: u64,
    /// Tokens that one of them leaves out, and completions with such a token.
    pub masked: u64,
    pub touched: u64,
}

/// By one statistic. A completion's own stands for each of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rejected {
    /// Sums over tokens: the statistic, and, taken within its bounds, itself and its square.
    pub tokens: TokenSums<3>,
    pub extent: Extent,
    /// Its extremes within the bounds.
    pub within: Extent,
    /// Tokens above and below the bounds: they are left out.
    pub above: u64,
    pub below: u64,
    /// Completions with such a token.
    pub touched: u64,
    /// One a completion: the statistic, of a token's the mean.
    pub each: NumberTotals,
    /// Completions of which that is above and below.
    pub each_above: u64,
    pub each_below: u64,
}

/// One completion by one statistic.
struct Judged {
    sums: [f64; 3],
    /// Smallest and largest of any token.
    extent: [f64; 2],
    own: f64,
    above: u64,
    below: u64,
}

/// One completion: its tokens, what becomes of them, and by each statistic.
struct Completion {
    tokens: u64,
    masked: u64,
    by: Vec<Judged>,
}

/// A statistic with what it is held against.
#[derive(Clone, Copy)]
struct Criterion {
    statistic: RejectionStatistic,
    lower: f64,
    upper: f64,
}

/// A token's estimate, from its bounded log-ratio of behaviour policy to sampler.
fn estimate(kind: KlKind, d: f64) -> f64 {
    match kind {
        KlKind::K1 => -d,
        KlKind::Abs => d.abs(),
        KlKind::K2 => d * d / 2.0,
        KlKind::K3 => exp(d).k3(d),
    }
}

impl Criterion {
    fn rejects(&self, x: f64) -> bool {
        x > self.upper || x < self.lower
    }

    fn within(&self, x: f64) -> f64 {
        x.max(self.lower).min(self.upper)
    }

    /// `ratios`: the bounded log-ratios of the completion's tokens, of which there are some.
    fn judge(&self, ratios: &[f64]) -> Judged {
        let estimates = || ratios.iter().map(|&d| estimate(self.statistic.kind(), d));
        let n = ratios.len() as f64;
        let own = match self.statistic.level() {
            RejectionLevel::Token => return self.judge_each(estimates()),
            RejectionLevel::Sum => estimates().sum(),
            RejectionLevel::Mean => estimates().sum::<f64>() / n,
            RejectionLevel::Max => estimates().fold(0.0, f64::max),
        };
        let within = self.within(own);
        let tokens = ratios.len() as u64;
        Judged {
            sums: [own, within, within * within].map(|x| n * x),
            extent: [own; 2],
            own,
            above: if own > self.upper { tokens } else { 0 },
            below: if own < self.lower { tokens } else { 0 },
        }
    }

    /// Token by token.
    fn judge_each(&self, estimates: impl Iterator<Item = f64>) -> Judged {
        let mut judged = Judged {
            sums: [0.0; 3],
            extent: [f64::INFINITY, f64::NEG_INFINITY],
            own: 0.0,
            above: 0,
            below: 0,
        };
        let mut tokens = 0.0;
        for x in estimates {
            let within = self.within(x);
            for (sum, more) in judged.sums.iter_mut().zip([x, within, within * within]) {
                *sum += more;
            }
            let [least, most] = judged.extent;
            judged.extent = [least.min(x), most.max(x)];
            judged.above += u64::from(x > self.upper);
            judged.below += u64::from(x < self.lower);
            tokens += 1.0;
        }
        judged.own = judged.sums[0] / tokens;
        judged
    }
}

impl Completion {
    /// `None` without a token that has both log-probabilities.
    fn of(tokens: &tokens::Completion<'_>, criteria: &[Criterion]) -> Option<Self> {
        let c = &tokens.columns;
        let pairs = tokens.pairs(c.behaviour()?, c.sampling?);
        let bounded =
            |(old, sampling): (f64, f64)| (old - sampling).clamp(-VERL_LOG_RATIO, VERL_LOG_RATIO);
        let ratios: Vec<f64> = pairs.into_iter().map(bounded).collect();
        if ratios.is_empty() {
            return None;
        }
        let by: Vec<Judged> = criteria.iter().map(|c| c.judge(&ratios)).collect();
        let (of_tokens, of_all): (Vec<_>, Vec<_>) = criteria
            .iter()
            .zip(&by)
            .partition(|(c, _)| c.statistic.level() == RejectionLevel::Token);
        let masked = if of_all.iter().any(|(c, judged)| c.rejects(judged.own)) {
            ratios.len()
        } else {
            let is_masked = |&d: &&f64| {
                let mut each = of_tokens.iter();
                each.any(|(c, _)| c.rejects(estimate(c.statistic.kind(), *d)))
            };
            ratios.iter().filter(is_masked).count()
        };
        Some(Self {
            tokens: ratios.len() as u64,
            masked: masked as u64,
            by,
        })
    }
}

impl Rejection {
    /// The completions of a record; `None` where nothing is asked for, or it has no sampler.
    pub fn of(batch: &Batch<'_>, asked: &thresholds::Rejection) -> Option<Self> {
        if asked.0.is_empty() || batch.columns().sampling_token_logps.is_none() {
            return None;
        }
        let criteria: Vec<Criterion> = asked
            .0
            .iter()
            .map(|(&statistic, bounds)| {
                let (lower, upper) = bounds.of(statistic);
                Criterion {
                    statistic,
                    lower,
                    upper,
                }
            })
            .collect();
        let completions = by_completion(batch, |i| Completion::of(&batch.tokens(i), &criteria));
        let completions: Vec<Completion> = completions.into_iter().flatten().collect();
        let mut of = Self::default();
        for completion in &completions {
            of.tokens += completion.tokens;
            of.completions += 1;
            of.masked += completion.masked;
            of.touched += u64::from(completion.masked > 0);
        }
        let each = criteria.iter().enumerate().map(|(at, criterion)| {
            (
                criterion.statistic,
                Rejected::of(&completions, at, criterion),
            )
        });
        of.by = each.collect();
        Some(of)
    }

    /// Whether its parts could be of the same tokens.
    pub fn is_consistent(&self) -> bool {
        self.masked <= self.tokens
            && self.touched <= self.masked.min(self.completions)
            && self.completions <= self.tokens
            && self.by.values().all(Rejected::is_consistent)
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            by,
            tokens,
            completions,
            masked,
            touched,
        } = other;
        for (statistic, theirs) in by {
            self.by.entry(*statistic).or_default().merge(theirs);
        }
        count(&mut self.tokens, *tokens);
        count(&mut self.completions, *completions);
        count(&mut self.masked, *masked);
        count(&mut self.touched, *touched);
    }
}

impl Rejected {
    fn of(completions: &[Completion], at: usize, criterion: &Criterion) -> Self {
        let judged = || {
            completions
                .iter()
                .filter_map(|c| Some((c.tokens, c.by.get(at)?)))
        };
        let mut of = Self {
            tokens: TokenSums::of(judged().map(|(tokens, j)| (tokens, j.sums))),
            ..Self::default()
        };
        for (_, j) in judged() {
            of.extent.add(&j.extent);
            of.within.add(&j.extent.map(|x| criterion.within(x)));
            of.above += j.above;
            of.below += j.below;
            of.touched += u64::from(j.above + j.below > 0);
            of.each_above += u64::from(j.own > criterion.upper);
            of.each_below += u64::from(j.own < criterion.lower);
        }
        let own: Vec<f64> = judged().map(|(_, j)| j.own).collect();
        of.each.add(&own);
        of
    }

    fn is_consistent(&self) -> bool {
        let completions = self.each.moments.count();
        (self.tokens.tokens > 0) == self.extent.range().is_some()
            && self.extent.range().is_some() == self.within.range().is_some()
            && self.above.saturating_add(self.below) <= self.tokens.tokens
            && completions <= self.tokens.tokens
            && (completions > 0) == (self.tokens.tokens > 0)
            && self.touched <= completions
            && self.each_above.saturating_add(self.each_below) <= completions
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            extent,
            within,
            above,
            below,
            touched,
            each,
            each_above,
            each_below,
        } = other;
        self.tokens.merge(tokens);
        self.extent.merge(extent);
        self.within.merge(within);
        self.each.merge(each);
        for (mine, theirs) in [
            (&mut self.above, above),
            (&mut self.below, below),
            (&mut self.touched, touched),
            (&mut self.each_above, each_above),
            (&mut self.each_below, each_below),
        ] {
            count(mine, *theirs);
        }
    }
}
