//! Groups of one length, as many at a time as a vector has lanes, each in a lane of its own.

use super::dispatched;
use super::lanes::{Lanes, Mask, Unit, WIDTH};

/// The cells of up to [`WIDTH`] groups, place by place; lanes without a group repeat the first.
pub(super) struct Tile(Vec<[f64; WIDTH]>);

impl Tile {
    /// Room for groups as long as the first of these.
    pub fn of(groups: &[&[f64]]) -> Self {
        let length = groups.first().map_or(0, |group| group.len());
        Self(vec![[0.0; WIDTH]; length])
    }

    /// Lays the groups beside each other; not empty, as chunks are.
    #[inline(always)]
    pub fn fill(&mut self, groups: &[&[f64]]) -> &mut [[f64; WIDTH]] {
        let Self(cells) = self;
        let group =
            |lane: usize| &groups[if lane < groups.len() { lane } else { 0 }][..cells.len()];
        let [a, b, c, d] = [group(0), group(1), group(2), group(3)];
        let [e, f, g, h] = [group(4), group(5), group(6), group(7)];
        // Place by place: a place is written as the vectors that it is read as.
        for (i, cells) in cells.iter_mut().enumerate() {
            *cells = [a[i], b[i], c[i], d[i], e[i], f[i], g[i], h[i]];
        }
        cells
    }
}

/// A sum a lane, in two doubles, and what those could not hold.
pub(super) struct Twofold<L> {
    sum: L,
    rest: L,
    lost: L,
}

impl<L: Lanes> Twofold<L> {
    #[inline(always)]
    pub fn new(zero: L) -> Self {
        Self {
            sum: zero,
            rest: zero,
            lost: zero,
        }
    }

    #[inline(always)]
    pub fn add(&mut self, x: L) {
        let (sum, error) = two_sum(self.sum, x);
        let (rest, left) = two_sum(self.rest, error);
        (self.sum, self.rest) = (sum, rest);
        self.lost = self.lost + left.abs();
    }

    /// The nearest double to each exact sum, and what that leaves over; NaN for both where two do not hold it, or where it leaves the
    /// range on the way.
    #[inline(always)]
    pub fn finish(self) -> (L, L) {
        let (sum, rest) = two_sum(self.sum, self.rest);
        let most = sum.splat(f64::MAX);
        // What overflows leaves NaN, which is within nothing.
        let held = self.lost.within(sum.splat(0.0)) & sum.abs().within(most);
        let nothing = sum.splat(f64::NAN);
        (held.select(sum, nothing), held.select(rest, nothing))
    }
}

/// The rounded sum and its error, which is a double (Knuth, "The Art of Computer Programming" 2, section 4.2.2).
#[inline(always)]
fn two_sum<L: Lanes>(a: L, b: L) -> (L, L) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

dispatched! {
    /// The sum of each of `groups`, all of which are as long, as two doubles: the nearest one, and what that leaves over; NaN
    /// for both where two do not hold it, or where it leaves the range on the way.
    pub(crate) fn twofold_sums(groups: &[&[f64]], sums: &mut [f64], rests: &mut [f64]) = twofold_body on a unit
}

#[inline(always)]
fn twofold_body<U: Unit>(unit: U, groups: &[&[f64]], sums: &mut [f64], rests: &mut [f64]) {
    let mut tile = Tile::of(groups);
    let parts = groups.chunks(WIDTH).zip(sums.chunks_mut(WIDTH));
    for ((groups, sums), rests) in parts.zip(rests.chunks_mut(WIDTH)) {
        let mut found = Twofold::new(unit.splat(0.0));
        for cells in tile.fill(groups) {
            found.add(unit.doubles(cells));
        }
        let (sum, rest) = found.finish();
        sums.copy_from_slice(&sum.array()[..sums.len()]);
        rests.copy_from_slice(&rest.array()[..rests.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Path;

    #[test]
    fn two_doubles_hold_a_sum_exactly_on_every_path_or_are_no_numbers() {
        use crate::stat::ExactSum;
        let tiny = 2.0_f64.powi(-90);
        let mut groups: Vec<Vec<f64>> = (0..19_u32)
            .map(|g| {
                (0..5)
                    .map(|i| f64::from(g * 7 + i * i) / 3.0 - 9.0)
                    .collect()
            })
            .collect();
        groups.push(vec![1.0, tiny, -tiny, 0.5, 0.25]);
        groups.push(vec![1e300, 1.0, 1e-300, 0.0, 0.0]);
        groups.push(vec![f64::MAX, f64::MAX, -f64::MAX, 0.0, 0.0]);
        let groups: Vec<&[f64]> = groups.iter().map(Vec::as_slice).collect();
        let mut found: Vec<Vec<u64>> = Vec::new();
        for path in Path::available() {
            assert!(path.force());
            let (mut sums, mut rests) = (vec![0.0; groups.len()], vec![0.0; groups.len()]);
            twofold_sums(&groups, &mut sums, &mut rests);
            for ((group, &sum), &rest) in groups.iter().zip(&sums).zip(&rests) {
                if sum.is_nan() {
                    assert!(rest.is_nan() && group[0] >= 1e300);
                    continue;
                }
                assert_eq!(ExactSum::of(&[sum, rest]), ExactSum::of(group), "{path:?}");
            }
            assert!(sums[20].is_nan() && sums[21].is_nan());
            let both = sums.iter().chain(&rests);
            found.push(both.map(|x| x.to_bits()).collect());
            assert_eq!(found[0], found[found.len() - 1], "{path:?}");
        }
        twofold_sums(&[&[]], &mut [1.0], &mut [1.0]);
    }
}
