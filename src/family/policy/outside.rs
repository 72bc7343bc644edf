//! Tokens whose ratio leaves the clip range, for losses that look at more than its side and the sign of the advantage.

use serde::{Deserialize, Serialize};

use crate::batch::scalars::{ImportanceLevel, LossType};
use crate::batch::{Batch, Values};
use crate::family::moment::part;
use crate::family::number_totals::count;
use crate::kernel::exp::power_of_e;
use crate::kernel::tokens::{Bounds, Sums};

/// Current policy to behaviour policy, over counted tokens that have a ratio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outside {
    /// Tokens, and those outside of the range on either side.
    pub tokens: u64,
    pub either: u64,
    /// The same of completions that have an advantage of their own and no token advantages; outside by its sign.
    pub judged: u64,
    pub negative: u64,
    pub positive: u64,
    /// Tokens with an advantage, the token's own where the record has token advantages; those with a negative one and a
    /// ratio beyond the dual clip.
    pub signed: u64,
    pub beyond: u64,
}

impl Outside {
    /// `sums` from the token pass.
    pub fn of(batch: &Batch<'_>, sums: &[Sums], bounds: &Bounds) -> Self {
        let mut of = Self::default();
        let given = batch.columns().advantages.as_ref();
        let mut advantages = given.map(Values::iter);
        for (completion, sums) in sums.iter().enumerate() {
            let advantage = advantages.as_mut().and_then(Iterator::next).flatten();
            let advantage = advantage.filter(|a| a.is_finite());
            let Some(behaviour) = &sums.behaviour else {
                continue;
            };
            let outside = behaviour.low + behaviour.high;
            of.tokens += behaviour.tokens;
            of.either += outside;
            match (&sums.advantages, advantage) {
                (Some(_), _) => of.signed += behaviour.signed_tokens,
                (None, Some(advantage)) => {
                    of.signed += behaviour.tokens;
                    of.judged += behaviour.tokens;
                    of.negative += if advantage < 0.0 { outside } else { 0 };
                    of.positive += if advantage > 0.0 { outside } else { 0 };
                }
                (None, None) => {}
            }
            // Few completions have so large a ratio: only they are looked at again.
            let is_far = |ratio: f64| ratio > bounds.dual;
            if behaviour.moved.is_some_and(|moved| is_far(moved.ratio.max)) {
                of.beyond += beyond(batch, completion, advantage, bounds);
            }
        }
        of
    }

    /// Whether its parts could be of the same tokens.
    pub fn is_consistent(&self) -> bool {
        self.either <= self.tokens
            && self.judged <= self.tokens
            && self.signed <= self.tokens
            && self.negative.saturating_add(self.positive) <= self.judged
            && self.beyond <= self.signed
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            tokens,
            either,
            judged,
            negative,
            positive,
            signed,
            beyond,
        } = other;
        count(&mut self.tokens, *tokens);
        count(&mut self.either, *either);
        count(&mut self.judged, *judged);
        count(&mut self.negative, *negative);
        count(&mut self.positive, *positive);
        count(&mut self.signed, *signed);
        count(&mut self.beyond, *beyond);
    }
}

/// The completion's tokens with a negative advantage and a ratio beyond the dual clip.
fn beyond(batch: &Batch<'_>, completion: usize, advantage: Option<f64>, bounds: &Bounds) -> u64 {
    let tokens = batch.tokens(completion);
    let c = &tokens.columns;
    let (Some(current), Some(old)) = (c.current, c.old) else {
        return 0;
    };
    let is_negative = |i: usize| match c.advantages {
        Some(own) => own.at(i).is_finite() && own.at(i) < 0.0,
        None => advantage.is_some_and(|a| a < 0.0),
    };
    let is_beyond = |&i: &usize| {
        let d = current.at(i) - old.at(i);
        d.is_finite() && power_of_e(d) > bounds.dual && is_negative(i)
    };
    tokens.positions().filter(is_beyond).count() as u64
}

/// What losses clip that do not go by the side of the range and the sign of the advantage, over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutsideNumbers {
    /// Share of tokens whose ratio is outside of the range, whatever the advantage.
    pub outside: Option<f64>,
    /// Share outside with a negative advantage, of the tokens of completions that have an advantage of their own; `None` where
    /// some record has token advantages instead.
    pub negative: Option<f64>,
    /// Share outside with a positive one, likewise.
    pub positive: Option<f64>,
    /// Share of tokens with a negative advantage and a ratio above the dual clip (`clip_ratio_c`, else `clip_delta`, else 3).
    pub beyond: Option<f64>,
}

impl OutsideNumbers {
    pub(crate) fn of(s: &Outside) -> Self {
        let own = s.judged == s.signed;
        Self {
            outside: part(s.either, s.tokens),
            negative: part(s.negative, s.judged).filter(|_| own),
            positive: part(s.positive, s.judged).filter(|_| own),
            beyond: part(s.beyond, s.signed),
        }
    }

    /// verl's `pg_clipfrac`, by its loss of that type; `by_sign` is that of a loss that clips by the sign of the advantage.
    #[must_use]
    pub fn clipped(&self, loss: LossType, by_sign: Option<f64>) -> Option<f64> {
        match loss {
            LossType::Cispo => self.outside,
            LossType::Gmpo => self.positive,
            LossType::Sapo | LossType::Vespo => None,
            _ => by_sign,
        }
    }

    /// verl's `pg_clipfrac_lower`, likewise: a loss that has no dual clip clips nothing there.
    #[must_use]
    pub fn clipped_beyond(&self, loss: LossType, level: ImportanceLevel) -> Option<f64> {
        match (loss, level) {
            (LossType::Gmpo, _) => self.negative,
            (LossType::Sapo | LossType::Vespo, _) => None,
            (LossType::Cispo, _) | (_, ImportanceLevel::Sequence) => self.beyond.map(|_| 0.0),
            _ => self.beyond,
        }
    }
}
