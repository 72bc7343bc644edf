//! A histogram on a logarithmic scale: quantiles within 1 % in bounded memory.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::runs::merge_runs;
use super::{CHUNK, Extent, Quantile, Statistic, for_finite_chunks};

/// Counts of values in buckets 1.97 % wide: for each sign and for zero, with minimum and maximum beside them.
///
/// Any quantile comes within 1 % of the value at its rank; sizes below the normal range of doubles (2.2e-308) count as that.
/// What is added costs at most 590 kB a sign, and only from the smallest to the largest size seen; what is merged or read costs 16 bytes a bucket in
/// use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    negative: Buckets,
    zero: u64,
    positive: Buckets,
    extent: Extent,
}

/// Buckets to a doubling, in the scale of [`log2_like`]: there a step is at most 0.7 / 36 of a natural logarithm, 1.963 %.
const PER_DOUBLING: f64 = 36.0;
const FIRST: i32 = -1022 * 36;
const LAST: i32 = 1024 * 36;

impl Sketch {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        self.extent.add_chunk(&[value]);
        let index = index(value.abs());
        let side = if value > 0.0 {
            &mut self.positive.window
        } else if value < 0.0 {
            &mut self.negative.window
        } else {
            self.zero = self.zero.saturating_add(count);
            return;
        };
        side.cover(index, index);
        side.count(index, count);
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.negative
            .total()
            .saturating_add(self.zero)
            .saturating_add(self.positive.total())
    }

    /// Minimum and maximum, exact.
    #[must_use]
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Within 1 % of the value at rank floor(q (n - 1) + 1/2), exact at minimum and maximum; `None` when empty.
    #[must_use]
    pub fn quantile(&self, quantile: Quantile) -> Option<f64> {
        let (low, high) = self.extent.range()?;
        let last = self.count().checked_sub(1)?;
        let (below, part) = quantile.position(last + 1);
        let rank = below + u64::from(part >= 500);
        if rank == 0 {
            return Some(low);
        }
        if rank == last {
            return Some(high);
        }
        let found = match rank.checked_sub(self.negative.total()) {
            None => -self.negative.value_at(self.negative.total() - 1 - rank),
            Some(rank) if rank < self.zero => 0.0,
            Some(rank) => self.positive.value_at(rank - self.zero),
        };
        Some(found.max(low).min(high))
    }

    /// The share of values above `threshold`; those within 2 % of it may count on either side. `None` when empty or for NaN.
    #[must_use]
    pub fn fraction_above(&self, threshold: f64) -> Option<f64> {
        let (low, high) = self.extent.range()?;
        if threshold.is_nan() {
            return None;
        }
        let count = self.count();
        let above = if threshold >= high {
            0
        } else if threshold < low {
            count
        } else if threshold > 0.0 {
            self.positive.above(index(threshold))
        } else if threshold == 0.0 {
            self.positive.total()
        } else {
            count.saturating_sub(self.negative.above(index(-threshold) - 1))
        };
        (count > 0).then(|| above as f64 / count as f64)
    }
}

impl Statistic for Sketch {
    /// The quantiles [`Quantile::SEVEN`].
    type Output = Option<Vec<f64>>;

    fn add(&mut self, samples: &[f64]) {
        for_finite_chunks(samples, |chunk| {
            self.extent.add_chunk(chunk);
            let mut indexes = [0; CHUNK];
            let (mut first, mut last) = (i32::MAX, i32::MIN);
            for (slot, &x) in indexes.iter_mut().zip(chunk) {
                *slot = index(x.abs());
                (first, last) = (first.min(*slot), last.max(*slot));
            }
            if chunk.iter().any(|&x| x < 0.0) {
                self.negative.window.cover(first, last);
            }
            if chunk.iter().any(|&x| x > 0.0) {
                self.positive.window.cover(first, last);
            }
            for (&x, index) in chunk.iter().zip(indexes) {
                if x > 0.0 {
                    self.positive.window.count(index, 1);
                } else if x < 0.0 {
                    self.negative.window.count(index, 1);
                } else {
                    self.zero = self.zero.saturating_add(1);
                }
            }
        });
    }

    fn merge(&mut self, other: &Self) {
        self.negative.merge(&other.negative);
        self.positive.merge(&other.positive);
        self.zero = self.zero.saturating_add(other.zero);
        self.extent.merge(&other.extent);
    }

    fn finish(&self) -> Option<Vec<f64>> {
        Quantile::SEVEN
            .iter()
            .map(|&quantile| self.quantile(quantile))
            .collect()
    }
}

/// The bucket of a positive size. Zero and subnormal sizes fall into the first.
fn index(size: f64) -> i32 {
    let size = if size < f64::MIN_POSITIVE {
        f64::MIN_POSITIVE
    } else {
        size
    };
    // Counted from the first bucket nothing is negative, so that truncation is the floor.
    (log2_like(size) * PER_DOUBLING - f64::from(FIRST)) as i32 + FIRST
}

/// The exponent, and between powers of two a cubic in place of the logarithm: additions and multiplications alone, so that the bits are
/// the same on every machine (a library's logarithm is not). The cubic is the one whose slope against the true logarithm varies least
/// with value and slope continuous over powers of two: 6/35 s^3 - 3/5 s^2 + 10/7 s (Masson, Rim and Lee, "`DDSketch`", 2019, cubic mapping).
fn log2_like(size: f64) -> f64 {
    let bits = size.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let s = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits()) - 1.0;
    f64::from(exponent) + ((6.0 / 35.0 * s - 0.6) * s + 10.0 / 7.0) * s
}

