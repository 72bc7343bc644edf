//! A signed binary number of any range, exact: the state of sums and of sums of squares.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use smallvec::smallvec;

use super::natural::{Limbs, Natural, add_carry};
use crate::kernel::column::PIECE_BITS;

/// A double's finite value as `mantissa * 2^exponent`, |mantissa| < 2^53.
pub(super) fn decompose(x: f64) -> (i64, i32) {
    let bits = x.to_bits();
    let field = i32::from((bits >> 52) as u16 & 0x7ff);
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let magnitude = if field == 0 {
        fraction
    } else {
        fraction | 1 << 52
    };
    (
        if x.is_sign_negative() {
            -magnitude
        } else {
            magnitude
        },
        field.max(1) - 1075,
    )
}

/// `x * 2^exponent` in two steps, so that neither factor leaves the range before the product does.
pub(super) fn scale(x: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    x * power_of_two(half) * power_of_two(exponent - half)
}

/// 2 to the `exponent`, or to the nearest one that a normal double has.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::from((exponent.clamp(-1022, 1023) + 1023).cast_unsigned()) << 52)
}

/// The sum of `limbs[i] * 2^(64 (low + i))`, in two's complement; the topmost limb holds nothing but the sign. Empty is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed {
    low: i32,
    limbs: Limbs,
}

/// Squares of doubles reach from 2^-2148 to 2^2048; a count of 2^64 of them and the sign limb need three limbs more.
const LOWEST: i32 = -34;
const HIGHEST: i32 = 36;

impl Fixed {
    /// Adds `value * 2^exponent`.
    pub fn add(&mut self, value: i128, exponent: i32) {
        if value == 0 {
            return;
        }
        let shift = exponent.rem_euclid(64);
        let spread = value.cast_unsigned() << shift;
        let sign = (value >> 127) as u64;
        let above = if shift == 0 {
            sign
        } else {
            (value >> (128 - shift)) as u64
        };
        self.add_limbs(
            exponent.div_euclid(64),
            &[spread as u64, (spread >> 64) as u64, above],
            sign,
        );
    }

    /// Adds at most seven parts that are multiples of units 2^-[`PIECE_BITS`] apart, below 2^53 of them each; the first one's unit is
    /// 2^`unit`, and every unit and its inverse a normal double.
    pub fn add_joined(&mut self, parts: &[f64], unit: i32) {
        const STEP: f64 = (1_u64 << PIECE_BITS) as f64;
        let mut inverse = power_of_two(-unit);
        let mut last = unit + PIECE_BITS;
        // In multiples of the last unit so far: 53 bits and six times 20 more fit 192.
        let (mut low, mut high) = (0_u128, 0_i64);
        for &part in parts {
            let part = i128::from((part * inverse) as i64);
            high = high << PIECE_BITS | (low >> (128 - PIECE_BITS)) as i64;
            let carry;
            (low, carry) = (low << PIECE_BITS).overflowing_add(part.cast_unsigned());
            high += (part >> 127) as i64 + i64::from(carry);
            inverse *= STEP;
            last -= PIECE_BITS;
        }
        if low == 0 && high == 0 {
            return;
        }
        let words = [low as u64, (low >> 64) as u64, high.cast_unsigned()];
        let sign = high >> 63;
        let shift = last.rem_euclid(64).cast_unsigned();
        let at = |i: usize| words.get(i).copied().unwrap_or(sign.cast_unsigned());
        let shifted = |i: usize| {
            let below = if i == 0 { 0 } else { at(i - 1) };
            at(i) << shift | (below >> 1) >> (63 - shift)
        };
        self.add_limbs(
            last.div_euclid(64),
            &[shifted(0), shifted(1), shifted(2), shifted(3)],
            sign.cast_unsigned(),
        );
    }

    /// Adds a finite double.
    pub fn add_f64(&mut self, x: f64) {
        let (mantissa, exponent) = decompose(x);
        self.add(i128::from(mantissa), exponent);
    }

    /// Adds the square of another.
    pub fn add_square(&mut self, other: &Fixed) {
        let (_, size) = other.magnitude();
        let square = size.square();
        self.add_limbs(square.exponent / 64, &square.limbs, 0);
    }

