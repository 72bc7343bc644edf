//! What the extended metrics stand on: read only where [`super::Detail::Extended`] asks for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Values};
use crate::family::completions::Components;
use crate::family::completions::tags::Tags;
use crate::family::groups::diversity::token_set::words;
use crate::family::number_totals::NumberTotals;
use crate::family::per_completion::by_completion;
use crate::family::rewards::column::Column;
use crate::family::thresholds::Success;
use crate::kernel::tokens::Kept;
use crate::stat::{Covariance, Sketch, Statistic};

/// Token-level values, for their quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sketches {
    pub entropies: Sketch,
    /// Log-ratios of current to behaviour policy: near 1 the ratios themselves would fall into one bucket.
    pub log_ratios: Sketch,
    /// k3 of current to reference policy.
    pub divergences: Sketch,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extended {
    /// Of the total reward with the length, and of each component with the total reward.
    pub reward_with_length: Covariance,
    pub components: BTreeMap<String, Covariance>,
    pub sketches: Sketches,
    /// One a completion: the share of its 4-grams that it has had before.
    pub repeated: NumberTotals,
    pub tags: Tags,
}

impl Extended {
    /// `rewards` and `components` are the record's, counted already.
    pub fn of(
        batch: &Batch<'_>,
        success: &Success,
        rewards: &Column,
        components: &Components,
        sketches: Sketches,
    ) -> Self {
        let c = batch.columns();
        let counted = c.reward_components.iter().filter_map(|(name, values)| {
            let column = components.get(name.as_ref())?;
            Some((
                name.to_string(),
                paired((values, column), (&c.rewards, rewards)),
            ))
        });
        let mut extended = Self {
            components: counted.collect(),
            sketches,
            repeated: repetition(batch),
            ..Self::default()
        };
        if let Some(lengths) = batch.lengths() {
            let lengths: Vec<f64> = lengths.iter().map(|&length| length.into()).collect();
            let lengths = Values::from(&lengths);
            extended.reward_with_length =
                paired((&lengths, &Column::of(&lengths)), (&c.rewards, rewards));
        }
        extended.add_tags(batch, success);
        extended
    }

    fn add_tags(&mut self, batch: &Batch<'_>, success: &Success) {
        let c = batch.columns();
        let Some(tags) = c.tags else { return };
        let finite = |value: Option<f64>| value.filter(|x| x.is_finite());
        let mut judged = success.column(c).map(Values::iter);
        for (i, (tag, reward)) in tags.iter().zip(c.rewards.iter()).enumerate() {
            let judged = judged.as_mut().and_then(|values| values.next().flatten());
            self.tags.add(
                tag,
                finite(reward),
                finite(judged).map(|x| x >= success.threshold),
                batch.lengths().map(|lengths| lengths[i]),
            );
        }
    }

    /// Whether it could be of a shard of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        self.tags.is_consistent(completions)
            && self.components.values().all(Covariance::is_consistent)
            && self.reward_with_length.is_consistent()
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            reward_with_length,
            components,
            sketches,
            repeated,
            tags,
        } = other;
        self.reward_with_length.merge(&reward_with_length);
        for (name, pairs) in components {
            self.components.entry(name).or_default().merge(&pairs);
        }
        self.sketches.merge(&sketches);
        self.repeated.merge(&repeated);
        self.tags.merge(&tags);
    }
}

/// Of the completions that have both; each column beside what has been counted of it.
fn paired((x, of_x): (&Values<'_>, &Column), (y, of_y): (&Values<'_>, &Column)) -> Covariance {
    let whole = |values: &Values<'_>, column: &Column| column.census.used == values.len() as u64;
    if let (Some(xs), Some(ys)) = (x.whole(), y.whole())
        && whole(x, of_x)
        && whole(y, of_y)
    {
        return Covariance::of(xs, of_x.moments.clone(), ys, of_y.moments.clone());
    }
    let both = x.iter().zip(y.iter());
    let both = both.filter_map(|(x, y)| Some((x?, y?)));
    let (x, y): (Vec<f64>, Vec<f64>) = both.unzip();
    let mut pairs = Covariance::default();
    pairs.add(&x, &y);
    pairs
}

impl Sketches {
    /// Adds what the token pass kept of a completion of so many tokens; NaNs stand for nothing. `room` as of
    /// [`Sketch::add_in`].
    pub fn add(&mut self, kept: &Kept, tokens: usize, room: &mut Vec<i32>) {
        for (sketch, values) in [
            (&mut self.entropies, &kept.entropies),
            (&mut self.log_ratios, &kept.log_ratios),
            (&mut self.divergences, &kept.k3s),
        ] {
            sketch.add_in(room, values.get(..tokens).unwrap_or_default());
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            entropies,
            log_ratios,
            divergences,
        } = other;
        self.entropies.merge(entropies);
        self.log_ratios.merge(log_ratios);
        self.divergences.merge(divergences);
    }
}

/// One share a completion: of its 4-grams, by token ids or else by words, those that it has had before.
fn repetition(batch: &Batch<'_>) -> NumberTotals {
    let c = batch.columns();
    let texts = c.completions;
    if c.token_ids.is_none() && texts.is_none() {
        return NumberTotals::default();
    }
    let shares = by_completion(batch, |completion| {
        match (batch.token_ids(completion), texts) {
            (Some(ids), _) => repeated(&ids.iter().map(|&id| id.into()).collect::<Vec<u64>>()),
            (None, Some(texts)) => repeated(&words(&texts[completion]).collect::<Vec<u64>>()),
            (None, None) => None,
        }
    });
    let mut repetition = NumberTotals::default();
    repetition.add(&shares.into_iter().flatten().collect::<Vec<f64>>());
    repetition
}

/// The share of 4-grams that stand further ahead already; `None` for fewer than four tokens.
fn repeated(tokens: &[u64]) -> Option<f64> {
    let mut grams: Vec<[u64; 4]> = tokens
        .windows(4)
        .map(|gram| [gram[0], gram[1], gram[2], gram[3]])
        .collect();
    let all = grams.len();
    grams.sort_unstable();
    grams.dedup();
    (all > 0).then(|| (all - grams.len()) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_that_says_the_same_again_repeats_its_4_grams() {
        assert_eq!(repeated(&[1, 2, 3]), None);
        assert_eq!(repeated(&[1, 2, 3, 4]), Some(0.0));
        assert_eq!(repeated(&[1, 2, 1, 2, 1, 2, 1]), Some(0.5));
        assert_eq!(repeated(&[7; 13]), Some(0.9));
    }
}
