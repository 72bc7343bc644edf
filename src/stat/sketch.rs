//! A histogram on a logarithmic scale: quantiles within 1 % in bounded memory.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::kernel::bucket::{FIRST, LAST, Sizes, TALLY_MOST, bucket, buckets, tally};

use super::runs::merge_runs;
use super::{CHUNK, Extent, Finite, Quantile, Statistic, key};

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

impl Sketch {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        self.extent.widen(key(value), key(value));
        let index = bucket(value.abs());
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

    /// Adds values without a sign, by their buckets.
    fn add_sizes(&mut self, places: &mut [i32], met: Sizes) {
        if met.zeros > 0 {
            self.zero = self.zero.saturating_add(met.zeros);
            self.extent.widen(key(0.0), key(0.0));
        }
        if met.zeros == places.len() as u64 {
            return;
        }
        self.extent.widen(key(met.least), key(met.most));
        let (first, last) = (bucket(met.least), bucket(met.most));
        if met.zeros > 0 {
            // Zeros are counted as the least of the others, and taken off again.
            for place in places.iter_mut() {
                *place = first.max(*place);
            }
        }
        let window = &mut self.positive.window;
        window.count_all(places, first, last);
        window.uncount(first, met.zeros);
    }

    /// Adds finite values of any sign.
    fn add_signed(&mut self, finite: Finite<'_>) {
        self.extent.add_finite(finite);
        let chunk = finite.values();
        let mut places = [0; CHUNK];
        let places = &mut places[..chunk.len()];
        buckets(chunk, places);
        let (first, last) = places
            .iter()
            .fold((i32::MAX, i32::MIN), |(l, h), &p| (l.min(p), h.max(p)));
        if chunk.iter().any(|&x| x < 0.0) {
            self.negative.window.cover(first, last);
        }
        if chunk.iter().any(|&x| x > 0.0) {
            self.positive.window.cover(first, last);
        }
        for (&x, &place) in chunk.iter().zip(&*places) {
            if x > 0.0 {
                self.positive.window.count(place, 1);
            } else if x < 0.0 {
                self.negative.window.count(place, 1);
            } else {
                self.zero = self.zero.saturating_add(1);
            }
        }
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
            self.positive.above(bucket(threshold))
        } else if threshold == 0.0 {
            self.positive.total()
        } else {
            count.saturating_sub(self.negative.above(bucket(-threshold) - 1))
        };
        (count > 0).then(|| above as f64 / count as f64)
    }
}

impl Statistic for Sketch {
    /// The quantiles [`Quantile::SEVEN`].
    type Output = Option<Vec<f64>>;

    fn add_finite(&mut self, finite: Finite<'_>) {
        self.add(finite.values());
    }

    /// Finding the buckets tells a finite batch as well as a look beforehand would.
    fn add(&mut self, samples: &[f64]) {
        let mut places = vec![0; samples.len().min(TALLY_MOST)];
        for chunk in samples.chunks(TALLY_MOST) {
            let places = &mut places[..chunk.len()];
            let met = buckets(chunk, places);
            if met.plain {
                self.add_sizes(places, met);
            } else {
                Finite::each(chunk, |finite| self.add_signed(finite));
            }
        }
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

/// The smallest size in bucket `index` or above, found by halving the range of bit patterns: exactly the edge that [`bucket`] has.
fn edge(wanted: i32) -> f64 {
    let (mut below, mut at) = (f64::MIN_POSITIVE.to_bits(), f64::MAX.to_bits());
    while below < at {
        let middle = below.midpoint(at);
        if bucket(f64::from_bits(middle)) < wanted {
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

    /// Takes back some of the values that were counted just now.
    fn uncount(&mut self, index: i32, less: u64) {
        let count = &mut self.counts[(index - self.first).cast_unsigned() as usize];
        *count = count.saturating_sub(less);
    }

    /// Counts values by their buckets, from `first` to `last`.
    fn count_all(&mut self, buckets: &[i32], first: i32, last: i32) {
        self.cover(first, last);
        let place = |bucket: i32| (bucket - self.first).cast_unsigned() as usize;
        let within = place(first)..=place(last);
        tally(buckets, first, &mut self.counts[within]);
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
            let found = middle(bucket(size));
            assert!(
                (found - size).abs() <= 0.01 * size,
                "{size:e} came back as {found:e}"
            );
        }
    }

    #[test]
    fn zeros_among_sizes_are_counted_as_one_by_one() {
        for zero in [0.0, -0.0] {
            for zeros in [0, 1, 700, 9_000] {
                let sizes = (0..9_000).map(|i| {
                    if i < zeros {
                        zero
                    } else {
                        1.01_f64.powi(i % 900)
                    }
                });
                let samples: Vec<f64> = sizes.chain([5e-324, f64::MAX]).collect();
                let mut together = Sketch::default();
                together.add(&samples);
                let mut singly = Sketch::default();
                for &x in &samples {
                    singly.add_times(x, 1);
                }
                assert_eq!(together, singly, "{zeros} times {zero:?}");
                assert_eq!(together.count(), 9_002);
            }
        }
        let mut none = Sketch::default();
        none.add(&[0.0; 5]);
        assert_eq!(
            (none.count(), none.quantile(Quantile::default())),
            (5, Some(0.0))
        );
    }

    #[test]
    fn every_bucket_is_at_most_two_percent_wide_at_its_very_edges() {
        for place in (FIRST..LAST - 1).step_by(7).chain(-40..40) {
            let (low, high) = (edge(place), edge(place + 1));
            assert_eq!((bucket(low), bucket(high.next_down())), (place, place));
            assert!(
                (high - low) / (high + low) <= 0.01,
                "bucket {place} from {low:e} to {high:e}"
            );
        }
    }
}
