//! Log-probabilities as they were handed in: what became of each column's, whatever formulas could use them.

use serde::{Deserialize, Serialize};

use crate::kernel::tokens::{Columns, Sums};
use crate::stat::{Census, Statistic};

/// Counted tokens by what they have in each column of log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Logps {
    pub current: Census,
    pub old: Census,
    pub reference: Census,
    pub sampling: Census,
}

impl Logps {
    /// The columns of a record, from the token pass over its completions.
    pub fn of(sums: &[Sums]) -> Self {
        Self {
            current: census(sums, |finite| finite.current),
            old: census(sums, |finite| finite.old),
            reference: census(sums, |finite| finite.reference),
            sampling: census(sums, |finite| finite.sampling),
        }
    }

    /// Of as many tokens without any.
    pub fn absent(tokens: u64) -> Self {
        let mut census = Census::default();
        census.absent(tokens);
        Self {
            current: census,
            old: census,
            reference: census,
            sampling: census,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            current,
            old,
            reference,
            sampling,
        } = other;
        self.current.merge(current);
        self.old.merge(old);
        self.reference.merge(reference);
        self.sampling.merge(sampling);
    }
}

fn census(sums: &[Sums], column: impl Fn(&Columns<u64>) -> Option<u64>) -> Census {
    let mut census = Census::default();
    for sums in sums {
        match column(&sums.finite) {
            Some(finite) => census.saw(finite, sums.counted - finite),
            None => census.absent(sums.counted),
        }
    }
    census
}
