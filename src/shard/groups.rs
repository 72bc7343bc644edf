//! Per-group numbers: settled where a group is whole, its members kept where it may go on elsewhere.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cells::{Cells, Column, Mark};
use super::diversity::{Diversity, TokenSet};
use super::pass::by_completion;
use crate::batch::{Batch, Place};
use crate::group::{Grouping, first_appearances};
use crate::kernel::entropy::{PROBABILITY_FLOOR, floored_terms, weight_terms};
use crate::kernel::exp::ln;
use crate::stat::{Census, ExactSum, Extent, Moments, Statistic, exact, exact_groups};

/// An advantage below this in size is zero (METRICS.md, `frac_reward_zero_std`).
const ZERO_ADVANTAGE: f64 = 1e-8;
/// A standard deviation within this of 0 is zero (METRICS.md, trl's `frac_reward_zero_std`).
const ZERO_STD: f64 = 1e-8;

/// One number a group or completion: its count, moments and extremes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub census: Census,
    pub moments: Moments,
    pub extent: Extent,
}

impl Spread {
    pub fn add(&mut self, samples: &[f64]) {
        self.census.add(samples);
        self.moments.add(samples);
        self.extent.add(samples);
    }

    pub fn merge(&mut self, other: &Self) {
        self.census.merge(&other.census);
        self.moments.merge(&other.moments);
        self.extent.merge(&other.extent);
    }

    fn miss(&mut self, mark: Mark) {
        match mark {
            Mark::Finite => {}
            Mark::Absent => self.census.absent(1),
            Mark::NonFinite => count(&mut self.census.nonfinite, 1),
        }
    }
}

/// How many of those that could be judged have a property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub hits: u64,
    pub census: Census,
}

impl Share {
    fn merge(&mut self, other: &Self) {
        count(&mut self.hits, other.hits);
        self.census.merge(&other.census);
    }

    fn add(&mut self, mark: Mark, weight: u64, hit: impl FnOnce() -> bool) {
        match mark {
            Mark::Absent => self.census.absent(weight),
            Mark::NonFinite => count(&mut self.census.nonfinite, weight),
            Mark::Finite => {
                count(&mut self.census.used, weight);
                count(&mut self.hits, if hit() { weight } else { 0 });
            }
        }
    }
}

/// The means over groups, plain and weighted by size, of the three measures of diversity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DiversityTotals {
    pub census: Census,
    pub completions: u64,
    /// `distinct_1`, `distinct_2`, `jaccard`: the sum over groups, and the sum of each times its group's size.
    pub plain: [ExactSum; 3],
    pub by_size: [ExactSum; 3],
}

/// What whole groups come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub groups: u64,
    pub empty: u64,
    /// Groups whose advantages are all zero.
    pub zero_advantage: Share,
    /// Completions whose group's rewards do not vary.
    pub zero_std: Share,
    pub q_entropy: Spread,
    pub weight_entropy: Spread,
    pub weight_entropy_norm: Spread,
    /// One value a completion: w - 1/size.
    pub advantage_entropy: Spread,
    pub semantic_entropy: Spread,
    pub advantage_scale: Spread,
    pub diversity: DiversityTotals,
}

impl Settled {
    pub fn merge(&mut self, other: &Self) {
        count(&mut self.groups, other.groups);
        count(&mut self.empty, other.empty);
        self.zero_advantage.merge(&other.zero_advantage);
        self.zero_std.merge(&other.zero_std);
        for (mine, theirs) in [
            (&mut self.q_entropy, &other.q_entropy),
            (&mut self.weight_entropy, &other.weight_entropy),
            (&mut self.weight_entropy_norm, &other.weight_entropy_norm),
            (&mut self.advantage_entropy, &other.advantage_entropy),
            (&mut self.semantic_entropy, &other.semantic_entropy),
            (&mut self.advantage_scale, &other.advantage_scale),
        ] {
            mine.merge(theirs);
        }
        self.diversity.census.merge(&other.diversity.census);
        count(&mut self.diversity.completions, other.diversity.completions);
        for i in 0..3 {
            self.diversity.plain[i].merge(&other.diversity.plain[i]);
            self.diversity.by_size[i].merge(&other.diversity.by_size[i]);
        }
    }

