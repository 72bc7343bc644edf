//! The correlation of ranks.

use super::{Covariance, key};

/// Spearman's correlation of the finite values that stand at the same places: Pearson's of the ranks, equal values sharing
/// the mean of theirs; `None` for fewer than two pairs or where either side does not vary. The order of the pairs has no part
/// in it.
#[must_use]
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let mut ranked = Covariance::default();
    ranked.add(&ranks(x), &ranks(y));
    ranked.pearson()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(i64, usize)> = values.iter().map(|&x| key(x)).zip(0..).collect();
    order.sort_unstable();
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|a, b| values[a.1] == values[b.1]) {
        let rank = below as f64 + (equal.len() + 1) as f64 / 2.0;
        for (_, at) in equal {
            ranks[*at] = rank;
        }
        below += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, f64)]) -> Option<f64> {
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        spearman(&x, &y)
    }

    #[test]
    fn the_rank_correlation_of_pairs_with_ties_is_that_of_scipy() {
        // scipy.stats.spearmanr of these six pairs.
        let six = of(&[
            (1.0, 3.0),
            (2.0, 1.0),
            (2.0, 4.0),
            (5.0, 4.0),
            (-1.0, -2.0),
            (0.0, 9.0),
        ]);
        assert!((six.unwrap() - 0.279_411_764_705_882_36).abs() < 1e-15);
        assert_eq!(of(&[(1e300, 1.0), (-1e300, 2.0)]), Some(-1.0));
        assert_eq!(of(&[(0.0, 2.0), (-0.0, 3.0)]), None);
        assert_eq!(of(&[]), None);
    }
}
