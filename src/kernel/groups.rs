//! Sums over groups that lie one after another in a column. Each is exact, so that no vector width can show in it.

use std::ops::Range;

use super::column::largest_body;
use super::dispatched;
use super::lanes::{Lanes, Mask, Unit, WIDTH};

dispatched! {
    /// The sum of each of `groups`, the first of which begins where `values` does: correctly rounded, or NaN where two units
    /// (see [`extract`](super::column::extract)) do not hold all bits of the values around it.
    pub(crate) fn group_sums(values: &[f64], groups: &[Range<usize>], sums: &mut [f64]) = group_sums_body on a unit
}

/// As many groups at a time as a vector has lanes: their sums across lanes are then found together.
#[inline(always)]
fn group_sums_body<U: Unit>(unit: U, values: &[f64], groups: &[Range<usize>], sums: &mut [f64]) {
    let longest = groups.iter().map(Range::len).max().unwrap_or(0);
    let headroom = u64::from((longest + 2).next_power_of_two().ilog2());
    // The rounders of `extract` for the largest value of all, as powers of two by their exponent fields.
    let first = (largest_body(values).to_bits() >> 52) + 1 + headroom;
    if first > 2045 || headroom > 20 {
        sums.fill(f64::NAN);
        return;
    }
    let second = first.max(54 - headroom) + headroom - 53;
    let second = unit.splat(f64::from_bits(second << 52));
    let first = unit.splat(f64::from_bits(first << 52));
    let zero = unit.splat(0.0);
    let mut rest = values;
    for (groups, sums) in groups.chunks(WIDTH).zip(sums.chunks_mut(WIDTH)) {
        let (mut highs, mut lows, mut left) = ([zero; WIDTH], [zero; WIDTH], zero);
        for (row, group) in groups.iter().enumerate() {
            let (group, after) = rest.split_at(group.len());
            rest = after;
            let (chunks, tail) = group.as_chunks::<WIDTH>();
            let mut sums = Extracted {
                high: zero,
                low: zero,
                left,
            };
            for chunk in chunks {
                sums.add(unit.doubles(chunk), first, second);
            }
            if !tail.is_empty() {
                // Zeros add nothing.
                let mut last = [0.0; WIDTH];
                for (to, &x) in last.iter_mut().zip(tail) {
                    *to = x;
                }
                sums.add(unit.doubles(&last), first, second);
            }
            (highs[row], lows[row], left) = (sums.high, sums.low, sums.left);
        }
        // Two exact parts: their one addition is the one rounding.
        let found = (U::Lanes::row_sums(&highs) + U::Lanes::row_sums(&lows)).array();
        if left.within(zero).count() == WIDTH as u64 {
            sums.copy_from_slice(&found[..sums.len()]);
        } else {
            sums.fill(f64::NAN);
        }
    }
}

/// The sums of what two units hold of some values, and of what they leave over.
struct Extracted<L> {
    high: L,
    low: L,
    left: L,
}

impl<L: Lanes> Extracted<L> {
    #[inline(always)]
    fn add(&mut self, x: L, first: L, second: L) {
        let high = (first + x) - first;
        let low = (second + (x - high)) - second;
        self.high = self.high + high;
        self.low = self.low + low;
        self.left = self.left + ((x - high) - low).abs();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Path;

    fn ranges(sizes: &[usize]) -> Vec<Range<usize>> {
        let mut end = 0;
        let place = |&size: &usize| {
            end += size;
            end - size..end
        };
        sizes.iter().map(place).collect()
    }

    /// The sums on every path, which must be the same bits.
    fn on_every_path(values: &[f64], sizes: &[usize]) -> Vec<f64> {
        let mut found: Vec<Vec<u64>> = Vec::new();
        let mut sums = vec![0.0; sizes.len()];
        for path in Path::available() {
            assert!(path.force());
            group_sums(values, &ranges(sizes), &mut sums);
            found.push(sums.iter().map(|sum| sum.to_bits()).collect());
            assert_eq!(found[0], found[found.len() - 1], "{path:?}");
        }
        sums
    }

    #[test]
    fn the_sum_of_each_group_is_that_of_its_integers() {
        let sizes = [1, 2, 3, 7, 8, 9, 15, 16, 17, 0, 62, 64, 100, 8, 8, 8, 8, 5];
        let whole: Vec<i64> = (0..)
            .take(sizes.iter().sum())
            .map(|i: i64| (i * i * 7_919 + 13) % 2_000_003 - 1_000_000)
            .collect();
        let values: Vec<f64> = whole.iter().map(|&x| x as f64 / 1024.0).collect();
        let expected: Vec<f64> = ranges(&sizes)
            .into_iter()
            .map(|group| whole[group].iter().sum::<i64>() as f64 / 1024.0)
            .collect();
        assert_eq!(on_every_path(&values, &sizes), expected);
    }

    #[test]
    fn a_sum_is_rounded_once_and_to_even() {
        let half = 2.0_f64.powi(-53);
        let values = [1.0, half, 1.0, half, 2.0_f64.powi(-80), -1.0, half, 1.0];
        let sums = on_every_path(&values, &[2, 3, 3]);
        assert_eq!(sums, [1.0, 1.0 + 2.0 * half, half]);
    }

    #[test]
    fn what_two_units_do_not_hold_is_not_a_number() {
        assert!(on_every_path(&[1.0, 1e-300], &[1, 1])[1].is_nan());
        assert!(on_every_path(&[f64::MAX, 1.0], &[2])[0].is_nan());
        // Groups far from it are not touched.
        let mut values = vec![1.0; 64];
        values.push(1e-300);
        let sums = on_every_path(&values, &[8, 8, 8, 8, 8, 8, 8, 8, 1]);
        assert_eq!(sums[..8], [8.0; 8]);
        assert!(sums[8].is_nan());
    }

    #[test]
    fn zeros_and_the_smallest_doubles_add_up() {
        assert_eq!(
            on_every_path(&[0.0, -0.0, 5e-324, 1e-323], &[2, 2]),
            [0.0, 1.5e-323]
        );
        assert_eq!(on_every_path(&[], &[]), [0.0; 0]);
    }
}
