//! Samples that come in twos: how they vary together.

use serde::{Deserialize, Serialize};

use crate::kernel::column::{sizes, survey};

use super::{
    CHUNK, Moments, Statistic,
    fixed::{Fixed, decompose, scale},
    integer::Integer,
};

/// The exact sums of two samples, of their squares and of their products; memory does not grow with the pairs.
///
/// As with [`Moments`], the covariance is read from n times the sum of products less the product of the sums, an integer:
/// however far the values lie from zero, nothing cancels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Covariance {
    x: Moments,
    y: Moments,
    products: Fixed,
}

impl Covariance {
    /// Of finite values, with their moments.
    pub(crate) fn of(x: &[f64], moments_of_x: Moments, y: &[f64], moments_of_y: Moments) -> Self {
        let mut all = Self {
            x: moments_of_x,
            y: moments_of_y,
            products: Fixed::default(),
        };
        for (x, y) in x.chunks(CHUNK).zip(y.chunks(CHUNK)) {
            all.add_products(x, y);
        }
        all
    }

    /// Takes in the pairs of values that stand at the same places; none where either is not finite.
    pub fn add(&mut self, x: &[f64], y: &[f64]) {
        for (x, y) in x.chunks(CHUNK).zip(y.chunks(CHUNK)) {
            let len = x.len().min(y.len());
            let (x, y) = (&x[..len], &y[..len]);
            if survey(x).finite && survey(y).finite {
                self.add_chunk(x, y);
                continue;
            }
            let pairs = x
                .iter()
                .zip(y)
                .filter(|(x, y)| x.is_finite() && y.is_finite());
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
            self.add_chunk(&x, &y);
        }
    }

    /// Takes in all pairs that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.x.merge(&other.x);
        self.y.merge(&other.y);
        self.products.merge(&other.products);
    }

    /// How many pairs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.x.count()
    }

    /// Whether it could be of pairs.
    pub(crate) fn is_consistent(&self) -> bool {
        self.x.count() == self.y.count()
    }

    /// Pearson's correlation, in [-1, 1]; `None` for fewer than two pairs or where either side does not vary.
    #[must_use]
    pub fn pearson(&self) -> Option<f64> {
        let ((x, x_exponent), (y, y_exponent)) = (self.x.deviation(), self.y.deviation());
        if self.count() < 2 || x == 0.0 || y == 0.0 {
            return None;
        }
        let (together, exponent) = self.together();
        let exponent = 2 * exponent - x_exponent - y_exponent;
        Some(scale(together / x.sqrt() / y.sqrt(), exponent).clamp(-1.0, 1.0))
    }

    /// n times the sum of the products of both deviations, as `value * 4^exponent`.
    fn together(&self) -> (f64, i32) {
        let [x, y] = [&self.x, &self.y].map(|of| Integer::from(of.sum().as_fixed()));
        Integer::from(&self.products)
            .times(self.count())
            .minus(&x.multiplied(&y))
            .scaled()
    }

    /// The moments of x + y over the pairs: (x + y)^2 is x^2 + 2 x y + y^2.
    pub(super) fn of_sums(&self) -> Moments {
        self.x.plus(&self.y, &self.products)
    }

    /// At most [`CHUNK`] pairs of finite values.
    fn add_chunk(&mut self, x: &[f64], y: &[f64]) {
        self.x.add(x);
        self.y.add(y);
        self.add_products(x, y);
    }

    fn add_products(&mut self, x: &[f64], y: &[f64]) {
        let (of_x, of_y) = (sizes(x), sizes(y));
        if of_x.have_products() && of_y.have_products() {
            self.products.add_products(x, y, of_x.most * of_y.most);
            return;
        }
        for (&x, &y) in x.iter().zip(y) {
            let ((x, x_exponent), (y, y_exponent)) = (decompose(x), decompose(y));
            self.products
                .add(i128::from(x) * i128::from(y), x_exponent + y_exponent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, f64)]) -> Covariance {
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let mut covariance = Covariance::default();
        covariance.add(&x, &y);
        covariance
    }

    #[test]
    fn correlations_are_those_of_scipy() {
        // scipy.stats.pearsonr of these six pairs.
        let six = [
            (1.0, 3.0),
            (2.0, 1.0),
            (2.0, 4.0),
            (5.0, 4.0),
            (-1.0, -2.0),
            (0.0, 9.0),
        ];
        assert!((of(&six).pearson().unwrap() - 0.171_473_718_382_167_66).abs() < 1e-15);
        // Far from zero, where sums of rounded products would have lost everything; the same correlation.
        let far = six.map(|(x, y)| (x + 1e9, 1e12 - y));
        assert!((of(&far).pearson().unwrap() + 0.171_473_718_382_167_66).abs() < 1e-15);
    }

    #[test]
    fn what_does_not_vary_has_no_correlation_and_huge_and_tiny_values_have_one() {
        assert_eq!(Covariance::default().pearson(), None);
        assert_eq!(of(&[(1.0, 2.0)]).pearson(), None);
        assert_eq!(of(&[(0.1, 2.0), (0.1, 3.0), (0.1, 4.0)]).pearson(), None);
        assert_eq!(of(&[(0.0, 2.0), (-0.0, 3.0)]).pearson(), None);
        let huge = [
            (1e300, 1.0),
            (-1e300, 2.0),
            (f64::NAN, 5.0),
            (1.0, f64::INFINITY),
        ];
        assert_eq!(of(&huge).pearson(), Some(-1.0));
        assert_eq!(of(&[(5e-324, 1e308), (0.0, -1e308)]).pearson(), Some(1.0));
        assert_eq!(
            of(&[(1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)]).pearson(),
            Some(0.0)
        );
    }

    #[test]
    fn neither_cut_nor_order_shows() {
        let number = |i: u32| f64::from(i.wrapping_mul(2_654_435_769)) * 1e-9 - 1.0;
        let mut pairs: Vec<(f64, f64)> = (0..3000)
            .map(|i| (number(i), number(i + 7) * 1e5))
            .collect();
        pairs.push((1e300, 1e-300));
        let whole = of(&pairs);
        pairs.reverse();
        let mut halves = of(&pairs[1100..]);
        halves.merge(&of(&pairs[..1100]));
        assert_eq!(halves, whole);
        assert_eq!(
            halves.pearson().map(f64::to_bits),
            whole.pearson().map(f64::to_bits)
        );
    }
}
