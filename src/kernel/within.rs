//! Numbers of groups of one length, each by itself, from sums that are correctly rounded: no vector width can show in them.

use super::dispatched;
use super::lanes::{Lanes, Mask, Unit, WIDTH};
use super::tile::{Tile, Twofold};

dispatched! {
    /// The population standard deviation of each of `groups`, all of which are as long and not empty (see
    /// [`population_stds`](crate::stat::population_stds)); NaN where two doubles do not hold one of its sums. The caller vouches that no
    /// square of their values leaves the range of normal doubles.
    pub(crate) fn stds(groups: &[&[f64]], stds: &mut [f64]) = stds_body on a unit
}

#[inline(always)]
fn stds_body<U: Unit>(unit: U, groups: &[&[f64]], stds: &mut [f64]) {
    let zero = unit.splat(0.0);
    let mut tile = Tile::of(groups);
    let length = groups.first().map_or(0, |group| group.len()) as f64;
    for (groups, stds) in groups.chunks(WIDTH).zip(stds.chunks_mut(WIDTH)) {
        let tile = tile.fill(groups);
        let first = unit.doubles(&tile[0]);
        let (mut least, mut most, mut sum) = (first, first, Twofold::new(zero));
        for cells in &*tile {
            let x = unit.doubles(cells);
            (least, most) = (x.min(least), x.max(most));
            sum.add(x);
        }
        let mean = sum.finish().0 / unit.splat(length);
        let mut sum = Twofold::new(zero);
        for cells in &mut *tile {
            let deviation = unit.doubles(cells) - mean;
            sum.add(deviation);
            *cells = deviation.array();
        }
        let mean = sum.finish().0 / unit.splat(length);
        let mut squares = Twofold::new(zero);
        for cells in &*tile {
            let deviation = unit.doubles(cells) - mean;
            squares.add(deviation * deviation);
        }
        let variance = squares.finish().0 / unit.splat(length);
        // Equal values are at their mean, which rounding may miss by a bit.
        let variance = most.within(least).select(zero, variance).array();
        for (std, variance) in stds.iter_mut().zip(variance) {
            *std = variance.sqrt();
        }
    }
}

dispatched! {
    /// The square of each group's sum over the sum of its squares, as for [`stds`].
    pub(crate) fn effective(groups: &[&[f64]], sizes: &mut [f64]) = effective_body on a unit
}

#[inline(always)]
fn effective_body<U: Unit>(unit: U, groups: &[&[f64]], sizes: &mut [f64]) {
    let zero = unit.splat(0.0);
    let mut tile = Tile::of(groups);
    for (groups, sizes) in groups.chunks(WIDTH).zip(sizes.chunks_mut(WIDTH)) {
        let (mut sum, mut squares) = (Twofold::new(zero), Twofold::new(zero));
        for cells in tile.fill(groups) {
            let x = unit.doubles(cells);
            sum.add(x);
            squares.add(x * x);
        }
        let (sum, squares) = (sum.finish().0, squares.finish().0);
        let found = (sum * sum / squares).array();
        sizes.copy_from_slice(&found[..sizes.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Path;
    use crate::stat::{effective_sizes, population_stds};

    /// The same numbers without this kernel: beside a value whose square leaves the range.
    fn apart(groups: &[&[f64]], of: fn(&[f64], &[&[f64]]) -> Vec<f64>) -> Vec<u64> {
        of(&[1e300], groups).iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn groups_side_by_side_have_the_bits_of_each_by_itself_on_every_path() {
        let number = |i: usize| ((i * i * 7_919 + 13 * i) % 100_003) as f64 / 700.0 + 1e4;
        for (length, count) in [(1, 3), (2, 8), (5, 17), (8, 16), (100, 9)] {
            let mut values: Vec<f64> = (0..length * count).map(number).collect();
            values[..length].fill(0.1);
            let groups: Vec<&[f64]> = values.chunks(length).collect();
            let expected = [
                apart(&groups, population_stds),
                apart(&groups, effective_sizes),
            ];
            for path in Path::available() {
                assert!(path.force());
                for (of, expected) in [stds, effective].into_iter().zip(&expected) {
                    let mut found = vec![f64::NAN; count];
                    of(&groups, &mut found);
                    let found: Vec<u64> = found.iter().map(|x| x.to_bits()).collect();
                    assert_eq!(found, *expected, "{path:?}: {count} of {length}");
                }
            }
        }
    }

    #[test]
    fn what_two_doubles_do_not_hold_is_not_a_number_in_its_lane_alone() {
        let wide = [2.0_f64.powi(100), 1.0, 2.0_f64.powi(-100)];
        let mut found = [0.0; 2];
        for of in [stds, effective] {
            of(&[&wide, &[1.0, 2.0, 3.0]], &mut found);
            assert!(found[0].is_nan() && !found[1].is_nan());
        }
        stds(&[], &mut []);
    }
}
