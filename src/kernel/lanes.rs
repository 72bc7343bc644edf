//! Eight doubles at a time, on whatever vector unit there is: one formula, the same bits.
//!
//! Every operation here is one IEEE operation per lane, rounded once; a wider unit computes more lanes with one
//! instruction and never another number. [`Real::mul_add`] is fused everywhere (in software where the processor cannot).

#[cfg(target_arch = "x86_64")]
pub mod x86;

use std::ops::{Add, BitAnd, Div, Mul, Sub};

/// Doubles that are computed together.
pub const WIDTH: usize = 8;

/// What the formulas need of a number, or of a vector of them. A value of such a type proves that its unit is there.
pub trait Real: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// `x` in every lane.
    fn splat(self, x: f64) -> Self;
    /// self * factor + term, rounded once.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// 2^n, where the integer n stands in the low bits of each lane and is within the range of exponents.
    fn power_of_two(self) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn splat(self, x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        f64::mul_add(self, factor, term)
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        f64::from_bits((self.to_bits() << 52).wrapping_add(1.0_f64.to_bits()))
    }
}

/// [`WIDTH`] doubles.
pub trait Lanes: Real + Div<Output = Self> {
    type Mask: Mask<Self>;

    fn abs(self) -> Self;
    /// The smaller one; `other` where either is NaN or both are zero.
    fn min(self, other: Self) -> Self;
    /// The larger one; `other` where either is NaN or both are zero.
    fn max(self, other: Self) -> Self;
    /// Where `self < other`; nowhere for NaN.
    fn below(self, other: Self) -> Self::Mask;
    /// Where `self <= other`; nowhere for NaN.
    fn within(self, other: Self) -> Self::Mask;
    fn array(self) -> [f64; WIDTH];

    /// Where the lane is finite.
    #[inline(always)]
    fn finite(self) -> Self::Mask {
        self.abs().within(self.splat(f64::MAX))
    }

    /// Whether every lane is finite.
    #[inline(always)]
    fn all_finite(self) -> bool {
        self.finite().count() == WIDTH as u64
    }

    /// The lanes added up, halves folded onto each other: the same tree for every unit.
    #[inline(always)]
    fn sum(self) -> f64 {
        let mut sums = self.array();
        let mut width = WIDTH / 2;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        sums[0]
    }

    /// The lanes of each row added up, neighbours first: the same tree for every unit.
    fn row_sums(rows: &[Self; WIDTH]) -> Self;
}

/// A yes or no for each lane.
pub trait Mask<L>: Copy + BitAnd<Output = Self> {
    /// How many lanes say yes.
    fn count(self) -> u64;
    /// `yes` in the lanes that say so, `no` in the others.
    fn select(self, yes: L, no: L) -> L;
}

/// A vector unit that this processor is known to have; holding one proves it.
pub trait Unit: Copy {
    type Lanes: Lanes<Mask = Self::Mask>;
    type Mask: Mask<Self::Lanes>;

    fn doubles(self, cells: &[f64; WIDTH]) -> Self::Lanes;
    fn singles(self, cells: &[f32; WIDTH]) -> Self::Lanes;

    /// Asks for the cache line at `place` cells from the start of `cells`, or beyond their end, to be brought in while
    /// something else is computed. Changes nothing but time.
    #[inline(always)]
    fn fetch(self, _cells: &[f32], _place: usize) {}

    /// `x` in every lane.
    #[inline(always)]
    fn splat(self, x: f64) -> Self::Lanes {
        self.doubles(&[x; WIDTH])
    }
}

/// What every processor of the target has: the compiler makes of it what it can (NEON on 64-bit Arm).
#[derive(Clone, Copy, Debug)]
pub struct Baseline;

#[derive(Clone, Copy, Debug)]
pub struct Plain([f64; WIDTH]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let mut lanes = self.0;
        for (x, y) in lanes.iter_mut().zip(other.0) {
            *x = f(*x, y);
        }
        Self(lanes)
    }

    #[inline(always)]
    fn compare(self, other: Self, f: impl Fn(&f64, &f64) -> bool) -> PlainMask {
        let mut mask = [false; WIDTH];
        for (lane, yes) in mask.iter_mut().enumerate() {
            *yes = f(&self.0[lane], &other.0[lane]);
        }
        PlainMask(mask)
    }
}

impl Add for Plain {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, f64::add)
    }
}

impl Sub for Plain {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, f64::sub)
    }
}

impl Mul for Plain {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, f64::mul)
    }
}

impl Div for Plain {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, f64::div)
    }
}

impl Real for Plain {
    #[inline(always)]
    fn splat(self, x: f64) -> Self {
        Self([x; WIDTH])
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        let mut lanes = self.0;
        for (lane, x) in lanes.iter_mut().enumerate() {
            *x = x.mul_add(factor.0[lane], term.0[lane]);
        }
        Self(lanes)
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(self.0.map(Real::power_of_two))
    }
}

