//! The current policy against the behaviour policy.

use crate::batch::Batch;
use crate::batch::scalars::ImportanceLevel;
use crate::family::moment::part;
use crate::family::per_completion;
use crate::family::tokens::Tokens;
use crate::family::tokens::sequences::Sequences;
use crate::kernel::exp::power_of_e;
use crate::kernel::tokens::{Bounds, Sums};
use crate::stat::Census;

/// Current policy against behaviour policy, over completions with an advantage: over their tokens, or over the completions
/// where a ratio is of a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BehaviourNumbers {
    /// Share clipped below: a ratio below the clip range and a negative advantage.
    pub low: Option<f64>,
    /// Share clipped above: a ratio above the clip range and a positive advantage.
    pub high: Option<f64>,
    /// Share clipped on either side.
    pub region: Option<f64>,
    /// The lowest of any completion's own share clipped below.
    pub lowest_low: Option<f64>,
    /// The highest of any completion's own share clipped above.
    pub highest_high: Option<f64>,
    /// Share of tokens clipped on either side, by the token's own advantage where the record has token advantages; where a
    /// ratio is a whole completion's, the tokens of completions clipped by their own advantage.
    pub policy_gradient: Option<f64>,
    /// Of those the share below, with a negative advantage.
    pub policy_gradient_low: Option<f64>,
    /// And the share above, with a positive one.
    pub policy_gradient_high: Option<f64>,
    /// Share of tokens with a positive advantage and a ratio above the cap of a loss that takes ratios as weights, by the
    /// token's own advantage likewise; of completions, where a ratio is of one. 0 of a loss that does not.
    pub capped: Option<f64>,
}

/// Tokens with a positive advantage, the token's own where the record has token advantages, whose ratio is above the cap of
/// weights. Few losses have one, so tokens are looked at again for those.
pub fn capped(
    batch: &Batch<'_>,
    sums: &[Sums],
    advantages: &[Option<f64>],
    bounds: &Bounds,
) -> u64 {
    if bounds.weight_cap.is_infinite() {
        return 0;
    }
    let of_completion = |at: usize| {
        let tokens = batch.tokens(at);
        let c = &tokens.columns;
        let is_far = |sums: &Sums| {
            let moved = sums.behaviour.map(|behaviour| behaviour.moved);
            moved.is_some_and(|moved| moved.map_or(1.0, |m| m.ratio.max) > bounds.weight_cap)
        };
        let (Some(current), Some(old), true) =
            (c.current, c.behaviour(), sums.get(at).is_some_and(is_far))
        else {
            return 0;
        };
        let own = advantages.get(at).copied().flatten();
        let is_positive = |i: usize| match c.advantages {
            Some(own) => own.at(i).is_finite() && own.at(i) > 0.0,
            None => own.is_some_and(|advantage| advantage > 0.0),
        };
        let is_capped = |&i: &usize| {
            let d = current.at(i) - old.at(i);
            d.is_finite() && power_of_e(d) > bounds.weight_cap && is_positive(i)
        };
        tokens.positions().filter(is_capped).count() as u64
    };
    per_completion::by_completion(batch, of_completion)
        .into_iter()
        .sum()
}

pub fn behaviour(tokens: &Tokens, level: ImportanceLevel) -> BehaviourNumbers {
    match level {
        ImportanceLevel::Token => by_token(tokens),
        ImportanceLevel::Sequence => by_completion(&tokens.sequences),
    }
}

fn by_token(tokens: &Tokens) -> BehaviourNumbers {
    let of = |hits: u64, census: &Census| part(hits, census.used);
    let (low, high) = (tokens.behaviour_low, tokens.behaviour_high);
    BehaviourNumbers {
        low: of(low, &tokens.behaviour),
        high: of(high, &tokens.behaviour),
        region: of(low.saturating_add(high), &tokens.behaviour),
        lowest_low: tokens.low_shares.range().map(|(min, _)| min),
        highest_high: tokens.high_shares.range().map(|(_, max)| max),
        policy_gradient: of(
            tokens
                .policy_gradient_low
                .saturating_add(tokens.policy_gradient_high),
            &tokens.policy_gradient,
        ),
        policy_gradient_low: of(tokens.policy_gradient_low, &tokens.policy_gradient),
        policy_gradient_high: of(tokens.policy_gradient_high, &tokens.policy_gradient),
        capped: of(tokens.policy_gradient_capped, &tokens.policy_gradient),
    }
}

/// A completion's own share is 0 or 1. Policy gradients are over tokens, all of which share their completion's ratio.
fn by_completion(sequences: &Sequences) -> BehaviourNumbers {
    let Sequences {
        completions,
        low,
        high,
        capped,
        ..
    } = *sequences;
    let extreme = |clipped: bool| (completions > 0).then_some(f64::from(u8::from(clipped)));
    BehaviourNumbers {
        low: part(low, completions),
        high: part(high, completions),
        region: part(low.saturating_add(high), completions),
        lowest_low: extreme(low == completions),
        highest_high: extreme(high > 0),
        policy_gradient: part(
            sequences.low_tokens.saturating_add(sequences.high_tokens),
            sequences.tokens,
        ),
        policy_gradient_low: part(sequences.low_tokens, sequences.tokens),
        policy_gradient_high: part(sequences.high_tokens, sequences.tokens),
        capped: part(capped, completions),
    }
}
