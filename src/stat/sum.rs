//! Correctly rounded sums that do not depend on the order of the addends.
//!
//! A batch is split without error into multiples of two units (Rump, Ogita and Oishi, "Accurate floating-point summation part I", 2008,
//! algorithm ExtractVector): the multiples of one unit are few enough bits that plain doubles add them exactly, in any order, at vector
//! speed. What the two units leave over, in batches of very unlike sizes, goes through the same again.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::column::{Extracted, extract, extract_body, largest, largest_body, split};
use crate::kernel::groups::group_sums;

use super::fixed::{Fixed, decompose, power_of_two};
use super::{CHUNK, Finite, Statistic};

/// The exact sum of any number of finite doubles; finishes as the nearest double (ties to even), 0 when empty.
///
/// Infinite only where the rounded sum itself is beyond the range. Equal sums have equal states.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExactSum(Fixed);

impl ExactSum {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if value.is_finite() {
            let (mantissa, exponent) = decompose(value);
            self.0
                .add(i128::from(mantissa) * i128::from(count), exponent);
        }
    }

    /// Whether the exact sum is zero; true when empty.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// The sum, correctly rounded; 0 when empty.
    #[must_use]
    pub fn rounded(&self) -> f64 {
        self.divided(1)
    }

    /// The sum of `values`.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sum = Self::default();
        sum.add(values);
        sum
    }

    /// The sum over `divisor`, correctly rounded from the exact quotient; the sum itself for a divisor of 0.
    #[must_use]
    pub fn divided(&self, divisor: u64) -> f64 {
        let (negative, size) = self.0.magnitude();
        size.divided(divisor.max(1), negative)
    }

    pub(super) fn as_fixed(&self) -> &Fixed {
        &self.0
    }

    /// [`Fixed::add_joined`].
    pub(super) fn add_joined(&mut self, parts: &[f64], unit: i32) {
        self.0.add_joined(parts, unit);
    }

    fn take(&mut self, split: &Split) {
        self.0.add_f64(split.extracted.high);
        self.0.add_f64(split.extracted.low);
    }

    /// Splits what is left over, again and again, each time some ninety bits deeper.
    #[cold]
    fn add_rest(&mut self, chunk: &[f64], split: &Split) {
        let mut rest = [0.0; CHUNK];
        let mut len = split.keep_rest(chunk.iter().copied(), |i, x| rest[i] = x);
        while len > 0 {
            let Some(split) = Split::of(&rest[..len], largest(&rest[..len])) else {
                return;
            };
            self.take(&split);
            let current = rest;
            len = split.keep_rest(current[..len].iter().copied(), |i, x| rest[i] = x);
        }
    }
}

impl FromIterator<f64> for ExactSum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self::of(&values.into_iter().collect::<Vec<f64>>())
    }
}

impl Statistic for ExactSum {
    type Output = f64;

    fn add_finite(&mut self, finite: Finite<'_>) {
        let values = finite.values();
        let Some(split) = Split::of(values, finite.met.largest()) else {
            for &x in values {
                self.0.add_f64(x);
            }
            return;
        };
        self.take(&split);
        if split.extracted.leaves {
            self.add_rest(values, &split);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn finish(&self) -> f64 {
        self.rounded()
    }
}

/// The correctly rounded sum of the finite values in `samples`, 0 when there are none; the same bits as [`ExactSum`].
#[must_use]
pub fn exact(samples: &[f64]) -> f64 {
    let top = if samples.len() <= FEW {
        largest_body(samples)
    } else {
        largest(samples)
    };
    if samples.len() <= CHUNK
        && let Some(split) = Split::of(samples, top)
        && !split.extracted.leaves
    {
        // Two exact parts: their one addition is the one rounding. (NaN leaves NaN, infinities have no split.)
        return split.extracted.high + split.extracted.low;
    }
    let mut sum = ExactSum::default();
    sum.add(samples);
    sum.rounded()
}

/// Adds to `sums` the [`exact`] sum of each of `groups`, which lie one after another in `values`, the first at its beginning.
pub(crate) fn exact_groups(values: &[f64], groups: &[Range<usize>], sums: &mut Vec<f64>) {
    let before = sums.len();
    sums.resize(before + groups.len(), 0.0);
    let sums = &mut sums[before..];
    group_sums(values, groups, sums);
    let mut start = 0;
    for (sum, group) in sums.iter_mut().zip(groups) {
        if sum.is_nan() {
            *sum = exact(&values[start..start + group.len()]);
        }
        start += group.len();
    }
}

/// Up to this many values, choosing a vector unit costs more than it gains.
const FEW: usize = 16;

/// The rounders to two units in which so many values, `top` the largest size, are added up without an error; `None` where they
/// would leave the range of doubles.
pub(super) fn rounders(len: usize, top: f64) -> Option<[f64; 2]> {
    // Every |x| < 2^size. The rounder is n + 2 times that or more: sums of multiples of its 2^-53rd then stay within 53 bits.
    let size = (top.to_bits() >> 52) as i32 - 1022;
    let headroom = (len + 2).next_power_of_two().ilog2().cast_signed();
    // Below the smallest normal double, every double is a multiple of the unit.
    (size + headroom <= 1022).then(|| {
        [
            power_of_two(size + headroom),
            power_of_two(size + 2 * headroom - 53),
        ]
    })
}

/// The exact sum of a batch's multiples of two units, and whether any value has bits below both.
#[derive(Debug)]
struct Split {
    /// For each unit the power of two whose addition rounds a value to a multiple of the unit.
    rounders: [f64; 2],
    extracted: Extracted,
}

impl Split {
    /// Splits finite values, at most [`CHUNK`] of them and `top` the largest size; `None` where there are no [`rounders`].
    fn of(samples: &[f64], top: f64) -> Option<Split> {
        let rounders = rounders(samples.len(), top)?;
        let extracted = if samples.len() <= FEW {
            extract_body(samples, rounders)
        } else {
            extract(samples, rounders)
        };
        Some(Split {
            rounders,
            extracted,
        })
    }

    /// Keeps what the split left over, without the zeros; returns how many.
    fn keep_rest(
        &self,
        samples: impl Iterator<Item = f64>,
        mut keep: impl FnMut(usize, f64),
    ) -> usize {
        let rests = samples
            .map(|x| split(x, self.rounders).2)
            .filter(|&rest| rest != 0.0);
        let mut len = 0;
        for rest in rests {
            keep(len, rest);
            len += 1;
        }
        len
    }
}
