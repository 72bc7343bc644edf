//! Per-group numbers of the extended metrics. The order of a group's completions has no part in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tags::Tags;
use crate::batch::{Batch, Values};
use crate::group::Grouping;
use crate::shard::Success;
use crate::shard::cells::{Cells, Column, Mark};
use crate::shard::spread::{Spread, count};
use crate::stat::{Clusters, Extent, Moments, Order, Statistic, effective_sizes, population_stds};

/// What one completion brings to its group; a non-finite number is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    group: u64,
    reward: Option<f64>,
    success: Option<bool>,
    weight: Option<f64>,
    tag: Option<String>,
}

/// The largest of all rewards, and how many groups have nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pole(Option<(f64, u64)>);

/// What whole groups come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settled {
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
    /// How many groups have so many completions, so many of which succeed.
    pub attempts: BTreeMap<(u64, u64), u64>,
    /// (sum of w)^2 / sum of w^2 / size.
    pub effective_weights: Spread,
    pub weights: Extent,
    /// Of completions by tag: whether their group's rewards vary.
    pub tags: Tags,
}

/// The groups of a shard: settled, or kept where they may go on elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Groups {
    settled: Settled,
    members: Vec<Member>,
}

/// Whole groups, one after another.
struct Laid<'a> {
    sizes: Vec<usize>,
    rewards: Column<'a>,
    /// What success is judged by: at or above `threshold`.
    judged: Column<'a>,
    threshold: f64,
    weights: Column<'a>,
    tags: Option<Vec<Option<&'a str>>>,
}

impl Groups {
    pub fn of(batch: &Batch<'_>, success: &Success) -> Self {
        let c = batch.columns();
        match c.grouping {
            Grouping::Sizes(sizes) => {
                let laid = Laid {
                    sizes: sizes.iter().map(|&size| size as usize).collect(),
                    rewards: Column::of(&c.rewards),
                    judged: column(success.column(c), batch.completions()),
                    threshold: success.threshold,
                    weights: column(c.weights.as_ref(), batch.completions()),
                    tags: c
                        .tags
                        .map(|tags| tags.iter().map(|tag| Some(tag.as_str())).collect()),
                };
                let mut settled = Settled::default();
                settled.add(&laid);
                Self {
                    settled,
                    members: Vec::new(),
                }
            }
            Grouping::Ids(ids) => Self {
                settled: Settled::default(),
                members: members(batch, ids, success),
            },
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.settled.merge(&other.settled);
        self.members.extend(other.members);
    }

    /// Whether some group may still go on elsewhere.
    pub fn is_open(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether they could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        let mut values = self.members.iter().flat_map(|m| [m.reward, m.weight]);
        values.all(|value| value.is_none_or(f64::is_finite))
            && self.settled.is_consistent(completions)
    }

    /// No more members will come: what all groups together come to.
    pub fn settle(&self) -> Cow<'_, Settled> {
        if !self.is_open() {
            return Cow::Borrowed(&self.settled);
        }
        let mut settled = self.settled.clone();
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_by_key(|member| member.group);
        settled.add(&Laid::of(&members));
        Cow::Owned(settled)
    }

    /// Replaces the kept members by what their groups come to.
    pub fn close(&mut self) {
        self.settled = self.settle().into_owned();
        self.members = Vec::new();
    }
}

/// All absent where there is none.
fn column<'a>(values: Option<&Values<'a>>, completions: usize) -> Column<'a> {
    match values {
        Some(values) => Column::of(values),
        None => Cells::of(None, completions).into_column(),
    }
}

/// A record's completions.
fn members(batch: &Batch<'_>, ids: &[u64], success: &Success) -> Vec<Member> {
    let c = batch.columns();
    let finite = |values: Option<&Values<'_>>| -> Vec<Option<f64>> {
        match values {
            Some(values) => values.iter().map(|x| x.filter(|x| x.is_finite())).collect(),
            None => vec![None; ids.len()],
        }
    };
    let rewards = finite(Some(&c.rewards));
    let judged = finite(success.column(c));
    let weights = finite(c.weights.as_ref());
    let rows = rewards.into_iter().zip(judged).zip(weights).zip(ids);
    rows.enumerate()
        .map(|(i, (((reward, judged), weight), &group))| Member {
            group,
            reward,
            success: judged.map(|x| x >= success.threshold),
            weight,
            tag: c.tags.map(|tags| tags[i].clone()),
        })
        .collect()
}

