//! One pass over the token columns of one completion: everything its tokens add up to, from one read.

mod families;
mod pass;
#[cfg(test)]
mod tests;

use half::bf16;

use super::exp::power_of_e;
use pass::{LANES, policies, range, sampler, total};

/// The cells of one token column of one completion, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Cells<'_> {
    /// One cell as a double.
    #[inline]
    pub fn at(&self, position: usize) -> f64 {
        match self {
            Self::F32(cells) => f64::from(cells[position]),
            Self::Bf16(cells) => f64::from(cells[position].to_f32()),
        }
    }
}

/// One of something for each token column that was given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Columns<T> {
    pub current: Option<T>,
    pub old: Option<T>,
    pub reference: Option<T>,
    pub sampling: Option<T>,
    pub entropies: Option<T>,
    pub advantages: Option<T>,
    pub returns: Option<T>,
    pub values: Option<T>,
}

impl<T: Copy> Columns<T> {
    /// The behaviour policy: old, or current where there is no old.
    #[inline(always)]
    pub fn behaviour(&self) -> Option<T> {
        self.old.or(self.current)
    }
}

/// The token columns of one completion; all given ones have `length` cells.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    pub length: usize,
    /// 0 or 1 a token; all count without it.
    pub mask: Option<&'a [u8]>,
    pub columns: Columns<Cells<'a>>,
}

impl Completion<'_> {
    /// The positions of the tokens that count.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.length).filter(|&i| self.mask.is_none_or(|mask| mask[i] != 0))
    }

    /// Both cells of the counted tokens at which both columns are finite.
    pub fn pairs(&self, a: Cells<'_>, b: Cells<'_>) -> Vec<(f64, f64)> {
        self.positions()
            .map(|i| (a.at(i), b.at(i)))
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .collect()
    }
}

/// The bounds that tokens are counted against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Clipped below if ratio < this (1 - eps low).
    pub ratio_low: f64,
    /// Clipped above if ratio > this (1 + eps high).
    pub ratio_high: f64,
    /// A negative advantage's loss is capped if ratio > this.
    pub dual: f64,
    /// Where ratios are weights that the loss caps: at this; infinite where they are not.
    pub weight_cap: f64,
    /// ln max(1 - eps low, 1e-6), whatever the ratio is held against.
    pub log_low: f64,
    /// ln max(1 + eps high, 1e-6), likewise.
    pub log_high: f64,
    /// Cap of the sampler's importance ratio; infinite where none is set.
    pub ratio_cap: f64,
    /// From where down such a ratio is too low; 0 where nothing says so.
    pub ratio_floor: f64,
    /// Whether [`Apart`] is asked for.
    pub apart: bool,
}

/// Sum over the tokens that a formula could use, and how many those were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    pub tokens: u64,
    pub sum: f64,
}

/// The bounds that verl keeps for stability (`core_algos.py`, `compute_policy_loss*` and `kl_penalty_forward`): of a token's
/// log-ratio of behaviour to current policy, on either side, and of a k3. (The log-ratio within that k3 is bounded too, by
/// 20, where k3 has long been beyond its own bound on both sides.)
pub const VERL_LOG_RATIO: f64 = 20.0;
pub const VERL_K3: f64 = 10.0;
/// e to [`VERL_LOG_RATIO`].
pub const VERL_RATIO: f64 = 485_165_195.409_790_3;

/// [`Total`] with the extremes (infinities where there is no token).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub total: Total,
    pub min: f64,
    pub max: f64,
}

/// What one completion's tokens add up to. A family whose columns were not given is `None`; a token that has a
/// non-finite value in a needed column is left out of that family (so `counted - tokens` were non-finite).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Tokens whose loss mask is 1.
    pub counted: u64,
    /// Those of them at which each column is finite.
    pub finite: Columns<u64>,
    pub reference_logps: Option<Total>,
    pub entropies: Option<Total>,
    pub reference: Option<Reference>,
    pub behaviour: Option<Behaviour>,
    pub sampler: Option<Sampler>,
    pub advantages: Option<Range>,
    pub returns: Option<Range>,
    pub values: Option<Range>,
}