    fn add(&mut self, whole: &Whole<'_, '_>) {
        let ranges = whole.ranges();
        count(&mut self.groups, ranges.len() as u64);
        count(&mut self.empty, (whole.sizes.len() - ranges.len()) as u64);
        for range in &ranges {
            let size = range.len() as u64;
            self.zero_std
                .add(whole.rewards.mark(range.clone()), size, || {
                    sample_std_is_zero(&whole.rewards.values[range.clone()])
                });
        }
        match &whole.advantages {
            None => self.zero_advantage.census.absent(ranges.len() as u64),
            Some(advantages) => {
                for range in &ranges {
                    self.zero_advantage
                        .add(advantages.mark(range.clone()), 1, || {
                            let members = &advantages.values[range.clone()];
                            members.iter().all(|a| a.abs() < ZERO_ADVANTAGE)
                        });
                }
            }
        }
        self.add_q(whole, &ranges);
        self.add_weights(whole, &ranges);
        self.add_seeds(whole);
        self.add_diversity(whole, &ranges);
    }

    /// H = -sum of m ln m, m = max(q, 1e-12).
    fn add_q(&mut self, whole: &Whole<'_, '_>, ranges: &[std::ops::Range<usize>]) {
        let Some(q) = &whole.q else {
            self.q_entropy.census.absent(ranges.len() as u64);
            return;
        };
        let mut terms = vec![0.0; q.values.len()];
        floored_terms(&q.values, &mut terms);
        let entropies = exact_groups(&terms, &sizes_of(ranges));
        let entropies = usable(q, ranges, entropies, |mark| self.q_entropy.miss(mark));
        self.q_entropy.add(&entropies);
    }

    /// H = -sum of w ln max(w, 1e-12); H(p)/ln(size) with p = max(w, 1e-12) renormalised; w - 1/size.
    fn add_weights(&mut self, whole: &Whole<'_, '_>, ranges: &[std::ops::Range<usize>]) {
        let Some(weights) = &whole.weights else {
            self.weight_entropy.census.absent(ranges.len() as u64);
            return;
        };
        let (values, sizes) = (&weights.values, sizes_of(ranges));
        let mut terms = vec![0.0; values.len()];
        weight_terms(values, &mut terms);
        let entropies = exact_groups(&terms, &sizes);

        let mut probabilities: Vec<f64> = values.iter().map(|w| w.max(PROBABILITY_FLOOR)).collect();
        let masses = exact_groups(&probabilities, &sizes);
        for (range, mass) in ranges.iter().zip(masses) {
            probabilities[range.clone()]
                .iter_mut()
                .for_each(|m| *m /= mass);
        }
        floored_terms(&probabilities, &mut terms);
        let mut norms = exact_groups(&terms, &sizes);
        for (norm, &size) in norms.iter_mut().zip(&sizes) {
            *norm = if size == 1 {
                0.0
            } else {
                *norm / ln(size as f64)
            };
        }

        let mut deviations = Vec::with_capacity(values.len());
        for range in ranges
            .iter()
            .filter(|range| weights.mark((*range).clone()) == Mark::Finite)
        {
            let even = 1.0 / range.len() as f64;
            deviations.extend(values[range.clone()].iter().map(|w| w - even));
        }
        let entropies = usable(weights, ranges, entropies, |mark| {
            self.weight_entropy.miss(mark);
        });
        self.weight_entropy.add(&entropies);
        self.weight_entropy_norm
            .add(&usable(weights, ranges, norms, |_| {}));
        self.advantage_entropy.add(&deviations);
    }

    fn add_seeds(&mut self, whole: &Whole<'_, '_>) {
        for (spread, column) in [
            (&mut self.semantic_entropy, &whole.semantic_entropies),
            (&mut self.advantage_scale, &whole.advantage_scales),
        ] {
            let Some(column) = column else {
                spread.census.absent(whole.sizes.len() as u64);
                continue;
            };
            let mut values = Vec::with_capacity(column.values.len());
            for (i, &value) in column.values.iter().enumerate() {
                match column.mark(i..i + 1) {
                    Mark::Finite => values.push(value),
                    mark => spread.miss(mark),
                }
            }
            spread.add(&values);
        }
    }

