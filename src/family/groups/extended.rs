//! What the extended metrics make of whole groups. The order of a group's completions has no part in it.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::attempts::Tried;
use super::best::BestTotals;
use super::majority::Majority;
use super::measured::Measured;
use super::whole::{Whole, WholeOutcomes};
use crate::family::completions::tags::Tags;
use crate::family::marked_values::{GroupColumn, Mark};
use crate::family::moment::part;
use crate::family::number_totals::{NumberTotals, count};
use crate::family::quantiles::quantiles;
use crate::kernel::column::survey;
use crate::stat::{Clusters, Extent, Moments, Order, Statistic, effective_sizes, population_stds};

/// Whether a group has one value again and again.
fn are_alike(group: &[f64]) -> bool {
    group.iter().all(|x| *x == group[0])
}

/// The largest of all rewards, and how many groups have nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pole(Option<(f64, u64)>);

/// What whole groups and their completions come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExtendedTotals {
    /// The rewards there are, by group.
    pub rewards: Clusters,
    /// Groups all of whose members have a reward, and those of them that have nothing but the largest.
    pub whole: u64,
    pub all_max: Pole,
    /// The same of the rewards' opposites: of the smallest.
    pub all_min: Pole,
    /// Population standard deviation of each group's rewards.
    pub std: Moments,
    pub stds: Order,
    pub attempts: Tried,
    pub best: BestTotals,
    pub majority: Majority,
    /// (sum of w)^2 / sum of w^2 / size.
    pub effective_weights: NumberTotals,
    pub weights: Extent,
    /// Of completions by tag: whether their group's rewards vary.
    pub tags: Tags,
    /// Of completions, like what follows.
    pub advantages: Order,
    pub measured: Measured,
}

impl Pole {
    /// Takes in a reward that so many groups have nothing but.
    fn add(&mut self, reward: f64, groups: u64) {
        // -0 is 0.
        let reward = reward + 0.0;
        match &mut self.0 {
            Some((largest, _)) if *largest > reward => {}
            Some((largest, all)) if *largest == reward => count(all, groups),
            pole => *pole = Some((reward, groups)),
        }
    }

    fn merge(&mut self, other: &Self) {
        let Self(other) = *other;
        if let Some((reward, groups)) = other {
            self.add(reward, groups);
        }
    }

    pub fn groups(&self) -> u64 {
        self.0.map_or(0, |(_, groups)| groups)
    }

    fn is_consistent(&self, whole: u64) -> bool {
        self.0
            .is_none_or(|(reward, groups)| reward.is_finite() && groups <= whole)
    }
}

