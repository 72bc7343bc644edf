//! A column by itself: its total, and its extremes.

use super::{Family, Selection};
use crate::kernel::lanes::Lanes;
use crate::kernel::tokens::{Range, Total};

#[derive(Clone, Copy, Debug)]
pub struct TotalLanes<L> {
    tokens: u64,
    pub(super) sum: L,
}

impl<L: Lanes> TotalLanes<L> {
    #[inline(always)]
    pub fn empty(zero: L) -> Self {
        Self {
            tokens: 0,
            sum: zero,
        }
    }

    #[inline(always)]
    pub fn add(&mut self, x: L, usable: impl Selection<L>) {
        self.tokens += usable.count();
        self.sum = usable.or(self.sum + x, self.sum);
    }

    #[inline(always)]
    pub fn finish([low, high]: [Self; 2]) -> Total {
        Total {
            tokens: low.tokens + high.tokens,
            sum: (low.sum + high.sum).sum(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct RangeLanes<L> {
    total: TotalLanes<L>,
    min: L,
    max: L,
}

impl<L: Lanes> RangeLanes<L> {
    #[inline(always)]
    pub fn empty(zero: L) -> Self {
        Self {
            total: TotalLanes::empty(zero),
            min: zero.splat(f64::INFINITY),
            max: zero.splat(f64::NEG_INFINITY),
        }
    }

    #[inline(always)]
    pub fn add(&mut self, x: L, usable: impl Selection<L>) {
        self.total.add(x, usable);
        self.min = usable.or(x.min(self.min), self.min);
        self.max = usable.or(x.max(self.max), self.max);
    }

    #[inline(always)]
    pub fn finish([low, high]: [Self; 2]) -> Range {
        let (min, max) = (low.min.min(high.min), low.max.max(high.max));
        Range {
            total: TotalLanes::finish([low.total, high.total]),
            min: min.array().into_iter().fold(f64::INFINITY, f64::min),
            max: max.array().into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// A column by itself: its total.
#[derive(Clone, Copy, Debug)]
pub struct Summed;

impl<L: Lanes> Family<L, 1> for Summed {
    type Sums = TotalLanes<L>;

    #[inline(always)]
    fn empty(&self, zero: L) -> TotalLanes<L> {
        TotalLanes::empty(zero)
    }

    #[inline(always)]
    fn add(&self, total: &mut TotalLanes<L>, [x]: [L; 1], counted: impl Selection<L>) -> [L; 2] {
        let usable = counted.summed(x);
        total.add(x, usable);
        [usable.or(x, x.splat(f64::NAN)); 2]
    }

    #[inline(always)]
    fn are_finite(total: &TotalLanes<L>) -> bool {
        total.sum.all_finite()
    }
}

/// A column by itself: its total and extremes.
#[derive(Clone, Copy, Debug)]
pub struct Ranged;

impl<L: Lanes> Family<L, 1> for Ranged {
    type Sums = RangeLanes<L>;

    #[inline(always)]
    fn empty(&self, zero: L) -> RangeLanes<L> {
        RangeLanes::empty(zero)
    }

    #[inline(always)]
    fn add(&self, range: &mut RangeLanes<L>, [x]: [L; 1], counted: impl Selection<L>) -> [L; 2] {
        let usable = counted.summed(x);
        range.add(x, usable);
        [usable.or(x, x.splat(f64::NAN)); 2]
    }

    #[inline(always)]
    fn are_finite(range: &RangeLanes<L>) -> bool {
        range.total.sum.all_finite()
    }
}
