//! How much the completions of a group differ.

pub mod token_set;

use crate::family::groups::PlainTotals;
use crate::stat::{ExactSum, Statistic};

/// A group's diversity, averaged over groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiversityNumbers {
    pub distinct_1: f64,
    pub distinct_2: f64,
    pub jaccard: f64,
}

pub fn diversity(groups: &PlainTotals) -> (Option<DiversityNumbers>, Option<DiversityNumbers>) {
    let totals = &groups.diversity;
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
