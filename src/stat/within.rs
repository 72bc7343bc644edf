//! Numbers of groups of values, all of which are in one column: each within a few units in the last place,
//! however far the values lie from zero and whatever their magnitude, and whatever their order within a group.

use std::borrow::Cow;

use super::fixed::{power_of_two, scale};
use super::sum::exact;
use crate::kernel::column::{largest, sizes};
use crate::kernel::within::{effective, stds};

/// The population standard deviation of each group, 0 for an empty one.
///
/// Deviations are taken from the nearest double to the mean, which is exact where they are small beside it, and those from
/// their own mean: what the first mean was rounded by (Chan, Golub and `LeVeque`, "Algorithms for computing the sample
/// variance", 1983).
pub(crate) fn population_stds(values: &[f64], groups: &[&[f64]]) -> Vec<f64> {
    side_by_side(values, groups, stds, population_std)
}

/// The effective size of each group of weights, (sum of w)^2 / sum of w^2 (Kong, "A note on importance sampling using
/// standardized weights", 1992); NaN for weights that are all zero.
pub(crate) fn effective_sizes(weights: &[f64], groups: &[&[f64]]) -> Vec<f64> {
    side_by_side(weights, groups, effective, effective_size)
}

/// Longer groups fill vectors by themselves.
const LONGEST: usize = 256;

/// Groups that are as long as their neighbours by one kernel, which leaves NaN where that cannot be; those one by one. Both
/// compute the same bits.
fn side_by_side(
    values: &[f64],
    groups: &[&[f64]],
    of_alike: fn(&[&[f64]], &mut [f64]),
    of_one: fn(&[f64]) -> f64,
) -> Vec<f64> {
    let mut found = vec![f64::NAN; groups.len()];
    if sizes(values).have_products() {
        let mut rest = &mut *found;
        for alike in groups.chunk_by(|a, b| a.len() == b.len()) {
            let (found, after) = rest.split_at_mut(alike.len());
            rest = after;
            if (1..=LONGEST).contains(&alike[0].len()) {
                of_alike(alike, found);
            }
        }
    }
    for (found, group) in found.iter_mut().zip(groups) {
        if found.is_nan() {
            *found = of_one(group);
        }
    }
    found
}

fn population_std(group: &[f64]) -> f64 {
    // Equal values are at their mean, which rounding may miss by a bit.
    if group.iter().all(|x| *x == group[0]) {
        return 0.0;
    }
    let n = group.len() as f64;
    let (scaled, exponent) = scaled(group);
    let mean = exact(&scaled) / n;
    let deviations: Vec<f64> = scaled.iter().map(|x| x - mean).collect();
    let mean = exact(&deviations) / n;
    let squares = deviations.iter().map(|x| (x - mean) * (x - mean));
    let squares: Vec<f64> = squares.collect();
    scale((exact(&squares) / n).sqrt(), exponent)
}

fn effective_size(weights: &[f64]) -> f64 {
    let (weights, _) = scaled(weights);
    let squares: Vec<f64> = weights.iter().map(|w| w * w).collect();
    let sum = exact(&weights);
    sum * sum / exact(&squares)
}

/// The values as they are, and 0, where no square of theirs leaves the range. Else the values times the power of two that brings the
/// largest of them between 1 and 2 (no less than 2^-51 for the smallest subnormals), and by what power they are to be multiplied to
/// be themselves again; what falls out of the range at the lower end is nothing beside the largest.
fn scaled(group: &[f64]) -> (Cow<'_, [f64]>, i32) {
    if sizes(group).have_products() {
        return (Cow::Borrowed(group), 0);
    }
    let exponent = ((largest(group).to_bits() >> 52) as i32 - 1023).clamp(-1023, 1022);
    let factor = power_of_two(-exponent);
    let scaled = group.iter().map(|x| x * factor).collect();
    (Cow::Owned(scaled), exponent)
}
