//! The logarithmic scale that sketches count on: its buckets, 36 to a doubling, each in two slots, one a sign.

use super::dispatched;

/// Buckets to a doubling, in the scale of [`bucket`]: there a step is at most 0.7 / 36 of a natural logarithm, 1.963 %.
const PER_DOUBLING: f64 = 36.0;
/// The bucket of the smallest normal double, and an end beyond that of the largest.
pub(crate) const FIRST: i32 = -1022 * 36;
pub(crate) const LAST: i32 = 1024 * 36;

/// What [`slots`] met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Met {
    /// Whether every value was finite; if not, all else is void.
    pub finite: bool,
    /// The smallest and the largest value; infinities where there is none.
    pub low: f64,
    pub high: f64,
    /// The smallest size above zero; infinite where there is none.
    pub least: f64,
    pub zeros: u64,
}

/// The slot of values of that size above zero; the next one is that of values below.
#[inline(always)]
pub(crate) fn slot(size: f64) -> i32 {
    bucket(size) << 1
}

dispatched! {
    /// The slot of each value; `slots` has as many places as there are values. Those of zeros are below all others.
    pub(crate) fn slots(values: &[f64], slots: &mut [i32]) -> Met = slots_body
}

/// Independent lanes: enough for two of the widest vectors.
const LANES: usize = 16;

/// [`Met`], lane by lane.
struct Seen {
    low: [f64; LANES],
    high: [f64; LANES],
    least: [f64; LANES],
    zeros: [f64; LANES],
    /// Sums that are NaN once a value was not finite: 0 times NaN or infinity is NaN.
    finite: [f64; LANES],
}

impl Seen {
    /// Takes a value in; gives its slot.
    #[inline(always)]
    fn take(&mut self, lane: usize, x: f64) -> i32 {
        let size = x.abs();
        let above = if size == 0.0 { f64::INFINITY } else { size };
        if above < self.least[lane] {
            self.least[lane] = above;
        }
        if x < self.low[lane] {
            self.low[lane] = x;
        }
        if x > self.high[lane] {
            self.high[lane] = x;
        }
        self.zeros[lane] += if size == 0.0 { 1.0 } else { 0.0 };
        self.finite[lane] += x * 0.0;
        // Zero is added for -0, which is not below 0.
        slot(size) | ((x + 0.0).to_bits() >> 63) as i32
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of zeros, at most a slice's length
fn slots_body(values: &[f64], slots: &mut [i32]) -> Met {
    let mut seen = Seen {
        low: [f64::INFINITY; LANES],
        high: [f64::NEG_INFINITY; LANES],
        least: [f64::INFINITY; LANES],
        zeros: [0.0; LANES],
        finite: [0.0; LANES],
    };
    let (chunks, tail) = values.as_chunks::<LANES>();
    let (places, last_places) = slots.as_chunks_mut::<LANES>();
    for (chunk, places) in chunks.iter().zip(places) {
        for lane in 0..LANES {
            places[lane] = seen.take(lane, chunk[lane]);
        }
    }
    for (lane, (&x, place)) in tail.iter().zip(last_places).enumerate() {
        *place = seen.take(lane, x);
    }
    Met {
        finite: seen.finite.into_iter().sum::<f64>() == 0.0,
        low: seen.low.into_iter().fold(f64::INFINITY, f64::min),
        high: seen.high.into_iter().fold(f64::NEG_INFINITY, f64::max),
        least: seen.least.into_iter().fold(f64::INFINITY, f64::min),
        zeros: seen.zeros.into_iter().sum::<f64>() as u64,
    }
}

/// The most values that [`tally`] counts at once.
pub(crate) const TALLY_MOST: usize = 4096;
/// How many slots it keeps apart. A little more than that many places to a row, so that rows do not share cache sets.
const NEAR: usize = 1024;
const ROW: usize = NEAR + 64;

dispatched! {
    /// Adds to the counts, of which the first is that of slot `first`: one for each of at most [`TALLY_MOST`] slots, none of
    /// them lower or beyond the last count.
    pub(crate) fn tally(slots: &[i32], first: i32, counts: &mut [u64]) = tally_body
}

#[inline(always)]
fn tally_body(slots: &[i32], first: i32, counts: &mut [u64]) {
    let place = |slot: i32| slot.wrapping_sub(first).cast_unsigned() as usize;
    if counts.len() > NEAR || slots.len() > TALLY_MOST {
        for &slot in slots {
            let count = &mut counts[place(slot)];
            *count = count.saturating_add(1);
        }
        return;
    }
    // Four counts a slot, taken in turn: neighbours are often alike, and each count would wait for the one before.
    let mut turns = [[0_u16; ROW]; 4];
    let (quads, rest) = slots.as_chunks::<4>();
    for quad in quads {
        for turn in 0..4 {
            turns[turn][place(quad[turn]) % NEAR] += 1;
        }
    }
    for &slot in rest {
        turns[0][place(slot) % NEAR] += 1;
    }
    let [a, b, c, d] = &turns;
    for (i, count) in counts.iter_mut().enumerate() {
        let more = a[i] + b[i] + c[i] + d[i];
        *count = count.saturating_add(more.into());
    }
}

/// The bucket of a positive size: [`PER_DOUBLING`] times its logarithm, rounded. Zero and subnormal sizes fall into the first.
///
/// The logarithm is the exponent, and between powers of two a cubic: additions and multiplications alone, so that the bits are the
/// same on every machine (a library's logarithm is not). The cubic is the one whose slope against the true logarithm varies least
/// with value and slope continuous over powers of two: 6/35 s^3 - 3/5 s^2 + 10/7 s (Masson, Rim and Lee, "`DDSketch`", 2019, cubic mapping).
#[inline(always)]
pub(crate) fn bucket(size: f64) -> i32 {
    let size = if size < f64::MIN_POSITIVE {
        f64::MIN_POSITIVE
    } else {
        size
    };
    let bits = size.to_bits();
    let exponent = f64::from_bits(bits >> 52 | WHOLE.to_bits()) - WHOLE;
    let s = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits()) - 1.0;
    let part = ((CUBIC[0] * s + CUBIC[1]) * s + CUBIC[2]) * s;
    #[allow(clippy::cast_possible_truncation)] // below 2^17, in the last bits of the mantissa
    let place = (exponent * PER_DOUBLING + part + WHOLE).to_bits() as u32;
    place.cast_signed() - BIAS
}

/// [`PER_DOUBLING`] times the cubic's coefficients.
const CUBIC: [f64; 3] = [
    PER_DOUBLING * 6.0 / 35.0,
    PER_DOUBLING * -0.6,
    PER_DOUBLING * 10.0 / 7.0,
];
/// The place of size 1, by its exponent as it stands in the bits.
const BIAS: i32 = 1023 * 36;
/// 2^52: from here to its double the doubles are the whole numbers, so that a sum with it is rounded to one, which stands in the
/// mantissa's last bits. (Conversions between doubles and integers are what vector units lack.)
const WHOLE: f64 = 4_503_599_627_370_496.0;

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)] // small numbers
mod tests {
    use super::*;
    use crate::kernel::Path;