/// Estimates of KL(p || q) from tokens of p, summed (Schulman, "Approximating KL divergence", 2020): with
/// d = log p - log q of a token, k1 = d, k2 = d^2 / 2 and k3 = e^-d + d - 1 with d clamped to [-60, 60] in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    pub tokens: u64,
    pub k1: f64,
    pub k2: f64,
    pub k3: f64,
}

impl Divergence {
    /// The k3 estimate by itself.
    pub fn k3(&self) -> Total {
        Total {
            tokens: self.tokens,
            sum: self.k3,
        }
    }
}

/// Current policy to reference policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reference {
    pub divergence: Divergence,
    /// Over the same tokens: |d|, and k3 within [`VERL_K3`].
    pub abs: f64,
    pub k3_bounded: f64,
    /// k3 times the ratio of current to behaviour policy.
    pub k3_corrected: Total,
    /// Tokens with current - reference below and above the log bounds.
    pub low: u64,
    pub high: u64,
}

/// Behaviour policy (old) to current policy; their ratio is e^(current - old), the difference clamped to [-60, 60].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    pub divergence: Divergence,
    /// k1 of which every token's is within [`VERL_LOG_RATIO`].
    pub k1_bounded: f64,
    pub ratio: Range,
    pub ratio_squares: f64,
}

/// Tokens against the clip range. Without a behaviour column the behaviour policy is the current one, and no ratio leaves it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behaviour {
    /// Tokens that have a ratio.
    pub tokens: u64,
    /// Where there is a behaviour column.
    pub moved: Option<Moved>,
    /// Tokens with a ratio beyond each bound, whatever the advantage.
    pub low: u64,
    pub high: u64,
    /// Where the completion has token advantages: tokens with a usable one, and those clipped on either side given its sign.
    pub signed_tokens: u64,
    pub signed_low: u64,
    pub signed_high: u64,
}

impl Behaviour {
    /// The ratio of the completion as a whole: e to the mean of its tokens' current - old; `None` without a usable token.
    pub fn of_completion(&self) -> Option<f64> {
        let mean_of = |moved: Moved| -moved.divergence.k1 / self.tokens as f64;
        let ratio = || self.moved.map_or(1.0, |moved| power_of_e(mean_of(moved)));
        (self.tokens > 0).then(ratio)
    }
}

impl Sums {
    /// k3 to the reference, weighted by the ratio of the completion as a whole.
    pub fn k3_by_completion_ratio(&self) -> Option<Total> {
        let k3 = self.reference?.divergence.k3();
        Some(match self.behaviour.and_then(|b| b.of_completion()) {
            Some(ratio) => Total {
                sum: k3.sum * ratio,
                ..k3
            },
            None => Total::default(),
        })
    }
}

/// Behaviour policy (old) against the sampler's own log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// |old - sampling|.
    pub logp_difference: Range,
    /// e^(old - sampling), capped.
    pub ratio: Range,
    /// |e^old - e^sampling|.
    pub probability_difference: Range,
    pub probability_difference_squares: f64,
    /// e^old and e^sampling.
    pub old: Range,
    pub sampling: Range,
    pub old_squares: f64,
    pub sampling_squares: f64,
    pub products: f64,
    /// Where it is asked for.
    pub apart: Option<Apart>,
}

/// How far behaviour policy and sampler are apart: sums over the tokens of [`Sampler`], with d = old - sampling of a token,
/// r = e^d and d clamped to [-60, 60] in r.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Apart {
    /// Log-probabilities of either.
    pub old: f64,
    pub sampling: f64,
    /// r - d - 1, the k3 of sampler to behaviour policy; and of behaviour policy to sampler, 1/r + d - 1.
    pub k3: f64,
    pub k3_back: f64,
    /// ln cosh(d/2): half the k3 of either policy to their mixture, added up.
    pub mixture: f64,
    /// e^|d|.
    pub factor: f64,
    /// r, not capped; the squares of r where it is capped; and those of r within [`VERL_RATIO`].
    pub ratio: f64,
    pub capped_squares: f64,
    pub bounded_squares: f64,
    /// Tokens with r above the cap, and below the floor.
    pub above: u64,
    pub below: u64,
}

