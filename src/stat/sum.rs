//! Correctly rounded sums that do not depend on the order of the addends.
//!
//! A batch is split without error into multiples of two units (Rump, Ogita and Oishi, "Accurate floating-point summation part I", 2008,
//! algorithm ExtractVector): the multiples of one unit are few enough bits that plain doubles add them exactly, in any order, at vector
//! speed. What the two units leave over, in batches of very unlike sizes, goes through the same again.

use serde::{Deserialize, Serialize};

use super::{CHUNK, Statistic, fixed, fixed::Fixed, for_finite_chunks};

/// The exact sum of any number of finite doubles; finishes as the nearest double (ties to even), 0 when empty.
///
/// Infinite only where the rounded sum itself is beyond the range. Equal sums have equal states.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExactSum(Fixed);

impl ExactSum {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if value.is_finite() {
            let (mantissa, exponent) = fixed::decompose(value);
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

    /// The sum over `divisor`, correctly rounded from the exact quotient; the sum itself for a divisor of 0.
    #[must_use]
    pub fn divided(&self, divisor: u64) -> f64 {
        let (negative, size) = self.0.magnitude();
        size.divided(divisor.max(1), negative)
    }

    pub(super) fn as_fixed(&self) -> &Fixed {
        &self.0
    }

    /// Adds at most [`CHUNK`] finite values.
    pub(super) fn add_chunk(&mut self, chunk: &[f64]) {
        let Some(split) = Split::of(chunk) else {
            for &x in chunk {
                self.0.add_f64(x);
            }
            return;
        };
        self.take(&split);
        if split.leaves {
            self.add_rest(chunk, &split);
        }
    }

    fn take(&mut self, split: &Split) {
        self.0.add_f64(split.high);
        self.0.add_f64(split.low);
    }

    /// Splits what is left over, again and again, each time some ninety bits deeper.
    #[cold]
    fn add_rest(&mut self, chunk: &[f64], split: &Split) {
        let mut rest = [0.0; CHUNK];
        let mut len = split.keep_rest(chunk.iter().copied(), |i, x| rest[i] = x);
        while len > 0 {
            let Some(split) = Split::of(&rest[..len]) else {
                return;
            };
            self.take(&split);
            let current = rest;
            len = split.keep_rest(current[..len].iter().copied(), |i, x| rest[i] = x);
        }
    }
}

impl Statistic for ExactSum {
    type Output = f64;

    fn add(&mut self, samples: &[f64]) {
        for_finite_chunks(samples, |chunk| self.add_chunk(chunk));
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
    if samples.len() <= CHUNK
        && let Some(split) = Split::of(samples)
        && !split.leaves
    {
        // Two exact parts: their one addition is the one rounding. (NaN leaves NaN, infinities have no split.)
        return split.high + split.low;
    }
    let mut sum = ExactSum::default();
    sum.add(samples);
    sum.rounded()
}

/// The exact sum of a batch's multiples of two units, and whether any value has bits below both.
#[derive(Debug)]
struct Split {
    /// For each unit the power of two whose addition rounds a value to a multiple of the unit.
    rounders: [f64; 2],
    high: f64,
    low: f64,
    leaves: bool,
}

impl Split {
    /// Splits finite values, at most [`CHUNK`] of them; `None` where the rounder would leave the range of doubles.
    fn of(samples: &[f64]) -> Option<Split> {
        let (quads, tail) = samples.as_chunks::<4>();
        let mut last = [[0.0; 4]];
        last[0][..tail.len()].copy_from_slice(tail);
        let last = &last[..usize::from(!tail.is_empty())];

        let mut tops = [0.0_f64; 4];
        for quads in [quads, last] {
            for quad in quads {
                for (top, x) in tops.iter_mut().zip(quad) {
                    *top = if x.abs() > *top { x.abs() } else { *top };
                }
            }
        }
        let top = tops.into_iter().fold(0.0, f64::max);

        // Every |x| < 2^size. The rounder is n + 2 times that or more: sums of multiples of its 2^-53rd then stay within 53 bits.
        let size = (top.to_bits() >> 52) as i32 - 1022;
        let headroom = (samples.len() + 2)
            .next_power_of_two()
            .ilog2()
            .cast_signed();
        if size + headroom > 1022 {
            return None;
        }
        let rounders = [
            power_of_two(size + headroom),
            power_of_two(size + 2 * headroom - 53),
        ];

        let mut highs = [0.0; 4];
        let mut lows = [0.0; 4];
        let mut rests = [0_u64; 4];
        for quads in [quads, last] {
            for quad in quads {
                for lane in 0..4 {
                    let (high, low, rest) = split(quad[lane], rounders);
                    highs[lane] += high;
                    lows[lane] += low;
                    rests[lane] |= rest.to_bits();
                }
            }
        }
        let rest = rests[0] | rests[1] | rests[2] | rests[3];
        Some(Split {
            rounders,
            high: highs.iter().sum(),
            low: lows.iter().sum(),
            leaves: rest << 1 != 0,
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

/// The multiple of each rounder's unit in `x`, and the rest; no step rounds.
#[inline]
fn split(x: f64, rounders: [f64; 2]) -> (f64, f64, f64) {
    let high = (rounders[0] + x) - rounders[0];
    let rest = x - high;
    let low = (rounders[1] + rest) - rounders[1];
    (high, low, rest - low)
}

/// 2 to the `exponent`, but at least the smallest normal double: below that, every double is a multiple of the unit.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::from((exponent + 1023).max(1).cast_unsigned()) << 52)
}