impl ExtendedTotals {
    /// Whether they could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        let tried = self.attempts.iter();
        let tried = tried.map(|((size, _), groups)| size.saturating_mul(*groups));
        self.rewards.values() <= completions
            && self.rewards.is_consistent()
            && self.whole <= self.rewards.count()
            && self.all_max.is_consistent(self.whole)
            && self.all_min.is_consistent(self.whole)
            && tried.fold(0, u64::saturating_add) <= completions
            && self
                .attempts
                .keys()
                .all(|(size, hits)| hits <= size && u32::try_from(*size).is_ok())
            && self.std.count() == self.stds.len()
            && self.tags.is_consistent(completions)
            && self.advantages.len() <= completions
            && self.measured.count() <= completions
            && self.best.is_consistent(self.whole)
            && self.majority.is_consistent(completions)
    }

    /// `ranges` are those of `whole`, and `outcomes` its own.
    pub(super) fn add(
        &mut self,
        whole: &Whole<'_, '_>,
        outcomes: &WholeOutcomes<'_>,
        ranges: &[Range<usize>],
    ) {
        self.add_rewards(&whole.rewards, outcomes.tags.as_deref(), ranges);
        if let Some(tags) = &outcomes.tags {
            self.add_tags(tags, outcomes, &whole.rewards, ranges);
        }
        if let Some(judged) = &outcomes.judged {
            self.add_attempts(judged, outcomes.threshold, ranges);
        }
        if let Some(answers) = &outcomes.answers {
            let judged = outcomes.judged.as_ref();
            let judged = judged.map(|judged| (judged, outcomes.threshold));
            self.majority.add(answers, judged, &whole.rewards, ranges);
        }
        if let Some(weights) = &whole.weights {
            self.add_weights(weights, ranges);
        }
        if let Some(advantages) = &whole.advantages {
            self.advantages
                .add(&advantages.present(0..advantages.values.len()));
        }
        if let Some(lengths) = &outcomes.lengths {
            self.add_lengths(&whole.rewards, lengths);
        }
    }

    fn add_attempts(&mut self, judged: &GroupColumn<'_>, threshold: f64, ranges: &[Range<usize>]) {
        // Most groups are of one size: how many of it have so many hits.
        let mut alike: Vec<u64> = Vec::new();
        for range in ranges {
            if judged.mark(range.clone()) != Mark::Finite {
                continue;
            }
            if alike.len() != range.len() + 1 {
                self.count_alike(&alike);
                alike.clear();
                alike.resize(range.len() + 1, 0);
            }
            let judged = judged.values[range.clone()].iter();
            let hits = judged.filter(|x| **x >= threshold).count();
            alike[hits] += 1;
        }
        self.count_alike(&alike);
    }

    /// Groups of one size, by how many of their completions succeed.
    fn count_alike(&mut self, alike: &[u64]) {
        let size = alike.len().saturating_sub(1) as u64;
        for (hits, groups) in (0..).zip(alike).filter(|(_, groups)| **groups > 0) {
            count(self.attempts.entry((size, hits)).or_default(), *groups);
        }
    }

    fn add_lengths(&mut self, rewards: &GroupColumn<'_>, lengths: &[Option<u32>]) {
        for (reward, length) in rewards.cells().zip(lengths) {
            if let Some(length) = *length {
                self.measured.add(reward, length);
            }
        }
    }

    fn add_rewards(
        &mut self,
        rewards: &GroupColumn<'_>,
        tags: Option<&[Option<&str>]>,
        ranges: &[Range<usize>],
    ) {
        let present = ranges.iter().map(|range| rewards.present(range.clone()));
        let present: Vec<Cow<'_, [f64]>> = present.collect();
        let mut groups: Vec<&[f64]> = present.iter().map(|group| &**group).collect();
        self.rewards.add(&groups);
        let met = survey(&rewards.present(0..rewards.values.len()));
        if met.low <= met.high {
            self.all_max.add(met.high, 0);
            self.all_min.add(-met.low, 0);
        }
        let is_whole = |range: &Range<usize>| rewards.mark(range.clone()) == Mark::Finite;
        let mut whole = ranges.iter().map(is_whole);
        groups.retain(|_| whole.next() == Some(true));
        count(&mut self.whole, groups.len() as u64);
        for group in groups.iter().filter(|group| are_alike(group)) {
            self.all_max.add(group[0], 1);
            self.all_min.add(-group[0], 1);
        }
        let stds = population_stds(&rewards.values, &groups);
        if let Some(tags) = tags {
            let whole = ranges.iter().filter(|range| is_whole(range));
            for (range, std) in whole.zip(&stds) {
                for tag in tags[range.clone()].iter().flatten() {
                    // As of `frac_reward_zero_std`: the rewards of a group of one cannot vary, which says nothing.
                    self.tags.add_group(tag, range.len() > 1 && *std <= 1e-8);
                }
            }
        }
        self.best.add(&groups);
        self.std.add(&stds);
        self.stds.add(&stds);
    }

    /// A group's completions tag by tag, as they mostly have one.
    fn add_tags(
        &mut self,
        tags: &[Option<&str>],
        outcomes: &WholeOutcomes<'_>,
        rewards: &GroupColumn<'_>,
        ranges: &[Range<usize>],
    ) {
        for range in ranges {
            let mut members: Vec<usize> = range.clone().filter(|&i| tags[i].is_some()).collect();
            members.sort_by_key(|&i| tags[i]);
            for alike in members.chunk_by(|&a, &b| tags[a] == tags[b]) {
                let Some(tag) = alike.first().and_then(|&i| tags[i]) else {
                    continue;
                };
                let finite = |column: &GroupColumn<'_>| -> Vec<f64> {
                    let cells = alike.iter().flat_map(|&i| column.finite(i..i + 1));
                    cells.collect()
                };
                let judged = outcomes.judged.as_ref().map(finite).unwrap_or_default();
                let hits = judged.iter().filter(|x| **x >= outcomes.threshold).count();
                let judged = (hits as u64, judged.len() as u64);
                self.tags.add_cluster(tag, &finite(rewards), judged);
            }
        }
    }

    fn add_weights(&mut self, weights: &GroupColumn<'_>, ranges: &[Range<usize>]) {
        let is_whole = |range: &&Range<usize>| weights.mark((*range).clone()) == Mark::Finite;
        let whole = ranges.iter().filter(is_whole);
        let mut groups: Vec<&[f64]> = Vec::with_capacity(ranges.len());
        groups.extend(whole.map(|range| &weights.values[range.clone()]));
        if groups.len() == ranges.len() {
            self.weights.add(&weights.values);
        } else {
            for group in &groups {
                self.weights.add(group);
            }
        }
        let sizes = effective_sizes(&weights.values, &groups);
        // Undefined for an empty group, and for weights that are all zero.
        let shares = sizes.iter().zip(&groups);
        let shares = shares.map(|(size, group)| size / group.len() as f64);
        let mut shares: Vec<f64> = shares.collect();
        shares.retain(|share| share.is_finite());
        self.effective_weights.add(&shares);
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            rewards,
            whole,
            all_max,
            all_min,
            std,
            stds,
            attempts,
            best,
            majority,
            effective_weights,
            weights,
            tags,
            advantages,
            measured,
        } = other;
        self.rewards.merge(&rewards);
        count(&mut self.whole, whole);
        self.all_max.merge(&all_max);
        self.all_min.merge(&all_min);
        self.std.merge(&std);
        self.stds.append(stds);
        for (attempt, groups) in attempts {
            count(self.attempts.entry(attempt).or_default(), groups);
        }
        self.best.merge(&best);
        self.majority.merge(&majority);
        self.effective_weights.merge(&effective_weights);
        self.weights.merge(&weights);
        self.tags.merge(&tags);
        self.advantages.append(advantages);
        self.measured.merge(measured);
    }
}

