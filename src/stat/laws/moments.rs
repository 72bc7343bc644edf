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

/// 1 in smallest subnormals, to the power of 2: what makes the square of a plain number one of whole numbers.
const ONE_SQUARED: u32 = 2 * 1074;

proptest! {
    #[test]
    fn skewness_is_that_of_big_integers(samples in finite_samples(40), offset in prop::sample::select(vec![0.0, 1e9, -1e15])) {
        let samples: Vec<f64> = samples.iter().map(|x| x + offset).filter(|x| x.is_finite()).collect();
        let found = skewness(&Order::of(&samples), &Moments::of(&samples));
        let (n, spread) = (samples.len(), deviations(&samples));
        let Some(found) = found else {
            prop_assert_eq!(spread, BigInt::ZERO);
            return Ok(());
        };
        let sum: BigInt = samples.iter().map(|&x| whole(x)).sum();
        // n^3 times the third and n^3 / n times the second moment, each summed: skewness is third n^0.5 / second^1.5.
        let third: BigInt = samples.iter().map(|&x| (whole(x) * n - &sum).pow(3)).sum();
        prop_assert!(found == 0.0 || (found < 0.0) == (third < BigInt::ZERO));
        prop_assert!(is_root(found.abs(), &((third.pow(2) * n) << ONE_SQUARED), spread.pow(3)), "{}", found);
    }

    #[test]
    fn cubes_added_many_times_are_cubes_added_again_and_again(x in finite_samples(2), times in 1_usize..9) {
        let samples: Vec<f64> = x.iter().copied().cycle().take(x.len() * times).collect();
        let repeated = Order::of(&samples);
        // From the wire they come as runs.
        let runs: Order = postcard::from_bytes(&repeated.bytes()).unwrap();
        let (loose, runs) = [&repeated, &runs].map(|order| skewness(order, &Moments::of(&samples))).into();
        prop_assert_eq!(loose.map(f64::to_bits), runs.map(f64::to_bits));
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
