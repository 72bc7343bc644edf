//! The behaviour policy against the sampler.

use super::apart::ApartLanes;
use super::{Family, RangeLanes, Selection};
use crate::kernel::exp::EXPONENT_LIMIT;
use crate::kernel::lanes::Lanes;
use crate::kernel::tokens::{Bounds, Sampler};

/// The behaviour policy against the sampler, by the log-probabilities of both; `APART` with how far they are apart.
#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a, const APART: bool> {
    pub bounds: &'a Bounds,
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
    apart: ApartLanes<L>,
}

impl<L: Lanes, const APART: bool> Family<L, 2> for Sampled<'_, APART> {
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
            apart: ApartLanes::empty(zero),
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
        let (usable, clamped, e) = counted.exponent(d, EXPONENT_LIMIT);
        let (_, _, p) = counted.exponent(old, EXPONENT_LIMIT);
        let (_, _, q) = counted.exponent(sampling, EXPONENT_LIMIT);
        let (ratio, p, q) = (e.value(), p.value(), q.value());
        let capped = ratio.min(d.splat(self.bounds.ratio_cap));
        sums.logp_difference.add(d.abs(), usable);
        sums.ratio.add(capped, usable);
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
        if APART {
            sums.apart.add_logps(old, sampling, usable);
            sums.apart.add_distances(clamped, e, usable);
            sums.apart.add_ratios(ratio, capped, self.bounds, usable);
        }
        [d.splat(f64::NAN); 2]
    }

    #[inline(always)]
    fn are_finite(_: &SamplerLanes<L>) -> bool {
        // Every value goes into an exponent.
        true
    }
}

impl<const APART: bool> Sampled<'_, APART> {
    #[inline(always)]
    pub fn finish<L: Lanes>(parts: [SamplerLanes<L>; 2]) -> Sampler {
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
            apart: APART.then(|| ApartLanes::finish([low.apart, high.apart])),
        }
    }
}