impl Lanes for Plain {
    type Mask = PlainMask;

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f64::abs))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |x, y| if x < y { x } else { y })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |x, y| if x > y { x } else { y })
    }

    #[inline(always)]
    fn below(self, other: Self) -> PlainMask {
        self.compare(other, f64::lt)
    }

    #[inline(always)]
    fn within(self, other: Self) -> PlainMask {
        self.compare(other, f64::le)
    }

    #[inline(always)]
    fn array(self) -> [f64; WIDTH] {
        self.0
    }

    #[inline(always)]
    fn row_sums(rows: &[Self; WIDTH]) -> Self {
        Self(rows.map(|Self([a, b, c, d, e, f, g, h])| ((a + b) + (c + d)) + ((e + f) + (g + h))))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct PlainMask([bool; WIDTH]);

impl BitAnd for PlainMask {
    type Output = Self;
    #[inline(always)]
    fn bitand(mut self, other: Self) -> Self {
        for (x, y) in self.0.iter_mut().zip(other.0) {
            *x &= y;
        }
        self
    }
}

impl Mask<Plain> for PlainMask {
    #[inline(always)]
    fn count(self) -> u64 {
        self.0.iter().map(|&yes| u64::from(yes)).sum()
    }

    #[inline(always)]
    fn select(self, yes: Plain, no: Plain) -> Plain {
        let mut lanes = no.0;
        for (lane, x) in lanes.iter_mut().enumerate() {
            *x = if self.0[lane] { yes.0[lane] } else { *x };
        }
        Plain(lanes)
    }
}

impl Unit for Baseline {
    type Lanes = Plain;
    type Mask = PlainMask;

    #[inline(always)]
    fn doubles(self, cells: &[f64; WIDTH]) -> Plain {
        Plain(*cells)
    }

    #[inline(always)]
    fn singles(self, cells: &[f32; WIDTH]) -> Plain {
        Plain(cells.map(f64::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [[f64; WIDTH]; 2] = [
        [0.0, -0.0, 1.0, -1.5, 0.1, 1e300, -1e300, 1e-310],
        [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            3.7,
            -60.0,
            60.0,
            2.0,
            5.0,
        ],
    ];
    const Y: [[f64; WIDTH]; 2] = [
        [-0.0, 0.0, 1.0, 2.5, 0.7, 1e300, 1e10, 1e-310],
        [1.0, f64::NAN, 2.0, -3.7, 1e-3, 7.0, f64::INFINITY, 5.0],
    ];

    fn bits(lanes: impl Lanes) -> [u64; WIDTH] {
        lanes
            .array()
            .map(|x| if x.is_nan() { u64::MAX } else { x.to_bits() })
    }

    /// Every operation of `unit` on x and y, as bits.
    #[allow(clippy::cast_possible_truncation)] // singles are what is wanted
    fn everything<U: Unit>(unit: U, x: &[f64; WIDTH], y: &[f64; WIDTH]) -> Vec<[u64; WIDTH]> {
        let singles = x.map(|x| x as f32);
        let small: [f64; WIDTH] =
            std::array::from_fn(|lane| f64::from_bits((lane as u64).wrapping_sub(4)));
        let tame = y.map(|y| if y.is_finite() { y } else { 0.3 });
        let (x, y) = (unit.doubles(x), unit.doubles(y));
        let masks = [x.below(y), x.within(y), y.finite(), x.below(y) & y.finite()];
        let mut seen = vec![
            bits(x + y),
            bits(x - y),
            bits(x * y),
            bits(x / y),
            bits(x.mul_add(y, x)),
            bits(x.abs()),
            bits(x.min(y)),
            bits(x.max(y)),
            bits(unit.singles(&singles)),
            bits(unit.splat(0.1)),
            bits(x.splat(0.1)),
            bits(unit.doubles(&small).power_of_two()),
            [unit.doubles(&tame).sum().to_bits(); WIDTH],
            bits(Lanes::row_sums(&std::array::from_fn(|row| {
                unit.doubles(&tame) * unit.splat(0.1 + row as f64)
            }))),
        ];
        seen.extend(masks.map(|mask| bits(mask.select(x, y))));
        seen.extend(masks.map(|mask| [mask.count(); WIDTH]));
        seen
    }

    #[test]
    fn the_baseline_computes_what_doubles_do() {
        for (x, y) in X.iter().zip(&Y) {
            let (a, b) = (Baseline.doubles(x), Baseline.doubles(y));
            for lane in 0..WIDTH {
                let (x, y) = (x[lane], y[lane]);
                let expected = [x + y, x - y, x * y, x / y, x.mul_add(y, x), x.abs()];
                let found = [a + b, a - b, a * b, a / b, a.mul_add(b, a), a.abs()]
                    .map(|lanes| lanes.array()[lane]);
                for (expected, found) in expected.into_iter().zip(found) {
                    assert!(
                        expected.to_bits() == found.to_bits()
                            || expected.is_nan() && found.is_nan()
                    );
                }
            }
        }
        let finite = Baseline.doubles(&Y[1]).finite();
        assert_eq!(finite.count(), 6);
        assert_eq!(
            Baseline
                .doubles(&std::array::from_fn(|lane| lane as f64))
                .sum(),
            28.0
        );
        let rows = std::array::from_fn(|row| {
            Baseline.doubles(&std::array::from_fn(|lane| (lane * lane * row) as f64))
        });
        assert_eq!(
            Lanes::row_sums(&rows).array(),
            std::array::from_fn(|row| (140 * row) as f64)
        );
        assert_eq!(
            Baseline
                .doubles(&[f64::from_bits(3); WIDTH])
                .power_of_two()
                .array(),
            [8.0; WIDTH]
        );
        let (x, y) = (Baseline.doubles(&X[1]), Baseline.doubles(&Y[1]));
        assert_eq!((x.min(y).array()[0], x.max(y).array()[3]), (1.0, 3.7));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_unit_computes_the_bits_of_the_baseline() {
        for (x, y) in X.iter().zip(&Y) {
            let expected = everything(Baseline, x, y);
            if let Some(unit) = x86::Avx2::detect() {
                assert_eq!(everything(unit, x, y), expected);
            }
            if let Some(unit) = x86::Avx512::detect() {
                assert_eq!(everything(unit, x, y), expected);
            }
        }
    }
}
