//! An unsigned binary number of any range: what exact sums are divided, squared and rounded as.

use smallvec::{SmallVec, smallvec};

/// So many limbs hold a sum of ordinary numbers, and one of their squares, without memory of its own.
pub(super) type Limbs = SmallVec<[u64; 6]>;

/// A natural number times a power of two: `limbs[i] * 2^(64 i + exponent)`, no zero limb at the top. Empty is zero.
#[derive(Clone, Debug)]
pub(super) struct Natural {
    pub exponent: i32,
    pub limbs: Limbs,
}

impl Natural {
    /// Without zero limbs at the top.
    pub fn trim(mut self) -> Self {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        self
    }

    pub fn times(&self, factor: u64) -> Self {
        self.product(&[factor], self.exponent)
    }

    pub fn square(&self) -> Self {
        self.multiplied(self)
    }

    pub fn multiplied(&self, other: &Self) -> Self {
        self.product(&other.limbs, self.exponent + other.exponent)
    }

    /// Schoolbook multiplication: a handful of limbs on either side.
    fn product(&self, factor: &[u64], exponent: i32) -> Self {
        let mut limbs: Limbs = smallvec![0; self.limbs.len() + factor.len()];
        for (i, &a) in self.limbs.iter().enumerate() {
            let mut carry = 0;
            for (limb, &b) in limbs[i..].iter_mut().zip(factor) {
                let wide = u128::from(a) * u128::from(b) + u128::from(*limb) + u128::from(carry);
                *limb = wide as u64;
                carry = (wide >> 64) as u64;
            }
            limbs[i + factor.len()] = carry;
        }
        Natural { exponent, limbs }.trim()
    }

    /// `self - other`, or zero where `other` is larger. Both exponents are multiples of 64.
    pub fn minus(&self, other: &Self) -> Self {
        // The difference is the sum with the complement, and one.
        let (mut difference, carry) = self.carried(other, |limb| !limb, true);
        if !carry {
            difference.limbs.clear();
        }
        difference.trim()
    }

    /// `self + other`. Both exponents are multiples of 64.
    pub fn plus(&self, other: &Self) -> Self {
        let (mut sum, carry) = self.carried(other, |limb| limb, false);
        sum.limbs.push(u64::from(carry));
        sum.trim()
    }

    /// Limb by limb, `self` plus what `each` makes of `other`, plus a carry; and the carry that is left.
    fn carried(&self, other: &Self, each: impl Fn(u64) -> u64, mut carry: bool) -> (Self, bool) {
        let exponent = self.exponent.min(other.exponent);
        let limb = |n: &Self, i: usize| {
            let offset = ((n.exponent - exponent) / 64).cast_unsigned() as usize;
            i.checked_sub(offset)
                .and_then(|i| n.limbs.get(i))
                .copied()
                .unwrap_or(0)
        };
        let top =
            |n: &Self| ((n.exponent - exponent) / 64).cast_unsigned() as usize + n.limbs.len();
        let mut limbs: Limbs = smallvec![0; top(self).max(top(other))];
        for (i, slot) in limbs.iter_mut().enumerate() {
            (*slot, carry) = add_carry(limb(self, i), each(limb(other, i)), carry);
        }
        (Natural { exponent, limbs }, carry)
    }

    /// Its leading 128 bits, whether any bit below them is set, and the exponent of the last of them.
    fn leading(&self) -> (u128, bool, i32) {
        let Some((&top, rest)) = self.limbs.split_last() else {
            return (0, false, 0);
        };
        let at = |back: usize| rest.len().checked_sub(back).map_or(0, |i| rest[i]);
        let shift = top.leading_zeros();
        let wide = u128::from(top) << 64 | u128::from(at(1));
        let below = at(2);
        let filled = if shift == 0 {
            wide
        } else {
            wide << shift | u128::from(below >> (64 - shift))
        };
        let deeper = rest
            .len()
            .checked_sub(2)
            .is_some_and(|end| rest[..end].iter().any(|&limb| limb != 0));
        let exponent = self.exponent + 64 * (self.limbs.len() as i32 - 2) - shift.cast_signed();
        (filled, below << shift != 0 || deeper, exponent)
    }

    /// `self / divisor` (at least 1), rounded to the nearest double, with the sign given.
    pub fn divided(&self, divisor: u64, negative: bool) -> f64 {
        let (leading, sticky, exponent) = self.leading();
        if divisor == 1 {
            return round(negative, leading, sticky, exponent);
        }
        let divisor = u128::from(divisor);
        let quotient = leading / divisor;
        round(
            negative,
            quotient,
            sticky || leading % divisor != 0,
            exponent,
        )
    }

    /// As `mantissa * 4^exponent`: the mantissa rounded once to a double in [2^127, 2^129], or zero.
    pub fn scaled(&self) -> (f64, i32) {
        let (leading, _, exponent) = self.leading();
        let odd = exponent.rem_euclid(2);
        (leading as f64 * f64::from(1 + odd), (exponent - odd) / 2)
    }
}

/// a + b + carry, and the carry that is left.
pub(super) fn add_carry(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// The double nearest to `±magnitude * 2^exponent`, ties to even, infinite beyond the range.
/// `sticky` says that a little more than `magnitude` is meant; the magnitude then has at least 55 bits.
fn round(negative: bool, magnitude: u128, sticky: bool, exponent: i32) -> f64 {
    if magnitude == 0 {
        return 0.0;
    }
    let bits = 128 - magnitude.leading_zeros().cast_signed();
    // The exponent of the result's last bit: 53 bits are kept, fewer below the normal range.
    let last = (exponent + bits - 53).max(-1074);
    let drop = last - exponent;
    let kept = if drop <= 0 {
        magnitude << -drop
    } else if drop > 128 {
        0
    } else {
        let whole = magnitude.checked_shr(drop.cast_unsigned()).unwrap_or(0);
        let half = 1u128 << (drop - 1);
        let rest = magnitude & (half | (half - 1));
        let up = rest > half || (rest == half && (sticky || whole & 1 == 1));
        whole + u128::from(up)
    };
    // A normal mantissa's leading bit adds the missing one to the exponent field; so does a carry.
    let field = u64::from((last + 1074).cast_unsigned());
    let size = if field > 2045 {
        f64::INFINITY
    } else {
        f64::from_bits((field << 52) + kept as u64)
    };
    if negative { -size } else { size }
}