    fn add_diversity(&mut self, whole: &Whole<'_, '_>, ranges: &[std::ops::Range<usize>]) {
        let Some(sets) = &whole.tokens else {
            self.diversity.census.absent(ranges.len() as u64);
            return;
        };
        let groups: Vec<Option<(u64, Diversity)>> = ranges
            .par_iter()
            .map(|range| {
                let group: Option<Vec<&TokenSet>> = sets[range.clone()].iter().copied().collect();
                let group = group?;
                let unit = group.first()?.unit();
                let one_unit = group.iter().all(|set| set.unit() == unit);
                one_unit.then(|| (group.len() as u64, Diversity::of(&group)))
            })
            .collect();
        for group in groups {
            let Some((size, measures)) = group else {
                self.diversity.census.absent(1);
                continue;
            };
            count(&mut self.diversity.census.used, 1);
            count(&mut self.diversity.completions, size);
            let measures = [measures.distinct_1, measures.distinct_2, measures.jaccard];
            for (i, measure) in measures.into_iter().enumerate() {
                self.diversity.plain[i].add(&[measure]);
                self.diversity.by_size[i].add_times(measure, size);
            }
        }
    }
}

fn sizes_of(ranges: &[std::ops::Range<usize>]) -> Vec<usize> {
    ranges.iter().map(ExactSizeIterator::len).collect()
}

/// The numbers of the groups whose members all have a finite value in `column`; the others are told to `missed`.
fn usable(
    column: &Column<'_>,
    ranges: &[std::ops::Range<usize>],
    mut numbers: Vec<f64>,
    mut missed: impl FnMut(Mark),
) -> Vec<f64> {
    let mut range = ranges.iter();
    numbers.retain(|_| {
        let mark = range
            .next()
            .map_or(Mark::Absent, |range| column.mark(range.clone()));
        if mark != Mark::Finite {
            missed(mark);
        }
        mark == Mark::Finite
    });
    numbers
}

/// Adds to a count that may have come over the wire: at the end of its range it stops.
pub(super) fn count(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

/// Whether the sample standard deviation is within 1e-8 of 0; that of a single value is undefined, so not 0.
fn sample_std_is_zero(rewards: &[f64]) -> bool {
    let [first, rest @ ..] = rewards else {
        return false;
    };
    if rest.is_empty() {
        return false;
    }
    let (low, high) = rest.iter().fold((*first, *first), |(low, high), &r| {
        (
            if r < low { r } else { low },
            if r > high { r } else { high },
        )
    });
    if low == high {
        return true;
    }
    let n = rewards.len() as f64;
    // One of the two is at least half the range away from the mean, however that is rounded: mostly all there is to know.
    if (high - low) / 2.0 / (n - 1.0).sqrt() > 2.0 * ZERO_STD {
        return false;
    }
    let mean = exact(rewards) / n;
    let squares: Vec<f64> = rewards.iter().map(|r| (r - mean) * (r - mean)).collect();
    // A square beyond the range of doubles is skipped by an exact sum, but it is no small spread.
    squares.iter().all(|square| square.is_finite())
        && (exact(&squares) / (n - 1.0)).sqrt() <= ZERO_STD
}

/// Groups that are whole, their members laid out group by group.
struct Whole<'a, 't> {
    sizes: Vec<usize>,
    rewards: Column<'a>,
    advantages: Option<Column<'a>>,
    q: Option<Column<'a>>,
    weights: Option<Column<'a>>,
    /// One a completion; `None` for a completion without tokens or texts.
    tokens: Option<Vec<Option<&'t TokenSet>>>,
    /// One a group.
    semantic_entropies: Option<Column<'a>>,
    advantage_scales: Option<Column<'a>>,
}

impl Whole<'_, '_> {
    /// The members of each non-empty group.
    fn ranges(&self) -> Vec<std::ops::Range<usize>> {
        let mut start = 0;
        let mut ranges = Vec::with_capacity(self.sizes.len());
        for &size in &self.sizes {
            if size > 0 {
                ranges.push(start..start + size);
            }
            start += size;
        }
        ranges
    }
}

/// Where a completion stands in its group: by `completion_index` where given, else by rank, micro-batch and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// `u64::MAX` where no index is given, so that those come last.
    pub index: u64,
    pub place: Place,
    pub position: u32,
}

