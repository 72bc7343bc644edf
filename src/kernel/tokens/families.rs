//! What tokens add up to, lane by lane: a struct of sums for each family, and the formula that adds 8 tokens to it.

use std::cell::Cell;

use super::{Behaviour, Bounds, Divergence, Range, Reference, Sampler, Total};
use crate::kernel::exp::{EXPONENT_LIMIT, Exp, exp};
use crate::kernel::lanes::{Lanes, Mask, WIDTH};

/// What adds up one family's sums over tokens, of whose columns it takes `N`.
pub trait Family<L: Lanes, const N: usize> {
    type Sums: Copy;

    fn empty(&self, zero: L) -> Self::Sums;
    /// Adds 8 tokens, of which `counted` says which count. Gives what may be kept of each ([`super::Kept`]), NaN where
    /// there is nothing.
    fn add(&self, sums: &mut Self::Sums, tokens: [L; N], counted: impl Selection<L>) -> [L; 2];
    /// Whether every sum is finite that a value goes into as it is: then so was every value.
    fn are_finite(sums: &Self::Sums) -> bool;
}

/// The lanes that a formula may use.
pub trait Selection<L: Lanes>: Copy {
    /// Those of them where `x` is finite.
    fn finite(self, x: L) -> Self;
    /// The same for an `x` that is then added to a sum as it is, where nothing non-finite stays hidden.
    fn summed(self, x: L) -> Self;
    /// Those of them where `x` is finite; x clamped to [-60, 60] there, and e to that power.
    fn exponent(self, x: L) -> (Self, L, Exp<L>);
    fn and(self, other: Self) -> Self;
    fn count(self) -> u64;
    /// `x` in these lanes, `other` in the rest.
    fn or(self, x: L, other: L) -> L;
    /// `counts`, and one more in those of these lanes that were hit.
    fn hit(self, hits: L::Mask, counts: L) -> L;
}

