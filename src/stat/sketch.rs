//! A histogram on a logarithmic scale: quantiles within 1 % in bounded memory.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::kernel::bucket::{FIRST, LAST, Met, TALLY_MOST, bucket, slot, slots, tally};

use super::runs::merge_runs;
use super::{Extent, Finite, Quantile, Statistic, key};

/// Counts of values in buckets 1.97 % wide: for each sign and for zero, with minimum and maximum beside them.
///
/// Any quantile comes within 1 % of the value at its rank; sizes below the normal range of doubles (2.2e-308) count as that.
/// What is added costs at most 1.2 MB, and only from the smallest to the largest size seen; what is merged or read costs 16 bytes
/// a bucket in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    zero: u64,
    buckets: Buckets,
    /// Zeros have no sign in it.
    extent: Extent,
}

/// A bucket's slots, in order: of the values above zero, then of those below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Positive,
    Negative,
}

impl Sketch {
    /// Adds `value` `count` times; nothing if it is not finite.
    pub fn add_times(&mut self, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        self.widen(value, value);
        if value == 0.0 {
            self.zero = self.zero.saturating_add(count);
            return;
        }
        let slot = slot(value.abs()) + i32::from(value < 0.0);
        self.buckets.window.cover(slot, slot);
        self.buckets.window.count(slot, count);
    }

    fn widen(&mut self, low: f64, high: f64) {
        // -0 and 0 come to 0.
        self.extent.widen(key(low + 0.0), key(high + 0.0));
    }

    /// Adds finite values by their slots.
    fn add_slots(&mut self, slots: &mut [i32], met: Met) {
        if slots.is_empty() {
            return;
        }
        self.widen(met.low, met.high);
        self.zero = self.zero.saturating_add(met.zeros);
        if met.zeros == slots.len() as u64 {
            return;
        }
        let (first, last) = (slot(met.least), slot(met.high.max(-met.low)) + 1);
        if met.zeros > 0 {
            // Zeros are counted as the least of the others, and taken off again.
            for slot in slots.iter_mut() {
                *slot = first.max(*slot);
            }
        }
        let window = &mut self.buckets.window;
        window.count_all(slots, first, last);
        window.uncount(first, met.zeros);
    }

