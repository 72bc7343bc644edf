//! The current policy against the behaviour and the reference policy.

use super::{Family, RangeLanes, Selection, TotalLanes};
use crate::kernel::exp::EXPONENT_LIMIT;
use crate::kernel::lanes::Lanes;
use crate::kernel::tokens::{
    Behaviour, Bounds, Divergence, Moved, Reference, Total, VERL_K3, VERL_LOG_RATIO,
};

/// Counts are doubles in lanes: whole, and exact far beyond any number of tokens.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and not negative
pub(super) fn counted(counts: impl Lanes) -> u64 {
    counts.sum() as u64
}

/// [`Divergence`] by its d = log q - log p.
#[derive(Clone, Copy, Debug)]
struct DivergenceLanes<L> {
    tokens: u64,
    d: L,
    squares: L,
    k3: L,
}

impl<L: Lanes> DivergenceLanes<L> {
    #[inline(always)]
    fn empty(zero: L) -> Self {
        Self {
            tokens: 0,
            d: zero,
            squares: zero,
            k3: zero,
        }
    }

    #[inline(always)]
    fn add(&mut self, d: L, k3: L, usable: impl Selection<L>) {
        self.tokens += usable.count();
        self.d = usable.or(self.d + d, self.d);
        self.squares = usable.or(d.mul_add(d, self.squares), self.squares);
        self.k3 = usable.or(self.k3 + k3, self.k3);
    }

    #[inline(always)]
    fn finish([low, high]: [Self; 2]) -> Divergence {
        Divergence {
            tokens: low.tokens + high.tokens,
            // Taken from 0, so that no tokens come to 0 and not to -0.
            k1: 0.0 - (low.d + high.d).sum(),
            k2: (low.squares + high.squares).sum() / 2.0,
            k3: (low.k3 + high.k3).sum(),
        }
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
    log_ratio_bounded: L,
    ratio: RangeLanes<L>,
    ratio_squares: L,
    ratio_low: L,
    ratio_high: L,
    signed_tokens: u64,
    signed_low: L,
    signed_high: L,
    reference_logps: TotalLanes<L>,
    reference: DivergenceLanes<L>,
    reference_abs: L,
    k3_bounded: L,
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
            log_ratio_bounded: zero,
            ratio: RangeLanes::empty(zero),
            ratio_squares: zero,
            ratio_low: zero,
            ratio_high: zero,
            signed_tokens: 0,
            signed_low: zero,
            signed_high: zero,
            reference_logps: TotalLanes::empty(zero),
            reference: DivergenceLanes::empty(zero),
            reference_abs: zero,
            k3_bounded: zero,
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
        let (ratio, log_ratios) = if self.has_old {
            let (log_ratio, ratio, usable) =
                sums.add_behaviour(current - old, advantages, counted, self.bounds);
            (Some((ratio, usable)), usable.or(log_ratio, nothing))
        } else {
            let usable = counted.finite(current);
            sums.behaviour.tokens += usable.count();
            if let Some(a) = advantages {
                sums.signed_tokens += usable.finite(a).count();
            }
            (None, nothing)
        };
        if !self.has_reference {
            return [log_ratios, nothing];
        }
        sums.reference_logps
            .add(reference, counted.summed(reference));
        let (k3, usable) = sums.add_reference(reference - current, ratio, counted, self.bounds);
        [log_ratios, usable.or(k3, nothing)]
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
    /// `d`: current - old, which is finite where both are. The clamped log-ratios, the ratios, and where they can be used.
    #[inline(always)]
    fn add_behaviour<S: Selection<L>>(
        &mut self,
        d: L,
        advantages: Option<L>,
        counted: S,
        bounds: &Bounds,
    ) -> (L, L, S) {
        let (usable, clamped, e) = counted.exponent(d, VERL_LOG_RATIO);
        let ratio = e.value();
        self.behaviour.add(d, e.k3(clamped), usable);
        let bounded = counted.usual(d, VERL_LOG_RATIO);
        self.log_ratio_bounded =
            usable.or(self.log_ratio_bounded + bounded, self.log_ratio_bounded);
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
            self.signed_low = signed.hit(low & a.below(zero), self.signed_low);
            self.signed_high = signed.hit(high & zero.below(a), self.signed_high);
        }
        (clamped, ratio, usable)
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
        let (usable, clamped, e) = counted.exponent(d, EXPONENT_LIMIT);
        let k3 = e.k3(clamped);
        self.reference.add(d, k3, usable);
        self.reference_abs = usable.or(self.reference_abs + d.abs(), self.reference_abs);
        let bounded = k3.min(k3.splat(VERL_K3));
        self.k3_bounded = usable.or(self.k3_bounded + bounded, self.k3_bounded);
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
            abs: (low.reference_abs + high.reference_abs).sum(),
            k3_bounded: (low.k3_bounded + high.k3_bounded).sum(),
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
            tokens: divergence.tokens,
            moved: has_old.then(|| Moved {
                divergence,
                // Taken from 0, as k1 is.
                k1_bounded: 0.0 - (low.log_ratio_bounded + high.log_ratio_bounded).sum(),
                ratio: RangeLanes::finish(parts.map(|part| part.ratio)),
                ratio_squares: (low.ratio_squares + high.ratio_squares).sum(),
            }),
            low: counted(low.ratio_low + high.ratio_low),
            high: counted(low.ratio_high + high.ratio_high),
            signed_tokens: low.signed_tokens + high.signed_tokens,
            signed_low: counted(low.signed_low + high.signed_low),
            signed_high: counted(low.signed_high + high.signed_high),
        }
    }
}
