//! How much a completion repeats itself.

use crate::batch::Batch;
use crate::family::groups::diversity::token_set::words;
use crate::family::number_totals::NumberTotals;
use crate::family::per_completion::by_completion;

/// One share a completion: of its 4-grams, by token ids or else by words, those that it has had before.
pub fn repetition(batch: &Batch<'_>) -> NumberTotals {
    let c = batch.columns();
    let texts = c.completions;
    if c.token_ids.is_none() && texts.is_none() {
        return NumberTotals::default();
    }
    let shares = by_completion(batch, |completion| {
        match (batch.token_ids(completion), texts) {
            (Some(ids), _) => repeated(&ids.iter().map(|&id| id.into()).collect::<Vec<u64>>()),
            (None, Some(texts)) => repeated(&words(&texts[completion]).collect::<Vec<u64>>()),
            (None, None) => None,
        }
    });
    let mut repetition = NumberTotals::default();
    repetition.add(&shares.into_iter().flatten().collect::<Vec<f64>>());
    repetition
}

/// The share of 4-grams that stand further ahead already; `None` for fewer than four tokens.
fn repeated(tokens: &[u64]) -> Option<f64> {
    let mut grams: Vec<[u64; 4]> = tokens
        .windows(4)
        .map(|gram| [gram[0], gram[1], gram[2], gram[3]])
        .collect();
    let all = grams.len();
    grams.sort_unstable();
    grams.dedup();
    (all > 0).then(|| (all - grams.len()) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_that_says_the_same_again_repeats_its_4_grams() {
        assert_eq!(repeated(&[1, 2, 3]), None);
        assert_eq!(repeated(&[1, 2, 3, 4]), Some(0.0));
        assert_eq!(repeated(&[1, 2, 1, 2, 1, 2, 1]), Some(0.5));
        assert_eq!(repeated(&[7; 13]), Some(0.9));
    }
}
