//! How old the weights are that completions were sampled with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::family::number_totals::count;

/// By step, 0 of a shard that has been assigned none: a step's ages are known when its `weight_version` is, which a rank may
/// report by itself and after its completions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Staleness(BTreeMap<u64, Versions>);

/// The versions of a step's counted tokens, and of its completions that have such tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Versions {
    tokens: u64,
    sum: u128,
    oldest: u32,
    newest: u32,
    /// Tokens of the newest version.
    of_newest: u64,
    completions: u64,
    /// Over completions: the sum of each one's oldest and newest version; the newest of the oldest, and the oldest of the newest.
    oldest_sum: u128,
    newest_sum: u128,
    newest_oldest: u32,
    oldest_newest: u32,
    /// Over completions: how many versions from its oldest to its newest, and how many of those it has a token of; sum, smallest
    /// and largest.
    spans: Naturals,
    distinct: Naturals,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Naturals {
    sum: u128,
    min: u64,
    max: u64,
}

impl Naturals {
    fn of(one: u64) -> Self {
        Self {
            sum: u128::from(one),
            min: one,
            max: one,
        }
    }

    fn merge(&mut self, other: Self) {
        let Self { sum, min, max } = other;
        self.sum = self.sum.saturating_add(sum);
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }
}

impl Versions {
    /// Of one completion's counted tokens; `None` without any.
    fn of(versions: &mut Vec<u32>) -> Option<Self> {
        let tokens = versions.len() as u64;
        let sum = versions.iter().map(|&version| u128::from(version)).sum();
        let newest = *versions.iter().max()?;
        let of_newest = versions.iter().filter(|&&version| version == newest);
        let of_newest = of_newest.count() as u64;
        // Mostly one run, seldom more than a few: little is left to sort.
        versions.dedup();
        versions.sort_unstable();
        versions.dedup();
        let oldest = *versions.first()?;
        Some(Self {
            tokens,
            sum,
            oldest,
            newest,
            of_newest,
            completions: 1,
            oldest_sum: u128::from(oldest),
            newest_sum: u128::from(newest),
            newest_oldest: oldest,
            oldest_newest: newest,
            spans: Naturals::of(u64::from(newest - oldest) + 1),
            distinct: Naturals::of(versions.len() as u64),
        })
    }

    fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            sum,
            oldest,
            newest,
            of_newest,
            completions,
            oldest_sum,
            newest_sum,
            newest_oldest,
            oldest_newest,
            spans,
            distinct,
        } = other;
        if *newest > self.newest {
            self.of_newest = 0;
        }
        if *newest >= self.newest {
            count(&mut self.of_newest, *of_newest);
        }
        count(&mut self.tokens, *tokens);
        self.sum = self.sum.saturating_add(*sum);
        self.oldest = self.oldest.min(*oldest);
        self.newest = self.newest.max(*newest);
        count(&mut self.completions, *completions);
        self.oldest_sum = self.oldest_sum.saturating_add(*oldest_sum);
        self.newest_sum = self.newest_sum.saturating_add(*newest_sum);
        self.newest_oldest = self.newest_oldest.max(*newest_oldest);
        self.oldest_newest = self.oldest_newest.min(*oldest_newest);
        self.spans.merge(*spans);
        self.distinct.merge(*distinct);
    }
}

impl Staleness {
    /// Of the completions of a record; `None` where it has no versions.
    pub fn of(batch: &Batch<'_>) -> Option<Self> {
        let column = batch.columns().weight_versions?;
        let mut all: Option<Versions> = None;
        let mut versions = Vec::new();
        for completion in 0..batch.completions() {
            let cells = column.at(batch.span(completion));
            let tokens = batch.tokens(completion);
            versions.clear();
            versions.extend(tokens.positions().filter_map(|i| cells.get(i)));
            match (&mut all, Versions::of(&mut versions)) {
                (_, None) => {}
                (Some(all), Some(one)) => all.merge(&one),
                (all @ None, one) => *all = one,
            }
        }
        all.map(|versions| Self(BTreeMap::from([(0, versions)])))
    }