    /// Takes in the finite values of `samples`; what stands in `room` afterwards is of no use but to save the next its making.
    ///
    /// Finding the slots tells a finite batch as well as a look beforehand would.
    pub(crate) fn add_in(&mut self, room: &mut Vec<i32>, samples: &[f64]) {
        let most = samples.len().min(TALLY_MOST);
        if room.len() < most {
            room.resize(most, 0);
        }
        for chunk in samples.chunks(TALLY_MOST) {
            let places = &mut room[..chunk.len()];
            let met = slots(chunk, places);
            if met.finite {
                self.add_slots(places, met);
                continue;
            }
            Finite::each(chunk, |finite| {
                let places = &mut room[..finite.values().len()];
                let met = slots(finite.values(), places);
                self.add_slots(places, met);
            });
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.total().saturating_add(self.zero)
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
        let negative = self.buckets.of(Side::Negative);
        let below = total(&negative);
        let found = match rank.checked_sub(below) {
            None => -value_at(&negative, below - 1 - rank),
            Some(rank) if rank < self.zero => 0.0,
            Some(rank) => value_at(&self.buckets.of(Side::Positive), rank - self.zero),
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
        let found = if threshold >= high {
            0
        } else if threshold < low {
            count
        } else if threshold > 0.0 {
            above(&self.buckets.of(Side::Positive), bucket(threshold))
        } else if threshold == 0.0 {
            total(&self.buckets.of(Side::Positive))
        } else {
            let negative = self.buckets.of(Side::Negative);
            count.saturating_sub(above(&negative, bucket(-threshold) - 1))
        };
        (count > 0).then(|| found as f64 / count as f64)
    }
}

impl Statistic for Sketch {
    /// The quantiles [`Quantile::SEVEN`].
    type Output = Option<Vec<f64>>;

    fn add_finite(&mut self, finite: Finite<'_>) {
        self.add(finite.values());
    }

    fn add(&mut self, samples: &[f64]) {
        self.add_in(&mut Vec::new(), samples);
    }

    fn merge(&mut self, other: &Self) {
        self.buckets.merge(&other.buckets);
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

/// How many values lie in these buckets.
fn total(buckets: &[(i32, u64)]) -> u64 {
    sum(buckets.iter().map(|&(_, count)| count))
}

/// The size at a rank from the smallest size up; the largest for ranks beyond.
fn value_at(buckets: &[(i32, u64)], rank: u64) -> f64 {
    let mut end = 0_u64;
    let reached = buckets.iter().find(|&(_, count)| {
        end = end.saturating_add(*count);
        end > rank
    });
    middle(reached.or(buckets.last()).map_or(FIRST, |run| run.0))
}

/// How many values lie in those above `bucket`.
fn above(buckets: &[(i32, u64)], bucket: i32) -> u64 {
    let above = buckets.iter().filter(|run| run.0 > bucket);
    sum(above.map(|&(_, count)| count))
}

/// Counts by slot: of what was merged or read a list of the slots in use, however far apart; of what was added here a window, in which
/// counting is one step.
#[derive(Clone, Debug, Default)]
struct Buckets {
    /// Ascending, each with its count.
    runs: Vec<(i32, u64)>,
    window: Window,
}

impl Buckets {
    /// Every bucket in use on one side, ascending, with its count.
    fn of(&self, side: Side) -> Vec<(i32, u64)> {
        let runs = self.runs();
        let of_side = runs.iter().filter(|(slot, _)| slot & 1 == side as i32);
        of_side.map(|&(slot, count)| (slot >> 1, count)).collect()
    }

    /// Every slot in use, ascending, with its count.
    fn runs(&self) -> Cow<'_, [(i32, u64)]> {
        let added = self.window.runs();
        if added.is_empty() {
            Cow::Borrowed(&self.runs)
        } else {
            Cow::Owned(merge_runs(&self.runs, &added, |slot| slot))
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runs = merge_runs(&self.runs, &other.runs(), |slot| slot);
    }

    fn total(&self) -> u64 {
        let listed = self.runs.iter().map(|&(_, count)| count);
        sum(listed.chain(self.window.counts.iter().copied()))
    }
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Counts from slot `first` upwards.
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

    /// Counts values of a slot that is covered.
    fn count(&mut self, index: i32, more: u64) {
        let count = &mut self.counts[(index - self.first).cast_unsigned() as usize];
        *count = count.saturating_add(more);
    }

    /// Takes back some of the values that were counted just now.
    fn uncount(&mut self, index: i32, less: u64) {
        let count = &mut self.counts[(index - self.first).cast_unsigned() as usize];
        *count = count.saturating_sub(less);
    }

    /// Counts values by their slots, from `first` to `last`.
    fn count_all(&mut self, slots: &[i32], first: i32, last: i32) {
        self.cover(first, last);
        let place = |slot: i32| (slot - self.first).cast_unsigned() as usize;
        let within = place(first)..=place(last);
        tally(slots, first, &mut self.counts[within]);
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

/// On the wire: (distance, count) of each slot in use, from the lowest slot there is and then from the one before.
impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut next = 2 * FIRST;
        let runs = self.runs();
        let gaps = runs.iter().map(|&(slot, count)| {
            let gap = (slot - next).cast_unsigned();
            next = slot + 1;
            (gap, count)
        });
        gaps.collect::<Vec<_>>().serialize(serializer)
    }
}

/// A list and no window: two slots far apart are to cost what their bytes do.
impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut next = 2 * FIRST;
        let runs = Vec::<(u32, u64)>::deserialize(deserializer)?
            .into_iter()
            .map(|(gap, count)| {
                let slot = next.checked_add_unsigned(gap)?;
                next = slot.checked_add(1)?;
                (slot >> 1 <= LAST && count > 0).then_some((slot, count))
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
    fn values_of_both_signs_and_zeros_are_counted_as_one_by_one() {
        for (zero, sign) in [(0.0, 1), (-0.0, 1), (0.0, 2), (-0.0, 3), (0.0, 5000)] {
            for zeros in [0, 1, 700, 9_000] {
                let sizes = (0..9_000).map(|i| {
                    if i < zeros {
                        zero
                    } else if i % sign == 0 {
                        1.01_f64.powi(i % 900)
                    } else {
                        -1.02_f64.powi(-i % 700)
                    }
                });
                let samples: Vec<f64> = sizes.chain([5e-324, f64::MAX]).collect();
                let mut together = Sketch::default();
                together.add(&samples);
                let mut singly = Sketch::default();
                for &x in &samples {
                    singly.add_times(x, 1);
                }
                assert_eq!(together, singly, "{zeros} times {zero:?}, {sign}");
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
