//! Numbers of groups of values, which lie one after another in a column: each within a few units in the last place,
//! however far the values lie from zero and whatever their magnitude, and whatever their order within a group.

use std::borrow::Cow;
use std::ops::Range;

use super::fixed::{power_of_two, scale};
use super::sum::exact_groups;
use crate::kernel::column::sizes;

/// The population standard deviation of each group, 0 for an empty one.
///
/// Deviations are taken from the nearest double to the mean, which is exact where they are small beside it, and those from
/// their own mean: what the first mean was rounded by (Chan, Golub and `LeVeque`, "Algorithms for computing the sample
/// variance", 1983).
pub(crate) fn population_stds(values: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let (scaled, exponents) = scaled(values, groups);
    let mut deviations = Vec::with_capacity(scaled.len());
    for (group, mean) in groups.iter().zip(means(&scaled, groups)) {
        deviations.extend(scaled[group.clone()].iter().map(|x| x - mean));
    }
    for (group, mean) in groups.iter().zip(means(&deviations, groups)) {
        for x in &mut deviations[group.clone()] {
            let deviation = *x - mean;
            *x = deviation * deviation;
        }
    }
    let mut found = sums_of(&deviations, groups);
    for (at, (group, found)) in groups.iter().zip(&mut found).enumerate() {
        let group = &values[group.clone()];
        // Equal values are at their mean, which rounding may miss by a bit.
        *found = if group.iter().all(|x| *x == group[0]) {
            0.0
        } else {
            let exponent = exponents.get(at).copied().unwrap_or(0);
            scale((*found / group.len() as f64).sqrt(), exponent)
        };
    }
    found
}

/// The effective size of each group of weights, (sum of w)^2 / sum of w^2 (Kong, "A note on importance sampling using
/// standardized weights", 1992); NaN for weights that are all zero.
pub(crate) fn effective_sizes(weights: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let (weights, _) = scaled(weights, groups);
    let squares: Vec<f64> = weights.iter().map(|w| w * w).collect();
    let mut found = sums_of(&weights, groups);
    for (sum, squares) in found.iter_mut().zip(sums_of(&squares, groups)) {
        *sum = *sum * *sum / squares;
    }
    found
}

/// The values as they are, and no powers, where no square of theirs leaves the range. Else each group's values times the power of
/// two that brings the largest of them between 1 and 2 (no less than 2^-51 for the smallest subnormals), and by what power
/// they are to be multiplied to be themselves again; what falls out of the range at the lower end is nothing beside the
/// largest.
fn scaled<'a>(values: &'a [f64], groups: &[Range<usize>]) -> (Cow<'a, [f64]>, Vec<i32>) {
    if sizes(values).have_products() {
        return (Cow::Borrowed(values), Vec::new());
    }
    let mut scaled = values.to_vec();
    let down = |group: &Range<usize>| {
        let group = &mut scaled[group.clone()];
        let top = group
            .iter()
            .fold(0.0, |top, x| if x.abs() > top { x.abs() } else { top });
        let exponent = ((f64::to_bits(top) >> 52) as i32 - 1023).clamp(-1023, 1022);
        let factor = power_of_two(-exponent);
        for x in group {
            *x *= factor;
        }
        exponent
    };
    let exponents = groups.iter().map(down).collect();
    (Cow::Owned(scaled), exponents)
}

fn means(values: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let mut means = sums_of(values, groups);
    for (mean, group) in means.iter_mut().zip(groups) {
        *mean /= group.len() as f64;
    }
    means
}

fn sums_of(values: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let mut sums = Vec::with_capacity(groups.len());
    exact_groups(values, groups, &mut sums);
    sums
}