    #[test]
    fn every_path_counts_each_slot_once_near_and_far() {
        for width in [1, 7, NEAR, NEAR + 1, 3000] {
            let slots: Vec<i32> = (0..1023)
                .map(|i| -5 + (i * i * 31) % width as i32)
                .collect();
            let mut expected = vec![u64::MAX - 2; width];
            for &slot in &slots {
                let count = &mut expected[(slot + 5) as usize];
                *count = count.saturating_add(1);
            }
            for path in Path::available() {
                assert!(path.force());
                let mut counts = vec![u64::MAX - 2; width];
                tally(&slots, -5, &mut counts);
                assert_eq!(counts, expected, "{path:?}, {width}");
            }
        }
    }

    #[test]
    fn every_path_finds_the_slot_of_each_value_and_what_was_met() {
        let mut values: Vec<f64> = (0..1000).map(|i| 1.013_f64.powi(i - 500)).collect();
        values.extend([f64::MAX, f64::MIN_POSITIVE, 5e-324]);
        let with = |more: &[f64]| [&values[..], more].concat();
        for (values, met) in [
            (values.clone(), Some((5e-324, f64::MAX, 5e-324, 0))),
            (with(&[0.0; 19]), Some((0.0, f64::MAX, 5e-324, 19))),
            (with(&[-0.0; 2]), Some((0.0, f64::MAX, 5e-324, 2))),
            (with(&[-1.0]), Some((-1.0, f64::MAX, 5e-324, 0))),
            (vec![-2.0, -0.5, -7.0], Some((-7.0, -0.5, 0.5, 0))),
            (with(&[f64::NAN]), None),
            (with(&[f64::INFINITY]), None),
            (with(&[f64::NEG_INFINITY]), None),
            (vec![0.0; 33], Some((0.0, 0.0, f64::INFINITY, 33))),
            (
                vec![],
                Some((f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, 0)),
            ),
        ] {
            let of = |x: &f64| 2 * bucket(x.abs()) + i32::from(*x < 0.0);
            let expected: Vec<i32> = values.iter().map(of).collect();
            for path in Path::available() {
                assert!(path.force());
                let mut found = vec![0; values.len()];
                let seen = slots(&values, &mut found);
                let seen = seen
                    .finite
                    .then_some((seen.low, seen.high, seen.least, seen.zeros));
                assert_eq!(seen, met, "{path:?}");
                if values.iter().all(|x| x.is_finite()) {
                    assert_eq!(found, expected, "{path:?}");
                }
            }
        }
    }
}
