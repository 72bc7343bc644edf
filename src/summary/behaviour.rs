//! The current policy against the behaviour policy.

use crate::shard::tokens::Tokens;
use crate::stat::Census;

/// Current policy against behaviour policy, over tokens of completions with an advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BehaviourNumbers {
    /// Shares of tokens clipped on each side given the advantage's sign, and on either.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub region: Option<f64>,
    /// Extremes over completions of their own shares.
    pub lowest_low: Option<f64>,
    pub highest_high: Option<f64>,
    /// By the token's own advantage where the record has token advantages.
    pub policy_gradient: Option<f64>,
}

pub(super) fn behaviour(tokens: &Tokens) -> BehaviourNumbers {
    let of =
        |hits: u64, census: &Census| (census.used > 0).then(|| hits as f64 / census.used as f64);
    let (low, high) = (tokens.behaviour_low, tokens.behaviour_high);
    BehaviourNumbers {
        low: of(low, &tokens.behaviour),
        high: of(high, &tokens.behaviour),
        region: of(low.saturating_add(high), &tokens.behaviour),
        lowest_low: tokens.low_shares.range().map(|(min, _)| min),
        highest_high: tokens.high_shares.range().map(|(_, max)| max),
        policy_gradient: of(tokens.policy_gradient_clipped, &tokens.policy_gradient),
    }
}
