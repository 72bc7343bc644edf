//! Samples that come in twos, kept whole for the correlation of their ranks.

use serde::{Deserialize, Serialize};

use super::{Covariance, key};

/// Pairs of finite doubles. Two states of the same pairs in another order come to the same results, bit for bit.
///
/// Memory: 16 bytes a pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(Vec<f64>, Vec<f64>)")]
pub struct Pairs {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl TryFrom<(Vec<f64>, Vec<f64>)> for Pairs {
    type Error = &'static str;

    fn try_from((x, y): (Vec<f64>, Vec<f64>)) -> Result<Self, Self::Error> {
        let finite = x.iter().chain(&y).all(|x| x.is_finite());
        if x.len() == y.len() && finite {
            Ok(Self { x, y })
        } else {
            Err("expected pairs of finite numbers")
        }
    }
}

impl Pairs {
    /// Takes in a pair; nothing if either is not finite.
    pub fn add(&mut self, x: f64, y: f64) {
        if x.is_finite() && y.is_finite() {
            self.x.push(x);
            self.y.push(y);
        }
    }

    /// Takes in all pairs that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.x.extend_from_slice(&other.x);
        self.y.extend_from_slice(&other.y);
    }

    /// Spearman's correlation: Pearson's of the ranks, equal values sharing the mean of theirs; `None` for fewer than two
    /// pairs or where either side does not vary.
    #[must_use]
    pub fn spearman(&self) -> Option<f64> {
        let mut ranked = Covariance::default();
        ranked.add(&ranks(&self.x), &ranks(&self.y));
        ranked.pearson()
    }
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

    fn pairs(pairs: &[(f64, f64)]) -> Pairs {
        let mut all = Pairs::default();
        for &(x, y) in pairs {
            all.add(x, y);
        }
        all
    }

    #[test]
    fn the_rank_correlation_of_pairs_with_ties_is_that_of_scipy() {
        // scipy.stats.spearmanr of these six pairs.
        let six = pairs(&[
            (1.0, 3.0),
            (2.0, 1.0),
            (2.0, 4.0),
            (5.0, 4.0),
            (-1.0, -2.0),
            (0.0, 9.0),
        ]);
        assert!((six.spearman().unwrap() - 0.279_411_764_705_882_36).abs() < 1e-15);
        let huge = pairs(&[(1e300, 1.0), (-1e300, 2.0), (f64::NAN, 5.0)]);
        assert_eq!(huge.spearman(), Some(-1.0));
        assert_eq!(pairs(&[(0.0, 2.0), (-0.0, 3.0)]).spearman(), None);
        assert_eq!(Pairs::default().spearman(), None);
    }
}
