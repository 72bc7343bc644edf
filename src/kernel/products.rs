//! Products of doubles without an error: each as the nearest double and what that leaves over, which is a double too.

use super::dispatched;
use super::lanes::{Lanes, Mask, Real, Unit, WIDTH};

dispatched! {
    /// Each product as a double, and what that leaves over, exactly; all four slices are as long. The caller vouches that
    /// neither leaves the range of normal doubles.
    pub(crate) fn products(x: &[f64], y: &[f64], highs: &mut [f64], lows: &mut [f64]) where
        baseline: products_body(x, y, highs, lows, left_over);
        avx2: products_body(x, y, highs, lows, fused_left_over);
        avx512: products_body(x, y, highs, lows, fused_left_over);
}

#[inline(always)]
fn products_body(
    x: &[f64],
    y: &[f64],
    highs: &mut [f64],
    lows: &mut [f64],
    left_over: impl Fn(f64, f64, f64) -> f64,
) {
    for (((high, low), &x), &y) in highs.iter_mut().zip(lows).zip(x).zip(y) {
        *high = x * y;
        *low = left_over(x, y, *high);
    }
}

/// What products come to: exact sums of the multiples of two units in the products and of two in what they leave over, and
/// whether any has bits below both of its units; the sums are then worth nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extracted {
    pub sums: [f64; 4],
    pub leaves: bool,
}

dispatched! {
    /// [`extract`](super::column::extract) of the [`products`] of two slices as long, by the rounders of the products and of
    /// what they leave over.
    pub(crate) fn extract_products(x: &[f64], y: &[f64], rounders: [[f64; 2]; 2]) -> Extracted where
        baseline: extract_body(super::lanes::Baseline, x, y, rounders, left_over);
        avx2: extract_body(super::lanes::x86::Avx2::known(), x, y, rounders, fused_left_over);
        avx512: extract_body(super::lanes::x86::Avx512::known(), x, y, rounders, fused_left_over);
}

#[inline(always)]
fn extract_body<U: Unit>(
    unit: U,
    x: &[f64],
    y: &[f64],
    rounders: [[f64; 2]; 2],
    left_over: impl Fn(U::Lanes, U::Lanes, U::Lanes) -> U::Lanes,
) -> Extracted {
    let zero = unit.splat(0.0);
    // One by one, here and at the end: what `map` calls is compiled for no unit.
    let [[a, b], [c, d]] = rounders;
    let rounders = [
        [unit.splat(a), unit.splat(b)],
        [unit.splat(c), unit.splat(d)],
    ];
    let (mut sums, mut left) = ([zero; 4], zero);
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
    // Zeros add nothing.
    let mut last = [[[0.0; WIDTH]]; 2];
    last[0][0][..x_tail.len()].copy_from_slice(x_tail);
    last[1][0][..y_tail.len()].copy_from_slice(y_tail);
    for (x, y) in [(x, y), (&last[0], &last[1])] {
        for (x, y) in x.iter().zip(y) {
            let (x, y) = (unit.doubles(x), unit.doubles(y));
            let product = x * y;
            for (i, part) in [product, left_over(x, y, product)].into_iter().enumerate() {
                let [first, second] = rounders[i];
                let high = (first + part) - first;
                let rest = part - high;
                let low = (second + rest) - second;
                sums[2 * i] = sums[2 * i] + high;
                sums[2 * i + 1] = sums[2 * i + 1] + low;
                left = left + (rest - low).abs();
            }
        }
    }
    Extracted {
        sums: [sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum()],
        leaves: left.within(zero).count() < WIDTH as u64,
    }
}

/// What a rounded product leaves over, by a fused operation.
#[inline(always)]
fn fused_left_over<R: Real>(x: R, y: R, product: R) -> R {
    x.mul_add(y, x.splat(0.0) - product)
}

/// The same without one (Dekker, "A floating-point technique for extending the available precision", 1971).
#[inline(always)]
fn left_over<R: Real>(x: R, y: R, product: R) -> R {
    let halves = |x: R| {
        let wide = x.splat(134_217_729.0) * x;
        let high = wide - (wide - x);
        (high, x - high)
    };
    let ((x_high, x_low), (y_high, y_low)) = (halves(x), halves(y));
    let rest = (x_high * y_high - product) + x_high * y_low + x_low * y_high;
    rest + x_low * y_low
}
