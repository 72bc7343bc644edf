//! One law suite over every statistic, bit for bit; each statistic's own file holds it against what knows nothing of how it works.

#![allow(
    clippy::float_cmp,
    clippy::unreadable_literal,
    clippy::single_match_else,
    reason = "laws hold to the last bit, and literals stand as NumPy prints them"
)]

mod clusters;
mod integers;
mod moments;
mod order;
mod sketch;
mod sum;

use std::fmt::Debug;

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
