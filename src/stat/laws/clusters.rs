//! Clusters and groups of values against whole numbers of any size.

use num_bigint::BigInt;

use super::integers::{deviations, is_root, whole};
use super::*;
use crate::stat::{effective_sizes, population_stds};

fn clusters() -> impl Strategy<Value = Vec<Vec<f64>>> {
    let offset = prop::sample::select(vec![0.0, 1e9, -1e15]);
    (prop::collection::vec(finite_samples(6), 0..9), offset).prop_map(|(clusters, offset)| {
        let moved = |values: Vec<f64>| {
            let values = values.into_iter().map(|x| x + offset);
            values.filter(|x| x.is_finite()).collect()
        };
        clusters.into_iter().map(moved).collect()
    })
}

fn of(clusters: &[Vec<f64>]) -> Clusters {
    let mut all = Clusters::default();
    let clusters: Vec<&[f64]> = clusters.iter().map(Vec::as_slice).collect();
    all.add(&clusters);
    all
}

proptest! {
    #[test]
    fn neither_cut_nor_order_shows_in_clusters(clusters in clusters(), cut in any::<usize>()) {
        let whole = of(&clusters);
        let mut turned = clusters.clone();
        turned.reverse();
        for values in &mut turned {
            values.reverse();
        }
        let (left, right) = turned.split_at(cut % (turned.len() + 1));
        let mut halves = of(right);
        halves.merge(&of(left));
        prop_assert_eq!(&halves, &whole);
        prop_assert_eq!(postcard::to_allocvec(&halves).unwrap(), postcard::to_allocvec(&whole).unwrap());
    }

    #[test]
    fn the_clustered_error_is_that_of_big_integers(clusters in clusters()) {
        let values: Vec<f64> = clusters.concat();
        let (n, all) = (values.len() as u64, Moments::of(&values));
        let sum: BigInt = values.iter().map(|&x| whole(x)).sum();
        let found = of(&clusters);
        let clusters: Vec<Vec<f64>> = clusters.into_iter().filter(|values| !values.is_empty()).collect();
        let g = clusters.len() as u64;
        prop_assert_eq!((found.count(), found.values()), (g, n));
        let squares: BigInt = clusters
            .iter()
            .map(|values| (values.iter().map(|&x| whole(x)).sum::<BigInt>() * n - &sum * values.len()).pow(2))
            .sum();
        match found.standard_error(&all) {
            Some(error) => prop_assert!(is_root(error, &(squares * g), (g - 1) * n.pow(4)), "{error}"),
            None => prop_assert!(g < 2),
        }
    }

    #[test]
    fn deviations_and_effective_sizes_of_groups_are_those_of_big_integers(clusters in clusters()) {
        let values: Vec<f64> = clusters.concat();
        let groups: Vec<&[f64]> = clusters.iter().map(Vec::as_slice).collect();
        let stds = population_stds(&values, &groups);
        let sizes = effective_sizes(&values, &groups);
        for ((values, std), size) in clusters.iter().zip(stds).zip(sizes) {
            let n = values.len() as u64;
            prop_assert!(is_root(std, &deviations(values), (n * n * n).max(1)), "{std} of {values:?}");
            let sum: BigInt = values.iter().map(|&x| whole(x)).sum();
            let squares: BigInt = values.iter().map(|&x| whole(x).pow(2)).sum();
            if squares == BigInt::ZERO {
                prop_assert!(size.is_nan());
            } else {
                // Within 1e-15 of it, and one smallest subnormal.
                let right: BigInt = sum.pow(2) << 1074;
                let off = (whole(size) * &squares - &right).magnitude().clone();
                let bound = right / BigInt::from(10_u64.pow(15)) + squares;
                prop_assert!(&off <= bound.magnitude(), "{size} of {values:?}");
            }
        }
    }
}

#[test]
fn the_effective_size_of_weights_that_nearly_cancel_is_nearly_zero() {
    // Its square is far below the smallest double (found by proptest).
    let weights = [-1e300, 1e300, 6.987143370513133e-24, 3.0, 3.0, 0.0];
    let (left, right) = weights.split_at(3);
    assert_eq!(effective_sizes(&weights, &[left, right]), [0.0, 2.0]);
}

#[test]
fn a_sum_that_two_doubles_do_not_hold_is_a_cluster_too() {
    let wide = [1e300, 1.0, 1e-300, -1e300];
    let alone = of(&[wide.to_vec(), vec![0.0; 4]]);
    let parts = of(&[vec![1.0, 1e-300, 0.0, 0.0], vec![0.0; 4]]);
    assert_eq!(alone, parts);
    let beyond = of(&[vec![f64::MAX, f64::MAX, -f64::MAX]]);
    assert_eq!(beyond, of(&[vec![f64::MAX, 0.0, 0.0]]));
}

#[test]
fn a_share_of_nothing_between_clusters_has_no_sign() {
    let between = of(&[vec![1.0, 0.0]]).between(&Moments::of(&[1.0, 0.0]));
    assert_eq!(between.map(f64::to_bits), Some(0));
}
