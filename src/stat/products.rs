//! The exact sum of products.

use super::fixed::Fixed;
use super::sum::rounders;
use super::{ExactSum, Finite, Statistic};
use crate::kernel::products::{extract_products, products};

impl Fixed {
    /// Adds the products of the values that stand at the same places, at most [`CHUNK`](super::CHUNK) of them. The caller
    /// vouches that none is above `top` in size, and that neither they nor parts of them leave the range of normal doubles.
    pub fn add_products(&mut self, x: &[f64], y: &[f64], top: f64) {
        // What a product leaves over is at most half a unit in its last place.
        let of_rests = rounders(x.len(), top * (f64::EPSILON / 2.0));
        if let (Some(of_products), Some(of_rests)) = (rounders(x.len(), top), of_rests) {
            let extracted = extract_products(x, y, [of_products, of_rests]);
            if !extracted.leaves {
                extracted.sums.iter().for_each(|&sum| self.add_f64(sum));
                return;
            }
        }
        self.add_unlike_products(x, y);
    }

    /// Of products whose bits are too far apart for two units.
    #[cold]
    fn add_unlike_products(&mut self, x: &[f64], y: &[f64]) {
        let mut parts = vec![0.0; 2 * x.len()];
        let (highs, lows) = parts.split_at_mut(x.len());
        products(x, y, highs, lows);
        for parts in [highs, lows] {
            let mut sum = ExactSum::default();
            sum.add_finite(Finite::known(parts));
            self.merge(sum.as_fixed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Path;
    use crate::kernel::column::sizes;
    use crate::stat::fixed::decompose;

    fn product(x: f64, y: f64) -> Fixed {
        let (left, right) = (decompose(x), decompose(y));
        let mut product = Fixed::default();
        product.add(i128::from(left.0) * i128::from(right.0), left.1 + right.1);
        product
    }

    #[test]
    fn a_product_and_its_rest_are_exact_on_every_path() {
        let (x, y) = (
            [0.1, 1.0 / 3.0, 0.0, 1.5, 1e100],
            [0.3, -7e20, 5.0, 2.0, 0.7],
        );
        for path in Path::available() {
            assert!(path.force());
            let (mut highs, mut lows) = ([0.0; 5], [0.0; 5]);
            products(&x, &y, &mut highs, &mut lows);
            for i in 0..5 {
                let mut found = Fixed::default();
                found.add_f64(highs[i]);
                found.add_f64(lows[i]);
                assert_eq!(found, product(x[i], y[i]), "{path:?}: {} {}", x[i], y[i]);
            }
        }
    }

    #[test]
    fn products_alike_and_unlike_in_size_add_up_to_those_of_integers_on_every_path() {
        let number = |i: u32| f64::from(i.wrapping_mul(2_654_435_769)) / 3e9 - 0.7;
        // Some of them with bits below two units.
        let lone = |i: u32, far: f64| number(i) * if i % 97 == 50 { far } else { 1.0 };
        for (far, len) in [
            (1.0, 1024),
            (1.0, 13),
            (1e-40, 1000),
            (1e90, 1024),
            (0.0, 7),
        ] {
            let x: Vec<f64> = (0..len).map(|i| lone(i, far)).collect();
            let y: Vec<f64> = (0..len).map(|i| number(i + 5) * 1e3).collect();
            let mut wanted = Fixed::default();
            for (&x, &y) in x.iter().zip(&y) {
                wanted.merge(&product(x, y));
            }
            for path in Path::available() {
                assert!(path.force());
                let mut found = Fixed::default();
                found.add_products(&x, &y, sizes(&x).most * sizes(&y).most);
                assert_eq!(found, wanted, "{path:?}: {far} {len}");
            }
        }
    }
}
