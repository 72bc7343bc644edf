//! Numbers of groups of values, which lie one after another in a column: each within a few units in the last place,
//! however far the values lie from zero and whatever their magnitude, and whatever their order within a group.

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
    let (mut deviations, exponents) = scaled(values, groups);
    for _ in 0..2 {
        let sums = sums_of(&deviations, groups);
        for (group, sum) in groups.iter().zip(sums) {
            let mean = sum / group.len() as f64;
            for x in &mut deviations[group.clone()] {
                *x -= mean;
            }
        }
    }
    let squares = sums_of_squares(&mut deviations, groups);
    let groups = groups.iter().zip(exponents).zip(squares);
    groups
        .map(|((group, exponent), squares)| {
            let group = &values[group.clone()];
            // Equal values are at their mean, which rounding may miss by a bit.
            if group.iter().all(|x| *x == group[0]) {
                0.0
            } else {
                scale((squares / group.len() as f64).sqrt(), exponent)
            }
        })
        .collect()
}

/// The effective size of each group of weights, (sum of w)^2 / sum of w^2 (Kong, "A note on importance sampling using
/// standardized weights", 1992); NaN for weights that are all zero.
pub(crate) fn effective_sizes(weights: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let (mut weights, _) = scaled(weights, groups);
    let sums = sums_of(&weights, groups);
    let squares = sums_of_squares(&mut weights, groups);
    let pairs = sums.iter().zip(squares);
    pairs.map(|(sum, squares)| sum * sum / squares).collect()
}

/// The values, and 0 for each group, where no square of theirs leaves the range. Else each group's values times the power of
/// two that brings the largest of them between 1 and 2 (no less than 2^-51 for the smallest subnormals), and by what power
/// they are to be multiplied to be themselves again; what falls out of the range at the lower end is nothing beside the
/// largest.
fn scaled(values: &[f64], groups: &[Range<usize>]) -> (Vec<f64>, Vec<i32>) {
    let mut scaled = values.to_vec();
    if sizes(values).have_products() {
        return (scaled, vec![0; groups.len()]);
    }
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
    (scaled, exponents)
}

fn sums_of_squares(values: &mut [f64], groups: &[Range<usize>]) -> Vec<f64> {
    for x in values.iter_mut() {
        *x *= *x;
    }
    sums_of(values, groups)
}

fn sums_of(values: &[f64], groups: &[Range<usize>]) -> Vec<f64> {
    let mut sums = Vec::with_capacity(groups.len());
    exact_groups(values, groups, &mut sums);
    sums
}