    /// Says which step it is of.
    pub fn assign(&mut self, step: u64) {
        let versions = std::mem::take(&mut self.0).into_values();
        self.0 = versions.map(|versions| (step, versions)).collect();
    }

    pub fn steps(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    /// Whether its parts could be of the same tokens.
    pub fn is_consistent(&self) -> bool {
        self.0.values().all(|v| {
            let ordered =
                v.oldest <= v.newest && v.newest_oldest <= v.newest && v.oldest <= v.oldest_newest;
            let counted =
                (1..=v.tokens).contains(&v.completions) && (1..=v.tokens).contains(&v.of_newest);
            ordered && counted
        })
    }

    pub fn merge(&mut self, other: Self) {
        let Self(theirs) = other;
        for (step, versions) in theirs {
            match self.0.get_mut(&step) {
                Some(mine) => mine.merge(&versions),
                None => {
                    self.0.insert(step, versions);
                }
            }
        }
    }
}

/// Mean and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VersionNumbers {
    /// The mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// How old the weights are that completions were sampled with: over counted tokens, and over completions that have such tokens.
/// An age is the step's `weight_version` less the version; `None` where no step reports one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StalenessNumbers {
    /// The newest version of any token.
    pub newest: Option<f64>,
    /// Over completions: versions from its oldest to its newest token's, both counted; 1 where all are the same.
    pub spans: Option<VersionNumbers>,
    /// Over completions: how many versions its tokens have.
    pub distinct: Option<VersionNumbers>,
    /// Over tokens: their age.
    pub ages: Option<VersionNumbers>,
    /// Share of tokens that are older than the step's version; `None` also where a token is newer.
    pub stale: Option<f64>,
    /// Over completions: the age of its newest token.
    pub least: Option<VersionNumbers>,
    /// Over completions: the age of its oldest token.
    pub most: Option<VersionNumbers>,
    /// Samples kept of those kept and dropped; without `samples_kept` those are the step's completions. `None` without
    /// `samples_dropped`.
    pub kept: Option<f64>,
}

/// Sums over steps, as doubles: whole numbers.
#[derive(Default)]
struct Ages {
    sum: f64,
    of: u64,
    range: Option<(f64, f64)>,
}

impl Ages {
    /// The ages at `version` of so many versions with this sum and these extremes.
    fn add(&mut self, version: f64, of: u64, sum: u128, oldest: u32, newest: u32) {
        let (low, high) = (version - f64::from(newest), version - f64::from(oldest));
        self.sum += version * of as f64 - sum as f64;
        count(&mut self.of, of);
        self.range = Some(
            self.range
                .map_or((low, high), |(l, h)| (l.min(low), h.max(high))),
        );
    }

    fn numbers(&self) -> Option<VersionNumbers> {
        let (min, max) = self.range?;
        Some(VersionNumbers {
            mean: self.sum / self.of as f64,
            min,
            max,
        })
    }
}

