//! best@k and worst@k: the best and the worst reward that k of a prompt's completions are expected to have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::family::number_totals::count;
use crate::kernel::ranked::ranked_sums;
use crate::stat::{ExactSum, Statistic};

/// For each k = 2, 4, 8, ... that some group is large enough for: how many are, and the sums of their expectations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BestTotals {
    by_k: BTreeMap<u64, BestOfK>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct BestOfK {
    groups: u64,
    best: ExactSum,
    worst: ExactSum,
}

/// The k of the place: 2, 4, 8, ...
fn k_of(place: usize) -> u64 {
    2 << place.min(62)
}

/// For k = 2, 4, ... up to `n`: how probably the i-th smallest of n values is the largest of k that are drawn of them without
/// replacement, C(i-1, k-1)/C(n, k), from the largest down to the last that can be.
fn weights(n: usize) -> Vec<Vec<f64>> {
    let ks = std::iter::successors(Some(2_usize), |k| k.checked_mul(2));
    ks.take_while(|k| *k <= n)
        .map(|k| {
            let mut weight = k as f64 / n as f64;
            let below = (k..=n).rev().map(|i| {
                let own = weight;
                weight *= (i - k) as f64 / (i - 1).max(1) as f64;
                own
            });
            below.collect()
        })
        .collect()
}

impl BestTotals {
    /// Takes in groups all of whose rewards are there.
    pub fn add(&mut self, groups: &[&[f64]]) {
        let mut groups = groups.to_vec();
        groups.sort_by_key(|rewards| rewards.len());
        for alike in groups.chunk_by(|a, b| a.len() == b.len()) {
            let weights = weights(alike[0].len());
            for (place, [best, worst]) in (0..).zip(ranked_sums(alike, &weights)) {
                let of_k = self.by_k.entry(k_of(place)).or_default();
                count(&mut of_k.groups, alike.len() as u64);
                of_k.best.add(&best);
                of_k.worst.add(&worst);
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { by_k } = other;
        for (&k, theirs) in by_k {
            let BestOfK {
                groups,
                best,
                worst,
            } = theirs;
            let mine = self.by_k.entry(k).or_default();
            count(&mut mine.groups, *groups);
            mine.best.merge(best);
            mine.worst.merge(worst);
        }
    }

    /// Whether it could be of so many groups.
    pub fn is_consistent(&self, groups: u64) -> bool {
        let mut all = self.by_k.iter();
        all.all(|(k, of_k)| k.is_power_of_two() && *k > 1 && (1..=groups).contains(&of_k.groups))
    }
}

/// best@k and worst@k of one k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestNumbers {
    /// How many of a prompt's completions are drawn: a power of two.
    pub k: u64,
    /// Mean over groups of at least k, all of whose rewards are there, of the expected largest reward of k of their completions,
    /// drawn without replacement.
    pub best: f64,
    /// The same of the smallest.
    pub worst: f64,
}

pub(crate) fn best_numbers(totals: &BestTotals) -> Vec<BestNumbers> {
    let numbers = totals.by_k.iter().map(|(&k, of_k)| BestNumbers {
        k,
        best: of_k.best.divided(of_k.groups),
        worst: of_k.worst.divided(of_k.groups),
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_worst_are_the_means_over_all_draws() {
        let mut totals = BestTotals::default();
        totals.add(&[&[3.0, 0.0, 1.0, 7.0], &[5.0, 2.0], &[9.0]]);
        // Of the six pairs of the first: largest 3, 3, 7, 1, 7, 7; smallest 0, 1, 3, 0, 0, 1.
        let [two, four] = best_numbers(&totals)[..] else {
            panic!("{totals:?}");
        };
        assert!((two.best - f64::midpoint(28.0 / 6.0, 5.0)).abs() < 1e-15);
        assert!((two.worst - f64::midpoint(5.0 / 6.0, 2.0)).abs() < 1e-15);
        assert_eq!((four.k, four.best, four.worst), (4, 7.0, 0.0));
        assert!(totals.is_consistent(2) && !totals.is_consistent(1));
    }
}
