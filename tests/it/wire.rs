//! Shards on the wire: every bit survives, nothing else is taken, equal values travel once.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Scalar, Scalars, Weighting};
use grpo_metrics::batch::tokens::TokenIds;
use grpo_metrics::batch::{Batch, Columns, Place, Values};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::shard::{Detail, MergeError, Shard, Thresholds};
use grpo_metrics::summary::Summary;
use grpo_metrics::wire::{self, VERSION, WireError};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use xxhash_rust::xxh3::xxh3_64;

const HEADER: usize = 28;

/// A record's columns, owned.
#[derive(Clone, Debug)]
struct Record {
    by_id: bool,
    ids: Vec<u64>,
    index: Option<Vec<u32>>,
    rewards: Vec<f64>,
    absent: Vec<bool>,
    component: Vec<f64>,
    weights: Option<Vec<f64>>,
    lengths: Vec<u32>,
    logps: Vec<f32>,
    token_ids: Option<Vec<u32>>,
    texts: Option<Vec<String>>,
    scalars: Vec<(String, f64)>,
    tau: Option<f64>,
}

impl Record {
    fn shard(&self, rank: u32) -> Shard {
        self.counted(rank, Detail::Plain)
    }

    fn counted(&self, rank: u32, detail: Detail) -> Shard {
        let sizes = [u32::try_from(self.ids.len()).unwrap()];
        let grouping = if self.by_id {
            Grouping::Ids(&self.ids)
        } else {
            Grouping::Sizes(&sizes)
        };
        let mut columns = Columns::new(grouping, &self.rewards);
        columns.completion_index = self.index.as_deref();
        columns.reward_components =
            vec![("a".into(), Values::masked(&self.component, &self.absent))];
        columns.advantages = Some(Values::masked(&self.component, &self.absent));
        columns.weights = self.weights.as_ref().map(Into::into);
        columns.completion_lengths = Some(&self.lengths);
        columns.token_logps = Some((&self.logps).into());
        columns.ref_token_logps = Some((&self.logps).into());
        columns.token_ids = self.token_ids.as_deref().map(TokenIds::Ragged);
        columns.completions = self.texts.as_deref();
        columns.scalars = Scalars::default();
        for (name, value) in &self.scalars {
            columns.scalars.set(name, *value);
        }
        columns.weighting = self.tau.map(|tau| Weighting {
            tau: Some(tau),
            ..Weighting::default()
        });
        let tags: Vec<String> = self
            .ids
            .iter()
            .map(|id| format!("task {}", id % 70))
            .collect();
        if detail > Detail::Plain {
            columns.old_token_logps = Some((&self.logps).into());
            columns.token_entropies = Some((&self.logps).into());
            columns.tags = Some(&tags);
        }
        let thresholds = Thresholds {
            detail,
            ..Thresholds::default()
        };
        let batch = Batch::of(columns).unwrap();
        Shard::counted(&batch, Place { rank, micro: 0 }, &thresholds)
    }
}

fn detail() -> impl Strategy<Value = Detail> {
    prop_oneof![
        Just(Detail::Plain),
        Just(Detail::Policy),
        Just(Detail::Extended)
    ]
}

/// Any bits at all, and values that are often equal.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => -2.0..2.0_f64,
        2 => Just(0.0),
        1 => Just(-0.0),
        2 => Just(1.0),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    (0..12_usize).prop_flat_map(|n| {
        let column = || prop::collection::vec(value(), n);
        let lengths = prop::collection::vec(0..6_u32, n);
        let scalars = prop::collection::vec(("(total_loss|epoch|[a-c]{1,2})", value()), 0..4);
        (
            any::<bool>(),
            prop::collection::vec(prop_oneof![0..4_u64, any::<u64>()], n),
            prop::option::of(prop::collection::vec(any::<u32>(), n)),
            column(),
            prop::collection::vec(any::<bool>(), n),
            column(),
            prop::option::of(column()),
            (lengths, any::<[bool; 2]>()),
            scalars,
            prop::option::of(value()),
        )
            .prop_flat_map(
                |(
                    by_id,
                    ids,
                    index,
                    rewards,
                    absent,
                    component,
                    weights,
                    (lengths, has),
                    scalars,
                    tau,
                )| {
                    let tokens = lengths.iter().sum::<u32>() as usize;
                    let texts = prop::collection::vec("[ab ]{0,6}", ids.len());
                    (
                        prop::collection::vec(-4.0..0.0_f32, tokens),
                        prop::collection::vec(any::<u32>(), tokens),
                        texts,
                    )
                        .prop_map(move |(logps, token_ids, texts)| Record {
                            by_id,
                            ids: ids.clone(),
                            index: index.clone(),
                            rewards: rewards.clone(),
                            absent: absent.clone(),
                            component: component.clone(),
                            weights: weights.clone(),
                            lengths: lengths.clone(),
                            logps,
                            token_ids: has[0].then_some(token_ids),
                            texts: has[1].then_some(texts),
                            scalars: scalars.clone(),
                            tau,
                        })
                },
            )
    })
}

