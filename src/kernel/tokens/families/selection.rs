//! Which of 8 tokens a formula may use: all of them, believed so, or those of a mask.

use std::cell::Cell;

use crate::kernel::exp::{EXPONENT_LIMIT, Exp, exp};
use crate::kernel::lanes::{Lanes, Mask, WIDTH};

/// The lanes that a formula may use.
pub trait Selection<L: Lanes>: Copy {
    /// Those of them where `x` is finite.
    fn finite(self, x: L) -> Self;
    /// The same for an `x` that is then added to a sum as it is, where nothing non-finite stays hidden.
    fn summed(self, x: L) -> Self;
    /// Those of them where `x` is finite; x clamped to [-60, 60] there, and e to that power. Few x are beyond `usual`, which
    /// is 60 at most.
    fn exponent(self, x: L, usual: f64) -> (Self, L, Exp<L>);
    /// An exponent clamped to what is usual for it.
    fn usual(self, x: L, usual: f64) -> L;
    fn and(self, other: Self) -> Self;
    fn count(self) -> u64;
    /// `x` in these lanes, `other` in the rest.
    fn or(self, x: L, other: L) -> L;
    /// `counts`, and one more in those of these lanes that were hit.
    fn hit(self, hits: L::Mask, counts: L) -> L;
}

/// Every lane, taken without a mask in the belief that all is finite and every exponent as is usual. What its cell
/// holds in the end says whether the belief was right (as do the sums, [`super::Family::are_finite`]); if not, they are void.
#[derive(Clone, Copy)]
pub struct Believed<'a, M>(pub &'a Cell<M>);

impl<L: Lanes> Selection<L> for Believed<'_, L::Mask> {
    #[inline(always)]
    fn finite(self, x: L) -> Self {
        self.0.set(self.0.get() & x.finite());
        self
    }

    #[inline(always)]
    fn summed(self, _: L) -> Self {
        self
    }

    #[inline(always)]
    fn exponent(self, x: L, usual: f64) -> (Self, L, Exp<L>) {
        self.0.set(self.0.get() & x.abs().within(x.splat(usual)));
        (self, x, exp(x))
    }

    #[inline(always)]
    fn usual(self, x: L, _: f64) -> L {
        x
    }

    #[inline(always)]
    fn and(self, _: Self) -> Self {
        self
    }

    #[inline(always)]
    fn count(self) -> u64 {
        WIDTH as u64
    }

    #[inline(always)]
    fn or(self, x: L, _: L) -> L {
        x
    }

    #[inline(always)]
    fn hit(self, hits: L::Mask, counts: L) -> L {
        hits.select(counts + counts.splat(1.0), counts)
    }
}

/// The lanes of a mask.
#[derive(Clone, Copy, Debug)]
pub struct Only<M>(pub M);

impl<L: Lanes> Selection<L> for Only<L::Mask> {
    #[inline(always)]
    fn finite(self, x: L) -> Self {
        Self(self.0 & x.finite())
    }

    #[inline(always)]
    fn summed(self, x: L) -> Self {
        self.finite(x)
    }

    #[inline(always)]
    fn exponent(self, x: L, _: f64) -> (Self, L, Exp<L>) {
        let clamped = self.usual(x, EXPONENT_LIMIT);
        (self.finite(x), clamped, exp(clamped))
    }

    #[inline(always)]
    fn usual(self, x: L, usual: f64) -> L {
        x.min(x.splat(usual)).max(x.splat(-usual))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[inline(always)]
    fn count(self) -> u64 {
        self.0.count()
    }

    #[inline(always)]
    fn or(self, x: L, other: L) -> L {
        self.0.select(x, other)
    }

    #[inline(always)]
    fn hit(self, hits: L::Mask, counts: L) -> L {
        (self.0 & hits).select(counts + counts.splat(1.0), counts)
    }
}