/// Members of groups that may go on in other records: columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members {
    pub ids: Vec<u64>,
    pub slots: Vec<Slot>,
    pub rewards: Cells,
    pub advantages: Cells,
    pub q: Cells,
    pub weights: Cells,
    /// Empty, or one a member.
    pub tokens: Vec<Option<TokenSet>>,
}

/// What a record said of a whole group that may be in other records too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seed {
    id: u64,
    place: Place,
    semantic_entropy: Option<f64>,
    advantage_scale: Option<f64>,
}

/// The groups of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Groups {
    settled: Settled,
    members: Members,
    seeds: Vec<Seed>,
}

impl Groups {
    pub fn of(batch: &Batch<'_>, place: Place) -> Self {
        let mut groups = Self::default();
        let sets = token_sets(batch);
        match batch.columns().grouping {
            Grouping::Sizes(sizes) => groups.settled.add(&whole(batch, sizes, sets.as_deref())),
            Grouping::Ids(ids) => groups.keep(batch, place, ids, sets),
        }
        groups
    }

    fn keep(
        &mut self,
        batch: &Batch<'_>,
        place: Place,
        ids: &[u64],
        sets: Option<Vec<Option<TokenSet>>>,
    ) {
        let c = batch.columns();
        let n = ids.len();
        self.members = Members {
            ids: ids.to_vec(),
            slots: (0..n)
                .map(|i| Slot {
                    index: c.completion_index.map_or(u64::MAX, |index| index[i].into()),
                    place,
                    position: u32::try_from(i).unwrap_or(u32::MAX),
                })
                .collect(),
            rewards: Cells::of(Some(&c.rewards), n),
            advantages: Cells::of(c.advantages.as_ref(), n),
            q: Cells::of(c.q.as_ref(), n),
            weights: Cells::of(c.weights.as_ref(), n),
            tokens: sets.unwrap_or_default(),
        };
        if c.semantic_entropies.is_some() || c.advantage_scales.is_some() {
            let column = |values: &Option<crate::batch::Values<'_>>, groups: usize| match values {
                Some(values) => values.iter().collect(),
                None => vec![None; groups],
            };
            let ids = first_appearances(ids);
            let entropies = column(&c.semantic_entropies, ids.len());
            let scales = column(&c.advantage_scales, ids.len());
            for ((id, semantic_entropy), advantage_scale) in
                ids.into_iter().zip(entropies).zip(scales)
            {
                self.seeds.push(Seed {
                    id,
                    place,
                    semantic_entropy,
                    advantage_scale,
                });
            }
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.settled.merge(&other.settled);
        self.members.append(other.members);
        self.seeds.extend(other.seeds);
    }

    /// Whether some group may still go on elsewhere.
    pub fn is_open(&self) -> bool {
        !self.members.ids.is_empty() || !self.seeds.is_empty()
    }

    /// The finite rewards of the members it keeps.
    pub fn kept_rewards(&self) -> &[f64] {
        self.members.rewards.finite()
    }

    /// No more members will come: what all groups together come to.
    pub fn settle(&self) -> Settled {
        let mut settled = self.settled.clone();
        if self.is_open() {
            settled.add(&self.members.whole(&self.seeds));
        }
        settled
    }

    /// Replaces the kept members by what their groups come to.
    pub fn close(&mut self) {
        self.settled = self.settle();
        self.members = Members::default();
        self.seeds = Vec::new();
    }
}

impl Members {
    fn append(&mut self, other: Self) {
        let (mine, theirs) = (self.ids.len(), other.ids.len());
        if !self.tokens.is_empty() || !other.tokens.is_empty() {
            self.tokens.resize(mine, None);
            self.tokens.extend(other.tokens);
            self.tokens.resize(mine + theirs, None);
        }
        self.ids.extend(other.ids);
        self.slots.extend(other.slots);
        self.rewards.append(&other.rewards);
        self.advantages.append(&other.advantages);
        self.q.append(&other.q);
        self.weights.append(&other.weights);
    }

