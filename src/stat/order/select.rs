//! The values at given ranks, without sorting them all.

use super::super::{from_key, key};
use super::unsorted::Unsorted;
use crate::kernel::column::buckets;

/// Buckets of the histogram, at most: enough that the few that hold a wanted rank hold few values, and all of them stay in
/// the nearest cache.
const BUCKETS: usize = 1024;
/// Fewer values are sorted.
const FEW: usize = 256;

/// The values at `ranks` (each below their number) of unsorted values.
///
/// A histogram between minimum and maximum tells which buckets hold the ranks; only their values are sorted. Where the values crowd into
/// few buckets that is a sort of them all, which is the best one can do.
pub(super) fn select(values: &Unsorted, ranks: &[u64]) -> Vec<f64> {
    let len = values.len();
    if len < FEW {
        let mut keys = values.iter().map(key).collect::<Vec<_>>();
        keys.sort_unstable();
        return ranks
            .iter()
            .map(|&rank| from_key(keys[rank as usize]))
            .collect();
    }
    let last = (len / 4).min(BUCKETS - 1) as u16;
    let met = values.met();
    // A range without a usable scale is one bucket.
    let (low, scale) = if (met.high - met.low).is_finite() {
        let range = met.high - met.low;
        (met.low, (f64::from(last) / range).min(f64::MAX))
    } else {
        (0.0, 0.0)
    };
    let mut bucket_of = vec![0; len];
    let mut rest = &mut bucket_of[..];
    for batch in values.batches() {
        let (here, after) = rest.split_at_mut(batch.len());
        buckets(batch, low, scale, last, here);
        rest = after;
    }

    // Two tables in turn: where neighbours share a bucket, neither count waits for the other.
    let mut counts = vec![[0_u32; 2]; usize::from(last) + 1];
    let (pairs, odd) = bucket_of.as_chunks::<2>();
    for &[a, b] in pairs {
        counts[usize::from(a)][0] += 1;
        counts[usize::from(b)][1] += 1;
    }
    for &bucket in odd {
        counts[usize::from(bucket)][0] += 1;
    }

    // The values of the buckets that hold a wanted rank are kept; where among them each rank is.
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut places = Vec::with_capacity(sorted.len());
    let mut wanted = [false; BUCKETS];
    // `passed` buckets hold `end` values, the last of them `count`.
    let (mut passed, mut count, mut end, mut held) = (0, 0, 0, 0);
    for rank in sorted {
        while end <= rank {
            let [a, b] = counts[passed];
            count = u64::from(a) + u64::from(b);
            end += count;
            passed += 1;
        }
        if !std::mem::replace(&mut wanted[passed - 1], true) {
            held += count;
        }
        places.push((rank, (held - (end - rank)) as usize));
    }
    let mut kept = of_buckets(values, &bucket_of, &wanted, held as usize);
    kept.sort_unstable();
    let place = |rank: &u64| places[places.partition_point(|(other, _)| other < rank)].1;
    ranks
        .iter()
        .map(|rank| from_key(kept[place(rank)]))
        .collect()
}

/// The keys of the values of wanted buckets, `held` of them. Few are: only where one of eight neighbours is are they looked at.
fn of_buckets(
    values: &Unsorted,
    bucket_of: &[u16],
    wanted: &[bool; BUCKETS],
    held: usize,
) -> Vec<i64> {
    let is_wanted = |bucket: u16| wanted[usize::from(bucket) % BUCKETS];
    let mut kept = Vec::with_capacity(held);
    let mut rest = bucket_of;
    for batch in values.batches() {
        let (here, after) = rest.split_at(batch.len());
        for (values, buckets) in batch.chunks(8).zip(here.chunks(8)) {
            if buckets.iter().fold(false, |any, &b| any | is_wanted(b)) {
                let here = values.iter().zip(buckets).filter(|(_, b)| is_wanted(**b));
                kept.extend(here.map(|(&x, _)| key(x)));
            }
        }
        rest = after;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a sort, for values that came in batches of these sizes.
    fn check(sizes: &[usize], value: impl Fn(usize) -> f64) {
        let mut unsorted = Unsorted::default();
        let mut sorted = Vec::new();
        for &size in sizes {
            let batch: Vec<f64> = (sorted.len()..sorted.len() + size).map(&value).collect();
            sorted.extend_from_slice(&batch);
            unsorted.append(batch.into());
        }
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() as u64 - 1;
        let ranks = [0, last / 10, last / 10 + 1, last / 2, last - 1, last, 0];
        let expected = ranks.map(|rank| sorted[rank as usize].to_bits());
        let found = select(&unsorted, &ranks);
        let found: Vec<u64> = found.into_iter().map(f64::to_bits).collect();
        assert_eq!(found, expected, "{sizes:?}");
    }

    #[test]
    fn the_values_at_ranks_are_those_of_a_sort_however_they_came() {
        for sizes in [&[2][..], &[255], &[256], &[300, 5, 1, 257, 4000], &[64; 40]] {
            check(sizes, |i| ((i * 7_919) % 10_007) as f64 / 64.0 - 70.0);
            check(sizes, |i| if i % 3 == 0 { -0.0 } else { 0.0 });
            check(sizes, |i| f64::from(i % 5 == 0));
            check(sizes, |i| {
                if i == 0 {
                    f64::MAX
                } else {
                    -f64::MAX / i as f64
                }
            });
            check(sizes, |i| 1.0 + i as f64 * f64::EPSILON);
        }
    }
}