impl<'a> Laid<'a> {
    /// `members` by their group.
    fn of(members: &[&'a Member]) -> Self {
        let column = |of: &dyn Fn(&Member) -> Option<f64>| {
            let cells: Cells = members.iter().map(|member| of(member)).collect();
            cells.into_column()
        };
        Self {
            sizes: members
                .chunk_by(|a, b| a.group == b.group)
                .map(<[_]>::len)
                .collect(),
            rewards: column(&|m| m.reward),
            judged: column(&|m| m.success.map(|hit| f64::from(u8::from(hit)))),
            threshold: 1.0,
            weights: column(&|m| m.weight),
            tags: Some(members.iter().map(|m| m.tag.as_deref()).collect()),
        }
    }

    /// The places of each group's completions.
    fn ranges(&self) -> Vec<Range<usize>> {
        let starts = self.sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end - size..*end)
        });
        starts.collect()
    }
}

/// Smallest and largest.
fn ends(values: &[f64]) -> (f64, f64) {
    let nothing = (f64::INFINITY, f64::NEG_INFINITY);
    values.iter().fold(nothing, |(min, max), &x| {
        (if x < min { x } else { min }, if x > max { x } else { max })
    })
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
        if let Some((reward, groups)) = other.0 {
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

impl Settled {
    fn is_consistent(&self, completions: u64) -> bool {
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
    }

    fn add(&mut self, laid: &Laid<'_>) {
        let ranges = laid.ranges();
        self.add_rewards(laid, &ranges);
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            if laid.judged.mark(range.clone()) == Mark::Finite {
                let judged = laid.judged.values[range.clone()].iter();
                let hits = judged.filter(|x| **x >= laid.threshold).count();
                let attempt = (range.len() as u64, hits as u64);
                count(self.attempts.entry(attempt).or_default(), 1);
            }
        }
        self.add_weights(&laid.weights, &ranges);
    }

    fn add_rewards(&mut self, laid: &Laid<'_>, ranges: &[Range<usize>]) {
        let rewards = &laid.rewards;
        let present = |range: &Range<usize>| match rewards.mark(range.clone()) {
            Mark::Finite => Cow::Borrowed(&rewards.values[range.clone()]),
            _ => Cow::Owned(rewards.finite(range.clone()).collect()),
        };
        let groups: Vec<Cow<'_, [f64]>> = ranges.iter().map(present).collect();
        self.rewards.add(groups.iter().map(|group| &**group));
        let mut stds = Vec::with_capacity(ranges.len());
        let found = population_stds(&rewards.values, ranges);
        for ((range, group), std) in ranges.iter().zip(&groups).zip(found) {
            if group.is_empty() {
                continue;
            }
            let whole = matches!(group, Cow::Borrowed(_));
            let (min, max) = ends(group);
            let nothing_else = u64::from(whole && min == max);
            self.all_max.add(max, nothing_else);
            self.all_min.add(-min, nothing_else);
            if !whole {
                continue;
            }
            count(&mut self.whole, 1);
            stds.push(std);
            let tags = laid.tags.iter().flat_map(|tags| &tags[range.clone()]);
            for tag in tags.flatten() {
                // As of `frac_reward_zero_std`: the rewards of a group of one cannot vary, which says nothing.
                self.tags.add_group(tag, range.len() > 1 && std <= 1e-8);
            }
        }
        self.std.add(&stds);
        self.stds.add(&stds);
    }

    fn add_weights(&mut self, weights: &Column<'_>, ranges: &[Range<usize>]) {
        let mut effective = Vec::with_capacity(ranges.len());
        let mut usable = Vec::with_capacity(weights.values.len());
        let sizes = effective_sizes(&weights.values, ranges);
        for (range, size) in ranges.iter().zip(sizes) {
            if weights.mark(range.clone()) != Mark::Finite {
                continue;
            }
            usable.extend_from_slice(&weights.values[range.clone()]);
            // Undefined for an empty group, and for weights that are all zero.
            if size.is_finite() {
                effective.push(size / range.len() as f64);
            }
        }
        self.effective_weights.add(&effective);
        self.weights.add(&usable);
    }

    fn merge(&mut self, other: &Self) {
        self.rewards.merge(&other.rewards);
        count(&mut self.whole, other.whole);
        self.all_max.merge(&other.all_max);
        self.all_min.merge(&other.all_min);
        self.std.merge(&other.std);
        self.stds.merge(&other.stds);
        for (attempt, groups) in &other.attempts {
            count(self.attempts.entry(*attempt).or_default(), *groups);
        }
        self.effective_weights.merge(&other.effective_weights);
        self.weights.merge(&other.weights);
        self.tags.merge(&other.tags);
    }
}