/// What is kept of one completion's tokens where their distributions are asked for, besides their sums: by position, NaN
/// where the token does not count or the value is not finite, and past the end; empty where a needed column is not given.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The log-ratio of current to behaviour policy, clamped to [-60, 60].
    pub log_ratios: Vec<f64>,
    /// k3 of current to reference policy.
    pub k3s: Vec<f64>,
    pub entropies: Vec<f64>,
}

impl Kept {
    /// Room for log-ratios and k3s, and for entropies, as far as the completion has the columns for them. What still stands in
    /// it is another's.
    fn room(
        &mut self,
        completion: &Completion<'_>,
    ) -> ([Option<&mut [f64]>; 2], Option<&mut [f64]>) {
        let c = &completion.columns;
        let cells = completion.length.next_multiple_of(LANES);
        let room = |given: bool, values: &'_ mut Vec<f64>| {
            values.resize(if given { cells } else { 0 }, f64::NAN);
        };
        room(c.current.and(c.old).is_some(), &mut self.log_ratios);
        room(c.current.and(c.reference).is_some(), &mut self.k3s);
        room(c.entropies.is_some(), &mut self.entropies);
        let [log_ratios, k3s, entropies] =
            [&mut self.log_ratios, &mut self.k3s, &mut self.entropies]
                .map(|values| Some(values.as_mut_slice()).filter(|values| !values.is_empty()));
        ([log_ratios, k3s], entropies)
    }
}

/// All sums of one completion, each column read once (but for the sampler's second); the same bits on every path and for
/// ragged and padded columns.
pub fn sums(completion: &Completion<'_>, bounds: &Bounds, kept: Option<&mut Kept>) -> Sums {
    let (kept_policies, kept_entropies) =
        kept.map_or(([None, None], None), |kept| kept.room(completion));
    let c = &completion.columns;
    let policies = c
        .current
        .map(|current| policies(completion, current, bounds, kept_policies));
    let ranged = |column: Option<Cells<'_>>| column.map(|column| range(completion, column));
    let mut sums = Sums {
        counted: completion.counted(),
        finite: Columns::default(),
        reference_logps: policies
            .and_then(|policies| policies.reference_logps)
            .or_else(|| c.reference.map(|column| total(completion, column, None))),
        entropies: c
            .entropies
            .map(|column| total(completion, column, kept_entropies)),
        reference: policies.and_then(|policies| policies.reference),
        behaviour: policies.map(|policies| policies.behaviour),
        sampler: c
            .sampling
            .zip(c.behaviour())
            .map(|(sampling, old)| sampler(completion, old, sampling, bounds)),
        advantages: ranged(c.advantages),
        returns: ranged(c.returns),
        values: ranged(c.values),
    };
    sums.finite = sums.finite_by_column(completion);
    sums
}

impl Sums {
    /// The counted tokens at which each column is finite. A family that could use every token says so of all its columns; a
    /// column of which none says so is read by itself.
    fn finite_by_column(&self, completion: &Completion<'_>) -> Columns<u64> {
        let c = &completion.columns;
        let ratios = self.behaviour.map(|behaviour| behaviour.tokens);
        let sampled = self.sampler.map(|s| s.logp_difference.total.tokens);
        let of = |column: Option<Cells<'_>>, families: [Option<u64>; 2]| {
            column.map(|column| {
                if families.contains(&Some(self.counted)) {
                    self.counted
                } else {
                    total(completion, column, None).tokens
                }
            })
        };
        let of_range = |range: Option<Range>| range.map(|range| range.total.tokens);
        Columns {
            current: of(c.current, [ratios, sampled.filter(|_| c.old.is_none())]),
            old: of(c.old, [ratios, sampled]),
            reference: self.reference_logps.map(|total| total.tokens),
            sampling: of(c.sampling, [sampled, None]),
            entropies: self.entropies.map(|total| total.tokens),
            advantages: of_range(self.advantages),
            returns: of_range(self.returns),
            values: of_range(self.values),
        }
    }
}
