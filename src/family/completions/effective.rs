//! How much of a step has a gradient: tokens whose advantage is not zero, and how much of the advantages is on either side.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::family::moment::part;
use crate::family::number_totals::count;
use crate::kernel::tokens::Sums;
use crate::stat::{ExactSum, Statistic};

/// An advantage below this in size is zero (METRICS.md, `frac_reward_zero_std`).
pub(crate) const ZERO_ADVANTAGE: f64 = 1e-8;

/// Counted tokens by their advantages: their own where the record has token advantages, else their completion's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Effective {
    /// Tokens that have a finite advantage, and those of them whose advantage is not zero.
    pub tokens: u64,
    pub moved: u64,
    /// Sums over tokens of the positive advantages and of the negative ones.
    pub positive: ExactSum,
    pub negative: ExactSum,
}

impl Effective {
    /// `sums` are those of the record's completions; none where it has no token columns.
    pub fn of(batch: &Batch<'_>, sums: &[Sums]) -> Self {
        let mut effective = Self::default();
        let c = batch.columns();
        if c.token_advantages.is_some() {
            for completion in 0..batch.completions() {
                let tokens = batch.tokens(completion);
                let Some(cells) = tokens.columns.advantages else {
                    continue;
                };
                let advantages: Vec<f64> = tokens.positions().map(|i| cells.at(i)).collect();
                effective.add_each(&advantages);
            }
            return effective;
        }
        let lengths = batch.lengths().unwrap_or_default();
        let Some(advantages) = &c.advantages else {
            return effective;
        };
        if sums.is_empty() && lengths.is_empty() {
            return effective;
        }
        for (i, advantage) in advantages.iter().enumerate() {
            let counted = sums.get(i).map(|sums| sums.counted);
            let tokens = counted.or_else(|| lengths.get(i).map(|&length| length.into()));
            if let (Some(advantage), Some(tokens)) = (advantage, tokens) {
                effective.add(advantage, tokens);
            }
        }
        effective
    }

    /// So many tokens of one advantage.
    fn add(&mut self, advantage: f64, tokens: u64) {
        if !advantage.is_finite() {
            return;
        }
        self.tokens += tokens;
        if advantage.abs() >= ZERO_ADVANTAGE {
            self.moved += tokens;
        }
        let side = if advantage > 0.0 {
            &mut self.positive
        } else {
            &mut self.negative
        };
        side.add_times(advantage, tokens);
    }

    fn add_each(&mut self, advantages: &[f64]) {
        let finite = || advantages.iter().copied().filter(|a| a.is_finite());
        self.tokens += finite().count() as u64;
        self.moved += finite().filter(|a| a.abs() >= ZERO_ADVANTAGE).count() as u64;
        let [positive, negative]: [Vec<f64>; 2] = [
            finite().filter(|a| *a > 0.0).collect(),
            finite().filter(|a| *a < 0.0).collect(),
        ];
        self.positive.add(&positive);
        self.negative.add(&negative);
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            moved,
            positive,
            negative,
        } = other;
        count(&mut self.tokens, *tokens);
        count(&mut self.moved, *moved);
        self.positive.merge(positive);
        self.negative.merge(negative);
    }

    /// Whether it could be of tokens.
    pub fn is_consistent(&self) -> bool {
        self.moved <= self.tokens
    }
}

/// How much of a step has a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectiveNumbers {
    /// Counted tokens whose advantage is 1e-8 or more in size.
    pub tokens: f64,
    /// Their share of those that have an advantage.
    pub token_share: f64,
    /// The sum over tokens of the positive advantages, over all tokens that have an advantage.
    pub positive: f64,
    /// The same of the negative ones' sizes.
    pub negative: f64,
}

/// `None` without a token that has an advantage.
pub(crate) fn effective_numbers(effective: &Effective) -> Option<EffectiveNumbers> {
    let of = |sum: &ExactSum| sum.divided(effective.tokens).abs();
    Some(EffectiveNumbers {
        tokens: effective.moved as f64,
        token_share: part(effective.moved, effective.tokens)?,
        positive: of(&effective.positive),
        negative: of(&effective.negative),
    })
}
