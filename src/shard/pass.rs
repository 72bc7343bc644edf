//! The token pass over a record: its completions in parallel, each by itself.

use rayon::prelude::*;

use super::extended::Sketches;
use crate::batch::Batch;
use crate::kernel::tokens::{Bounds, Kept, Sums, sums};

/// Completions that one task takes at least: fewer are not worth handing over.
const AT_LEAST: usize = 8;

/// The sums of each completion, in their order; nothing where the record has no token columns.
pub(crate) fn token_sums(batch: &Batch<'_>, bounds: &Bounds) -> Vec<Sums> {
    if !batch.has_tokens() {
        return Vec::new();
    }
    (0..batch.completions())
        .into_par_iter()
        .with_min_len(AT_LEAST)
        .map(|completion| sums(&batch.tokens(completion), bounds, None))
        .collect()
}

/// [`token_sums`], and the distributions over tokens: counts in buckets, which add up in any order.
pub(crate) fn token_sums_and_sketches(batch: &Batch<'_>, bounds: &Bounds) -> (Vec<Sums>, Sketches) {
    if !batch.has_tokens() {
        return (Vec::new(), Sketches::default());
    }
    let completions: Vec<usize> = (0..batch.completions()).collect();
    let tasks: Vec<(Vec<Sums>, Sketches)> = completions
        .par_chunks(AT_LEAST)
        .map_init(Kept::default, |kept, completions| {
            let mut sketches = Sketches::default();
            let sums = completions.iter().map(|&completion| {
                let sums = sums(&batch.tokens(completion), bounds, Some(kept));
                sketches.add(kept);
                sums
            });
            (sums.collect(), sketches)
        })
        .collect();
    let mut all = (Vec::with_capacity(completions.len()), Sketches::default());
    for (sums, sketches) in tasks {
        all.0.extend(sums);
        all.1.merge(&sketches);
    }
    all
}
