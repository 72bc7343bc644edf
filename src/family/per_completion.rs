//! What is done for each completion of a record, on one thread or several.

use rayon::prelude::*;

use crate::batch::Batch;

/// Completions that one task takes at least: fewer are not worth handing over.
pub const AT_LEAST: usize = 8;
/// Tokens below which a record stays on the calling thread: some 100 microseconds of work, and waking another thread takes tens.
const PARALLEL_FROM: u64 = 1 << 15;

/// What `of` says of each completion, in their order.
pub fn by_completion<T: Send>(batch: &Batch<'_>, of: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    let completions = 0..batch.completions();
    if are_few(batch) {
        return completions.map(of).collect();
    }
    let all = completions.into_par_iter().with_min_len(AT_LEAST);
    all.map(of).collect()
}

/// Whether its tokens are known to be too few for more than one thread.
pub fn are_few(batch: &Batch<'_>) -> bool {
    let total = |lengths: &[u32]| lengths.iter().map(|&l| u64::from(l)).sum::<u64>();
    batch
        .lengths()
        .map(total)
        .is_some_and(|tokens| tokens < PARALLEL_FROM)
}