    /// Adds another.
    #[inline]
    pub fn merge(&mut self, other: &Fixed) {
        // Most families of a shard have seen nothing.
        if !other.limbs.is_empty() {
            self.merge_seen(other);
        }
    }

    fn merge_seen(&mut self, other: &Fixed) {
        let (low, limbs) = other.canonical();
        if let Some(&top) = limbs.last() {
            self.add_limbs(low, limbs, sign_of(top));
        }
    }

    /// Adds limbs from position `low` upwards, continued by `sign` for ever.
    fn add_limbs(&mut self, low: i32, limbs: &[u64], sign: u64) {
        let start = self.cover(low, limbs.len());
        let mut carry = false;
        let (within, above) = self.limbs[start..].split_at_mut(limbs.len());
        for (limb, &word) in within.iter_mut().zip(limbs) {
            (*limb, carry) = add_carry(*limb, word, carry);
        }
        for limb in above {
            if sign.wrapping_add(u64::from(carry)) == 0 {
                break;
            }
            (*limb, carry) = add_carry(*limb, sign, carry);
        }
        if let Some(&top) = self.limbs.last()
            && top != sign_of(top)
        {
            self.limbs.push(sign_of(top));
        }
    }

    /// Widens the window to hold `len` limbs from `low` and a sign limb above; returns where `low` is.
    fn cover(&mut self, low: i32, len: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = low;
            self.limbs = smallvec![0; len + 1];
            return 0;
        }
        if low < self.low {
            let missing = (self.low - low).cast_unsigned() as usize;
            self.limbs.insert_many(0, std::iter::repeat_n(0, missing));
            self.low = low;
        }
        let start = (low - self.low).cast_unsigned() as usize;
        let sign = self.sign();
        if self.limbs.len() <= start + len {
            self.limbs.resize(start + len + 1, sign);
        }
        start
    }

    fn sign(&self) -> u64 {
        self.limbs.last().map_or(0, |&top| sign_of(top))
    }

    /// Whether the value is exactly zero.
    pub fn is_zero(&self) -> bool {
        self.limbs.iter().all(|&limb| limb == 0)
    }

    /// The one shortest form of the value: no low zeros, one sign limb; nothing at all for zero.
    fn canonical(&self) -> (i32, &[u64]) {
        let Some(skip) = self.limbs.iter().position(|&limb| limb != 0) else {
            return (0, &[]);
        };
        let sign = self.sign();
        let kept = self
            .limbs
            .iter()
            .rposition(|&limb| limb != sign)
            .map_or(0, |last| last + 1);
        (self.low + skip as i32, &self.limbs[skip..=kept.max(skip)])
    }

    /// Whether it is negative, and its size.
    pub fn magnitude(&self) -> (bool, Natural) {
        let (low, limbs) = self.canonical();
        let negative = limbs.last().is_some_and(|&top| top == u64::MAX);
        let mut limbs = Limbs::from_slice(limbs);
        if negative {
            // Negation of two's complement: complement and add one.
            let mut carry = true;
            for limb in &mut limbs {
                (*limb, carry) = add_carry(!*limb, 0, carry);
            }
        }
        (
            negative,
            Natural {
                exponent: low * 64,
                limbs,
            }
            .trim(),
        )
    }
}

/// 0 or all ones, as the top bit says.
fn sign_of(limb: u64) -> u64 {
    (limb.cast_signed() >> 63).cast_unsigned()
}

impl PartialEq for Fixed {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Serialize for Fixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.canonical().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fixed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (low, limbs) = <(i32, Vec<u64>)>::deserialize(deserializer)?;
        let fits = (LOWEST..=HIGHEST).contains(&low)
            && limbs.len() <= (HIGHEST + 1 - low).cast_unsigned() as usize
            && limbs.last().is_none_or(|&top| top == sign_of(top));
        let read = Fixed {
            low,
            limbs: Limbs::from_slice(&limbs),
        };
        if !fits || read.canonical() != (read.low, &read.limbs[..]) {
            return Err(D::Error::custom(
                "expected the shortest form of an exact sum within the range of doubles",
            ));
        }
        Ok(read)
    }
}
