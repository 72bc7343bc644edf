//! What whole groups come to, but for the extended metrics.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::diversity::DiversityTotals;
use super::whole::Whole;
use crate::family::marked_values::{GroupColumn, Mark};
use crate::family::number_totals::{NumberTotals, Share, count};
use crate::kernel::entropy::{PROBABILITY_FLOOR, entropy_terms, floored_terms, weight_terms};
use crate::kernel::exp::ln;
use crate::stat::{Moments, Statistic, exact, exact_groups};

/// An advantage below this in size is zero (METRICS.md, `frac_reward_zero_std`).
const ZERO_ADVANTAGE: f64 = 1e-8;
/// A standard deviation within this of 0 is zero (METRICS.md, trl's `frac_reward_zero_std`).
pub(crate) const ZERO_STD: f64 = 1e-8;

/// What whole groups come to, but for the extended metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlainTotals {
    pub groups: u64,
    pub empty: u64,
    /// Groups whose advantages are all zero.
    pub zero_advantage: Share,
    /// Completions whose group's rewards do not vary.
    pub zero_std: Share,
    pub q_entropy: NumberTotals,
    pub weight_entropy: NumberTotals,
    pub weight_entropy_norm: NumberTotals,
    /// One value a completion: w - 1/size.
    pub advantage_entropy: NumberTotals,
    pub semantic_entropy: NumberTotals,
    pub advantage_scale: NumberTotals,
    pub diversity: DiversityTotals,
}

impl PlainTotals {
    pub fn merge(&mut self, other: &Self) {
        let Self {
            groups,
            empty,
            zero_advantage,
            zero_std,
            q_entropy,
            weight_entropy,
            weight_entropy_norm,
            advantage_entropy,
            semantic_entropy,
            advantage_scale,
            diversity,
        } = other;
        count(&mut self.groups, *groups);
        count(&mut self.empty, *empty);
        self.zero_advantage.merge(zero_advantage);
        self.zero_std.merge(zero_std);
        self.q_entropy.merge(q_entropy);
        self.weight_entropy.merge(weight_entropy);
        self.weight_entropy_norm.merge(weight_entropy_norm);
        self.advantage_entropy.merge(advantage_entropy);
        self.semantic_entropy.merge(semantic_entropy);
        self.advantage_scale.merge(advantage_scale);
        self.diversity.merge(diversity);
    }

    /// `ranges` are those of `whole`.
    pub(super) fn add(&mut self, whole: &Whole<'_, '_>, ranges: &[Range<usize>]) {
        count(&mut self.groups, ranges.len() as u64);
        count(&mut self.empty, (whole.sizes.len() - ranges.len()) as u64);
        for range in ranges {
            let rewards = whole.rewards.present(range.clone());
            let size = range.len() as u64;
            self.zero_std
                .add(Mark::Finite, size, || sample_std_is_zero(&rewards));
        }
        match &whole.advantages {
            None => self.zero_advantage.census.absent(ranges.len() as u64),
            Some(advantages) => {
                for range in ranges {
                    self.zero_advantage
                        .add(advantages.mark(range.clone()), 1, || {
                            let members = &advantages.values[range.clone()];
                            members.iter().all(|a| a.abs() < ZERO_ADVANTAGE)
                        });
                }
            }
        }
        self.add_q(whole, ranges);
        self.add_weights(whole, ranges);
        self.add_seeds(whole);
        self.diversity.add(whole, ranges);
    }

    /// H = -sum of m ln m, m = max(q, 1e-12).
    fn add_q(&mut self, whole: &Whole<'_, '_>, groups: &[Range<usize>]) {
        let Some(q) = &whole.q else {
            self.q_entropy.census.absent(groups.len() as u64);
            return;
        };
        let mut terms = Vec::new();
        let mut entropies = Vec::with_capacity(groups.len());
        for (block, members) in blocks(groups) {
            let masses = &q.values[members];
            terms.resize(masses.len(), 0.0);
            floored_terms(masses, &mut terms);
            exact_groups(&terms, block, &mut entropies);
        }
        let entropies = usable(q, groups, entropies, |mark| self.q_entropy.miss(mark));
        self.q_entropy.add(&entropies);
    }

