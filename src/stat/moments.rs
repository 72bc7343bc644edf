//! Count, mean and spread from the exact sum and the exact sum of squares.

use serde::{Deserialize, Serialize};

use crate::kernel::column::{PIECE_BITS, POWERS_MOST, powers};

use super::fixed::{Fixed, decompose, power_of_two, scale};
use super::integer::Integer;
use super::{CHUNK, ExactSum, Finite, Statistic};

/// Count, exact sum and exact sum of squares.
///
/// The variance is read from n times the sum of squares less the square of the sum, an integer: however far the values lie from zero,
/// nothing cancels, and constant samples have a spread of exactly 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    sum: ExactSum,
    squares: Fixed,
}

/// What [`Moments`] finish as. All `None` for the empty sample; `sample_std` for one value too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentsOutput {
    /// How many values.
    pub count: u64,
    /// Their sum, correctly rounded; 0 when empty.
    pub sum: f64,
    /// Sum over count, correctly rounded.
    pub mean: Option<f64>,
    /// Square root of the mean squared deviation from the mean; 0 for one value.
    pub population_std: Option<f64>,
    /// The same over n - 1.
    pub sample_std: Option<f64>,
}

impl Moments {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if !value.is_finite() {
            return;
        }
        self.count = self.count.saturating_add(count);
        self.sum.add_times(value, count);
        let (mantissa, exponent) = decompose(value);
        let square = square(mantissa.unsigned_abs());
        // 106 bits of square times 64 of count would not fit: in two halves.
        let half = |bits: u128| bits.cast_signed() * i128::from(count);
        self.squares
            .add(half(square & ((1 << 53) - 1)), 2 * exponent);
        self.squares.add(half(square >> 53), 2 * exponent + 53);
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their exact sum.
    #[must_use]
    pub fn sum(&self) -> &ExactSum {
        &self.sum
    }

