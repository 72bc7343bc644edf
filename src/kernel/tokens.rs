//! One pass over the token columns of one completion: everything its tokens add up to, from one read.

mod families;
mod pass;
#[cfg(test)]
mod tests;

use half::bf16;

use super::dispatched;
use pass::pass;

/// The cells of one token column of one completion, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// One of something for each token column that was given.
#[derive(Clone, Copy, Debug)]
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

/// The bounds that tokens are counted against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Clipped below if ratio < this (1 - eps low).
    pub ratio_low: f64,
    /// Clipped above if ratio > this (1 + eps high).
    pub ratio_high: f64,
    /// ln max(`ratio_low`, 1e-6).
    pub log_low: f64,
    /// ln max(`ratio_high`, 1e-6).
    pub log_high: f64,
    /// Cap of the sampler's importance ratio; infinite where none is set.
    pub ratio_cap: f64,
}

/// Sum over the tokens that a formula could use, and how many those were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    pub tokens: u64,
    pub sum: f64,
}

/// [`Total`] with the extremes (infinities where there is no token).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub total: Total,
    pub min: f64,
    pub max: f64,
}

impl Range {
    /// Of as many ones.
    fn of_ones(tokens: u64) -> Self {
        let (min, max) = if tokens > 0 {
            (1.0, 1.0)
        } else {
            (f64::INFINITY, f64::NEG_INFINITY)
        };
        Self {
            total: Total {
                tokens,
                sum: tokens as f64,
            },
            min,
            max,
        }
    }
}

/// What one completion's tokens add up to. A family whose columns were not given is `None`; a token that has a
/// non-finite value in a needed column is left out of that family (so `counted - tokens` were non-finite).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Tokens whose loss mask is 1.
    pub counted: u64,
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
/// d = log p - log q of a token, k1 = d, |d|, k2 = d^2 / 2 and k3 = e^-d + d - 1 with d clamped to [-60, 60] in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    pub tokens: u64,
    pub k1: f64,
    pub abs: f64,
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
    /// k3 times the ratio of current to behaviour policy.
    pub k3_corrected: Total,
    /// Tokens with current - reference below and above the log bounds.
    pub low: u64,
    pub high: u64,
}

/// Behaviour policy (old) to current policy; their ratio is e^(current - old), the difference clamped to [-60, 60].
/// Without a behaviour column the behaviour policy is the current one, and every ratio is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behaviour {
    pub divergence: Divergence,
    pub ratio: Range,
    pub ratio_squares: f64,
    /// Tokens with a ratio beyond each bound, whatever the advantage.
    pub low: u64,
    pub high: u64,
    /// Where the completion has token advantages: tokens with a usable one, and those clipped given its sign.
    pub signed_tokens: u64,
    pub signed_clipped: u64,
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
    /// e^old and e^sampling.
    pub old: Range,
    pub sampling: Range,
    pub old_squares: f64,
    pub sampling_squares: f64,
    pub products: f64,
}

dispatched! {
    /// All sums of one completion, in one pass; the same bits on every path and for ragged and padded columns.
    pub fn sums(completion: &Completion<'_>, bounds: &Bounds) -> Sums = pass on a unit
}