/// The rows in every dialect, as bits.
fn rows(shard: &Shard) -> Vec<(String, u64)> {
    let summary = Summary::from(shard);
    Dialect::ALL
        .iter()
        .flat_map(|dialect| dialect.row(&summary))
        .map(|(key, value)| (key.into_owned(), value.to_bits()))
        .collect()
}

/// The same bytes with a checksum and a length that fit the body again.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - HEADER) as u64;
    let checksum = xxh3_64(&bytes[HEADER..]);
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    bytes[20..28].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/wire.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_field_survives_bit_for_bit(
        records in prop::collection::vec(record(), 1..4),
        detail in detail(),
        sketch in any::<bool>(),
        fate in 0..3_u8,
    ) {
        let mut whole = Shard::default();
        let mut parts = Vec::new();
        for (rank, record) in (0..).zip(&records) {
            let mut shard = record.counted(rank, detail);
            if sketch {
                shard.sketch();
            }
            match fate {
                0 => {}
                1 => shard.assign(7).unwrap(),
                _ => shard.close(u64::from(rank)).unwrap(),
            }
            let bytes = wire::write(&shard).unwrap();
            let read = wire::read(&bytes).unwrap();
            prop_assert_eq!(&wire::write(&read).unwrap(), &bytes);
            prop_assert_eq!(rows(&read), rows(&shard));
            parts.push(read);
            whole.merge(shard).unwrap();
        }
        // What has travelled merges as what has not, and travels on.
        let mut joined = Shard::default();
        for part in parts.into_iter().rev() {
            joined.merge(part).unwrap();
        }
        let again = wire::read(&wire::write(&joined).unwrap()).unwrap();
        prop_assert_eq!(rows(&again), rows(&whole));
    }

    #[test]
    fn no_changed_byte_is_taken(record in record(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = wire::write(&record.shard(0)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(wire::read(&bytes).is_err());
        bytes[at] ^= flip;
        prop_assert!(wire::read(&bytes[..at]).is_err());
        bytes.insert(at, flip);
        prop_assert!(wire::read(&bytes).is_err());
    }

    #[test]
    fn hostile_bytes_are_refused_or_are_a_shard_like_any_other(
        record in record(),
        other in record(),
        detail in detail(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = wire::write(&record.counted(1, detail)).unwrap();
        for (at, byte, change) in changes {
            let at = HEADER + at.index(bytes.len() - HEADER);
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            if bytes.len() == HEADER {
                break;
            }
        }
        if let Ok(mut shard) = wire::read(&sealed(bytes)) {
            let _ = shard.merge(other.counted(0, detail));
            let _ = rows(&shard);
            let _ = wire::write(&shard);
            let _ = shard.close(3);
            let _ = rows(&shard);
        }
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(wire::read(&bytes).is_err());
        let mut behind_a_header = wire::write(&Shard::default()).unwrap()[..HEADER].to_vec();
        behind_a_header.extend(&bytes);
        // An honest header does not make a shard of a body.
        let _ = wire::read(&sealed(behind_a_header));
    }
}

fn of_rewards(rewards: &[f64]) -> Shard {
    let sizes = vec![8; rewards.len() / 8];
    Shard::of(&Batch::of(Columns::new(Grouping::Sizes(&sizes), rewards)).unwrap())
}

/// 64 bits that look random, so that nothing about them is short.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn scalars_keep_the_payload_of_a_nan_and_the_sign_of_a_zero() {
    let with = |bits: u64| {
        let rewards = [1.0];
        let mut columns = Columns::new(Grouping::Sizes(&[1]), &rewards);
        columns.scalars = Scalars::default().with(Scalar::TotalLoss, f64::from_bits(bits));
        wire::write(&Shard::of(&Batch::of(columns).unwrap())).unwrap()
    };
    let kinds = [
        0,
        1 << 63,
        0x7ff8_0000_0000_0000,
        0x7ff8_0000_dead_beef,
        0xfff4_0000_0000_0001,
    ];
    for bits in kinds {
        let bytes = with(bits);
        assert_eq!(wire::write(&wire::read(&bytes).unwrap()).unwrap(), bytes);
        let place = bytes
            .windows(8)
            .filter(|window| **window == bits.to_le_bytes());
        assert!(bits == 0 || place.count() == 1, "{bits:x}");
    }
}

#[test]
fn a_hundred_thousand_binary_rewards_take_under_a_kilobyte() {
    let rewards: Vec<f64> = noise(100_000, 1)
        .iter()
        .map(|x| f64::from(u8::from(*x > 0.0)))
        .collect();
    let bytes = wire::write(&of_rewards(&rewards)).unwrap();
    assert!(bytes.len() < 1_000, "{} bytes", bytes.len());
}

#[test]
fn random_doubles_take_at_most_a_tenth_more_than_they_are() {
    let n = 512;
    let column = |seed| noise(n, seed);
    let rewards = column(1);
    let components: Vec<Vec<f64>> = (2..6).map(column).collect();
    let named = || {
        let named = ["a", "b", "c", "d"].into_iter().zip(&components);
        named
            .map(|(name, values)| (name.into(), Values::from(values)))
            .collect::<Vec<_>>()
    };

    let sizes = vec![8; n / 8];
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
    columns.reward_components = named();
    let bytes = wire::write(&Shard::of(&Batch::of(columns).unwrap())).unwrap();
    let raw = 8 * n * 5;
    assert!(bytes.len() * 10 <= raw * 11, "{} for {raw}", bytes.len());

    // A spread group's rewards wait for the rest of the group, and still travel once. What reaches into a group stands in
    // two ranks here, four completions in each.
    let ids: Vec<u64> = (0..n as u64).map(|i| 1_000_003 * (i / 4)).collect();
    let index: Vec<u32> = (0..4).cycle().take(n).collect();
    let (advantages, q, weights) = (column(7), column(8), column(9));
    let mut columns = Columns::new(Grouping::Ids(&ids), &rewards);
    columns.completion_index = Some(&index);
    columns.reward_components = named();
    let bytes = wire::write(&Shard::of(&Batch::of(columns.clone()).unwrap())).unwrap();
    let raw = 8 * n * 5 + 8 * n + 4 * n;
    assert!(bytes.len() * 10 <= raw * 11, "{} for {raw}", bytes.len());
    columns.advantages = Some((&advantages).into());
    columns.q = Some((&q).into());
    columns.weights = Some((&weights).into());
    let bytes = wire::write(&Shard::of(&Batch::of(columns).unwrap())).unwrap();
    let raw = raw + 8 * n * 3;
    assert!(bytes.len() * 10 <= raw * 11, "{} for {raw}", bytes.len());
}

/// The bytes of a shard of 512 completions with weights and lengths.
fn bytes_of_512(grouping: Grouping<'_>, advantages: bool, detail: Detail) -> usize {
    let n = 512;
    let (rewards, weights, scores) = (noise(n, 1), noise(n, 2), noise(n, 3));
    let lengths: Vec<u32> = (0..).map(|i: u32| i * 2_654_435 % 4096).take(n).collect();
    let mut columns = Columns::new(grouping, &rewards);
    columns.weights = Some((&weights).into());
    columns.completion_lengths = Some(&lengths);
    columns.advantages = advantages.then_some((&scores).into());
    let thresholds = Thresholds {
        detail,
        ..Thresholds::default()
    };
    let shard = Shard::counted(&Batch::of(columns).unwrap(), Place::default(), &thresholds);
    wire::write(&shard).unwrap().len()
}

#[test]
fn an_extended_shard_brings_what_it_knows_of_a_completion_once() {
    let ids: Vec<u64> = (0..512).map(|i| i / 8).collect();
    let waiting = || Grouping::Ids(&ids);
    let extended = bytes_of_512(waiting(), false, Detail::Extended);
    assert!(extended <= 14_000, "{extended} bytes");
    // Beside what a plain shard brings, and some sums: a length and whether it succeeded. Whole groups of a plain shard bring no advantages.
    for (grouping, advantages, more) in [
        (waiting(), false, 4),
        (waiting(), true, 4),
        (Grouping::Sizes(&[8; 64]), false, 4),
        (Grouping::Sizes(&[8; 64]), true, 4 + 8),
    ] {
        let [plain, extended] = [Detail::Plain, Detail::Extended]
            .map(|detail| bytes_of_512(grouping, advantages, detail));
        assert!(
            extended <= plain + 512 * more + 256,
            "{extended} bytes, {plain} plain, of {grouping:?}"
        );
    }
}

#[test]
fn a_shard_of_the_version_before_is_refused_by_name() {
    let mut older = wire::write(&of_rewards(&[1.0; 8])).unwrap();
    older[8] = 3;
    let refused = wire::read(&older).unwrap_err().to_string();
    let expected = format!("expected format version {}, found version 3", wire::VERSION);
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn refusals_say_what_was_expected_and_what_was_found() {
    let good = wire::write(&of_rewards(&[1.0; 8])).unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        wire::read(&bytes).unwrap_err()
    };
    let newer = refusal(&|bytes| bytes[8] = 9);
    assert_eq!(
        newer,
        WireError::Version {
            expected: VERSION,
            found: 9
        }
    );
    assert!(newer.to_string().contains(&format!(
        "expected format version {VERSION}, found version 9"
    )));
    let magic = refusal(&|bytes| bytes[..8].copy_from_slice(b"\x89PNG\r\n\x1a\n"));
    assert!(
        magic
            .to_string()
            .contains(r"begins with `grpo-shd`, found `\x89PNG\r\n\x1a\n`"),
        "{magic}"
    );
    let body = good.len() - HEADER;
    let cut = refusal(&|bytes| bytes.truncate(bytes.len() - 3));
    assert_eq!(
        cut,
        WireError::Length {
            expected: body as u64,
            found: body as u64 - 3
        }
    );
    assert_eq!(
        refusal(&|bytes| bytes.truncate(11)),
        WireError::Header { found: 11 }
    );
    assert!(matches!(
        refusal(&|bytes| bytes[HEADER] ^= 1),
        WireError::Checksum { .. }
    ));
}

/// Two groups of known sizes and a spread one, with everything that the extended metrics read.
fn extended(grouping: Grouping<'_>) -> Shard {
    let rewards = [1.0, 0.0, 0.5, 2.0];
    let lengths = [3, 1, 2, 4];
    let logps: Vec<f32> = (0_u8..10).map(|i| -0.1 * f32::from(i)).collect();
    let tags = ["math", "code", "math", "other"].map(str::to_owned);
    let mut columns = Columns::new(grouping, &rewards);
    columns.reward_components = vec![("a".into(), (&rewards).into())];
    columns.advantages = Some((&rewards).into());
    columns.weights = Some((&rewards).into());
    columns.completion_lengths = Some(&lengths);
    columns.token_logps = Some((&logps).into());
    columns.ref_token_logps = Some((&logps).into());
    columns.token_entropies = Some((&logps).into());
    columns.returns = Some((&logps).into());
    columns.values = Some((&logps).into());
    columns.tags = Some(&tags);
    let thresholds = Thresholds {
        detail: Detail::Extended,
        ..Thresholds::default()
    };
    Shard::counted(&Batch::of(columns).unwrap(), Place::default(), &thresholds)
}

#[test]
fn a_number_in_a_few_bytes_cannot_claim_memory() {
    let shards = vec![
        of_rewards(&[1.0; 8]),
        extended(Grouping::Sizes(&[2, 2])),
        extended(Grouping::Ids(&[7, 7, 7, 8])),
    ];
    // Every place of a small body in turn claims 2^62 of something.
    for good in shards {
        let good = wire::write(&good).unwrap();
        for at in HEADER..good.len() {
            let mut bytes = good.clone();
            bytes.splice(
                at..=at,
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f],
            );
            if let Ok(shard) = wire::read(&sealed(bytes)) {
                let _ = rows(&shard);
            }
        }
    }
}

