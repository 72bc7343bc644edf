//! How often each prompt is solved: a histogram, and how alike a prompt's completions are.

use super::attempts::Tried;
use crate::family::moment::part;
use crate::stat::intraclass;

/// Prompts by the share of their completions that succeed, of groups all of whose completions are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassRates {
    /// Share of groups none of whose completions succeeds.
    pub none: f64,
    /// Share of groups of whose completions some succeed, up to a quarter of them, up to a half, up to three quarters, and more.
    pub quarters: [f64; 4],
    /// Share of groups all of whose completions succeed.
    pub all: f64,
    /// The correlation of successes within a group (the ANOVA estimator, corrected for unequal sizes); `None` where all completions succeed or none, for fewer than
    /// two groups, and where none has two completions.
    pub intraclass: Option<f64>,
}

/// `None` without a group all of whose completions are judged.
pub(crate) fn pass_rates(tried: &Tried) -> Option<PassRates> {
    let mut bins = [0_u64; 6];
    for (&(size, hits), &groups) in tried {
        let (size, hits) = (u128::from(size), u128::from(hits));
        let bin = match hits {
            0 => 0,
            _ if hits == size => 5,
            _ if 4 * hits <= size => 1,
            _ if 2 * hits <= size => 2,
            _ if 4 * hits <= 3 * size => 3,
            _ => 4,
        };
        bins[bin] = bins[bin].saturating_add(groups);
    }
    let groups = bins
        .iter()
        .fold(0, |all: u64, bin| all.saturating_add(*bin));
    let [none, a, b, c, d, all] = bins.map(|bin| part(bin, groups));
    Some(PassRates {
        none: none?,
        quarters: [a?, b?, c?, d?],
        all: all?,
        intraclass: of_successes(tried),
    })
}

fn of_successes(tried: &Tried) -> Option<f64> {
    let sum = |of: fn(f64, f64) -> f64| {
        let groups = tried.iter();
        let terms = groups.map(|(&(n, c), &groups)| groups as f64 * of(n as f64, c as f64));
        terms.sum::<f64>()
    };
    let (completions, hits) = (sum(|n, _| n), sum(|_, c| c));
    // Sums of squares: of all, and between the groups.
    let total = hits - hits * hits / completions;
    let between = sum(|n, c| if n > 0.0 { c * c / n } else { 0.0 }) - hits * hits / completions;
    if total <= 0.0 || total.is_nan() {
        return None;
    }
    let sizes = tried.iter().map(|(&(n, _), &groups)| (n, groups));
    intraclass((between / total).clamp(0.0, 1.0), sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_in_their_quarters_and_those_that_agree_within_are_correlated() {
        let tried = [(0, 1), (1, 1), (2, 1), (3, 2), (5, 1), (7, 1), (8, 3)];
        let tried: Tried = tried.map(|(hits, groups)| ((8, hits), groups)).into();
        let rates = pass_rates(&tried).unwrap();
        assert_eq!((rates.none, rates.all), (0.1, 0.3));
        assert_eq!(rates.quarters, [0.2, 0.2, 0.1, 0.1]);
        let alike: Tried = [((4, 0), 3), ((4, 4), 1)].into();
        assert_eq!(pass_rates(&alike).unwrap().intraclass, Some(1.0));
        let even: Tried = [((4, 2), 5)].into();
        let none = pass_rates(&even).unwrap().intraclass.unwrap();
        assert!((none + 1.0 / 3.0).abs() < 1e-12, "{none}");
        let nothing: Tried = [((4, 0), 5)].into();
        assert_eq!(pass_rates(&nothing).unwrap().intraclass, None);
        assert_eq!(pass_rates(&Tried::new()), None);
    }
}
