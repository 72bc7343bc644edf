//! Quantiles against sorted values and `NumPy`'s.

use super::*;

proptest! {
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
fn quantiles_are_named_in_percent() {
    assert_eq!(
        [0, 50, 250, 1000, 25, 999, 1].map(|q| Quantile::of_thousandths(q).unwrap().label()),
        ["p00", "p05", "p25", "p100", "p02_5", "p99_9", "p00_1"]
    );
    assert_eq!(Quantile::of_thousandths(1001), None);
}