    /// All members group by group (groups by id, members by slot), as whole groups.
    fn whole(&self, seeds: &[Seed]) -> Whole<'_, '_> {
        let key = |i: usize| (self.ids[i], self.slots[i]);
        let sorted = (1..self.ids.len()).all(|i| key(i - 1) <= key(i));
        let permutation = (!sorted).then(|| {
            let mut permutation: Vec<usize> = (0..self.ids.len()).collect();
            permutation.sort_unstable_by_key(|&i| key(i));
            permutation
        });
        let permutation = permutation.as_deref();
        let at = |i: usize| permutation.map_or(i, |permutation| permutation[i]);
        let mut sizes: Vec<usize> = Vec::new();
        let mut ids: Vec<u64> = Vec::new();
        for i in 0..self.ids.len() {
            let id = self.ids[at(i)];
            match sizes.last_mut() {
                Some(size) if ids.last() == Some(&id) => *size += 1,
                _ => {
                    ids.push(id);
                    sizes.push(1);
                }
            }
        }
        let (semantic_entropies, advantage_scales) = first_seeds(&ids, seeds);
        Whole {
            sizes,
            rewards: self.rewards.arranged(permutation),
            advantages: Some(self.advantages.arranged(permutation)),
            q: Some(self.q.arranged(permutation)),
            weights: Some(self.weights.arranged(permutation)),
            tokens: (!self.tokens.is_empty()).then(|| {
                (0..self.ids.len())
                    .map(|i| self.tokens[at(i)].as_ref())
                    .collect()
            }),
            semantic_entropies: Some(semantic_entropies),
            advantage_scales: Some(advantage_scales),
        }
    }
}

/// The seed value of each group: that of the lowest rank and micro-batch that gives a finite one.
fn first_seeds(ids: &[u64], seeds: &[Seed]) -> (Column<'static>, Column<'static>) {
    let mut sorted: Vec<&Seed> = seeds.iter().collect();
    sorted.sort_by_key(|seed| (seed.id, seed.place));
    let column = |of: fn(&Seed) -> Option<f64>| {
        let values = ids.iter().map(|id| {
            let start = sorted.partition_point(|seed| seed.id < *id);
            let given = sorted[start..]
                .iter()
                .take_while(|seed| seed.id == *id)
                .filter_map(|seed| of(seed));
            given.reduce(|first, next| if first.is_finite() { first } else { next })
        });
        values.collect::<Cells>().into_column()
    };
    (
        column(|seed| seed.semantic_entropy),
        column(|seed| seed.advantage_scale),
    )
}

/// The token sets of a record's completions, where it has token ids or, failing those, texts.
fn token_sets(batch: &Batch<'_>) -> Option<Vec<Option<TokenSet>>> {
    let c = batch.columns();
    if c.token_ids.is_some() {
        let set = |i| batch.token_ids(i).map(TokenSet::of_ids);
        return Some(by_completion(batch, set));
    }
    let texts = c.completions?;
    Some(
        texts
            .par_iter()
            .map(|text| Some(TokenSet::of_text(text)))
            .collect(),
    )
}

fn whole<'a, 't>(
    batch: &Batch<'a>,
    sizes: &[u32],
    sets: Option<&'t [Option<TokenSet>]>,
) -> Whole<'a, 't> {
    let c = batch.columns();
    let column = |values: &Option<crate::batch::Values<'a>>| values.as_ref().map(Column::of);
    Whole {
        sizes: sizes.iter().map(|&size| size as usize).collect(),
        rewards: Column::of(&c.rewards),
        advantages: column(&c.advantages),
        q: column(&c.q),
        weights: column(&c.weights),
        tokens: sets.map(|sets| sets.iter().map(Option::as_ref).collect()),
        semantic_entropies: column(&c.semantic_entropies),
        advantage_scales: column(&c.advantage_scales),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_vary_also_where_their_squares_are_beyond_the_range() {
        assert!(!sample_std_is_zero(&[1e300, -1e300]));
        assert!(sample_std_is_zero(&[1e300, 1e300]));
        assert!(!sample_std_is_zero(&[0.5]));
        // On both sides of where the range alone says enough.
        assert!(sample_std_is_zero(&[0.0, 1.4e-8]));
        assert!(!sample_std_is_zero(&[0.0, 1.5e-8]));
        assert!(!sample_std_is_zero(&[0.0, 4.1e-8]));
    }
}
