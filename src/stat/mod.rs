//! Arithmetic that knows neither GRPO nor I/O: partial results over samples that merge without a trace of how the samples were split.
//!
//! Sums are integers inside, quantiles stand on the multiset of values, sketches on integer buckets. So the order of samples, of merges
//! and of threads cannot show in a single bit. Every statistic skips NaN and infinities; [`Census`] counts them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "limbs are cut out of wider words on purpose; exponents and bucket numbers are bounded by the format of doubles"
)]

mod bytes;
mod census;
mod clusters;
mod covariance;
mod extent;
mod finite;
mod fixed;
mod integer;
#[cfg(test)]
mod laws;
mod moments;
mod natural;
mod order;
mod products;
mod quantile;
mod runs;
mod series;
mod sketch;
mod skewness;
mod spearman;
mod student;
mod sum;
mod within;

pub(crate) use bytes::Bytes;
pub use census::Census;
pub use clusters::Clusters;
pub(crate) use clusters::intraclass;
pub use covariance::Covariance;
pub use extent::Extent;
pub use finite::Finite;
pub use moments::{Moments, MomentsOutput};
pub use order::Order;
pub use quantile::Quantile;
#[cfg(feature = "sqlite")]
pub(crate) use series::average;
pub(crate) use series::{Change, shift, trend};
pub use sketch::Sketch;
pub use skewness::skewness;
pub use spearman::spearman;
pub(crate) use student::student;
pub(crate) use sum::exact_groups;
pub use sum::{ExactSum, exact};
pub(crate) use within::{effective_sizes, population_stds};

/// A partial result over some samples; `Default` is the empty sample.
///
/// Laws, bit for bit: merging an empty one changes nothing; splitting the samples anywhere and merging changes nothing; nor does the order.
pub trait Statistic: Clone + Default {
    /// The finished result.
    type Output;
    /// Takes in values that are known to be finite.
    fn add_finite(&mut self, values: Finite<'_>);
    /// Takes in the finite values of `samples`.
    fn add(&mut self, samples: &[f64]) {
        Finite::each(samples, |values| self.add_finite(values));
    }
    /// Takes in all that `other` has seen.
    fn merge(&mut self, other: &Self);
    /// The result over everything seen so far; pure.
    fn finish(&self) -> Self::Output;
}

/// Samples handled at once: few enough for fixed-size accumulators, many enough to drown their set-up.
const CHUNK: usize = 1024;

/// An integer that orders like [`f64::total_cmp`]; its own inverse is [`from_key`].
fn key(x: f64) -> i64 {
    let bits = x.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The value whose [`key`] this is.
fn from_key(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}
