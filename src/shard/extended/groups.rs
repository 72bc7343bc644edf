//! Per-group numbers of the extended metrics. The order of a group's completions has no part in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tags::Tags;
use crate::batch::{Batch, Values};
use crate::group::Grouping;
use crate::shard::Success;
use crate::shard::groups::{Spread, count};
use crate::stat::{Extent, Moments, Order, Statistic, deviations, exact, norm};

/// What one completion brings to its group; a non-finite number is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    group: u64,
    reward: Option<f64>,
    success: Option<bool>,
    weight: Option<f64>,
    tag: Option<String>,
}

/// The rewards of one group, kept group by group: what they are measured against is known only at the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupRewards {
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Whether every member has a reward.
    pub whole: bool,
}

/// What whole groups come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Groups with a reward.
    pub rewards: Vec<GroupRewards>,
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

impl Groups {
    pub fn of(batch: &Batch<'_>, success: &Success) -> Self {
        let mut groups = Self::default();
        let mut members = members(batch, success);
        match batch.columns().grouping {
            Grouping::Sizes(sizes) => {
                let mut rest = &members[..];
                for &size in sizes {
                    let (group, after) = rest.split_at(size as usize);
                    groups.settled.add(group);
                    rest = after;
                }
            }
            Grouping::Ids(ids) => {
                for (member, id) in members.iter_mut().zip(ids) {
                    member.group = *id;
                }
                groups.members = members;
            }
        }
        groups
    }

    pub fn merge(&mut self, other: Self) {
        self.settled.merge(&other.settled);
        self.members.extend(other.members);
    }

    /// Whether some group may still go on elsewhere.
    pub fn is_open(&self) -> bool {
        !self.members.is_empty()
    }

    /// No more members will come: what all groups together come to.
    pub fn settle(&self) -> Settled {
        let mut settled = self.settled.clone();
        let mut members = self.members.clone();
        members.sort_by_key(|member| member.group);
        for group in members.chunk_by(|a, b| a.group == b.group) {
            settled.add(group);
        }
        settled
    }

    /// Replaces the kept members by what their groups come to.
    pub fn close(&mut self) {
        self.settled = self.settle();
        self.members = Vec::new();
    }
}

/// A record's completions, all of group 0.
fn members(batch: &Batch<'_>, success: &Success) -> Vec<Member> {
    let c = batch.columns();
    let n = batch.completions();
    let finite = |values: Option<&Values<'_>>| -> Vec<Option<f64>> {
        match values {
            Some(values) => values.iter().map(|x| x.filter(|x| x.is_finite())).collect(),
            None => vec![None; n],
        }
    };
    let rewards = finite(Some(&c.rewards));
    let judged = finite(success.column(c));
    let weights = finite(c.weights.as_ref());
    let rows = rewards.into_iter().zip(judged).zip(weights).enumerate();
    rows.map(|(i, ((reward, judged), weight))| Member {
        group: 0,
        reward,
        success: judged.map(|x| x >= success.threshold),
        weight,
        tag: c.tags.map(|tags| tags[i].clone()),
    })
    .collect()
}

impl Settled {
    fn add(&mut self, group: &[Member]) {
        let size = group.len() as u64;
        let rewards: Vec<f64> = group.iter().filter_map(|m| m.reward).collect();
        let extent = rewards
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &x| {
                (min.min(x), max.max(x))
            });
        if !rewards.is_empty() {
            self.rewards.push(GroupRewards {
                count: rewards.len() as u64,
                sum: exact(&rewards),
                min: extent.0,
                max: extent.1,
                whole: rewards.len() == group.len(),
            });
        }
        if !group.is_empty() && rewards.len() == group.len() {
            self.add_std(group, &rewards);
        }
        let successes: Option<Vec<bool>> = group.iter().map(|m| m.success).collect();
        if let Some(successes) = successes.filter(|s| !s.is_empty()) {
            let hits = successes.iter().filter(|hit| **hit).count() as u64;
            count(self.attempts.entry((size, hits)).or_default(), 1);
        }
        let weights: Option<Vec<f64>> = group.iter().map(|m| m.weight).collect();
        if let Some(weights) = weights.filter(|w| !w.is_empty()) {
            self.weights.add(&weights);
            if let Some(norm) = norm(&weights).filter(|norm| *norm > 0.0) {
                let share = exact(&weights) / norm;
                self.effective_weights.add(&[share * share / size as f64]);
            }
        }
    }

    fn add_std(&mut self, group: &[Member], rewards: &[f64]) {
        let Some(std) = deviations(rewards).and_then(|d| norm(&d)) else {
            return;
        };
        let std = std / (rewards.len() as f64).sqrt();
        self.std.add(&[std]);
        self.stds.add(&[std]);
        for tag in group.iter().filter_map(|m| m.tag.as_deref()) {
            // As of `frac_reward_zero_std`: the rewards of a group of one cannot vary, which says nothing.
            self.tags.add_group(tag, group.len() > 1 && std <= 1e-8);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.rewards.extend_from_slice(&other.rewards);
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
