//! One law suite over every statistic, bit for bit, and oracles that know nothing of how they work.

#![allow(
    clippy::float_cmp,
    clippy::unreadable_literal,
    clippy::single_match_else,
    reason = "laws hold to the last bit, and literals stand as NumPy prints them"
)]

use std::fmt::Debug;

use num_bigint::{BigInt, Sign};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::*;

/// What the laws compare: the state's bytes, and every bit of the result.
trait Lawful: Statistic<Output: Debug> + PartialEq + Debug + Serialize + DeserializeOwned {
    fn of(samples: &[f64]) -> Self {
        let mut statistic = Self::default();
        statistic.add(samples);
        statistic
    }

    fn joined(mut self, other: &Self) -> Self {
        self.merge(other);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap()
    }

    #[track_caller]
    fn assert_same(&self, other: &Self) {
        assert_eq!(self, other);
        assert_eq!(self.bytes(), other.bytes());
        // Debug prints doubles in full, signs of zero included.
        assert_eq!(
            format!("{:?}", self.finish()),
            format!("{:?}", other.finish())
        );
    }
}

impl<S: Statistic<Output: Debug> + PartialEq + Debug + Serialize + DeserializeOwned> Lawful for S {}

/// Every law on one list of samples, cut at `cuts`, its parts merged in the order and tree that `picks` draw.
fn laws<S: Lawful>(samples: &[f64], shuffled: &[f64], cuts: &[usize], picks: &[usize]) {
    let whole = S::of(samples);
    whole.clone().joined(&S::default()).assert_same(&whole);
    S::default().joined(&whole).assert_same(&whole);
    S::of(shuffled).assert_same(&whole);
    let finite: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    assert_eq!(
        format!("{:?}", S::of(&finite).finish()).replace("nonfinite", ""),
        format!("{:?}", whole.finish())
            .replace(
                &format!("nonfinite: {}", samples.len() - finite.len()),
                "nonfinite: 0"
            )
            .replace("nonfinite", ""),
    );

    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (shuffled.len() + 1)).collect();
    ends.push(shuffled.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut parts = Vec::new();
    for end in ends {
        parts.push(S::of(&shuffled[start..end]));
        start = end;
    }
    for pick in picks.iter().cycle() {
        let left = parts.swap_remove(pick % parts.len());
        let Some(right) = (!parts.is_empty()).then(|| parts.swap_remove(pick / 7 % parts.len()))
        else {
            left.assert_same(&whole);
            break;
        };
        parts.push(left.joined(&right));
    }

    let mut one_by_one = S::default();
    for &x in samples {
        one_by_one.add(&[x]);
    }
    one_by_one.assert_same(&whole);

    postcard::from_bytes::<S>(&whole.bytes())
        .unwrap()
        .assert_same(&whole);
    let json = serde_json::to_string(&whole).unwrap();
    serde_json::from_str::<S>(&json)
        .unwrap()
        .assert_same(&whole);
}

fn all_laws(samples: &[f64], shuffled: &[f64], cuts: &[usize], picks: &[usize]) {
    laws::<ExactSum>(samples, shuffled, cuts, picks);
    laws::<Moments>(samples, shuffled, cuts, picks);
    laws::<Extent>(samples, shuffled, cuts, picks);
    laws::<Census>(samples, shuffled, cuts, picks);
    laws::<Order>(samples, shuffled, cuts, picks);
    laws::<Sketch>(samples, shuffled, cuts, picks);
}

/// Values of every kind: ordinary, from few, of any bits (subnormals, NaN and infinities among them), huge and tiny.
fn sample() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -10.0..10.0,
        3 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 0.1, 5e-324, -5e-324, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![1e300, -1e300, 1e-300, f64::MAX, f64::MIN]),
    ]
}

fn shuffled_samples(most: usize) -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    prop::collection::vec(sample(), 0..most)
        .prop_flat_map(|samples| (Just(samples.clone()), Just(samples).prop_shuffle()))
}

fn finite_samples(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let finite = || sample().prop_filter("finite", |x| x.is_finite());
    prop_oneof![
        prop::collection::vec(finite(), 0..most),
        prop::collection::vec(-1.0..1.0, 0..most)
    ]
}

