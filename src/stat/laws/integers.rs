//! Sums and roots by whole numbers of any size, which round nothing.

use num_bigint::{BigInt, Sign};

/// A finite double as a whole number of the smallest subnormal.
pub fn whole(x: f64) -> BigInt {
    let bits = x.abs().to_bits();
    let (field, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let size = if field == 0 {
        BigInt::from(fraction)
    } else {
        BigInt::from(fraction | 1 << 52) << (field - 1)
    };
    if x < 0.0 { -size } else { size }
}

/// Whether `found` is the double nearest to `sum / count` smallest subnormals, ties to the even mantissa.
pub fn is_nearest(found: f64, sum: &BigInt, count: u64) -> bool {
    // As if the binade above the largest double existed; halfway to it rounds to infinity.
    let value = |x: f64| {
        if x.is_infinite() {
            BigInt::from(1) << 2098
        } else {
            whole(x)
        }
    };
    let found = if sum.sign() == Sign::Minus {
        -found
    } else {
        found
    };
    let distance = |x: f64| {
        (value(x) * count - BigInt::from(sum.magnitude().clone()))
            .magnitude()
            .clone()
    };
    let even = found.to_bits() & 1 == 0;
    let nearer_than =
        |x: f64| distance(found) < distance(x) || (distance(found) == distance(x) && even);
    let above = found.is_infinite() || nearer_than(found.next_up());
    let below = found == 0.0 || nearer_than(found.next_down());
    found >= 0.0 && above && below
}

/// The sum of (n x - sum)^2, n^2 times the squared deviations, in smallest subnormals squared.
pub fn deviations(samples: &[f64]) -> BigInt {
    let sum: BigInt = samples.iter().map(|&x| whole(x)).sum();
    samples
        .iter()
        .map(|&x| (whole(x) * samples.len() - &sum).pow(2))
        .sum()
}

/// Whether `found` is the root of `square / divisor`, within a relative error of 1e-15 and one smallest subnormal.
pub fn is_root(found: f64, square: &BigInt, divisor: impl Into<BigInt>) -> bool {
    let divisor = divisor.into();
    let scale = BigInt::from(10_u64.pow(15));
    let target = square * &scale * &scale;
    // (found (1 ± 1e-15) ± 1)^2 divisor
    let at = |size: BigInt| size.pow(2) * &divisor;
    let size = if found.is_infinite() {
        BigInt::from(1) << 2098
    } else {
        whole(found)
    };
    let low = BigInt::max(&size * (&scale - 1) - &scale, BigInt::ZERO);
    at(low) <= target && (found.is_infinite() || target <= at(&size * (&scale + 1) + &scale))
}