    /// The exact sum over the count, correctly rounded; `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.divided(self.count))
    }

    /// The mean squared deviation from the mean, within three units in the last place; 0 for one value, `None` when empty.
    #[must_use]
    pub fn population_variance(&self) -> Option<f64> {
        let count = self.count as f64;
        let (deviation, exponent) = (self.count > 0).then(|| self.deviation())?;
        Some(scale(
            scale(deviation / (count * count), exponent),
            exponent,
        ))
    }

    /// Square root of the population variance, within three units in the last place; 0 for one value, `None` when empty.
    #[must_use]
    pub fn population_std(&self) -> Option<f64> {
        (self.count > 0).then(|| self.population(self.deviation()))
    }

    /// Square root of the squared deviations' sum over n - 1, within three units in the last place; `None` for fewer than two values.
    #[must_use]
    pub fn sample_std(&self) -> Option<f64> {
        (self.count > 1).then(|| self.sample(self.deviation()))
    }

    fn population(&self, (deviation, exponent): (f64, i32)) -> f64 {
        scale(deviation.sqrt() / self.count as f64, exponent)
    }

    fn sample(&self, (deviation, exponent): (f64, i32)) -> f64 {
        scale(
            (deviation / (self.count as f64 * (self.count - 1) as f64)).sqrt(),
            exponent,
        )
    }

    pub(super) fn squares(&self) -> &Fixed {
        &self.squares
    }

    /// Adds one value that is no double.
    pub(super) fn add_exact(&mut self, value: &ExactSum) {
        self.count = self.count.saturating_add(1);
        self.sum.merge(value);
        self.squares.add_square(value.as_fixed());
    }

    /// The moments of the sums of pairs, from those of either side and the sum of the pairs' products.
    pub(super) fn plus(&self, other: &Self, products: &Fixed) -> Self {
        let mut sums = self.clone();
        sums.sum.merge(&other.sum);
        for part in [&other.squares, products, products] {
            sums.squares.merge(part);
        }
        sums
    }

    /// The sum of (n x - `times` S)^2 over its values, S the sum of the n values of `whole`, as `value * 4^exponent`: how far
    /// the sums of so many values each are from what the mean of the whole would make them.
    pub(super) fn residuals(&self, times: u64, whole: &Self) -> (f64, i32) {
        // n^2 Q - 2 n t S s + G t^2 S^2 for G values of sum s and sum of squares Q.
        let [sum, all] = [self, whole].map(|of| Integer::from(of.sum.as_fixed()));
        let (n, all) = (whole.count, all.times(times));
        Integer::from(&self.squares)
            .times(n)
            .times(n)
            .minus(&sum.multiplied(&all).times(n).times(2))
            .plus(&all.multiplied(&all).times(self.count))
            .scaled()
    }

    /// n times the sum of squared deviations from the mean, as `value * 4^exponent`: n S2 - S1^2 in integers, rounded once.
    pub(super) fn deviation(&self) -> (f64, i32) {
        let (_, sum) = self.sum.as_fixed().magnitude();
        let (_, squares) = self.squares.magnitude();
        squares.times(self.count).minus(&sum.square()).scaled()
    }

    /// Adds values cut into pieces whose products doubles add exactly; `false`, and nothing added, where they are too unlike
    /// in size for that.
    fn add_pieces(&mut self, finite: Finite<'_>) -> bool {
        // Every |x| < 2^size; within these sizes no piece and no product leaves the range of normal doubles.
        let size = (finite.met.largest().to_bits() >> 52) as i32 - 1022;
        if !(-400..=400).contains(&size) {
            return false;
        }
        let rounders = [1, 2, 3, 4].map(|piece| 1.5 * power_of_two(size - PIECE_BITS * piece + 52));
        let powers = powers(finite.values(), rounders);
        if powers.leaves {
            return false;
        }
        // A piece's unit is 2^-20 of the one before, and so is a product's.
        self.sum.add_joined(&powers.sums, size - PIECE_BITS);
        self.squares
            .add_joined(&powers.squares, 2 * (size - PIECE_BITS));
        true
    }

    /// Adds the squares of values of any size.
    fn add_squares(&mut self, finite: Finite<'_>) {
        /// Bins of squares, one an exponent: 106 bits and a chunk of carries fit an `u128` without shifting.
        const BINS: usize = 64;
        let top = (finite.met.largest().to_bits() >> 52) as i32;
        let top = top.max(1) - 1075;
        // Two sets in turn: most neighbours share an exponent, and a bin's sum would wait for the one before.
        let mut bins = [[0_u128; BINS]; 2];
        let mut deepest = 0;
        for (i, &x) in finite.values().iter().enumerate() {
            let field = (x.to_bits() >> 52) as i32 & 0x7ff;
            let mantissa = x.to_bits() & ((1 << 52) - 1) | u64::from(field != 0) << 52;
            let exponent = field.max(1) - 1075;
            let depth = (top - exponent) as usize;
            match bins[i % 2].get_mut(depth) {
                Some(bin) => {
                    *bin += square(mantissa);
                    deepest = deepest.max(depth);
                }
                None => self
                    .squares
                    .add(square(mantissa).cast_signed(), 2 * exponent),
            }
        }
        for (below, (a, b)) in (0..).zip(bins[0].iter().zip(&bins[1])).take(deepest + 1) {
            self.squares.add((a + b).cast_signed(), 2 * (top - below));
        }
    }
}

const _: () = assert!(CHUNK.ilog2() + 106 < 127);
const _: () = assert!(CHUNK <= POWERS_MOST);

impl Statistic for Moments {
    type Output = MomentsOutput;

    fn add_finite(&mut self, finite: Finite<'_>) {
        self.count = self.count.saturating_add(finite.values().len() as u64);
        if !self.add_pieces(finite) {
            self.sum.add_finite(finite);
            self.add_squares(finite);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    fn finish(&self) -> MomentsOutput {
        let deviation = self.deviation();
        MomentsOutput {
            count: self.count,
            sum: self.sum.rounded(),
            mean: self.mean(),
            population_std: (self.count > 0).then(|| self.population(deviation)),
            sample_std: (self.count > 1).then(|| self.sample(deviation)),
        }
    }
}

fn square(mantissa: u64) -> u128 {
    u128::from(mantissa) * u128::from(mantissa)
}
