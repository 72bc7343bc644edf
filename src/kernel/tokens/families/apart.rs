//! How far the behaviour policy and the sampler are apart.

use super::Selection;
use super::policy::counted;
use crate::kernel::exp::Exp;
use crate::kernel::lanes::{Lanes, Mask};
use crate::kernel::tokens::{Apart, Bounds, VERL_RATIO};

#[derive(Clone, Copy, Debug)]
pub struct ApartLanes<L> {
    old: L,
    sampling: L,
    k3: L,
    k3_back: L,
    mixture: L,
    factor: L,
    ratio: L,
    capped_squares: L,
    bounded_squares: L,
    above: L,
    below: L,
}

impl<L: Lanes> ApartLanes<L> {
    #[inline(always)]
    pub fn empty(zero: L) -> Self {
        Self {
            old: zero,
            sampling: zero,
            k3: zero,
            k3_back: zero,
            mixture: zero,
            factor: zero,
            ratio: zero,
            capped_squares: zero,
            bounded_squares: zero,
            above: zero,
            below: zero,
        }
    }

    #[inline(always)]
    pub fn add_logps(&mut self, old: L, sampling: L, usable: impl Selection<L>) {
        self.old = usable.or(self.old + old, self.old);
        self.sampling = usable.or(self.sampling + sampling, self.sampling);
    }

    /// `d`: old - sampling within the exponents' range, and e to it.
    #[inline(always)]
    pub fn add_distances(&mut self, d: L, e: Exp<L>, usable: impl Selection<L>) {
        let (one, ratio, k3) = (d.splat(1.0), e.value(), e.k3(d));
        let inverse = one / ratio;
        // 1/r + d - 1 by k3 = r - d - 1, so that nothing cancels where d is small.
        let k3_back = (d - one).mul_add(k3, d * d) * inverse;
        self.k3 = usable.or(self.k3 + k3, self.k3);
        self.k3_back = usable.or(self.k3_back + k3_back, self.k3_back);
        let mixture = mixture(d, ratio, k3, ratio.min(inverse));
        self.mixture = usable.or(self.mixture + mixture, self.mixture);
        let factor = ratio.max(inverse);
        self.factor = usable.or(self.factor + factor, self.factor);
    }

    #[inline(always)]
    pub fn add_ratios(&mut self, ratio: L, capped: L, bounds: &Bounds, usable: impl Selection<L>) {
        self.ratio = usable.or(self.ratio + ratio, self.ratio);
        let squares = capped.mul_add(capped, self.capped_squares);
        self.capped_squares = usable.or(squares, self.capped_squares);
        let bounded = ratio.min(ratio.splat(VERL_RATIO));
        let squares = bounded.mul_add(bounded, self.bounded_squares);
        self.bounded_squares = usable.or(squares, self.bounded_squares);
        let above = ratio.splat(bounds.ratio_cap).below(ratio);
        self.above = usable.hit(above, self.above);
        let below = ratio.below(ratio.splat(bounds.ratio_floor));
        self.below = usable.hit(below, self.below);
    }

    #[inline(always)]
    pub fn finish([low, high]: [Self; 2]) -> Apart {
        Apart {
            old: (low.old + high.old).sum(),
            sampling: (low.sampling + high.sampling).sum(),
            k3: (low.k3 + high.k3).sum(),
            k3_back: (low.k3_back + high.k3_back).sum(),
            mixture: (low.mixture + high.mixture).sum(),
            factor: (low.factor + high.factor).sum(),
            ratio: (low.ratio + high.ratio).sum(),
            capped_squares: (low.capped_squares + high.capped_squares).sum(),
            bounded_squares: (low.bounded_squares + high.bounded_squares).sum(),
            above: counted(low.above + high.above),
            below: counted(low.below + high.below),
        }
    }
}

/// ln cosh(d/2), from r = e^d, k3 = r - d - 1 and y = e^-|d|.
///
/// Near 0 it is artanh x with x = (r - 1)^2 / ((r - 1)^2 + 8 r), to full relative precision; further out
/// |d|/2 - ln 2 + ln(1 + y), whose logarithm is 2 artanh(y / (2 + y)). Both arguments stay below 1/7, where ten terms of the
/// series of artanh are enough.
#[inline(always)]
fn mixture<L: Lanes>(d: L, ratio: L, k3: L, y: L) -> L {
    const TERMS: usize = 10;
    let size = d.abs();
    let near = size.within(d.splat(1.1));
    let beyond_one = d + k3;
    let square = beyond_one * beyond_one;
    let over = near.select(ratio.mul_add(d.splat(8.0), square), y + d.splat(2.0));
    let x = near.select(square, y) / over;
    let squared = x * x;
    let mut series = d.splat(1.0 / (2 * TERMS - 1) as f64);
    let mut term = TERMS - 1;
    while term > 0 {
        term -= 1;
        series = series.mul_add(squared, d.splat(1.0 / (2 * term + 1) as f64));
    }
    let artanh = x * series;
    let line = size.mul_add(d.splat(0.5), d.splat(-std::f64::consts::LN_2));
    near.select(artanh, artanh.mul_add(d.splat(2.0), line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::exp::exp;
    use crate::kernel::lanes::{Baseline, Real, Unit, WIDTH};

    fn found(d: f64) -> f64 {
        let d = Baseline.doubles(&[d; WIDTH]);
        let e = exp(d);
        let ratio = e.value();
        let y = ratio.min(d.splat(1.0) / ratio);
        mixture(d, ratio, e.k3(d), y).array()[0]
    }

    #[test]
    fn the_distance_to_the_mixture_keeps_its_digits_where_the_policies_are_nearly_the_same() {
        // By mpmath, to 20 digits.
        for (d, expected) in [
            (0.0, 0.0),
            (1e-8, 1.25e-17),
            (1e-4, 1.249_999_999_479_166_7e-9),
            (-0.01, 1.249_994_791_701_388_7e-5),
            (1.099_999, 0.144_187_894_295_473_58),
            (-1.100_001, 0.144_188_394_815_684_78),
            (60.0, 29.306_852_819_440_055),
        ] {
            let error = (found(d) - expected).abs();
            assert!(
                error <= 4e-16 * expected,
                "{d}: expected {expected}, found {}",
                found(d)
            );
        }
    }
}
