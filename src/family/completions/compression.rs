//! How far a completion's end can be compressed: a loop that is longer than four tokens shows here.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

use crate::batch::Batch;
use crate::family::number_totals::NumberTotals;
use crate::family::per_completion::by_completion;

/// What is looked at: the last tokens, four bytes each, or as many bytes of a text.
const END: usize = 1024;
/// A shorter end says nothing: what the compressor adds outweighs it.
const LEAST: usize = 256;
/// The level of DEFLATE.
const LEVEL: u32 = 6;

thread_local! {
    /// One a thread: its room is more than what it compresses here, many times.
    static COMPRESSOR: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// One ratio a completion: the bytes of its end over those that they can be compressed to.
pub fn compression(batch: &Batch<'_>) -> NumberTotals {
    let texts = batch.columns().completions;
    if batch.columns().token_ids.is_none() && texts.is_none() {
        return NumberTotals::default();
    }
    let ratios = by_completion(batch, |completion| {
        match (batch.token_ids(completion), texts) {
            (Some(ids), _) => ratio(&end_of_ids(ids)),
            (None, Some(texts)) => ratio(end_of(texts[completion].as_bytes())),
            (None, None) => None,
        }
    });
    let mut compression = NumberTotals::default();
    compression.add(&ratios.into_iter().flatten().collect::<Vec<f64>>());
    compression
}

fn end_of_ids(ids: &[u32]) -> Vec<u8> {
    let first = ids.len().saturating_sub(END / 4);
    ids[first..]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect()
}

fn end_of(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(END)..]
}

/// `None` for an end that is too short.
fn ratio(end: &[u8]) -> Option<f64> {
    if end.len() < LEAST {
        return None;
    }
    // What cannot be compressed is stored, a few bytes longer.
    let mut compressed = Vec::with_capacity(2 * END);
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let all = compressor.compress_vec(end, &mut compressed, FlushCompress::Finish);
        all.ok()
    })?;
    Some(end.len() as f64 / compressed.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_loops_is_compressed_far_and_the_ratio_is_that_of_this_compressor() {
        let loops: Vec<u32> = (0..4000).map(|i| 1000 + i % 50).collect();
        let varied: Vec<u32> = (0..4000_u32)
            .map(|i| i.wrapping_mul(2_654_435_761) >> 15)
            .collect();
        let of = |ids: &[u32]| ratio(&end_of_ids(ids));
        assert_eq!(of(&loops[..63]), None);
        // The bits are the compressor's: another release of it may give others, and then changes this line.
        assert_eq!(of(&loops), Some(1024.0 / 95.0));
        assert_eq!(of(&varied), Some(1024.0 / 765.0));
        assert_eq!(of(&[7; 300]), Some(1024.0 / 20.0));
        let text = "na ".repeat(500);
        assert_eq!(ratio(end_of(text.as_bytes())), Some(1024.0 / 22.0));
    }
}