#[test]
fn every_byte_of_an_extended_shard_may_be_any_other_and_nothing_panics() {
    let other = extended(Grouping::Ids(&[7, 7, 9, 8]));
    for grouping in [Grouping::Sizes(&[2, 2]), Grouping::Ids(&[7, 7, 7, 8])] {
        let good = wire::write(&extended(grouping)).unwrap();
        for at in HEADER..good.len() {
            for byte in [0, 0x7f, 0xff, good[at] ^ 1] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                if let Ok(mut shard) = wire::read(&sealed(bytes)) {
                    let _ = rows(&shard);
                    let _ = shard.merge(other.clone());
                    let _ = shard.close(3);
                    let _ = rows(&shard);
                }
            }
        }
    }
}

#[test]
fn a_shard_is_read_from_no_bytes_but_those_that_writing_it_gives() {
    let mut sketched = extended(Grouping::Ids(&[7, 7, 7, 8]));
    sketched.sketch();
    let shards = vec![
        of_rewards(&[1.0; 8]),
        extended(Grouping::Sizes(&[2, 2])),
        extended(Grouping::Ids(&[7, 7, 7, 8])),
        sketched,
    ];
    for good in shards {
        let good = wire::write(&good).unwrap();
        let mut taken = Vec::new();
        for at in HEADER..good.len() {
            // A number in a byte more than it needs, in place of every byte that may end one; and other bytes at all.
            let overlong = [good[at] | 0x80, 0];
            let others = [1, good[at] ^ 1].map(|byte| vec![byte]);
            for other in others.into_iter().chain([overlong.to_vec()]) {
                let mut bytes = good.clone();
                bytes.splice(at..=at, other);
                let bytes = sealed(bytes);
                if let Ok(shard) = wire::read(&bytes)
                    && wire::write(&shard).unwrap() != bytes
                {
                    taken.push(at);
                }
            }
        }
        assert!(taken.is_empty(), "{} of them, at {taken:?}", taken.len());
    }
}

