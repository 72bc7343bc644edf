//! e^x and ln x as plain arithmetic: additions, multiplications (in e^x fused ones), one division and shifts, and no call
//! into the C library's own, so that every processor and every vector width gives the same bits.

use super::lanes::Real;

/// What [`exp`] clamps its argument to; METRICS.md clamps log-ratios there too, so that no ratio overflows.
pub const EXPONENT_LIMIT: f64 = 60.0;

/// Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has 20 trailing zero bits, so that n * `LN2_HIGH` is exact for |n| < 2^20.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// e^d, split so that both it and e^d - d - 1 can be read without cancellation.
#[derive(Clone, Copy, Debug)]
pub struct Exp<R> {
    /// 2^n.
    scale: R,
    /// d - n ln 2, at most ln(2)/2 in size.
    rest: R,
    /// e^rest - 1 - rest.
    curve: R,
}

/// (e^r - 1 - r) / r^2 by powers of r, for |r| <= ln(2)/2: 1/2, and the rest by Chebyshev interpolation (degree 8, with
/// mpmath's `chebyfit`); within 4.4e-16 of it relatively, which leaves e^r within 3.4e-17.
const CURVE: [f64; 10] = [
    0.5,
    0.166_666_666_666_666_66,
    0.041_666_666_666_651_36,
    0.008_333_333_333_332_155,
    0.001_388_888_890_588_154_2,
    0.000_198_412_698_543_386_1,
    2.480_153_638_869_076_6e-5,
    2.755_728_006_701_698e-6,
    2.761_380_686_153_829e-7,
    2.509_555_467_711_111_2e-8,
];

/// e^d for d in [-60, 60], lane by lane; at most 1.1 ulp from the true value there (measured in a test over 60,004 arguments).
///
/// Cody-Waite reduction, then [`CURVE`] in Estrin's order: short chains for the vector units.
#[inline(always)]
#[must_use]
pub fn exp<R: Real>(d: R) -> Exp<R> {
    // No closure: without link-time optimisation it may stay a function of its own, called for each coefficient.
    let mut c = [d; CURVE.len()];
    let mut i = 0;
    while i < c.len() {
        c[i] = d.splat(CURVE[i]);
        i += 1;
    }
    let shifted = d.mul_add(d.splat(std::f64::consts::LOG2_E), d.splat(ROUND));
    let n = shifted - d.splat(ROUND);
    let rest = n.mul_add(d.splat(-LN2_LOW), n.mul_add(d.splat(-LN2_HIGH), d));
    let square = rest * rest;
    let low = c[3]
        .mul_add(rest, c[2])
        .mul_add(square, c[1].mul_add(rest, c[0]));
    let middle = c[7]
        .mul_add(rest, c[6])
        .mul_add(square, c[5].mul_add(rest, c[4]));
    let fourth = square * square;
    let high = c[9].mul_add(rest, c[8]).mul_add(fourth, middle);
    Exp {
        // The integer n stands in the low bits of `shifted`.
        scale: shifted.power_of_two(),
        rest,
        curve: square * high.mul_add(fourth, low),
    }
}

impl<R: Real> Exp<R> {
    /// e^d.
    #[inline(always)]
    #[must_use]
    pub fn value(self) -> R {
        self.scale.mul_add(self.rest + self.curve, self.scale)
    }

    /// e^d - d - 1, to full relative precision also where d is near 0.
    #[inline(always)]
    #[must_use]
    pub fn k3(self, d: R) -> R {
        let line = self.scale.mul_add(self.rest, self.scale - d.splat(1.0)) - d;
        self.scale.mul_add(self.curve, line)
    }
}

/// e^d of one number, d clamped to the exponents that the token pass clamps to.
#[must_use]
pub fn power_of_e(d: f64) -> f64 {
    exp(d.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT)).value()
}

