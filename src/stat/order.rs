//! The multiset of values, for exact quantiles.

mod select;
mod unsorted;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use super::fixed::Fixed;
use super::runs::merge_runs;
use super::skewness::Cubes;
use super::{Bytes, CHUNK, Finite, Quantile, Statistic, from_key, key};
use select::select;
use unsorted::Unsorted;

/// The multiset of finite values seen, in the total order of doubles (-0 before 0).
///
/// Memory: 8 bytes a value while most values differ, 16 bytes a distinct value once many repeat.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Distinct values, ascending, each with how often it occurs.
    runs: Vec<(f64, u64)>,
    /// Values not yet sorted.
    unsorted: Unsorted,
}

/// Unsorted values are not looked at before there are this many of them.
const COMPACT_FROM: usize = 1 << 16;

impl Order {
    /// How many values, repetitions counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs
            .iter()
            .fold(self.unsorted.len() as u64, |len, &(_, count)| {
                len.saturating_add(count)
            })
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.unsorted.is_empty()
    }

    /// The distinct values, ascending, each with how often it occurs.
    #[must_use]
    pub fn runs(&self) -> Vec<(f64, u64)> {
        if self.unsorted.is_empty() {
            self.runs.clone()
        } else {
            merge_runs(&self.runs, &runs_of(self.unsorted.iter()), key)
        }
    }

    /// The values in no particular order, each with a count; a value may come up more than once.
    pub fn iter(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.runs
            .iter()
            .copied()
            .chain(self.unsorted.iter().map(|x| (x, 1)))
    }

    /// How many values are such.
    #[must_use]
    pub(crate) fn count_where(&self, is_such: impl Fn(f64) -> bool) -> u64 {
        let runs = self.runs.iter().filter(|&&(x, _)| is_such(x));
        let unsorted = self.unsorted.batches().iter();
        let unsorted = unsorted.map(|batch| batch.iter().filter(|&&x| is_such(x)).count() as u64);
        runs.map(|&(_, count)| count)
            .chain(unsorted)
            .fold(0, u64::saturating_add)
    }

    /// The exact sum of the values' cubes.
    pub(super) fn cubes(&self) -> Fixed {
        let mut cubes = Cubes::default();
        for &(value, count) in &self.runs {
            cubes.add_times(value, count);
        }
        for batch in self.unsorted.batches() {
            batch.chunks(CHUNK).for_each(|values| cubes.add(values));
        }
        cubes.total()
    }

    /// The multiset without `values`, each as often as it stands there; `None` where it does not hold them all.
    #[must_use]
    pub(crate) fn without(&self, values: impl Iterator<Item = f64>) -> Option<Self> {
        let taken = runs_of(values);
        let mut taken = taken.iter().copied().peekable();
        let mut runs = self.runs();
        for (value, count) in &mut runs {
            if let Some((_, times)) = taken.next_if(|(x, _)| key(*x) == key(*value)) {
                *count = count.checked_sub(times)?;
            }
        }
        runs.retain(|&(_, count)| count > 0);
        taken.peek().is_none().then_some(Order {
            runs,
            unsorted: Unsorted::default(),
        })
    }

    /// Makes room for values that are about to come.
    pub(crate) fn reserve(&mut self, values: usize) {
        self.unsorted.reserve(values);
    }

    /// Takes in all that `other` has seen, its batches as they are.
    pub(crate) fn append(&mut self, other: Self) {
        if !other.runs.is_empty() {
            self.runs = merge_runs(&self.runs, &other.runs, key);
        }
        let before = self.unsorted.len();
        self.unsorted.append(other.unsorted);
        self.compact(before);
    }

    /// The values at places q (n - 1) of the sorted values, interpolated linearly (Hyndman and Fan's type 7, `NumPy`'s "linear");
    /// one result a quantile asked for, `None` when empty. The place is computed in integers.
    #[must_use]
    pub fn quantiles(&self, wanted: &[Quantile]) -> Option<Vec<f64>> {
        let last = self.len().checked_sub(1)?;
        let places = wanted.iter().map(|quantile| quantile.position(last + 1));
        let ranks = places
            .clone()
            .flat_map(|(below, _)| [below, last.min(below.saturating_add(1))])
            .collect::<Vec<_>>();
        let found = if self.runs.is_empty() {
            select(&self.unsorted, &ranks)
        } else {
            look_up(&self.runs(), &ranks)
        };
        Some(
            places
                .zip(found.as_chunks::<2>().0)
                .map(|((_, part), &[low, high])| interpolate(low, high, part))
                .collect(),
        )
    }

    /// Sorts the unsorted values into runs where that saves memory: at every doubling of their number, if a sample says that most repeat.
    /// Neither results nor equality nor bytes depend on it.
    fn compact(&mut self, len_before: usize) {
        let len = self.unsorted.len();
        if len < COMPACT_FROM
            || len.ilog2() == len_before.max(COMPACT_FROM / 2).ilog2()
            || len < self.runs.len()
        {
            return;
        }
        let sample = || self.unsorted.iter().step_by(64);
        if runs_of(sample()).len() * 2 <= sample().count() {
            self.runs = self.runs();
            self.unsorted = Unsorted::default();
        }
    }
}

