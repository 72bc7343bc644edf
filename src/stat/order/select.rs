//! The values at given ranks, without sorting them all.

use super::super::{from_key, key};
use crate::kernel::column::{bounds, buckets, places};

/// Buckets of the histogram: enough that the few that hold a wanted rank hold few values, and all of them stay in the
/// nearest cache.
const BUCKETS: usize = 1024;

/// The values at `ranks` (each below their number) of unsorted values.
///
/// A histogram between minimum and maximum tells which buckets hold the ranks; only their values are sorted. Where the values crowd into
/// few buckets that is a sort of them all, which is the best one can do.
pub(super) fn select(values: &[f64], ranks: &[u64]) -> Vec<f64> {
    if values.len() < 256 {
        let mut keys = values.iter().map(|&x| key(x)).collect::<Vec<_>>();
        keys.sort_unstable();
        return ranks
            .iter()
            .map(|&rank| from_key(keys[rank as usize]))
            .collect();
    }
    let last = (values.len() / 4).clamp(1, BUCKETS - 1) as u16;
    let (low, high) = bounds(values);
    // A range without a usable scale is one bucket.
    let (low, scale) = if (high - low).is_finite() {
        (low, (f64::from(last) / (high - low)).min(f64::MAX))
    } else {
        (0.0, 0.0)
    };
    let mut bucket_of = vec![0; values.len()];
    buckets(values, low, scale, last, &mut bucket_of);

    // Two tables in turn: where neighbours share a bucket, neither count waits for the other.
    let mut counts = [[0_u32; BUCKETS]; 2];
    let (pairs, odd) = bucket_of.as_chunks::<2>();
    for &[a, b] in pairs {
        counts[0][usize::from(a) % BUCKETS] += 1;
        counts[1][usize::from(b) % BUCKETS] += 1;
    }
    for &bucket in odd {
        counts[0][usize::from(bucket) % BUCKETS] += 1;
    }
    let mut starts = vec![0_u64; usize::from(last) + 2];
    for bucket in 0..=usize::from(last) {
        starts[bucket + 1] =
            starts[bucket] + u64::from(counts[0][bucket]) + u64::from(counts[1][bucket]);
    }

    // The values of the buckets that hold a wanted rank, sorted; `before` of them are of earlier buckets than each.
    let holder = |rank: u64| starts.partition_point(|&start| start <= rank) - 1;
    let mut wanted: Vec<u16> = ranks.iter().map(|&rank| holder(rank) as u16).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut places_kept = Vec::new();
    places(&bucket_of, &wanted, &mut places_kept);
    let mut kept: Vec<i64> = places_kept.into_iter().map(|at| key(values[at])).collect();
    kept.sort_unstable();
    let mut before = vec![0; usize::from(last) + 1];
    let mut held = 0;
    for &bucket in &wanted {
        let bucket = usize::from(bucket);
        before[bucket] = held;
        held += starts[bucket + 1] - starts[bucket];
    }
    ranks
        .iter()
        .map(|&rank| {
            let bucket = holder(rank);
            from_key(kept[(before[bucket] + rank - starts[bucket]) as usize])
        })
        .collect()
}
