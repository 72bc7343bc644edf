//! The extended metrics' numbers: distributions, uncertainty, splits.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::family::completions::tags::TagTotals;
use crate::family::groups::ExtendedTotals;
use crate::family::moment::{Moment, moment, part};
use crate::kernel::exp::exp;
use crate::shard::Shard;
use crate::shard::extended::{Extended, Sketches};
use crate::stat::{Moments, Order, Quantile, Sketch, Statistic, skewness};

/// The probability on either side of a 95 % interval.
const TAIL: f64 = 0.025;

/// The mean reward's uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardError {
    /// Clustered by group: [`Clusters::standard_error`](crate::stat::Clusters::standard_error).
    pub standard_error: f64,
    /// 95 %, from Student's t with G - 1 degrees of freedom.
    pub interval: (f64, f64),
}

/// How the groups' rewards spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupStd {
    pub mean: f64,
    pub p05: f64,
    pub p50: f64,
    pub p95: f64,
}

/// Shares of groups all of whose rewards are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupShares {
    /// Every reward is the largest (smallest) of the step.
    pub all_max: f64,
    pub all_min: f64,
    /// Neither.
    pub mixed: f64,
}

/// The advantages of completions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdvantageNumbers {
    pub mean: f64,
    pub population_std: f64,
    pub min: f64,
    pub max: f64,
    pub p05: f64,
    pub p25: f64,
    pub p50: f64,
    pub p75: f64,
    pub p95: f64,
    /// Share below 1e-8 in size.
    pub zero: f64,
}

/// pass@k of one k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempts {
    pub k: u64,
    /// Mean over groups of at least k of 1 - C(n-c, k)/C(n, k) (Chen et al., "Evaluating large language models trained on
    /// code", 2021).
    pub pass: f64,
    /// 95 % for it, by the spread of the groups' estimates; `None` for fewer than two groups.
    pub interval: Option<(f64, f64)>,
    /// Groups of fewer than k, of which it says nothing.
    pub short: u64,
}

/// The completions of one tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagNumbers {
    pub reward: Option<f64>,
    pub population_std: Option<f64>,
    /// Share of its completions that succeed.
    pub pass: Option<f64>,
    pub mean_length: Option<f64>,
    /// Share of its completions whose group's rewards do not vary.
    pub zero_std: Option<f64>,
}

/// What [`crate::shard::Detail::Extended`] adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtendedNumbers {
    pub reward_error: Option<RewardError>,
    /// Third standardised moment, population form.
    pub reward_skewness: Option<f64>,
    pub group_std: Option<GroupStd>,
    pub group_shares: Option<GroupShares>,
    /// Sum of squares between groups over the total sum of squares.
    pub between_groups: Option<f64>,
    pub reward_length_pearson: Option<f64>,
    pub reward_length_spearman: Option<f64>,
    /// Pearson's correlation of each component with the total.
    pub components: Vec<(String, f64)>,
    pub advantages: Option<AdvantageNumbers>,
    /// Share of groups all of whose completions are judged that succeed to the last.
    pub all_succeed: Option<f64>,
    /// For k = 1, 2, 4, ... up to the largest group's size.
    pub attempts: Vec<Attempts>,
    /// Effective sample size of each group's weights over its size.
    pub effective_weights: Option<Moment>,
    pub largest_weight: Option<f64>,
    /// p05, p50, p95, p99 of completion lengths, exact.
    pub lengths: Option<[f64; 4]>,
    /// Share of a completion's 4-grams that it has had before.
    pub repeated: Option<Moment>,
    /// p01, p50, p99 of the ratio of current to behaviour policy, their logarithms within 1 %.
    pub ratios: Option<[f64; 3]>,
    /// p05, p50, p95 of token entropies, within 1 %.
    pub entropies: Option<[f64; 3]>,
    /// k3 of tokens to the reference policy.
    divergences: Sketch,
    /// Ascending, `other` last.
    pub tags: Vec<(String, TagNumbers)>,
}

