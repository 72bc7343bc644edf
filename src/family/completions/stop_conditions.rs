//! Completions by why they ended.

use super::tags::Tags;
use crate::family::moment::part;

/// The completions that ended for one reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConditionNumbers {
    /// Their share of the completions of which it is known why they ended.
    pub share: Option<f64>,
    /// Their mean reward; `None` without a finite one.
    pub reward: Option<f64>,
    /// Their mean length, in tokens; `None` where no lengths are known.
    pub mean_length: Option<f64>,
}

/// Ascending, those beyond the bound of [`Tags`] last.
pub(crate) fn condition_numbers(conditions: &Tags) -> Vec<(String, ConditionNumbers)> {
    let completions = conditions.iter().map(|(_, totals)| totals.completions);
    let all = completions.fold(0, u64::saturating_add);
    let numbers = conditions.iter().map(|(condition, totals)| {
        let numbers = ConditionNumbers {
            share: part(totals.completions, all),
            reward: totals.rewards.mean(),
            mean_length: totals.lengths.mean(),
        };
        (condition.to_owned(), numbers)
    });
    numbers.collect()
}
