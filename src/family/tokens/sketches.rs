//! Distributions over tokens, for the extended metrics.

use serde::{Deserialize, Serialize};

use crate::kernel::tokens::Kept;
use crate::stat::{Sketch, Statistic};

/// Token-level values, for their quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sketches {
    pub entropies: Sketch,
    /// Log-ratios of current to behaviour policy: near 1 the ratios themselves would fall into one bucket.
    pub log_ratios: Sketch,
    /// k3 of current to reference policy.
    pub divergences: Sketch,
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
