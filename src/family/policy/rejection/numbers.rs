//! The numbers that tell what rejection sampling leaves out.

use super::{Rejected, Rejection};
use crate::family::thresholds::{RejectionLevel, RejectionStatistic};

/// What one statistic leaves out, over counted tokens that have both log-probabilities and completions with such tokens. A
/// completion's own statistic stands for each of its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RejectedNumbers {
    /// Mean over tokens.
    pub mean: f64,
    /// The smallest of any token.
    pub min: f64,
    /// The largest of any token.
    pub max: f64,
    /// Population standard deviation over tokens of the statistic within its bounds.
    pub population_std: f64,
    /// Share above the bounds: of the tokens, or, of a statistic of completions, of those.
    pub above: f64,
    /// Share below the bounds likewise.
    pub below: f64,
    /// Share of tokens that it leaves out.
    pub masked: f64,
    /// Share of completions with such a token.
    pub touched: f64,
    /// Mean over completions, of a token's statistic of its mean.
    pub each_mean: f64,
    /// Its sample standard deviation; `None` of fewer than two.
    pub each_std: Option<f64>,
    /// The smallest of any completion.
    pub each_min: f64,
    /// The largest of any completion.
    pub each_max: f64,
    /// Share of completions above the bounds.
    pub each_above: f64,
    /// Share of completions below the bounds; `None` of a statistic that has no lower one.
    pub each_below: Option<f64>,
}

impl RejectedNumbers {
    /// The largest distance from 0 of any completion.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.each_max.abs().max(self.each_min.abs())
    }
}

/// What rejection sampling leaves out: by each statistic, and by all together.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectionNumbers {
    /// By verl's names.
    pub by: Vec<(&'static str, RejectedNumbers)>,
    /// Share of tokens that one of them leaves out.
    pub masked: f64,
    /// Share of completions with such a token.
    pub touched: f64,
}

pub fn rejection(s: &Rejection) -> Option<RejectionNumbers> {
    let share = |hits: u64, of: u64| hits as f64 / of as f64;
    let by = s.by.iter();
    (s.tokens > 0 && s.completions > 0).then(|| RejectionNumbers {
        by: by
            .filter_map(|(statistic, s)| Some((statistic.name(), rejected(*statistic, s)?)))
            .collect(),
        masked: share(s.masked, s.tokens),
        touched: share(s.touched, s.completions),
    })
}

fn rejected(statistic: RejectionStatistic, s: &Rejected) -> Option<RejectedNumbers> {
    let [mean, within, square] = s.tokens.means()?;
    let (min, max) = s.extent.range()?;
    let (least, most) = s.within.range()?;
    let (each_min, each_max) = s.each.extent.range()?;
    let (tokens, completions) = (s.tokens.tokens, s.each.moments.count());
    let share = |hits: u64, of: u64| hits as f64 / of as f64;
    let variance = (square - within * within).max(0.0);
    let [each_above, each_below] = [s.each_above, s.each_below].map(|n| share(n, completions));
    let of_tokens = statistic.level() == RejectionLevel::Token;
    let (above, below) = if of_tokens {
        (share(s.above, tokens), share(s.below, tokens))
    } else {
        (each_above, each_below)
    };
    Some(RejectedNumbers {
        mean,
        min,
        max,
        population_std: if least == most { 0.0 } else { variance.sqrt() },
        above,
        below,
        masked: share(s.above.saturating_add(s.below), tokens),
        touched: share(s.touched, completions),
        each_mean: s.each.moments.mean()?,
        each_std: s.each.moments.sample_std(),
        each_min,
        each_max,
        each_above,
        each_below: statistic.is_of_ratio().then_some(each_below),
    })
}
