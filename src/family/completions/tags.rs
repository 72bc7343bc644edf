//! Completions by tag: data source, task or environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lengths::Lengths;
use crate::batch::{Batch, Values};
use crate::family::groups::attempts::interval;
use crate::family::moment::part;
use crate::family::number_totals::count;
use crate::family::thresholds::Success;
use crate::stat::{Clusters, Moments, Statistic};

/// Tags that have numbers of their own.
const NAMED: usize = 64;
/// The name of all others.
pub(crate) const OTHER: &str = "other";

/// What the completions of one tag come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TagTotals {
    pub completions: u64,
    pub rewards: Moments,
    pub judged: u64,
    pub successes: u64,
    pub lengths: Lengths,
    /// Completions of groups all of whose rewards are there, and of those whose rewards do not vary.
    pub grouped: u64,
    pub zero_std: u64,
    /// Its finite rewards by group.
    pub clusters: Clusters,
    /// Of each group of which it has completions that are judged: the share of those that succeed.
    pub passes: Moments,
}

impl TagTotals {
    fn is_consistent(&self, completions: u64) -> bool {
        self.successes <= self.judged
            && self.zero_std <= self.grouped
            && [self.completions, self.judged, self.grouped]
                .iter()
                .all(|count| *count <= completions)
            && self.clusters.values() <= completions
            && self.clusters.is_consistent()
            && self.passes.count() <= completions
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            completions,
            rewards,
            judged,
            successes,
            lengths,
            grouped,
            zero_std,
            clusters,
            passes,
        } = other;
        self.clusters.merge(clusters);
        self.passes.merge(passes);
        self.rewards.merge(rewards);
        self.lengths.merge(lengths);
        for (mine, theirs) in [
            (&mut self.completions, completions),
            (&mut self.judged, judged),
            (&mut self.successes, successes),
            (&mut self.grouped, grouped),
            (&mut self.zero_std, zero_std),
        ] {
            count(mine, *theirs);
        }
    }
}

/// The totals of the 64 tags that come first by their bytes, and of all others together.
///
/// A tag that is not among the first 64 of a part is not among the first 64 of the whole either: which tags have numbers of
/// their own does not depend on the order in which parts are seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tags {
    named: BTreeMap<String, TagTotals>,
    others: TagTotals,
}

impl Tags {
    /// The completions of a record by `tags`, one each; none where it has none.
    pub fn of(batch: &Batch<'_>, tags: Option<&[String]>, success: &Success) -> Self {
        let mut all = Self::default();
        let c = batch.columns();
        let Some(tags) = tags else { return all };
        let finite = |value: Option<f64>| value.filter(|x| x.is_finite());
        let mut judged = success.column(c).map(Values::iter);
        for (i, (tag, reward)) in tags.iter().zip(c.rewards.iter()).enumerate() {
            let judged = judged.as_mut().and_then(|values| values.next().flatten());
            all.add(
                tag,
                finite(reward),
                finite(judged).map(|x| x >= success.threshold),
                batch.lengths().map(|lengths| lengths[i]),
            );
        }
        all
    }

    pub fn add(
        &mut self,
        tag: &str,
        reward: Option<f64>,
        success: Option<bool>,
        length: Option<u32>,
    ) {
        self.change(tag, |totals| {
            totals.completions += 1;
            if let Some(reward) = reward {
                totals.rewards.add(&[reward]);
            }
            if let Some(success) = success {
                totals.judged += 1;
                totals.successes += u64::from(success);
            }
            if let Some(length) = length {
                totals.lengths.add(length);
            }
        });
    }

    /// The completions that a group has of a tag: their finite rewards, and how many of those that are judged succeed.
    pub fn add_cluster(&mut self, tag: &str, rewards: &[f64], (hits, judged): (u64, u64)) {
        self.change(tag, |totals| {
            totals.clusters.add(&[rewards]);
            if let Some(pass) = part(hits, judged) {
                totals.passes.add(&[pass]);
            }
        });
    }

