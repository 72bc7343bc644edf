//! Sums over groups of values that are weighted by their ranks.

use super::dispatched;
use super::lanes::{Lanes, Unit, WIDTH};
use super::tile::Tile;

/// The longest groups that are sorted by comparing places, whatever stands there: of longer ones that would be too many comparisons.
const COMPARED: usize = 64;

/// The places to compare, and to swap where the first holds the larger value, in the order in which that sorts `n` values (Batcher's
/// odd-even merge: Knuth, "The Art of Computer Programming" 3, section 5.2.2, algorithm M).
fn comparisons(n: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            let firsts = (0..n.saturating_sub(d)).filter(|i| i & p == r);
            pairs.extend(firsts.map(|i| (i, i + d)));
            if q == p {
                break;
            }
            (d, q, r) = (q - p, q / 2, p);
        }
        p /= 2;
    }
    pairs
}

/// For each of `weights` the sums over a group's values of value times weight, first of the values from the largest down, then from the
/// smallest up; one a group of each. All groups are as long; no weights are longer.
pub(crate) fn ranked_sums(groups: &[&[f64]], weights: &[Vec<f64>]) -> Vec<[Vec<f64>; 2]> {
    let length = groups.first().map_or(0, |group| group.len());
    let room = || Vec::with_capacity(groups.len());
    let mut sums: Vec<_> = weights.iter().map(|_| [room(), room()]).collect();
    if length <= COMPARED {
        of_compared(groups, &comparisons(length), weights, &mut sums);
        return sums;
    }
    let mut sorted = groups.concat();
    for group in sorted.chunks_mut(length) {
        group.sort_unstable_by(f64::total_cmp);
    }
    let groups: Vec<&[f64]> = sorted.chunks(length).collect();
    of_compared(&groups, &[], weights, &mut sums);
    sums
}

dispatched! {
    /// [`ranked_sums`] of groups that `comparisons` sort.
    fn of_compared(
        groups: &[&[f64]],
        comparisons: &[(usize, usize)],
        weights: &[Vec<f64>],
        sums: &mut [[Vec<f64>; 2]],
    ) = of_compared_body on a unit
}

/// The order of equal values, also of -0 and 0, shows in no sum; each is added up in the order of its ranks.
#[inline(always)]
fn of_compared_body<U: Unit>(
    unit: U,
    groups: &[&[f64]],
    comparisons: &[(usize, usize)],
    weights: &[Vec<f64>],
    sums: &mut [[Vec<f64>; 2]],
) {
    let zero = unit.splat(0.0);
    let mut tile = Tile::of(groups);
    for groups in groups.chunks(WIDTH) {
        let tile = tile.fill(groups);
        for &(i, j) in comparisons {
            let (a, b) = (unit.doubles(&tile[i]), unit.doubles(&tile[j]));
            (tile[i], tile[j]) = (a.min(b).array(), b.max(a).array());
        }
        for (weights, [down, up]) in weights.iter().zip(&mut *sums) {
            let (mut from_top, mut from_bottom) = (zero, zero);
            for ((high, low), &weight) in tile.iter().rev().zip(&*tile).zip(weights) {
                let weight = unit.splat(weight);
                from_top = from_top + unit.doubles(high) * weight;
                from_bottom = from_bottom + unit.doubles(low) * weight;
            }
            down.extend_from_slice(&from_top.array()[..groups.len()]);
            up.extend_from_slice(&from_bottom.array()[..groups.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Path;

    #[test]
    fn weighted_sums_of_sorted_groups_are_the_same_bits_on_every_path() {
        let number = |i: usize| ((i * i * 7_919 + 13 * i) % 1_009) as f64 / 100.0 - 4.0;
        for (length, groups) in [(1, 9), (2, 8), (3, 17), (8, 20), (33, 3), (64, 8), (65, 9)] {
            let mut values: Vec<f64> = (0..length * groups).map(number).collect();
            values[0] = -0.0;
            let weights: Vec<Vec<f64>> = [length, length / 2 + 1, 1]
                .map(|ranks| (0..ranks).map(|i| 1.0 / (i + 3) as f64).collect())
                .into();
            let groups: Vec<&[f64]> = values.chunks(length).collect();
            for path in Path::available() {
                assert!(path.force());
                let found = ranked_sums(&groups, &weights);
                for (weights, found) in weights.iter().zip(found) {
                    for (at, group) in groups.iter().enumerate() {
                        let mut group = group.to_vec();
                        group.sort_by(f64::total_cmp);
                        let mut expected = [0.0; 2];
                        for (i, weight) in weights.iter().enumerate() {
                            expected[0] += group[length - 1 - i] * weight;
                            expected[1] += group[i] * weight;
                        }
                        let found = [found[0][at], found[1][at]];
                        assert_eq!(found, expected, "{path:?}: {at} of {length}");
                    }
                }
            }
        }
        assert!(ranked_sums(&[], &[vec![1.0]])[0][0].is_empty());
    }
}
