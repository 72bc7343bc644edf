//! The components of rewards: each by itself, and row by row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::Column;
use crate::batch::Batch;
use crate::family::number_totals::count;
use crate::stat::{ExactSum, Statistic, exact};

/// Components by name; ranks may have different sets of them. In boxes, as a node of a map has room for eleven.
pub(crate) type Components = BTreeMap<String, Box<Column>>;

/// Takes in the components of other completions.
pub fn merge(mine: &mut Components, theirs: Components) {
    for (name, column) in theirs {
        match mine.get_mut(&name) {
            Some(mine) => mine.merge(*column),
            None => {
                mine.insert(name, column);
            }
        }
    }
}

/// Sums over each completion's own components, by how many of them it has: dividing by that number comes last, so that
/// the sums stay exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComponentRows {
    by_present: BTreeMap<u32, (u64, ExactSum)>,
}

impl ComponentRows {
    /// `components` are those of `batch`.
    pub fn of(batch: &Batch<'_>, components: &Components) -> Self {
        let n = batch.completions();
        let mut rows = Self::default();
        if components
            .values()
            .all(|column| column.census.used == n as u64)
        {
            let sums = components.values().map(|column| column.moments.sum());
            rows.add(components.len(), n as u64, sums);
            return rows;
        }
        let columns = &batch.columns().reward_components;
        let mut cells: Vec<_> = columns.iter().map(|(_, values)| values.iter()).collect();
        for _ in 0..n {
            let row: Vec<f64> = cells
                .iter_mut()
                .filter_map(|column| column.next().flatten().filter(|x| x.is_finite()))
                .collect();
            let mut sum = ExactSum::default();
            sum.add(&row);
            rows.add(row.len(), 1, [&sum]);
        }
        rows
    }

    fn add<'a>(
        &mut self,
        present: usize,
        completions: u64,
        sums: impl IntoIterator<Item = &'a ExactSum>,
    ) {
        // A completion without components has no row.
        if present == 0 || completions == 0 {
            return;
        }
        let present = u32::try_from(present).unwrap_or(u32::MAX);
        let (rows, total) = self.by_present.entry(present).or_default();
        count(rows, completions);
        sums.into_iter().for_each(|sum| total.merge(sum));
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { by_present } = other;
        for (&present, (count, sum)) in by_present {
            self.add(present as usize, *count, [sum]);
        }
    }

    fn completions(&self) -> u64 {
        self.by_present
            .values()
            .fold(0, |all, (count, _)| all.saturating_add(*count))
    }

    pub fn mean_of_sums(&self) -> Option<f64> {
        let mut total = ExactSum::default();
        self.by_present
            .values()
            .for_each(|(_, sum)| total.merge(sum));
        let completions = self.completions();
        (completions > 0).then(|| total.divided(completions))
    }

    pub fn mean_of_means(&self) -> Option<f64> {
        let completions = self.completions();
        let parts = self.by_present.iter();
        let parts = parts.map(|(&present, (_, sum))| {
            // The sum over both is within the range wherever a completion's mean is.
            sum.divided(completions.saturating_mul(present.into()))
        });
        (completions > 0).then(|| exact(&parts.collect::<Vec<f64>>()))
    }
}