impl StalenessNumbers {
    /// `version`: a step's `weight_version`. `kept`: what the scalars and the completions say of samples.
    pub(crate) fn of(
        staleness: Option<&Staleness>,
        version: impl Fn(u64) -> Option<f64>,
        kept: Option<f64>,
    ) -> Self {
        let nothing = Self {
            kept,
            ..Self::default()
        };
        let Some(Staleness(steps)) = staleness.filter(|staleness| !staleness.0.is_empty()) else {
            return nothing;
        };
        let [mut tokens, mut least, mut most] = [Ages::default(), Ages::default(), Ages::default()];
        let (mut fresh, mut is_newer) = (0, false);
        for (step, v) in steps {
            let Some(version) = version(*step) else {
                continue;
            };
            tokens.add(version, v.tokens, v.sum, v.oldest, v.newest);
            least.add(
                version,
                v.completions,
                v.newest_sum,
                v.oldest_newest,
                v.newest,
            );
            most.add(
                version,
                v.completions,
                v.oldest_sum,
                v.oldest,
                v.newest_oldest,
            );
            let newest = f64::from(v.newest);
            is_newer |= newest > version;
            if newest >= version {
                count(&mut fresh, v.of_newest);
            }
        }
        let spread = |of: fn(&Versions) -> Naturals| {
            let completions: u64 = steps
                .values()
                .fold(0, |all, v| all.saturating_add(v.completions));
            let all = steps.values().map(of).reduce(|mut all, one| {
                all.merge(one);
                all
            })?;
            Some(VersionNumbers {
                mean: all.sum as f64 / completions as f64,
                min: all.min as f64,
                max: all.max as f64,
            })
        };
        let stale = tokens.of.saturating_sub(fresh) as f64 / tokens.of as f64;
        Self {
            newest: steps.values().map(|v| f64::from(v.newest)).reduce(f64::max),
            spans: spread(|v| v.spans),
            distinct: spread(|v| v.distinct),
            ages: tokens.numbers(),
            stale: (tokens.of > 0 && !is_newer).then_some(stale),
            least: least.numbers(),
            most: most.numbers(),
            ..nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::group::Grouping;
    use crate::batch::scalars::{Scalar, Scalars};
    use crate::batch::tokens::TokenIds;
    use crate::batch::{Columns, Place};
    use crate::shard::{Detail, Shard, Thresholds};
    use crate::summary::Summary;

    /// Two completions of two tokens each.
    fn counted(rank: u32, versions: &[u32; 4]) -> Shard {
        let rewards = [0.0, 1.0];
        let mut columns = Columns::new(Grouping::Sizes(&[2]), &rewards);
        columns.completion_lengths = Some(&[2, 2]);
        columns.weight_versions = Some(TokenIds::Ragged(versions));
        let batch = Batch::of(columns).expect("the columns fit");
        let thresholds = Thresholds {
            detail: Detail::Policy,
            ..Thresholds::default()
        };
        Shard::counted(&batch, Place { rank, micro: 0 }, &thresholds)
    }

    fn reported(mut shard: Shard, version: f64) -> Shard {
        let scalars = Scalars::default().with(Scalar::WeightVersion, version);
        shard.report(0, scalars, None);
        shard
    }

    fn numbers(shard: &Shard) -> StalenessNumbers {
        Summary::from(shard).policy.staleness
    }

    #[test]
    fn one_rank_reports_the_version_for_all_and_may_do_so_when_all_are_counted() {
        let mut step = counted(0, &[7, 9, 8, 8]);
        step.merge(counted(1, &[9, 9, 5, 9])).expect("one step");
        assert_eq!(numbers(&step).ages, None);
        let found = numbers(&reported(step, 9.0));
        let spread = |mean, min, max| Some(VersionNumbers { mean, min, max });
        assert_eq!(found.newest, Some(9.0));
        assert_eq!(found.spans, spread(2.5, 1.0, 5.0));
        assert_eq!(found.distinct, spread(1.5, 1.0, 2.0));
        assert_eq!(found.ages, spread(1.0, 0.0, 4.0));
        assert_eq!(found.stale, Some(0.5));
        assert_eq!(found.least, spread(0.25, 0.0, 1.0));
        assert_eq!(found.most, spread(1.75, 0.0, 4.0));
    }

    #[test]
    fn each_step_of_a_window_has_its_own_version_and_one_without_has_no_ages() {
        let mut window = reported(counted(0, &[1, 1, 1, 1]), 1.0);
        window.close(1).expect("a step");
        for (step, versions, version) in [(2, [1, 2, 2, 2], Some(2.0)), (3, [2, 2, 0, 2], None)] {
            let mut shard = counted(0, &versions);
            if let Some(version) = version {
                shard = reported(shard, version);
            }
            shard.close(step).expect("a step");
            window.merge(shard).expect("another step");
        }
        let found = numbers(&window);
        assert_eq!(found.ages.map(|ages| ages.mean), Some(0.125));
        assert_eq!(found.stale, Some(0.125));
        assert_eq!(found.spans.map(|spans| spans.max), Some(3.0));
    }

    #[test]
    fn a_token_newer_than_the_step_has_an_age_below_zero_and_no_share_is_stale() {
        let found = numbers(&reported(counted(0, &[3, 3, 3, 4]), 3.0));
        assert_eq!(found.ages.map(|ages| ages.min), Some(-1.0));
        assert_eq!(found.stale, None);
    }
}