#[test]
fn sketches_answer_within_a_percent_and_do_not_join_values() {
    let rewards = noise(20_000, 3);
    let exact = of_rewards(&rewards);
    let mut sketched = exact.clone();
    sketched.sketch();
    let (a, b) = (
        Summary::from(&exact).rewards.unwrap(),
        Summary::from(&sketched).rewards.unwrap(),
    );
    assert_eq!(
        (a.mean, a.sample_std, a.census),
        (b.mean, b.sample_std, b.census)
    );
    assert_eq!(
        (a.quantiles[0], a.quantiles[6]),
        (b.quantiles[0], b.quantiles[6])
    );
    for (a, b) in a.quantiles.iter().zip(b.quantiles) {
        assert!((a - b).abs() <= 0.011 * a.abs(), "{a} {b}");
    }
    assert!(wire::write(&sketched).unwrap().len() < 3_000);
    let batch = |rank| {
        let mut shard = Shard::default();
        let columns = Columns::new(Grouping::Sizes(&[8]), &rewards[..8]);
        shard
            .merge(Shard::of(&Batch::of(columns).unwrap().at(rank, 0)))
            .unwrap();
        shard
    };
    let (mut values, mut other) = (batch(0), batch(1));
    other.sketch();
    let refused = values.merge(other.clone()).unwrap_err();
    assert!(
        matches!(
            refused,
            MergeError::Retained {
                rank: 1,
                other: 0,
                ..
            }
        ),
        "{refused}"
    );
    values.sketch();
    values.merge(other).unwrap();
    assert_eq!(values.completions(), 16);
}