/// How the groups' rewards spread: the population standard deviation within each group all of whose rewards are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupStd {
    /// Mean over groups, in units of reward.
    pub mean: f64,
    /// 5 % quantile over groups, exact.
    pub p05: f64,
    /// Median over groups.
    pub p50: f64,
    /// 95 % quantile over groups.
    pub p95: f64,
}

/// Shares of groups all of whose rewards are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupShares {
    /// Every reward of the group is the largest of the step.
    pub all_max: f64,
    /// Every reward of the group is the smallest of the step.
    pub all_min: f64,
    /// Neither.
    pub mixed: f64,
}

pub fn group_std(groups: &ExtendedTotals) -> Option<GroupStd> {
    let [p05, p50, p95] = quantiles(&groups.stds, [5, 50, 95])?;
    Some(GroupStd {
        mean: groups.std.mean()?,
        p05,
        p50,
        p95,
    })
}

pub fn group_shares(groups: &ExtendedTotals) -> Option<GroupShares> {
    let (whole, all_max) = (groups.whole, groups.all_max.groups());
    let all_min = groups.all_min.groups();
    Some(GroupShares {
        all_max: part(all_max, whole)?,
        all_min: part(all_min, whole)?,
        // Where all rewards are equal, they are the largest and the smallest.
        mixed: part(whole.saturating_sub(all_max).saturating_sub(all_min), whole)?,
    })
}
