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
mod covariance;
mod extent;
mod fixed;
#[cfg(test)]
mod laws;
mod moments;
mod order;
mod pairs;
mod quantile;
mod runs;
mod sketch;
mod sum;

pub(crate) use bytes::Bytes;
pub use census::Census;
pub use covariance::Covariance;
pub use extent::Extent;
pub use moments::{Moments, MomentsOutput};
pub use order::Order;
pub use pairs::{Pairs, norm};
pub use quantile::Quantile;
pub use sketch::Sketch;
pub use sum::{ExactSum, exact, exact_groups};

/// A partial result over some samples; `Default` is the empty sample.
///
/// Laws, bit for bit: merging an empty one changes nothing; splitting the samples anywhere and merging changes nothing; nor does the order.
pub trait Statistic: Clone + Default {
    /// The finished result.
    type Output;
    /// Takes in the finite values of `samples`.
    fn add(&mut self, samples: &[f64]);
    /// Takes in all that `other` has seen.
    fn merge(&mut self, other: &Self);
    /// The result over everything seen so far; pure.
    fn finish(&self) -> Self::Output;
}

/// Samples handled at once: few enough for fixed-size accumulators, many enough to drown their set-up.
const CHUNK: usize = 1024;

/// Whether no value is NaN or infinite (0 times either is NaN); without a branch, so that it runs at vector speed.
fn all_finite(samples: &[f64]) -> bool {
    let (quads, tail) = samples.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for quad in quads {
        for (lane, x) in lanes.iter_mut().zip(quad) {
            *lane += x * 0.0;
        }
    }
    tail.iter()
        .fold(lanes.iter().sum::<f64>(), |sum, x| sum + x * 0.0)
        == 0.0
}

/// Hands the finite values of `samples` to `take`, in order, at most [`CHUNK`] at a time.
fn for_finite_chunks(samples: &[f64], mut take: impl FnMut(&[f64])) {
    for chunk in samples.chunks(CHUNK) {
        if all_finite(chunk) {
            take(chunk);
            continue;
        }
        let mut kept = [0.0; CHUNK];
        let mut len = 0;
        for &x in chunk {
            kept[len] = x;
            len += usize::from(x.is_finite());
        }
        take(&kept[..len]);
    }
}

/// An integer that orders like [`f64::total_cmp`]; its own inverse is [`from_key`].
fn key(x: f64) -> i64 {
    let bits = x.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The value whose [`key`] this is.
fn from_key(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}
