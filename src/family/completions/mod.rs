//! What completions add up to: components row by row, lengths, ends.

pub mod tags;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number_totals::{NumberTotals, count};
use super::rewards::column::Column;
use crate::batch::{Batch, Values};
use crate::stat::{ExactSum, Statistic, exact};

/// The advantages of a record (one a completion): count, moments, extremes.
pub(crate) fn totals_of(values: &Values<'_>) -> NumberTotals {
    let mut spread = NumberTotals::default();
    if let Some(values) = values.whole() {
        spread.add(values);
    } else {
        let present: Vec<f64> = values.iter().flatten().collect();
        spread.census.absent = (values.len() - present.len()) as u64;
        spread.add(&present);
    }
    spread
}

/// Components by name; ranks may have different sets of them. In boxes, as are [`Reports`](crate::shard::Reports).
pub(crate) type Components = BTreeMap<String, Box<Column>>;

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

/// Lengths in tokens: whole numbers, so plain integers are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lengths {
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

impl Lengths {
    pub fn add(&mut self, length: u32) {
        self.count += 1;
        self.sum += u64::from(length);
        self.min = Some(self.min.map_or(length, |min| min.min(length)));
        self.max = self.max.max(Some(length));
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            count: more,
            sum,
            min,
            max,
        } = *other;
        count(&mut self.count, more);
        count(&mut self.sum, sum);
        self.min = match (self.min, min) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.max = self.max.max(max);
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// How long completions are and how they ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Completions {
    pub seen: u64,
    pub lengths: Lengths,
    pub terminated: Lengths,
    /// Completions known to have been clipped, or not.
    pub judged: u64,
    pub clipped: u64,
    /// Completions whose record has a cap, and those that reach it, ended by themselves or not.
    pub capped: u64,
    pub at_cap: u64,
    /// Completions whose record has no cap but says how they ended, and those that did not end by themselves.
    pub uncapped: u64,
    pub uncapped_cut: u64,
    pub prompts: Lengths,
    /// Prompts whose record has a cap, and those that reach it.
    pub capped_prompts: u64,
    pub prompts_at_cap: u64,
    /// Completions of which both prompt and completion length are known, and their tokens.
    pub measured: u64,
    pub total_tokens: u64,
    /// The largest generation cap of any record.
    pub cap: Option<u32>,
}

impl Completions {
    pub fn of(batch: &Batch<'_>) -> Self {
        let c = batch.columns();
        let mut completions = Self {
            seen: batch.completions() as u64,
            cap: c.max_completion_length,
            ..Self::default()
        };
        for i in 0..batch.completions() {
            let length = batch.lengths().map(|lengths| lengths[i]);
            let prompt = c.prompt_lengths.map(|lengths| lengths[i]);
            completions.add_caps(batch, prompt, length, c.terminated.map(|ended| ended[i]));
            // Clipped: `terminated` says so, or, without that column, the length has reached the cap.
            let clipped = match (c.terminated, length) {
                (Some(terminated), _) => !terminated[i],
                (None, Some(length)) => c.max_completion_length.is_some_and(|cap| length >= cap),
                (None, None) => continue,
            };
            completions.judged += 1;
            completions.clipped += u64::from(clipped);
            if let Some(length) = length {
                completions.lengths.add(length);
                if !clipped {
                    completions.terminated.add(length);
                }
            }
        }
        completions
    }

    fn add_caps(
        &mut self,
        batch: &Batch<'_>,
        prompt: Option<u32>,
        length: Option<u32>,
        ended: Option<bool>,
    ) {
        let c = batch.columns();
        if let (Some(length), Some(cap)) = (length, c.max_completion_length) {
            self.capped += 1;
            self.at_cap += u64::from(length >= cap);
        } else if let Some(terminated) = ended {
            self.uncapped += 1;
            self.uncapped_cut += u64::from(!terminated);
        }
        let Some(prompt) = prompt else { return };
        self.prompts.add(prompt);
        if let Some(cap) = c.max_prompt_length {
            self.capped_prompts += 1;
            self.prompts_at_cap += u64::from(prompt >= cap);
        }
        if let Some(length) = length {
            self.measured += 1;
            self.total_tokens += u64::from(prompt) + u64::from(length);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            seen,
            lengths,
            terminated,
            judged,
            clipped,
            capped,
            at_cap,
            uncapped,
            uncapped_cut,
            prompts,
            capped_prompts,
            prompts_at_cap,
            measured,
            total_tokens,
            cap,
        } = *other;
        for (mine, theirs) in [
            (&mut self.seen, seen),
            (&mut self.judged, judged),
            (&mut self.clipped, clipped),
            (&mut self.capped, capped),
            (&mut self.at_cap, at_cap),
            (&mut self.uncapped, uncapped),
            (&mut self.uncapped_cut, uncapped_cut),
            (&mut self.capped_prompts, capped_prompts),
            (&mut self.prompts_at_cap, prompts_at_cap),
            (&mut self.measured, measured),
            (&mut self.total_tokens, total_tokens),
        ] {
            count(mine, theirs);
        }
        self.lengths.merge(&lengths);
        self.terminated.merge(&terminated);
        self.prompts.merge(&prompts);
        self.cap = self.cap.max(cap);
    }
}
