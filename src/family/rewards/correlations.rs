//! Correlations of rewards with lengths and of components with the total: for the extended metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::components::Components;
use crate::batch::{Batch, Values};
use crate::stat::Covariance;

/// Of the total reward with the length, and of each component with the total reward.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Correlations {
    pub with_length: Covariance,
    pub components: BTreeMap<String, Covariance>,
}

impl Correlations {
    /// `rewards` and `components` are the record's, counted already.
    pub fn of(batch: &Batch<'_>, rewards: &Column, components: &Components) -> Self {
        let c = batch.columns();
        let counted = c.reward_components.iter().filter_map(|(name, values)| {
            let column = components.get(name.as_ref())?;
            Some((
                name.to_string(),
                paired((values, column), (&c.rewards, rewards)),
            ))
        });
        let mut correlations = Self {
            components: counted.collect(),
            ..Self::default()
        };
        if let Some(lengths) = batch.lengths() {
            let lengths: Vec<f64> = lengths.iter().map(|&length| length.into()).collect();
            let lengths = Values::from(&lengths);
            correlations.with_length =
                paired((&lengths, &Column::of(&lengths)), (&c.rewards, rewards));
        }
        correlations
    }

    pub fn is_consistent(&self) -> bool {
        self.components.values().all(Covariance::is_consistent) && self.with_length.is_consistent()
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            with_length,
            components,
        } = other;
        self.with_length.merge(&with_length);
        for (name, pairs) in components {
            self.components.entry(name).or_default().merge(&pairs);
        }
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