/// The smallest size in bucket `index` or above, found by halving the range of bit patterns: exactly the edge that [`index`] has.
fn edge(bucket: i32) -> f64 {
    let (mut below, mut at) = (f64::MIN_POSITIVE.to_bits(), f64::MAX.to_bits());
    while below < at {
        let middle = below.midpoint(at);
        if index(f64::from_bits(middle)) < bucket {
            below = middle + 1;
        } else {
            at = middle;
        }
    }
    f64::from_bits(at)
}

/// The size whose relative distance to both ends of a bucket is the same, at most 1 %.
fn middle(bucket: i32) -> f64 {
    let (low, high) = (edge(bucket), edge(bucket + 1));
    low * (2.0 / (1.0 + low / high))
}

/// Counts by bucket: of what was merged or read a list of the buckets in use, however far apart; of what was added here a window, in which
/// counting is one step.
#[derive(Clone, Debug, Default)]
struct Buckets {
    /// Ascending, each with its count.
    runs: Vec<(i32, u64)>,
    window: Window,
}

impl Buckets {
    /// Every bucket in use, ascending, with its count.
    fn runs(&self) -> Cow<'_, [(i32, u64)]> {
        let added = self.window.runs();
        if added.is_empty() {
            Cow::Borrowed(&self.runs)
        } else {
            Cow::Owned(merge_runs(&self.runs, &added, |bucket| bucket))
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runs = merge_runs(&self.runs, &other.runs(), |bucket| bucket);
    }

    fn total(&self) -> u64 {
        let listed = self.runs.iter().map(|&(_, count)| count);
        sum(listed.chain(self.window.counts.iter().copied()))
    }

    /// The size at a rank from the smallest size up; the largest for ranks beyond.
    fn value_at(&self, rank: u64) -> f64 {
        let mut end = 0_u64;
        let runs = self.runs();
        let reached = runs.iter().find(|&(_, count)| {
            end = end.saturating_add(*count);
            end > rank
        });
        middle(reached.or(runs.last()).map_or(FIRST, |run| run.0))
    }

    /// How many values lie in buckets above `index`.
    fn above(&self, index: i32) -> u64 {
        let runs = self.runs();
        let above = runs.iter().filter(|run| run.0 > index);
        sum(above.map(|&(_, count)| count))
    }
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Counts from bucket `first` upwards.
#[derive(Clone, Debug, Default)]
struct Window {
    first: i32,
    counts: Vec<u64>,
}

impl Window {
    /// Widens the window to hold `first` to `last`.
    fn cover(&mut self, first: i32, last: i32) {
        if self.counts.is_empty() {
            self.first = first;
        }
        if first < self.first {
            let missing = (self.first - first).cast_unsigned() as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = first;
        }
        let len = (last - self.first + 1).cast_unsigned() as usize;
        if self.counts.len() < len {
            self.counts.resize(len, 0);
        }
    }

    /// Counts values of a bucket that is covered.
    fn count(&mut self, index: i32, more: u64) {
        let count = &mut self.counts[(index - self.first).cast_unsigned() as usize];
        *count = count.saturating_add(more);
    }

    fn runs(&self) -> Vec<(i32, u64)> {
        let counts = (self.first..).zip(self.counts.iter().copied());
        counts.filter(|&(_, count)| count > 0).collect()
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.runs() == other.runs()
    }
}

/// On the wire: (distance, count) of each bucket in use, from the lowest bucket there is and then from the one before.
impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut next = FIRST;
        let runs = self.runs();
        let gaps = runs.iter().map(|&(bucket, count)| {
            let gap = (bucket - next).cast_unsigned();
            next = bucket + 1;
            (gap, count)
        });
        gaps.collect::<Vec<_>>().serialize(serializer)
    }
}

/// A list and no window: two buckets far apart are to cost what their bytes do.
impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut next = FIRST;
        let runs = Vec::<(u32, u64)>::deserialize(deserializer)?
            .into_iter()
            .map(|(gap, count)| {
                let bucket = next.checked_add_unsigned(gap)?;
                next = bucket.checked_add(1)?;
                (bucket <= LAST && count > 0).then_some((bucket, count))
            });
        let runs = runs.collect::<Option<Vec<_>>>().ok_or_else(|| {
            D::Error::custom("expected counts of buckets in use, within the range of doubles")
        })?;
        Ok(Buckets {
            runs,
            window: Window::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_within_one_percent_of_the_middle_of_its_bucket() {
        // A dense grid in [1, 2), where the cubic does its work, and three sizes of every binade of the normal range.
        let dense = (0..50_000).map(|i| 1.0 + f64::from(i) / 5e4);
        let binades =
            (-1022..=1023).flat_map(|e| [1.0, 1.37, 1.999_999].map(|m| m * 2.0_f64.powi(e)));
        for size in dense.chain(binades) {
            let found = middle(index(size));
            assert!(
                (found - size).abs() <= 0.01 * size,
                "{size:e} came back as {found:e}"
            );
        }
    }

    #[test]
    fn every_bucket_is_at_most_two_percent_wide_at_its_very_edges() {
        for bucket in (FIRST..LAST - 1).step_by(7).chain(-40..40) {
            let (low, high) = (edge(bucket), edge(bucket + 1));
            assert_eq!((index(low), index(high.next_down())), (bucket, bucket));
            assert!(
                (high - low) / (high + low) <= 0.01,
                "bucket {bucket} from {low:e} to {high:e}"
            );
        }
    }
}