/// A finite double as a whole number of the smallest subnormal.
fn whole(x: f64) -> BigInt {
    let bits = x.abs().to_bits();
    let (field, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let size = if field == 0 {
        BigInt::from(fraction)
    } else {
        BigInt::from(fraction | 1 << 52) << (field - 1)
    };
    if x < 0.0 { -size } else { size }
}

/// Whether `found` is the double nearest to `sum / count` smallest subnormals, ties to the even mantissa.
fn is_nearest(found: f64, sum: &BigInt, count: u64) -> bool {
    // As if the binade above the largest double existed; halfway to it rounds to infinity.
    let value = |x: f64| {
        if x.is_infinite() {
            BigInt::from(1) << 2098
        } else {
            whole(x)
        }
    };
    let found = if sum.sign() == Sign::Minus {
        -found
    } else {
        found
    };
    let distance = |x: f64| {
        (value(x) * count - BigInt::from(sum.magnitude().clone()))
            .magnitude()
            .clone()
    };
    let even = found.to_bits() & 1 == 0;
    let nearer_than =
        |x: f64| distance(found) < distance(x) || (distance(found) == distance(x) && even);
    let above = found.is_infinite() || nearer_than(found.next_up());
    let below = found == 0.0 || nearer_than(found.next_down());
    found >= 0.0 && above && below
}

/// The sum of (n x - sum)^2, n^2 times the squared deviations, in smallest subnormals squared.
fn deviations(samples: &[f64]) -> BigInt {
    let sum: BigInt = samples.iter().map(|&x| whole(x)).sum();
    samples
        .iter()
        .map(|&x| (whole(x) * samples.len() - &sum).pow(2))
        .sum()
}

/// Whether `found` is the root of `square / divisor`, within a relative error of 1e-15 and one smallest subnormal.
fn is_root(found: f64, square: &BigInt, divisor: u64) -> bool {
    let scale = BigInt::from(10_u64.pow(15));
    let target = square * &scale * &scale;
    // (found (1 ± 1e-15) ± 1)^2 divisor
    let at = |size: BigInt| size.pow(2) * divisor;
    let size = if found.is_infinite() {
        BigInt::from(1) << 2098
    } else {
        whole(found)
    };
    let low = BigInt::max(&size * (&scale - 1) - &scale, BigInt::ZERO);
    at(low) <= target && (found.is_infinite() || target <= at(&size * (&scale + 1) + &scale))
}

proptest! {
    // Sketches from the smallest to the largest double are slow to compare without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_laws_hold_for_samples_of_every_kind(
        (samples, shuffled) in shuffled_samples(40),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
        picks in prop::collection::vec(any::<usize>(), 1..8),
    ) {
        all_laws(&samples, &shuffled, &cuts, &picks);
    }
}

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

    #[test]
    fn quantiles_stand_on_the_sorted_values((samples, _) in shuffled_samples(200), q in 0_u16..=1000) {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = Quantile::of_thousandths(q).unwrap();
        let found = Order::of(&samples).quantiles(&[quantile]);
        let sketched = Sketch::of(&samples).quantile(quantile);
        if sorted.is_empty() {
            prop_assert_eq!(found, None);
            prop_assert_eq!(sketched, None);
            return Ok(());
        }
        let place = usize::from(q) * (sorted.len() - 1);
        let (low, high) = (sorted[place / 1000], sorted[(place / 1000 + 1).min(sorted.len() - 1)]);
        let found = found.unwrap()[0];
        prop_assert!(low <= found && found <= high, "{low:e} {found:e} {high:e}");
        if place.is_multiple_of(1000) {
            prop_assert_eq!(found.to_bits(), low.to_bits());
        }
        let ranked = sorted[(2 * place + 1000) / 2000];
        let sketched = sketched.unwrap();
        prop_assert!((sketched - ranked).abs() <= ranked.abs() * 0.01 + f64::MIN_POSITIVE * 1.01, "{sketched:e} {ranked:e}");
    }

    #[test]
    fn no_bytes_make_a_statistic_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), samples in finite_samples(5)) {
        fn read<S: Lawful>(bytes: &[u8], samples: &[f64]) {
            if let Ok(mut statistic) = postcard::from_bytes::<S>(bytes) {
                statistic.add(samples);
                let copy = statistic.clone();
                statistic.merge(&copy);
                let _ = (statistic.finish(), statistic.bytes());
            }
        }
        read::<ExactSum>(&bytes, &samples);
        read::<Moments>(&bytes, &samples);
        read::<Extent>(&bytes, &samples);
        read::<Census>(&bytes, &samples);
        read::<Order>(&bytes, &samples);
        read::<Sketch>(&bytes, &samples);
    }
}

