//! The exact sum against whole numbers of any size.

use num_bigint::BigInt;

use super::integers::{is_nearest, whole};
use super::*;

proptest! {
    #[test]
    fn a_sum_is_the_nearest_double_to_the_sum_of_big_integers(samples in finite_samples(60)) {
        let truth: BigInt = samples.iter().map(|&x| whole(x)).sum();
        let found = ExactSum::of(&samples).rounded();
        prop_assert!(is_nearest(found, &truth, 1), "{found:e}");
        prop_assert_eq!(exact(&samples).to_bits(), found.to_bits());
    }

    #[test]
    fn the_sum_of_a_slice_has_the_bits_of_the_statistic((samples, _) in shuffled_samples(12)) {
        prop_assert_eq!(exact(&samples).to_bits(), ExactSum::of(&samples).rounded().to_bits());
    }

    #[test]
    fn adding_a_value_many_times_is_adding_it_again_and_again(x in sample(), count in 0_u64..50) {
        let again = vec![x; usize::try_from(count).unwrap()];
        let (mut sum, mut moments) = (ExactSum::default(), Moments::default());
        sum.add_times(x, count);
        moments.add_times(x, count);
        sum.assert_same(&ExactSum::of(&again));
        moments.assert_same(&Moments::of(&again));
    }
}

#[test]
fn sums_are_right_in_the_named_cases() {
    assert_eq!(exact(&[1e300, 1e-300, -1e300]), 1e-300);
    assert_eq!(exact(&[1e308, 1e308, -1e308]), 1e308);
    assert_eq!(exact(&[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(exact(&[f64::MIN, f64::MIN]), f64::NEG_INFINITY);
    // Half a unit above the largest double rounds to infinity, anything less to the largest double.
    let half = 2.0_f64.powi(970);
    assert_eq!(exact(&[f64::MAX, half]), f64::INFINITY);
    assert_eq!(exact(&[f64::MAX, half, -5e-324]), f64::MAX);
    // Ties go to even, and a speck decides them.
    assert_eq!(exact(&[1.0, f64::EPSILON / 2.0]), 1.0);
    assert_eq!(
        exact(&[1.0, f64::EPSILON / 2.0, 5e-324]),
        1.0 + f64::EPSILON
    );
    assert_eq!(exact(&[5e-324; 3]), 1.5e-323);
    assert_eq!(exact(&[0.1; 10]), 1.0);
    assert_eq!(exact(&[]).to_bits(), 0);
    assert_eq!(exact(&[-0.0]).to_bits(), 0);
    assert!(ExactSum::of(&[1e300, 1.0, -1e300, -1.0]).is_zero());
    assert_eq!(
        ExactSum::of(&[1e300, 1.0, -1e300, -1.0]),
        ExactSum::default()
    );
}

#[test]
fn two_to_the_forty_addends_and_more_are_counted_exactly() {
    let mut sum = ExactSum::default();
    sum.add_times(0.1, 1 << 40);
    assert_eq!(sum.rounded(), 0.1 * 2.0_f64.powi(40));
    sum.add_times(-0.1, (1 << 40) - 1);
    assert_eq!(sum.rounded(), 0.1);

    let mut moments = Moments::default();
    moments.add_times(f64::MAX, u64::MAX / 2);
    moments.add_times(f64::MIN, u64::MAX / 2);
    assert_eq!(moments.mean(), Some(0.0));
    assert_eq!(moments.population_std(), Some(f64::MAX));
}
