//! Moments against whole numbers of any size.

use num_bigint::BigInt;

use super::integers::{deviations, is_nearest, is_root, whole};
use super::*;

proptest! {
    #[test]
    fn moments_are_those_of_big_integers(samples in finite_samples(40), offset in prop::sample::select(vec![0.0, 1e9, -1e15])) {
        let samples: Vec<f64> = samples.iter().map(|x| x + offset).filter(|x| x.is_finite()).collect();
        let moments = Moments::of(&samples);
        prop_assert_eq!(moments.count(), samples.len() as u64);
        if samples.is_empty() {
            prop_assert_eq!(moments.mean(), None);
            prop_assert_eq!(moments.population_std(), None);
            prop_assert_eq!(moments.population_variance(), None);
            return Ok(());
        }
        let n = moments.count();
        let sum: BigInt = samples.iter().map(|&x| whole(x)).sum();
        prop_assert!(is_nearest(moments.mean().unwrap(), &sum, n));
        let deviations = deviations(&samples);
        prop_assert!(is_root(moments.population_std().unwrap(), &deviations, n * n * n));
        match moments.sample_std() {
            Some(std) => prop_assert!(is_root(std, &deviations, n * n * (n - 1))),
            None => prop_assert_eq!(samples.len(), 1),
        }
    }
}

#[test]
fn moments_are_right_in_the_named_cases() {
    assert_eq!(Moments::of(&[0.1; 1000]).population_std(), Some(0.0));
    assert_eq!(Moments::of(&[0.1; 1000]).population_variance(), Some(0.0));
    assert_eq!(Moments::of(&[7.0]).population_std(), Some(0.0));
    assert_eq!(Moments::of(&[7.0]).sample_std(), None);
    assert_eq!(Moments::of(&[1e300, -1e300]).population_std(), Some(1e300));
    assert_eq!(
        Moments::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).population_std(),
        Some(2.0)
    );
    assert_eq!(
        Moments::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).population_variance(),
        Some(4.0)
    );
    // sqrt(32 / 7)
    assert!(
        (Moments::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
            .sample_std()
            .unwrap()
            - 2.138_089_935_299_395)
            .abs()
            < 1e-15
    );
    assert_eq!(
        Moments::of(&[1e9, 1e9 + 2.0 * 2.0_f64.powi(-23)]).population_std(),
        Some(2.0_f64.powi(-23))
    );
    assert_eq!(
        Moments::of(&[1e-320, 3e-320]).population_std(),
        Some((3e-320 - 1e-320) / 2.0)
    );
}