#[test]
fn the_laws_hold_for_the_named_samples() {
    let nan = f64::NAN;
    let long: Vec<f64> = (0..5000).map(|i| f64::from(i % 71) / 7.0 - 3.0).collect();
    let wide: Vec<f64> = (0..3000)
        .map(|i| (f64::from(i) - 1500.5) * 2.0_f64.powi(i % 800 - 400))
        .collect();
    let holes: Vec<f64> = (0..3000)
        .map(|i| if i % 3 == 0 { nan } else { f64::from(i) })
        .collect();
    let cases: [&[f64]; 17] = [
        &[],
        &[0.0],
        &[-0.0],
        &[0.0, -0.0, 0.0],
        &[1.5],
        &[-2.0, 3.0, -4.0],
        &[1e300, 1e-300, -1e300],
        &[0.1; 10],
        &[1e308, 1e308, -1e308],
        &[f64::MAX, f64::MAX],
        &[nan],
        &[nan, 1.0, f64::INFINITY, 2.0, f64::NEG_INFINITY],
        &[5e-324, 1e-310, -5e-324, f64::MIN_POSITIVE],
        &[1.0, 1e100, 1.0, -1e100],
        &long,
        &wide,
        &holes,
    ];
    for samples in cases {
        let mut turned = samples.to_vec();
        turned.reverse();
        turned.rotate_left(samples.len() / 3);
        all_laws(samples, &turned, &[1, 2, 1500, 2999], &[0, 8, 23, 5]);
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

/// `numpy.quantile(x, [0, .05, .25, .5, .75, .95, 1])`, `NumPy` 2.4.6.
#[test]
fn quantiles_are_those_of_numpy() {
    #[track_caller]
    fn check(samples: &[f64], expected: [f64; 7]) {
        for (found, expected) in Order::of(samples)
            .finish()
            .unwrap()
            .into_iter()
            .zip(expected)
        {
            assert!(
                (found - expected).abs() <= expected.abs() * 4e-16,
                "{found:?} {expected:?}"
            );
        }
    }
    check(
        &[3.0, -1.0, 4.0, 1.0, -5.0, 9.0],
        [-5.0, -4.0, -0.5, 2.0, 3.75, 7.75, 9.0],
    );
    check(
        &[0.1, 0.7],
        [
            0.1,
            0.13,
            0.25,
            0.39999999999999997,
            0.5499999999999999,
            0.6699999999999999,
            0.7,
        ],
    );
    check(
        &[0.0, 0.0, 1.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
    );
    check(
        &(0..100)
            .map(|i| f64::from(i * 37 % 101) / 8.0)
            .collect::<Vec<_>>(),
        [0.0, 0.61875, 3.09375, 6.1875, 9.40625, 11.88125, 12.5],
    );
    check(
        &[1e300, -1e300, 5.0],
        [
            -1e+300,
            -9e+299,
            -5e+299,
            5.0,
            5e+299,
            8.999999999999999e+299,
            1e+300,
        ],
    );
}

#[test]
fn order_keeps_bits_and_survives_a_range_beyond_the_doubles() {
    let order = Order::of(&[0.0, -0.0]);
    assert_eq!(
        order
            .runs()
            .iter()
            .map(|run| run.0.to_bits())
            .collect::<Vec<_>>(),
        [1 << 63, 0]
    );
    assert_ne!(Order::of(&[0.0]), Order::of(&[-0.0]));
    assert_eq!(
        Order::of(&[-0.0]).quantiles(&[Quantile::P50]).unwrap()[0].to_bits(),
        1 << 63
    );
    assert_eq!(
        Order::of(&[f64::MIN, f64::MAX]).quantiles(&[Quantile::P50, Quantile::P75]),
        Some(vec![0.0, f64::MAX / 2.0])
    );
    assert_eq!(Order::of(&[]).quantiles(&[Quantile::P50]), None);
    assert_eq!(Order::of(&[1.0]).quantiles(&[]), Some(vec![]));
}

#[test]
fn selection_from_a_histogram_is_sorting() {
    let mut state = 1_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / 2.0_f64.powi(53)
    };
    let uniform: Vec<f64> = (0..4096).map(|_| draw()).collect();
    let skewed: Vec<f64> = uniform.iter().map(|u| (40.0 * u).exp()).collect();
    let crowded: Vec<f64> = uniform
        .iter()
        .map(|u| if *u < 0.001 { 1e9 } else { *u })
        .collect();
    let few: Vec<f64> = uniform.iter().map(|u| (u * 5.0).floor()).collect();
    let thousandths: Vec<Quantile> = (0..=1000).filter_map(Quantile::of_thousandths).collect();
    for samples in [uniform, skewed, crowded, few] {
        let order = Order::of(&samples);
        let sorted: Order = postcard::from_bytes(&order.bytes()).unwrap();
        let runs = Order::of(&samples[..1]).joined(&sorted);
        assert_eq!(
            order.quantiles(&thousandths),
            sorted.quantiles(&thousandths)
        );
        assert_eq!(runs.len(), order.len() + 1);
        let mut values = samples.clone();
        values.sort_by(f64::total_cmp);
        assert_eq!(
            order.quantiles(&[Quantile::P00, Quantile::P100]),
            Some(vec![values[0], values[4095]])
        );
        // 4095 * 0.4 = 1638 exactly.
        assert_eq!(
            order.quantiles(
                &Quantile::of_thousandths(400)
                    .into_iter()
                    .collect::<Vec<_>>()
            ),
            Some(vec![values[1638]])
        );
    }
}

#[test]
fn order_is_compact_on_the_wire() {
    let binary: Vec<f64> = (0..100_000).map(|i| f64::from(i % 3 / 2)).collect();
    assert!(Order::of(&binary).bytes().len() < 100);
    let distinct: Vec<f64> = (0..10_000).map(|i| f64::from(i).sqrt()).collect();
    assert!(Order::of(&distinct).bytes().len() <= 10_000 * 8 * 105 / 100);
}

#[test]
fn many_equal_values_do_not_stay_in_memory_and_do_not_show() {
    let binary: Vec<f64> = (0..10_000).map(|i| f64::from(i % 3 / 2)).collect();
    let mut order = Order::default();
    for _ in 0..100 {
        order.add(&binary);
    }
    assert!(
        order.iter().count() < 1 << 17,
        "{} entries retained",
        order.iter().count()
    );
    assert_eq!(order.len(), 1_000_000);
    assert_eq!(order.runs(), [(0.0, 666_700), (1.0, 333_300)]);
    assert_eq!(
        order.quantiles(&[Quantile::P50, Quantile::P75]),
        Some(vec![0.0, 1.0])
    );
}

#[test]
fn bytes_that_no_multiset_is_written_as_are_refused() {
    let refused = |values: &[f64], repeats: &[(u64, u64)]| {
        Order::of_distinct(values.to_vec(), repeats).unwrap_err()
    };
    assert!(refused(&[2.0, 1.0], &[]).contains("ascending"));
    assert!(refused(&[1.0, 1.0], &[]).contains("ascending"));
    assert!(refused(&[0.0, -0.0], &[]).contains("ascending"));
    assert!(refused(&[f64::NAN], &[]).contains("finite"));
    assert!(refused(&[1.0], &[(0, 0)]).contains("at least 2"));
    assert!(refused(&[1.0], &[(0, 1)]).contains("at least 2"));
    assert!(refused(&[1.0], &[(1, 2)]).contains("existing"));
    assert!(refused(&[1.0], &[(0, 2), (0, 2)]).contains("existing"));
    assert!(refused(&[1.0], &[(u64::MAX, 2)]).contains("existing"));
    assert!(refused(&[1.0, 2.0], &[(0, u64::MAX), (0, 2)]).contains("2^64"));
    assert!(postcard::from_bytes::<Order>(&[3, 1, 2, 3, 0]).is_err());
    // A length far beyond the bytes there are.
    assert!(postcard::from_bytes::<Order>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
    // An exact sum outside the range of doubles, and one not in its shortest form.
    assert!(serde_json::from_str::<ExactSum>("[1000000,[1,0]]").is_err());
    assert!(serde_json::from_str::<ExactSum>("[0,[0,1,0]]").is_err());
    // Without a sign limb (found by proptest).
    assert!(serde_json::from_str::<ExactSum>("[0,[1]]").is_err());
    assert!(serde_json::from_str::<ExactSum>("[0,[1,0]]").is_ok());
    assert!(serde_json::from_str::<Extent>("[2.0,1.0]").is_err());
    assert!(serde_json::from_str::<Quantile>("1001").is_err());
    assert!(
        serde_json::from_str::<Sketch>(
            r#"{"negative":[[9000000,1]],"zero":0,"positive":[],"extent":null}"#
        )
        .is_err()
    );
}

#[test]
fn fractions_above_count_whole_buckets_on_either_side_of_zero() {
    let sketch = Sketch::of(&[-4.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 4.0]);
    let above = |threshold| sketch.fraction_above(threshold).unwrap() * 8.0;
    assert_eq!(
        [-5.0, -4.1, -3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0, 4.0].map(above),
        [8.0, 8.0, 7.0, 6.0, 5.0, 3.0, 3.0, 2.0, 1.0, 0.0]
    );
    assert_eq!([f64::NEG_INFINITY, f64::INFINITY].map(above), [8.0, 0.0]);
    assert_eq!(sketch.fraction_above(f64::NAN), None);
    assert_eq!(Sketch::default().fraction_above(0.0), None);
}

#[test]
fn a_census_counts_every_place_once() {
    let mut census = Census::of(&[1.0, f64::NAN, 2.0, f64::INFINITY]);
    census.absent(3);
    assert_eq!(
        census,
        Census {
            used: 2,
            absent: 3,
            nonfinite: 2
        }
    );
    assert_eq!(census.seen(), 7);
}

#[test]
fn quantiles_are_named_in_percent() {
    assert_eq!(
        [0, 50, 250, 1000, 25, 999, 1].map(|q| Quantile::of_thousandths(q).unwrap().label()),
        ["p00", "p05", "p25", "p100", "p02_5", "p99_9", "p00_1"]
    );
    assert_eq!(Quantile::of_thousandths(1001), None);
}
