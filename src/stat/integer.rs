//! Signed binary numbers of any range: the polynomials in exact sums that statistics about a mean are read from.

use super::fixed::Fixed;
use super::natural::Natural;

/// A whole number times a power of two, and its sign.
#[derive(Clone, Debug)]
pub(super) struct Integer {
    negative: bool,
    size: Natural,
}

impl From<&Fixed> for Integer {
    fn from(fixed: &Fixed) -> Self {
        let (negative, size) = fixed.magnitude();
        Self { negative, size }
    }
}

impl Integer {
    pub fn times(&self, factor: u64) -> Self {
        Self {
            negative: self.negative,
            size: self.size.times(factor),
        }
    }

    pub fn multiplied(&self, other: &Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            size: self.size.multiplied(&other.size),
        }
    }

    /// Both exponents are multiples of 64, as those of sums and of their products are.
    pub fn plus(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            return Self {
                negative: self.negative,
                size: self.size.plus(&other.size),
            };
        }
        // One of the two differences is zero.
        let (more, less) = (self.size.minus(&other.size), other.size.minus(&self.size));
        if less.limbs.is_empty() {
            Self {
                negative: self.negative,
                size: more,
            }
        } else {
            Self {
                negative: other.negative,
                size: less,
            }
        }
    }

    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&Self {
            negative: !other.negative,
            size: other.size.clone(),
        })
    }

    /// As `mantissa * 4^exponent`, rounded once: [`Natural::scaled`].
    pub fn scaled(&self) -> (f64, i32) {
        let (size, exponent) = self.size.scaled();
        (if self.negative { -size } else { size }, exponent)
    }
}