    /// H = -sum of w ln max(w, 1e-12); H(p)/ln(size) with p = max(w, 1e-12) renormalised; w - 1/size.
    fn add_weights(&mut self, whole: &Whole<'_, '_>, groups: &[Range<usize>]) {
        let Some(weights) = &whole.weights else {
            self.weight_entropy.census.absent(groups.len() as u64);
            return;
        };
        let (mut terms, mut probabilities, mut masses) = (Vec::new(), Vec::new(), Vec::new());
        let mut entropies = Vec::with_capacity(groups.len());
        let mut norms = Vec::with_capacity(groups.len());
        for (block, members) in blocks(groups) {
            let values = &weights.values[members];
            terms.resize(values.len(), 0.0);
            weight_terms(values, &mut terms);
            exact_groups(&terms, block, &mut entropies);

            probabilities.clear();
            probabilities.extend(values.iter().map(|w| w.max(PROBABILITY_FLOOR)));
            renormalise(&mut probabilities, block, &mut masses);
            entropy_terms(&probabilities, &mut terms);
            exact_groups(&terms, block, &mut norms);

            // What the block no longer needs holds the deviations.
            let deviations = &mut probabilities;
            deviations.clear();
            for group in block {
                if weights.mark(group.clone()) == Mark::Finite {
                    let even = 1.0 / group.len() as f64;
                    deviations.extend(weights.values[group.clone()].iter().map(|w| w - even));
                }
            }
            self.advantage_entropy.add(deviations);
        }
        let mut most = (1, 0.0);
        for (norm, group) in norms.iter_mut().zip(groups) {
            // Most groups are of one size.
            if most.0 != group.len() {
                most = (group.len(), ln(group.len() as f64));
            }
            *norm = if group.len() == 1 {
                0.0
            } else {
                *norm / most.1
            };
        }
        let entropies = usable(weights, groups, entropies, |mark| {
            self.weight_entropy.miss(mark);
        });
        self.weight_entropy.add(&entropies);
        self.weight_entropy_norm
            .add(&usable(weights, groups, norms, |_| {}));
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
}

/// Completions that are computed on at once: few enough for the nearest cache to hold what is made of them.
const BLOCK: usize = 1024;

/// The groups, so many at a time that they have [`BLOCK`] completions or one group is alone; with their completions.
fn blocks(groups: &[Range<usize>]) -> impl Iterator<Item = (&[Range<usize>], Range<usize>)> {
    let mut rest = groups;
    std::iter::from_fn(move || {
        let start = rest.first()?.start;
        let fitting = rest.partition_point(|group| group.end - start <= BLOCK);
        let (block, after) = rest.split_at(fitting.max(1));
        rest = after;
        let end = block.last().map_or(start, |group| group.end);
        Some((block, start..end))
    })
}

/// Divides the members of each group by their sum; `masses` is room for the sums.
fn renormalise(probabilities: &mut [f64], groups: &[Range<usize>], masses: &mut Vec<f64>) {
    /// So much smaller, no sum of doubles leaves their range.
    const SMALLER: f64 = 1.0 / 18_446_744_073_709_551_616.0;
    masses.clear();
    exact_groups(probabilities, groups, masses);
    let mut rest = probabilities;
    for (group, &mass) in groups.iter().zip(&*masses) {
        let (members, after) = rest.split_at_mut(group.len());
        let mut mass = mass;
        if mass.is_infinite() {
            for m in members.iter_mut() {
                *m *= SMALLER;
            }
            mass = exact(members);
        }
        for m in members {
            *m /= mass;
        }
        rest = after;
    }
}

/// The numbers of the groups whose members all have a finite value in `column`; the others are told to `missed`.
fn usable(
    column: &GroupColumn<'_>,
    ranges: &[Range<usize>],
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

/// Whether the sample standard deviation is within 1e-8 of 0; that of fewer than two values is undefined, so not 0.
fn sample_std_is_zero(rewards: &[f64]) -> bool {
    let [first, rest @ ..] = rewards else {
        return false;
    };
    if rest.is_empty() {
        return false;
    }
    let n = rewards.len() as f64;
    // Of two values so far apart, one is at least half of that away from the mean, however that is rounded: mostly all there
    // is to know. (|r - first| / 2 / sqrt(n - 1) > 2 * 1e-8, squared.)
    let enough = 16.0 * ZERO_STD * ZERO_STD * (n - 1.0);
    if rest.iter().any(|r| (r - first) * (r - first) > enough) {
        return false;
    }
    if rest.iter().all(|r| r == first) {
        return true;
    }
    let mut moments = Moments::default();
    moments.add(rewards);
    moments.sample_std().is_some_and(|std| std <= ZERO_STD)
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

    #[test]
    fn a_spread_far_from_zero_is_taken_about_the_exact_mean() {
        // Two thirds of 2^-26 squared over 2, rooted: 8.6e-9. About the nearest double to the mean it would be 1.05e-8.
        let far = 2.0_f64.powi(26);
        assert!(sample_std_is_zero(&[far, far, far.next_up()]));
        assert!(!sample_std_is_zero(&[far, far.next_up()]));
    }
}
