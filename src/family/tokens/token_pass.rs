//! The token pass over a record: its completions in parallel, each by itself.

use rayon::prelude::*;

use crate::batch::Batch;
use crate::family::per_completion::{AT_LEAST, are_few};
use crate::family::tokens::sketches::Sketches;
use crate::kernel::tokens::{Bounds, Kept, Sums, sums};

/// The sums of each completion, in their order, and where asked for the distributions over tokens; nothing where the
/// record has no token columns.
pub(crate) fn token_sums(
    batch: &Batch<'_>,
    bounds: &Bounds,
    sketched: bool,
) -> (Vec<Sums>, Sketches) {
    if !batch.has_tokens() {
        return (Vec::new(), Sketches::default());
    }
    let add = |part: Part, completion| part.with(batch, completion, bounds, sketched);
    let completions = 0..batch.completions();
    let mut parts = if are_few(batch) {
        vec![completions.fold(Part::default(), add)]
    } else {
        let parts = completions.into_par_iter().with_min_len(AT_LEAST);
        parts.fold(Part::default, add).collect()
    }
    .into_iter();
    let mut all = parts.next().unwrap_or_default();
    for part in parts {
        all.sums.extend(part.sums);
        all.sketches.merge(&part.sketches);
    }
    (all.sums, all.sketches)
}

/// Some completions that lie one after another.
#[derive(Default)]
struct Part {
    sums: Vec<Sums>,
    /// Counts in buckets, which add up in any order.
    sketches: Sketches,
    kept: Kept,
    room: Vec<i32>,
}

impl Part {
    fn with(
        mut self,
        batch: &Batch<'_>,
        completion: usize,
        bounds: &Bounds,
        sketched: bool,
    ) -> Self {
        let tokens = batch.tokens(completion);
        self.sums
            .push(sums(&tokens, bounds, sketched.then_some(&mut self.kept)));
        if sketched {
            self.sketches.add(&self.kept, tokens.length, &mut self.room);
        }
        self
    }
}
