//! What tokens add up to, lane by lane: a struct of sums for each family, and the formula that adds 8 tokens to it.

mod apart;
mod column;
mod policy;
mod sampler;
mod selection;

pub use column::{RangeLanes, Ranged, Summed, TotalLanes};
pub use policy::{Policies, PolicySums};
pub use sampler::Sampled;
pub use selection::{Believed, Only, Selection};

use crate::kernel::lanes::Lanes;

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
