//! pass@k: how probably one of k completions succeeds.

use std::collections::BTreeMap;

use crate::family::moment::part;
use crate::family::reading::Reading;
use crate::stat::{Moments, Statistic, student};

/// How many groups have so many completions, so many of which succeed.
pub type Tried = BTreeMap<(u64, u64), u64>;

/// pass@k of one k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempts {
    /// How many of a prompt's completions are drawn.
    pub k: u64,
    /// Mean over groups of at least k of 1 - C(n-c, k)/C(n, k) (Chen et al., "Evaluating large language models trained on
    /// code", 2021).
    pub pass: f64,
    /// 95 % for it, by the spread of the groups' estimates; `None` for fewer than two groups.
    pub interval: Option<(f64, f64)>,
    /// Groups of fewer than k, of which it says nothing.
    pub short: u64,
}

/// The share of groups that succeed to the last.
pub fn all_succeed(tried: &Tried) -> Option<f64> {
    let attempts = tried.iter();
    let all: u64 = attempts.clone().map(|(_, groups)| groups).sum();
    let solved = attempts.filter(|((size, successes), _)| size == successes);
    part(solved.map(|(_, groups)| groups).sum(), all)
}

/// For the k that were told, else k = 1, 2, 4, ... up to the largest size.
pub fn attempts(tried: &Tried, reading: &Reading) -> Vec<Attempts> {
    let largest = tried.keys().map(|(n, _)| *n).max().unwrap_or(0);
    let powers = std::iter::successors(Some(1_u64), |k| k.checked_mul(2));
    let ks: Vec<u64> = match &reading.pass_k {
        Some(ks) => ks.iter().map(|k| u64::from(*k)).collect(),
        None => powers.take_while(|k| *k <= largest).collect(),
    };
    ks.into_iter().filter_map(|k| attempt(tried, k)).collect()
}

fn attempt(tried: &Tried, k: u64) -> Option<Attempts> {
    let (mut estimates, mut short) = (Moments::default(), 0_u64);
    for (&(n, c), &groups) in tried {
        if n < k {
            short = short.saturating_add(groups);
        } else {
            estimates.add_times(pass(n, c, k), groups);
        }
    }
    Some(Attempts {
        k,
        pass: estimates.mean()?,
        interval: interval(estimates.mean()?, estimates),
        short,
    })
}

/// Around `mean`, that of numbers within [0, 1] (or of what they are shares of), 95 %: Wilson's interval (1927) with Student's t, for as many trials as would vary
/// as much as the numbers do together with two more, a 0 and a 1. Those two keep numbers that happen to agree from having
/// no spread at all; docs/METRICS.md has what it covers. `None` for fewer than two numbers.
pub(crate) fn interval(mean: f64, estimates: Moments) -> Option<(f64, f64)> {
    let t = student(
        estimates
            .count()
            .checked_sub(1)
            .filter(|others| *others > 0)?,
    )?;
    let mut padded = estimates;
    padded.add(&[0.0, 1.0]);
    let (centre, spread) = (padded.mean()?, padded.sample_std()?);
    let trials = centre * (1.0 - centre) * padded.count() as f64 / (spread * spread);
    let pull = t * t / trials;
    let middle = (mean + pull / 2.0) / (1.0 + pull);
    let half = (pull * (mean * (1.0 - mean) + pull / 4.0)).sqrt() / (1.0 + pull);
    // The mean is within, up to rounding: at 0 and 1 it is an end.
    let (low, high) = (middle - half, middle + half);
    Some((low.max(0.0).min(mean), high.min(1.0).max(mean)))
}

/// 1 - C(n-c, k)/C(n, k) for c, k <= n, as a product: binomials themselves lose their digits. The share is the same for c
/// draws of which none may be among k, so that the fewer factors will do; and once the rest is below half a unit of 1, no
/// factor changes it any more.
fn pass(n: u64, c: u64, k: u64) -> f64 {
    let (few, many) = (c.min(k), c.max(k));
    let mut missed = 1.0;
    for i in 0..few {
        missed *= n.saturating_sub(many).saturating_sub(i) as f64 / (n - i) as f64;
        if missed < f64::EPSILON / 4.0 {
            break;
        }
    }
    1.0 - missed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_keeps_its_digits() {
        assert_eq!(pass(200, 1, 8), 1.0 - 192.0 / 200.0);
        assert_eq!(pass(8, 0, 8), 0.0);
        assert_eq!(pass(8, 3, 6), 1.0);
        assert!((pass(4, 2, 2) - 5.0 / 6.0).abs() < 1e-15);
        assert_eq!(pass(1 << 31, 1 << 30, 1 << 30), 1.0);
    }
}