impl ExtendedNumbers {
    pub(super) fn of(shard: &Shard, extended: &Extended, groups: &ExtendedTotals) -> Self {
        let rewards = &shard.rewards.moments;
        let mut numbers = Self {
            reward_error: error(groups, rewards),
            reward_skewness: shard
                .rewards
                .order()
                .and_then(|order| skewness(order, rewards)),
            group_std: group_std(groups),
            group_shares: group_shares(groups),
            between_groups: groups.rewards.between(rewards),
            reward_length_pearson: extended.reward_with_length.pearson(),
            reward_length_spearman: groups.measured.spearman(),
            components: extended
                .components
                .iter()
                .filter_map(|(name, pairs)| Some((name.clone(), pairs.pearson()?)))
                .collect(),
            advantages: advantages(shard, &groups.advantages),
            all_succeed: all_succeed(groups),
            attempts: attempts(groups),
            effective_weights: moment(&groups.effective_weights),
            largest_weight: groups.weights.range().map(|(_, max)| max),
            lengths: read(&groups.measured.lengths(), [5, 50, 95, 99]),
            repeated: moment(&extended.repeated),
            tags: tags(extended, groups),
            ..Self::default()
        };
        numbers.add_sketches(&extended.sketches);
        numbers
    }

    /// The share of tokens whose k3 to the reference is above `bound`; those within 2 % of it may count on either side.
    #[must_use]
    pub fn high_divergence(&self, bound: f64) -> Option<f64> {
        self.divergences.fraction_above(bound)
    }

    fn add_sketches(&mut self, sketches: &Sketches) {
        let log_ratios = near(&sketches.log_ratios, [1, 50, 99]);
        // Clamped where they were taken in, so within the range of this exponential.
        self.ratios = log_ratios.map(|logs| logs.map(|log| exp(log).value()));
        self.entropies = near(&sketches.entropies, [5, 50, 95]);
        self.divergences = sketches.divergences.clone();
    }
}

/// The quantile at so many hundredths.
fn hundredth(hundredths: u16) -> Quantile {
    Quantile::of_thousandths(10 * hundredths).unwrap_or_default()
}

fn read<const N: usize>(order: &Order, hundredths: [u16; N]) -> Option<[f64; N]> {
    order.quantiles(&hundredths.map(hundredth))?.try_into().ok()
}

fn near<const N: usize>(sketch: &Sketch, hundredths: [u16; N]) -> Option<[f64; N]> {
    let found: Option<Vec<f64>> = hundredths
        .iter()
        .map(|&q| sketch.quantile(hundredth(q)))
        .collect();
    found?.try_into().ok()
}

fn error(groups: &ExtendedTotals, rewards: &Moments) -> Option<RewardError> {
    let standard_error = groups.rewards.standard_error(rewards)?;
    let mean = rewards.mean()?;
    let half = student(groups.rewards.count() - 1)? * standard_error;
    Some(RewardError {
        standard_error,
        interval: (mean - half, mean + half),
    })
}

/// So many standard errors on either side make a 95 % interval, with so many degrees of freedom (at least 1).
fn student(freedom: u64) -> Option<f64> {
    /// The normal distribution's quantile at 1 - [`TAIL`], and from how many degrees of freedom on the series is the better.
    const Z: f64 = 1.959_963_984_540_054;
    const MANY: f64 = 500.0;
    let freedom = freedom as f64;
    if freedom < MANY {
        let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
        return Some(t.inverse_cdf(1.0 - TAIL));
    }
    // Abramowitz and Stegun 26.7.5; the term that is left out is below 1e-10.
    let z = |power: i32| Z.powi(power);
    let terms = [
        (z(3) + z(1)) / 4.0,
        (5.0 * z(5) + 16.0 * z(3) + 3.0 * z(1)) / 96.0,
        (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * z(1)) / 384.0,
    ];
    let tail = terms
        .iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) / freedom);
    Some(Z + tail)
}

fn group_std(groups: &ExtendedTotals) -> Option<GroupStd> {
    let [p05, p50, p95] = read(&groups.stds, [5, 50, 95])?;
    Some(GroupStd {
        mean: groups.std.mean()?,
        p05,
        p50,
        p95,
    })
}

