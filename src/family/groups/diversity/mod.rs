//! How much the completions of a group differ.

pub mod token_set;

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::whole::Whole;
use crate::family::number_totals::count;
use crate::stat::{Census, ExactSum, Statistic};
use token_set::{Diversity, TokenSet};

/// The means over groups, plain and weighted by size, of the three measures of diversity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DiversityTotals {
    pub census: Census,
    pub completions: u64,
    /// `distinct_1`, `distinct_2`, `jaccard`: the sum over groups, and the sum of each times its group's size.
    pub plain: [ExactSum; 3],
    pub by_size: [ExactSum; 3],
}

impl DiversityTotals {
    pub(super) fn merge(&mut self, other: &Self) {
        let Self {
            census,
            completions,
            plain,
            by_size,
        } = other;
        self.census.merge(census);
        count(&mut self.completions, *completions);
        for i in 0..3 {
            self.plain[i].merge(&plain[i]);
            self.by_size[i].merge(&by_size[i]);
        }
    }

    /// `ranges` are those of `whole`.
    pub(super) fn add(&mut self, whole: &Whole<'_, '_>, ranges: &[Range<usize>]) {
        let Some(sets) = &whole.tokens else {
            self.census.absent(ranges.len() as u64);
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
                self.census.absent(1);
                continue;
            };
            count(&mut self.census.used, 1);
            count(&mut self.completions, size);
            let measures = [measures.distinct_1, measures.distinct_2, measures.jaccard];
            for (i, measure) in measures.into_iter().enumerate() {
                self.plain[i].add(&[measure]);
                self.by_size[i].add_times(measure, size);
            }
        }
    }
}

/// A group's diversity, averaged over groups: shares, the larger the more its completions differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiversityNumbers {
    /// Distinct tokens over tokens, of the group's completions laid end to end; 0 without tokens.
    pub distinct_1: f64,
    /// Distinct pairs of neighbouring tokens over such pairs, likewise.
    pub distinct_2: f64,
    /// Mean over pairs of completions of 1 - |A and B| / |A or B|, A and B their sets of tokens; 0 for fewer than two
    /// completions.
    pub jaccard: f64,
}

/// Plain, and weighted by the groups' sizes; `None` without a group that could be measured.
pub fn diversity(totals: &DiversityTotals) -> (Option<DiversityNumbers>, Option<DiversityNumbers>) {
    let numbers = |sums: &[ExactSum; 3], count: u64| {
        (count > 0).then(|| {
            let [distinct_1, distinct_2, jaccard] =
                [0, 1, 2].map(|i: usize| sums[i].finish() / count as f64);
            DiversityNumbers {
                distinct_1,
                distinct_2,
                jaccard,
            }
        })
    };
    (
        numbers(&totals.plain, totals.census.used),
        numbers(&totals.by_size, totals.completions),
    )
}