/// ln x for a normal, positive, finite x; other arguments give an unspecified number.
///
/// With x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt 2 and s = f / (2 + f): ln(1 + f) = 2 artanh s, by the minimax
/// coefficients for it that Sun's libm made standard; below 1 ulp.
#[inline(always)]
#[must_use]
pub fn ln(x: f64) -> f64 {
    const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    // Arithmetic shift: the exponent, negative for x < sqrt(1/2). As an integer below 2^11 it converts by the same
    // trick as in `exp`, which vectorises where a 64-bit integer conversion would not.
    let biased = (bits >> 52) & 0xfff;
    let exponent = biased ^ 0x800;
    let k = f64::from_bits(0x4330_0000_0000_0000 | exponent) - (4_503_599_627_370_496.0 + 2048.0);
    let mantissa = (bits & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF_BITS);
    let f = f64::from_bits(mantissa) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w
        * (3.999_999_999_940_942e-1
            + w * (2.222_219_843_214_978_4e-1 + w * 1.531_383_769_920_937_3e-1));
    let odd = z
        * (6.666_666_666_666_735e-1
            + w * (2.857_142_874_366_239e-1
                + w * (1.818_357_216_161_805e-1 + w * 1.479_819_860_511_658_6e-1)));
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + k * LN2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;

    use super::*;

    /// Distance in units in the last place of `b`.
    fn ulps(a: f64, b: f64) -> f64 {
        let ulp = f64::from_bits(b.abs().to_bits() + 1) - b.abs();
        (a - b).abs() / ulp
    }

    /// e^d times 2^200, cut off: the series of d / 1024, squared ten times. Exact to far below an ulp for |d| <= 60.
    fn scaled_exp(d: f64) -> BigInt {
        const BITS: u64 = 400;
        let exponent = ((d.to_bits() >> 52) & 0x7ff).cast_signed() - 1075;
        let mantissa = BigInt::from(d.to_bits() & ((1 << 52) - 1) | 1 << 52);
        let shift = BITS.cast_signed() + exponent - 10;
        let x = if shift >= 0 {
            mantissa << shift
        } else {
            mantissa >> -shift
        };
        let x = if d < 0.0 { -x } else { x };
        let one = BigInt::from(1) << BITS;
        let (mut sum, mut term) = (one.clone(), one);
        for n in 1..60 {
            term = ((term * &x) >> BITS) / n;
            sum += &term;
        }
        for _ in 0..10 {
            sum = (&sum * &sum) >> BITS;
        }
        sum >> (BITS - 200)
    }

    #[test]
    fn exp_is_within_1_1_ulp_over_the_clamped_range() {
        // 60,001 arguments that are no round numbers, and the ends.
        let grid = (-30_000..=30_000).map(|i| f64::from(i) * 2e-3 + 1.3e-5);
        let mut worst = 0.0_f64;
        for d in grid
            .filter(|d| d.abs() <= EXPONENT_LIMIT)
            .chain([-60.0, 60.0, f64::MIN_POSITIVE])
        {
            let found = exp(d).value();
            let exponent = (found.to_bits() >> 52).cast_signed() - 1075;
            let mantissa = BigInt::from(found.to_bits() & ((1 << 52) - 1) | 1 << 52);
            // In 2^-20 of the last place of what was found.
            let unit = 200 + exponent - 20;
            let error: BigInt = (mantissa << 20) - (scaled_exp(d) >> unit);
            worst = worst.max(
                error.to_string().parse::<f64>().unwrap_or(f64::NAN).abs() / f64::from(1 << 20),
            );
        }
        assert!(worst <= 1.1, "{worst} ulp");
        assert!(worst > 0.49, "{worst} ulp is too good to be measured right");
    }

    #[test]
    fn k3_keeps_its_relative_precision_near_zero() {
        for i in 1..=1000_i32 {
            let d = f64::from(i) * 1e-7;
            // The next term of the series is below 1e-18 of the sum at this size.
            for d in [d, -d] {
                let series = d * d * (0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0))));
                assert!((exp(d).k3(d) / series - 1.0).abs() < 1e-14, "{d}");
            }
        }
        assert_eq!(exp(0.0).k3(0.0), 0.0);
        let (d, expected) = (-60.0_f64, 59.0 + (-60.0_f64).exp());
        assert!((exp(d).k3(d) - expected).abs() < 1e-14);
        assert!((exp(60.0).k3(60.0) / (60.0_f64.exp() - 61.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn ln_is_within_one_ulp_of_the_c_library() {
        let worst = (1..=1_000_000)
            .map(|i| f64::from(i) * 1e-6)
            .chain((-300..300).map(|e| 1.234_567 * 10f64.powi(e)))
            .chain([f64::MIN_POSITIVE, f64::MAX, 1e-12, 0.5, 2.0])
            .map(|x| ulps(ln(x), x.ln()))
            .filter(|u| !u.is_nan())
            .fold(0.0, f64::max);
        assert!(worst <= 1.0, "{worst} ulp");
        assert_eq!(ln(1.0), 0.0);
    }
}