/// Every lane, taken without a mask in the belief that all is finite and every exponent within its range. What its cell
/// holds in the end says whether the belief was right (as do the sums, [`Family::are_finite`]); if not, they are void.
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
    fn exponent(self, x: L) -> (Self, L, Exp<L>) {
        self.0
            .set(self.0.get() & x.abs().within(x.splat(EXPONENT_LIMIT)));
        (self, x, exp(x))
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
    fn exponent(self, x: L) -> (Self, L, Exp<L>) {
        let clamped = x.min(x.splat(EXPONENT_LIMIT)).max(x.splat(-EXPONENT_LIMIT));
        (self.finite(x), clamped, exp(clamped))
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

/// Counts are doubles in lanes: whole, and exact far beyond any number of tokens.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and not negative
fn counted(counts: impl Lanes) -> u64 {
    counts.sum() as u64
}

#[derive(Clone, Copy, Debug)]
pub struct TotalLanes<L> {
    tokens: u64,
    sum: L,
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

/// [`Divergence`] by its d = log q - log p.
#[derive(Clone, Copy, Debug)]
struct DivergenceLanes<L> {
    tokens: u64,
    d: L,
    abs: L,
    squares: L,
    k3: L,
}

impl<L: Lanes> DivergenceLanes<L> {
    #[inline(always)]
    fn empty(zero: L) -> Self {
        Self {
            tokens: 0,
            d: zero,
            abs: zero,
            squares: zero,
            k3: zero,
        }
    }

    #[inline(always)]
    fn add(&mut self, d: L, k3: L, usable: impl Selection<L>) {
        self.tokens += usable.count();
        self.d = usable.or(self.d + d, self.d);
        self.abs = usable.or(self.abs + d.abs(), self.abs);
        self.squares = usable.or(d.mul_add(d, self.squares), self.squares);
        self.k3 = usable.or(self.k3 + k3, self.k3);
    }

    #[inline(always)]
    fn finish([low, high]: [Self; 2]) -> Divergence {
        Divergence {
            tokens: low.tokens + high.tokens,
            // Taken from 0, so that no tokens come to 0 and not to -0.
            k1: 0.0 - (low.d + high.d).sum(),
            abs: (low.abs + high.abs).sum(),
            k2: (low.squares + high.squares).sum() / 2.0,
            k3: (low.k3 + high.k3).sum(),
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

/// The current policy against behaviour and reference policy, by the columns there are: current, old, reference and the
/// tokens' own advantages. In the place of a column that is not there stands one that is not read.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    pub has_old: bool,
    pub has_reference: bool,
    pub has_advantages: bool,
    pub bounds: &'a Bounds,
}

#[derive(Clone, Copy, Debug)]
pub struct PolicyLanes<L> {
    behaviour: DivergenceLanes<L>,
    ratio: RangeLanes<L>,
    ratio_squares: L,
    ratio_low: L,
    ratio_high: L,
    signed_tokens: u64,
    signed_clipped: L,
    reference_logps: TotalLanes<L>,
    reference: DivergenceLanes<L>,
    reference_low: L,
    reference_high: L,
    k3_corrected: TotalLanes<L>,
}

impl<L: Lanes> Family<L, 4> for Policies<'_> {
    type Sums = PolicyLanes<L>;

    #[inline(always)]
    fn empty(&self, zero: L) -> PolicyLanes<L> {
        PolicyLanes {
            behaviour: DivergenceLanes::empty(zero),
            ratio: RangeLanes::empty(zero),
            ratio_squares: zero,
            ratio_low: zero,
            ratio_high: zero,
            signed_tokens: 0,
            signed_clipped: zero,
            reference_logps: TotalLanes::empty(zero),
            reference: DivergenceLanes::empty(zero),
            reference_low: zero,
            reference_high: zero,
            k3_corrected: TotalLanes::empty(zero),
        }
    }

    #[inline(always)]
    fn add(
        &self,
        sums: &mut PolicyLanes<L>,
        [current, old, reference, advantages]: [L; 4],
        counted: impl Selection<L>,
    ) -> [L; 2] {
        let advantages = self.has_advantages.then_some(advantages);
        let nothing = current.splat(f64::NAN);
        let (ratio, ratios) = if self.has_old {
            let (ratio, usable) =
                sums.add_behaviour(current - old, advantages, counted, self.bounds);
            (Some((ratio, usable)), usable.or(ratio, nothing))
        } else {
            let usable = counted.finite(current);
            sums.behaviour.tokens += usable.count();
            if let Some(a) = advantages {
                sums.signed_tokens += usable.finite(a).count();
            }
            (None, usable.or(current.splat(1.0), nothing))
        };
        if !self.has_reference {
            return [ratios, nothing];
        }
        sums.reference_logps
            .add(reference, counted.summed(reference));
        let (k3, usable) = sums.add_reference(reference - current, ratio, counted, self.bounds);
        [ratios, usable.or(k3, nothing)]
    }

    #[inline(always)]
    fn are_finite(sums: &PolicyLanes<L>) -> bool {
        sums.reference_logps.sum.all_finite()
    }
}

/// What [`Policies`] come to.
#[derive(Clone, Copy, Debug)]
pub struct PolicySums {
    pub reference_logps: Option<Total>,
    pub reference: Option<Reference>,
    pub behaviour: Behaviour,
}

impl Policies<'_> {
    #[inline(always)]
    pub fn finish<L: Lanes>(&self, parts: [PolicyLanes<L>; 2]) -> PolicySums {
        let (mut reference_logps, mut reference) = (None, None);
        if self.has_reference {
            reference_logps = Some(TotalLanes::finish(parts.map(|part| part.reference_logps)));
            reference = Some(PolicyLanes::reference(parts, self.has_old));
        }
        PolicySums {
            reference_logps,
            reference,
            behaviour: PolicyLanes::behaviour(parts, self.has_old),
        }
    }
}

impl<L: Lanes> PolicyLanes<L> {
    /// `d`: current - old, which is finite where both are. The ratios, and where they can be used.
    #[inline(always)]
    fn add_behaviour<S: Selection<L>>(
        &mut self,
        d: L,
        advantages: Option<L>,
        counted: S,
        bounds: &Bounds,
    ) -> (L, S) {
        let (usable, clamped, e) = counted.exponent(d);
        let ratio = e.value();
        self.behaviour.add(d, e.k3(clamped), usable);
        self.ratio.add(ratio, usable);
        self.ratio_squares =
            usable.or(ratio.mul_add(ratio, self.ratio_squares), self.ratio_squares);
        let low = ratio.below(ratio.splat(bounds.ratio_low));
        let high = ratio.splat(bounds.ratio_high).below(ratio);
        self.ratio_low = usable.hit(low, self.ratio_low);
        self.ratio_high = usable.hit(high, self.ratio_high);
        if let Some(a) = advantages {
            let (signed, zero) = (usable.finite(a), a.splat(0.0));
            self.signed_tokens += signed.count();
            self.signed_clipped = signed.hit(low & a.below(zero), self.signed_clipped);
            self.signed_clipped = signed.hit(high & zero.below(a), self.signed_clipped);
        }
        (ratio, usable)
    }

    /// `d`: reference - current, which is finite where both are. The k3s, and where they can be used.
    #[inline(always)]
    fn add_reference<S: Selection<L>>(
        &mut self,
        d: L,
        ratio: Option<(L, S)>,
        counted: S,
        bounds: &Bounds,
    ) -> (L, S) {
        let (usable, clamped, e) = counted.exponent(d);
        let k3 = e.k3(clamped);
        self.reference.add(d, k3, usable);
        // The bounds are of current - reference, which is -d.
        self.reference_low = usable.hit(d.splat(-bounds.log_low).below(d), self.reference_low);
        self.reference_high = usable.hit(d.below(d.splat(-bounds.log_high)), self.reference_high);
        if let Some((ratio, behaving)) = ratio {
            self.k3_corrected.add(k3 * ratio, usable.and(behaving));
        }
        (k3, usable)
    }

    #[inline(always)]
    fn reference(parts: [Self; 2], has_old: bool) -> Reference {
        let divergence = DivergenceLanes::finish(parts.map(|part| part.reference));
        let [low, high] = parts;
        Reference {
            divergence,
            // Without a behaviour column every ratio is 1.
            k3_corrected: if has_old {
                TotalLanes::finish(parts.map(|part| part.k3_corrected))
            } else {
                divergence.k3()
            },
            low: counted(low.reference_low + high.reference_low),
            high: counted(low.reference_high + high.reference_high),
        }
    }

    #[inline(always)]
    fn behaviour(parts: [Self; 2], has_old: bool) -> Behaviour {
        let divergence = DivergenceLanes::finish(parts.map(|part| part.behaviour));
        let [low, high] = parts;
        Behaviour {
            divergence,
            ratio: if has_old {
                RangeLanes::finish(parts.map(|part| part.ratio))
            } else {
                Range::of_ones(divergence.tokens)
            },
            ratio_squares: if has_old {
                (low.ratio_squares + high.ratio_squares).sum()
            } else {
                divergence.tokens as f64
            },
            low: counted(low.ratio_low + high.ratio_low),
            high: counted(low.ratio_high + high.ratio_high),
            signed_tokens: low.signed_tokens + high.signed_tokens,
            signed_clipped: counted(low.signed_clipped + high.signed_clipped),
        }
    }
}

/// The behaviour policy against the sampler, by the log-probabilities of both.
#[derive(Clone, Copy, Debug)]
pub struct Sampled {
    /// Cap of the ratio.
    pub cap: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct SamplerLanes<L> {
    logp_difference: RangeLanes<L>,
    ratio: RangeLanes<L>,
    probability_difference: RangeLanes<L>,
    probability_difference_squares: L,
    old: RangeLanes<L>,
    sampling: RangeLanes<L>,
    old_squares: L,
    sampling_squares: L,
    products: L,
}

impl<L: Lanes> Family<L, 2> for Sampled {
    type Sums = SamplerLanes<L>;

    #[inline(always)]
    fn empty(&self, zero: L) -> SamplerLanes<L> {
        let range = RangeLanes::empty(zero);
        SamplerLanes {
            logp_difference: range,
            ratio: range,
            probability_difference: range,
            probability_difference_squares: zero,
            old: range,
            sampling: range,
            old_squares: zero,
            sampling_squares: zero,
            products: zero,
        }
    }

    #[inline(always)]
    fn add(
        &self,
        sums: &mut SamplerLanes<L>,
        [old, sampling]: [L; 2],
        counted: impl Selection<L>,
    ) -> [L; 2] {
        let d = old - sampling;
        let (usable, _, ratio) = counted.exponent(d);
        let (_, _, p) = counted.exponent(old);
        let (_, _, q) = counted.exponent(sampling);
        let (ratio, p, q) = (ratio.value(), p.value(), q.value());
        sums.logp_difference.add(d.abs(), usable);
        sums.ratio.add(ratio.min(d.splat(self.cap)), usable);
        let apart = (p - q).abs();
        sums.probability_difference.add(apart, usable);
        let squares = sums.probability_difference_squares;
        sums.probability_difference_squares = usable.or(apart.mul_add(apart, squares), squares);
        sums.old.add(p, usable);
        sums.sampling.add(q, usable);
        sums.old_squares = usable.or(p.mul_add(p, sums.old_squares), sums.old_squares);
        sums.sampling_squares =
            usable.or(q.mul_add(q, sums.sampling_squares), sums.sampling_squares);
        sums.products = usable.or(p.mul_add(q, sums.products), sums.products);
        [d.splat(f64::NAN); 2]
    }

    #[inline(always)]
    fn are_finite(_: &SamplerLanes<L>) -> bool {
        // Every value goes into an exponent.
        true
    }
}

impl<L: Lanes> SamplerLanes<L> {
    #[inline(always)]
    pub fn finish(parts: [Self; 2]) -> Sampler {
        let [low, high] = parts;
        Sampler {
            logp_difference: RangeLanes::finish(parts.map(|part| part.logp_difference)),
            ratio: RangeLanes::finish(parts.map(|part| part.ratio)),
            probability_difference: RangeLanes::finish(
                parts.map(|part| part.probability_difference),
            ),
            probability_difference_squares: (low.probability_difference_squares
                + high.probability_difference_squares)
                .sum(),
            old: RangeLanes::finish(parts.map(|part| part.old)),
            sampling: RangeLanes::finish(parts.map(|part| part.sampling)),
            old_squares: (low.old_squares + high.old_squares).sum(),
            sampling_squares: (low.sampling_squares + high.sampling_squares).sum(),
            products: (low.products + high.products).sum(),
        }
    }
}