impl Statistic for Order {
    /// The quantiles [`Quantile::SEVEN`].
    type Output = Option<Vec<f64>>;

    fn add_finite(&mut self, finite: Finite<'_>) {
        let before = self.unsorted.len();
        self.unsorted.extend(finite.values());
        self.compact(before);
    }

    fn merge(&mut self, other: &Self) {
        self.append(other.clone());
    }

    fn finish(&self) -> Option<Vec<f64>> {
        self.quantiles(&Quantile::SEVEN)
    }
}

/// Sorted runs of unsorted values.
fn runs_of(values: impl Iterator<Item = f64>) -> Vec<(f64, u64)> {
    let mut keys = values.map(key).collect::<Vec<_>>();
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b)
        .map(|run| (from_key(run[0]), run.len() as u64))
        .collect()
}

/// The values at `ranks` (each below the sum of counts) of sorted runs.
fn look_up(runs: &[(f64, u64)], ranks: &[u64]) -> Vec<f64> {
    let ends = runs.iter().scan(0_u64, |end, &(_, count)| {
        *end = end.saturating_add(count);
        Some(*end)
    });
    let ends = ends.collect::<Vec<_>>();
    let last = runs.len().saturating_sub(1);
    ranks
        .iter()
        .map(|&rank| runs[ends.partition_point(|&end| end <= rank).min(last)].0)
        .collect()
}

/// Between two neighbours, `part` thousandths of the way, from the nearer end as `NumPy` does it.
fn interpolate(low: f64, high: f64, part: u16) -> f64 {
    if part == 0 || key(low) == key(high) {
        return low;
    }
    let (t, rest) = (f64::from(part) / 1000.0, f64::from(1000 - part) / 1000.0);
    let gap = high - low;
    // Of the gap; by halves where the whole is beyond the range.
    let share = |t: f64| {
        if gap.is_finite() {
            gap * t
        } else {
            (high / 2.0 - low / 2.0) * (2.0 * t)
        }
    };
    if t < 0.5 {
        low + share(t)
    } else {
        high - share(rest)
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        // By bits: -0 and 0 are different values here.
        self.len() == other.len()
            && self
                .runs()
                .iter()
                .map(|&(x, n)| (key(x), n))
                .eq(other.runs().iter().map(|&(x, n)| (key(x), n)))
    }
}

/// On the wire: the distinct values, as raw little-endian bytes where the format is binary, and (distance, count) of those that occur
/// more than once, the distance counted in distinct values from the one before.
impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let runs = self.runs();
        let mut next = 0;
        let mut repeats = Vec::new();
        for (place, &(_, count)) in (0_u64..).zip(&runs) {
            if count > 1 {
                repeats.push((place - next, count));
                next = place + 1;
            }
        }
        let human = serializer.is_human_readable();
        let mut order = serializer.serialize_struct("Order", 2)?;
        if human {
            order.serialize_field("values", &runs.iter().map(|run| run.0).collect::<Vec<_>>())?;
        } else {
            order.serialize_field(
                "values",
                &Bytes(runs.iter().flat_map(|run| run.0.to_le_bytes()).collect()),
            )?;
        }
        order.serialize_field("repeats", &repeats)?;
        order.end()
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Order")]
        struct Wire<V> {
            values: V,
            repeats: Vec<(u64, u64)>,
        }
        let (values, repeats) = if deserializer.is_human_readable() {
            let wire = Wire::<Vec<f64>>::deserialize(deserializer)?;
            (wire.values, wire.repeats)
        } else {
            let wire = Wire::<Bytes>::deserialize(deserializer)?;
            let (words, rest) = wire.values.0.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(de::Error::custom("expected 8 bytes a value"));
            }
            (
                words.iter().map(|&word| f64::from_le_bytes(word)).collect(),
                wire.repeats,
            )
        };
        Order::of_distinct(values, &repeats).map_err(de::Error::custom)
    }
}

impl Order {
    /// From what the wire brought; refuses all that no multiset is written as.
    pub(super) fn of_distinct(
        values: Vec<f64>,
        repeats: &[(u64, u64)],
    ) -> Result<Self, &'static str> {
        if !values.iter().all(|x| x.is_finite()) {
            return Err("expected finite values");
        }
        if !values.is_sorted_by(|&a, &b| key(a) < key(b)) {
            return Err("expected distinct values in ascending order");
        }
        if repeats.is_empty() {
            return Ok(Order {
                runs: Vec::new(),
                unsorted: values.into(),
            });
        }
        let mut runs = values.into_iter().map(|x| (x, 1)).collect::<Vec<_>>();
        let mut rest = &mut runs[..];
        let mut total = rest.len() as u64;
        for &(gap, count) in repeats {
            let run = usize::try_from(gap)
                .ok()
                .and_then(|gap| rest.split_at_mut_checked(gap))
                .and_then(|(_, from)| from.split_first_mut());
            let Some((run, after)) = run else {
                return Err("expected counts for existing values");
            };
            if count < 2 {
                return Err("expected counts of at least 2 where a count is given");
            }
            run.1 = count;
            total = total
                .checked_add(count - 1)
                .ok_or("expected fewer than 2^64 values")?;
            rest = after;
        }
        Ok(Order {
            runs,
            unsorted: Unsorted::default(),
        })
    }
}