    pub fn add_group(&mut self, tag: &str, zero_std: bool) {
        self.change(tag, |totals| {
            count(&mut totals.grouped, 1);
            count(&mut totals.zero_std, u64::from(zero_std));
        });
    }

    fn change(&mut self, tag: &str, change: impl FnOnce(&mut TagTotals)) {
        if let Some(totals) = self.named.get_mut(tag) {
            return change(totals);
        }
        if tag == OTHER {
            return change(&mut self.others);
        }
        change(self.named.entry(tag.to_owned()).or_default());
        self.trim();
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { named, others } = other;
        self.others.merge(others);
        for (tag, totals) in named {
            self.named.entry(tag.clone()).or_default().merge(totals);
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.named.len() > NAMED
            && let Some((_, last)) = self.named.pop_last()
        {
            self.others.merge(&last);
        }
    }

    /// Whether it could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        let mut all = self.named.values().chain([&self.others]);
        self.named.len() <= NAMED
            && !self.named.contains_key(OTHER)
            && all.all(|totals| totals.is_consistent(completions))
    }

    /// Each tag with its totals, the others last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TagTotals)> {
        let named = self
            .named
            .iter()
            .map(|(tag, totals)| (tag.as_str(), totals));
        named
            .chain([(OTHER, &self.others)])
            .filter(|(_, totals)| totals.completions > 0)
    }
}

/// The completions of one tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagNumbers {
    /// Mean reward; `None` without a finite one.
    pub reward: Option<f64>,
    /// Population standard deviation of the rewards; `None` without a finite one.
    pub population_std: Option<f64>,
    /// Standard error of the mean reward, clustered by group ([`Clusters::standard_error`]); `None` for fewer than two groups.
    pub standard_error: Option<f64>,
    /// Share of its completions that succeed, of those that could be judged.
    pub pass: Option<f64>,
    /// 95 % for it, by the spread of the groups' shares; `None` for fewer than two groups.
    pub pass_interval: Option<(f64, f64)>,
    /// Mean length of its completions, in tokens; `None` where no lengths are known.
    pub mean_length: Option<f64>,
    /// Share of its completions whose group's rewards do not vary, of those whose group's rewards are all there.
    pub zero_std: Option<f64>,
}

/// `grouped`: of the same completions, whether their groups' rewards vary.
pub(crate) fn numbers(completions: &Tags, grouped: &Tags) -> Vec<(String, TagNumbers)> {
    let mut tags = completions.clone();
    tags.merge(grouped);
    let numbers = |totals: &TagTotals| TagNumbers {
        reward: totals.rewards.mean(),
        population_std: totals.rewards.population_std(),
        standard_error: totals.clusters.standard_error(&totals.rewards),
        pass: part(totals.successes, totals.judged),
        pass_interval: part(totals.successes, totals.judged)
            .and_then(|pass| interval(pass, totals.passes.clone())),
        mean_length: totals.lengths.mean(),
        zero_std: part(totals.zero_std, totals.grouped),
    };
    tags.iter()
        .map(|(tag, totals)| (tag.to_owned(), numbers(totals)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_64_tags_the_rest_is_counted_under_other_whatever_the_order() {
        let tags: Vec<String> = (0..100)
            .map(|i| format!("task {:02}", (i * 37) % 100))
            .collect();
        let of = |tags: &[String]| {
            let mut all = Tags::default();
            for tag in tags {
                all.add(tag, Some(1.0), Some(true), Some(3));
            }
            all
        };
        let whole = of(&tags);
        let names: Vec<&str> = whole.iter().map(|(tag, _)| tag).collect();
        assert_eq!(names.len(), 65);
        assert_eq!(
            (names[0], names[63], names[64]),
            ("task 00", "task 63", OTHER)
        );
        assert_eq!(whole.iter().last().unwrap().1.completions, 36);
        let mut halves = of(&tags[50..]);
        halves.merge(&of(&tags[..50]));
        assert_eq!(halves, whole);
    }
}