fn group_shares(groups: &ExtendedTotals) -> Option<GroupShares> {
    let (whole, all_max) = (groups.whole, groups.all_max.groups());
    let all_min = groups.all_min.groups();
    Some(GroupShares {
        all_max: part(all_max, whole)?,
        all_min: part(all_min, whole)?,
        // Where all rewards are equal, they are the largest and the smallest.
        mixed: part(whole.saturating_sub(all_max).saturating_sub(all_min), whole)?,
    })
}

fn advantages(shard: &Shard, order: &Order) -> Option<AdvantageNumbers> {
    let all = moment(&shard.advantages)?;
    let [p05, p25, p50, p75, p95] = read(order, [5, 25, 50, 75, 95])?;
    let zero = order.count_where(|a| a.abs() < 1e-8);
    Some(AdvantageNumbers {
        mean: all.mean,
        population_std: all.population_std,
        min: all.min,
        max: all.max,
        p05,
        p25,
        p50,
        p75,
        p95,
        zero: part(zero, order.len())?,
    })
}

fn all_succeed(groups: &ExtendedTotals) -> Option<f64> {
    let attempts = groups.attempts.iter();
    let all: u64 = attempts.clone().map(|(_, groups)| groups).sum();
    let solved = attempts.filter(|((size, successes), _)| size == successes);
    part(solved.map(|(_, groups)| groups).sum(), all)
}

fn attempts(groups: &ExtendedTotals) -> Vec<Attempts> {
    let largest = groups.attempts.keys().map(|(n, _)| *n).max().unwrap_or(0);
    let ks = std::iter::successors(Some(1_u64), |k| k.checked_mul(2));
    ks.take_while(|k| *k <= largest)
        .filter_map(|k| attempt(groups, k))
        .collect()
}

fn attempt(groups: &ExtendedTotals, k: u64) -> Option<Attempts> {
    let (mut estimates, mut short) = (Moments::default(), 0_u64);
    for (&(n, c), &groups) in &groups.attempts {
        if n < k {
            short = short.saturating_add(groups);
        } else {
            estimates.add_times(pass(n, c, k), groups);
        }
    }
    Some(Attempts {
        k,
        pass: estimates.mean()?,
        interval: interval(estimates),
        short,
    })
}

/// Of the mean of numbers within [0, 1], 95 %: Wilson's interval (1927) with Student's t, for as many trials as would vary
/// as much as the numbers do together with two more, a 0 and a 1. Those two keep numbers that happen to agree from having
/// no spread at all; docs/METRICS.md has what it covers. `None` for fewer than two numbers.
fn interval(estimates: Moments) -> Option<(f64, f64)> {
    let mean = estimates.mean()?;
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

fn tags(extended: &Extended, groups: &ExtendedTotals) -> Vec<(String, TagNumbers)> {
    let mut tags = extended.tags.clone();
    tags.merge(&groups.tags);
    let numbers = |totals: &TagTotals| TagNumbers {
        reward: totals.rewards.mean(),
        population_std: totals.rewards.population_std(),
        pass: part(totals.successes, totals.judged),
        mean_length: totals.lengths.mean(),
        zero_std: part(totals.zero_std, totals.grouped),
    };
    tags.iter()
        .map(|(tag, totals)| (tag.to_owned(), numbers(totals)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_student_are_those_of_scipy() {
        // scipy.stats.t.ppf(0.975, freedom)
        for (freedom, quantile) in [
            (1, 12.706_204_736_174_694),
            (7, 2.364_624_251_592_784),
            (499, 1.964_729_390_987_688_6),
            (511, 1.964_617_222_330_403_3),
            (1_000_000, 1.959_966_356_814_107),
        ] {
            let found = student(freedom).unwrap();
            assert!((found / quantile - 1.0).abs() < 1e-9, "{freedom}: {found}");
        }
    }

    #[test]
    fn pass_at_k_keeps_its_digits() {
        assert_eq!(pass(200, 1, 8), 1.0 - 192.0 / 200.0);
        assert_eq!(pass(8, 0, 8), 0.0);
        assert_eq!(pass(8, 3, 6), 1.0);
        assert!((pass(4, 2, 2) - 5.0 / 6.0).abs() < 1e-15);
        assert_eq!(pass(1 << 31, 1 << 30, 1 << 30), 1.0);
    }
}
