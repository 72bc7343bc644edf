//! Clipping and KL by whole completions, for losses whose importance ratio is a completion's.

use serde::{Deserialize, Serialize};

use super::token_totals::TokenTotal;
use crate::family::number_totals::count;
use crate::kernel::tokens::{Behaviour, Bounds};

/// Clipping and KL where a ratio is of a whole completion: e to the mean of its tokens' current - old (GSPO).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sequences {
    /// Completions that have such a ratio and an advantage, and those of them clipped on each side.
    pub completions: u64,
    pub low: u64,
    pub high: u64,
    /// Those of them with a positive advantage and a ratio above the cap of weights.
    pub capped: u64,
    /// Their tokens, and the tokens of those clipped on each side.
    pub tokens: u64,
    pub low_tokens: u64,
    pub high_tokens: u64,
    /// k3 to the reference times the completion's ratio.
    pub k3_corrected: TokenTotal,
}

impl Sequences {
    /// `advantage` where it is finite.
    pub fn add(&mut self, behaviour: &Behaviour, advantage: Option<f64>, bounds: &Bounds) {
        let (Some(ratio), Some(advantage)) = (behaviour.of_completion(), advantage) else {
            return;
        };
        let low = ratio < bounds.ratio_low && advantage < 0.0;
        let high = ratio > bounds.ratio_high && advantage > 0.0;
        self.completions += 1;
        self.capped += u64::from(ratio > bounds.weight_cap && advantage > 0.0);
        self.low += u64::from(low);
        self.high += u64::from(high);
        self.tokens += behaviour.tokens;
        if low {
            self.low_tokens += behaviour.tokens;
        }
        if high {
            self.high_tokens += behaviour.tokens;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            completions,
            low,
            high,
            capped,
            tokens,
            low_tokens,
            high_tokens,
            k3_corrected,
        } = other;
        count(&mut self.completions, *completions);
        count(&mut self.low, *low);
        count(&mut self.high, *high);
        count(&mut self.capped, *capped);
        count(&mut self.tokens, *tokens);
        count(&mut self.low_tokens, *low_tokens);
        count(&mut self.high_tokens, *high_tokens);
        self.k3_corrected.merge(k3_corrected);
    }
}
