//! The third moment about the mean.

use super::fixed::{Fixed, decompose, scale};
use super::integer::Integer;
use super::{Moments, Order};
use crate::kernel::column::sizes;
use crate::kernel::products::products;

/// The third standardised moment, population form, of the values of `order`, whose `moments` these are; `None` where they
/// do not vary.
///
/// With the exact sums S, Q, C of values, squares and cubes it is (n^2 C - 3 n S Q + 2 S^3) / (n Q - S^2)^(3/2): integers
/// above and below, so that nothing cancels however far the values lie from zero, and no power leaves the range.
#[must_use]
pub fn skewness(order: &Order, moments: &Moments) -> Option<f64> {
    let n = moments.count();
    let (spread, spread_exponent) = moments.deviation();
    if spread == 0.0 {
        return None;
    }
    let cubes = Integer::from(&order.cubes());
    let sum = Integer::from(moments.sum().as_fixed());
    let squares = Integer::from(moments.squares());
    let (third, exponent) = cubes
        .times(n)
        .times(n)
        .minus(&sum.multiplied(&squares).times(n).times(3))
        .plus(&sum.multiplied(&sum).multiplied(&sum).times(2))
        .scaled();
    let ratio = third / spread / spread.sqrt();
    Some(scale(ratio, 2 * exponent - 3 * spread_exponent))
}

/// The exact sum of cubes.
#[derive(Debug, Default)]
pub(super) struct Cubes {
    sum: Fixed,
    /// Room for the two parts of each square.
    squares: Vec<f64>,
}

impl Cubes {
    pub fn total(self) -> Fixed {
        self.sum
    }

    /// Adds the cube of a finite `value` `count` times.
    pub fn add_times(&mut self, value: f64, count: u64) {
        const HALF: u32 = 53;
        let (mantissa, exponent) = decompose(value);
        let size = u128::from(mantissa.unsigned_abs());
        let halves = |x: u128| [(x & ((1 << HALF) - 1), 0), (x >> HALF, HALF)];
        // 159 bits of cube times 64 of count would not fit: the square in halves, and its halves times the value too.
        for (part, up) in halves(size * size) {
            for (part, more) in halves(part * size) {
                let part = part.cast_signed() * i128::from(count);
                let exponent = 3 * exponent + (up + more).cast_signed();
                self.sum
                    .add(if mantissa < 0 { -part } else { part }, exponent);
            }
        }
    }

    /// Adds the cubes of at most [`CHUNK`](super::CHUNK) finite values.
    pub fn add(&mut self, values: &[f64]) {
        let sizes = sizes(values);
        if !sizes.have_cubes() {
            for &x in values {
                self.add_times(x, 1);
            }
            return;
        }
        // x^3 = (a + b) x with x^2 = a + b exactly.
        let len = values.len();
        if self.squares.len() < 2 * len {
            self.squares.resize(2 * len, 0.0);
        }
        let (highs, lows) = self.squares[..2 * len].split_at_mut(len);
        products(values, values, highs, lows);
        let top = sizes.most * sizes.most;
        self.sum.add_products(highs, values, top * sizes.most);
        let top = top * (f64::EPSILON / 2.0);
        self.sum.add_products(lows, values, top * sizes.most);
    }
}
