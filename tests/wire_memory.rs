//! Reading a shard costs memory in proportion to its bytes, whatever they are. Alone in its process, whose allocations are counted.
#![allow(
    clippy::cast_possible_truncation,
    reason = "random bits are cut on purpose"
)]

mod counting;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::tokens::TokenIds;
use grpo_metrics::batch::{Batch, Columns, Place, Values};
use grpo_metrics::shard::{Detail, Shard, Thresholds};
use grpo_metrics::wire;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use xxhash_rust::xxh3::xxh3_64;

const HEADER: usize = 28;

/// The most memory that reading may cost: so many times the bytes, and so much beside. What shards are mostly made of, values, costs ten times
/// its bytes; a member of whom nothing is known is a byte on the wire, and a hundred as one of a group that waits.
const TIMES: usize = 128;
const BESIDE: usize = 16 << 10;

/// The most memory that reading `bytes` took at a time.
fn cost(bytes: &[u8]) -> usize {
    counting::cost(|| wire::read(bytes)).peak
}

/// `bytes` with a header that fits.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&bytes[HEADER..]);
    let length = (bytes.len() - HEADER) as u64;
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    bytes[20..28].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn shard(columns: Columns<'_>) -> Shard {
    Shard::of(&Batch::of(columns).unwrap())
}

fn extended(columns: Columns<'_>) -> Shard {
    let thresholds = Thresholds {
        detail: Detail::Extended,
        ..Thresholds::default()
    };
    Shard::counted(&Batch::of(columns).unwrap(), Place::default(), &thresholds)
}

/// Shards of every kind: empty, plain, sketched, closed, of many columns, and of groups that wait for members, with their texts or tokens;
/// extended ones of groups that wait and of groups that do not.
fn shards() -> Vec<Vec<u8>> {
    let noise: Vec<f64> = (1..200).map(|i| (f64::from(i) * 0.37).sin()).collect();
    let sizes = [199];
    let plain = shard(Columns::new(Grouping::Sizes(&sizes), &noise));
    let (mut sketched, mut closed) = (plain.clone(), plain.clone());
    sketched.sketch();
    closed.close(1).unwrap();

    // Values as far apart as doubles are, in as many columns as there is room for.
    let far = [1e-300, 1e300, -1e-300, -1e300];
    let mut columns = Columns::new(Grouping::Sizes(&[4]), &far);
    columns.reward_components = (0..50)
        .map(|i| (format!("c{i}").into(), Values::from(&far[..])))
        .collect();
    let many = shard(columns);
    let mut far = many.clone();
    far.sketch();

    let ids: Vec<u64> = (0..199).map(|i| i % 7).collect();
    let index: Vec<u32> = (0..199).collect();
    let texts: Vec<String> = (0..199).map(|i| format!("one two {}", i % 5)).collect();
    let tokens: Vec<u32> = (0..398).map(|i| i * 31 % 11).collect();
    let lengths = [2; 199];
    let mut columns = Columns::new(Grouping::Ids(&ids), &noise);
    columns.completion_index = Some(&index);
    columns.completions = Some(&texts);
    let waiting = shard(columns);
    let mut columns = Columns::new(Grouping::Ids(&ids), &noise);
    columns.completion_index = Some(&index);
    columns.completion_lengths = Some(&lengths);
    columns.token_ids = Some(TokenIds::Ragged(&tokens));
    let with_tokens = shard(columns);

    // The dearest byte there is: a member of whom nothing is known, and before and after whom something else is unknown.
    let ids = vec![7; 4000];
    let index: Vec<u32> = (0..4000).collect();
    let (first, second): (Vec<bool>, Vec<bool>) =
        (0..4000).map(|i| (i % 2 == 0, i % 2 == 1)).unzip();
    let nothing = vec![f64::NAN; 4000];
    let mut columns = Columns::new(Grouping::Ids(&ids), Values::masked(&nothing, &first));
    columns.completion_index = Some(&index);
    columns.advantages = Some(Values::masked(&nothing, &second));
    columns.weights = Some(Values::masked(&nothing, &first));
    let holes = shard(columns.clone());
    // The same where more columns have cells for them; one tag for all, and a name long enough to be dear were it there 4,000 times.
    let tags = vec!["t".repeat(500); 4000];
    columns.tags = Some(&tags);
    let extended_holes = extended(columns);

    // Rewards that repeat, so that a pair of reward and length is little more than a byte.
    let (few, short, sizes) = (vec![0.5; 4000], vec![3; 4000], [8; 500]);
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &few);
    columns.completion_lengths = Some(&short);
    let measured = extended(columns.clone());
    columns.grouping = Grouping::Ids(&ids);
    columns.tags = Some(&tags);
    let measured_waiting = extended(columns);

    let all = vec![
        Shard::default(),
        plain,
        sketched,
        closed,
        many,
        far,
        waiting,
        with_tokens,
        holes,
        extended_holes,
        measured,
        measured_waiting,
    ];
    all.iter()
        .map(|shard| wire::write(shard).unwrap())
        .collect()
}

/// One to four changes: a cut, an insertion, a byte, a stretch from elsewhere, a number as large as can be.
fn change(bytes: &mut Vec<u8>, random: &mut TestRng) {
    let mut below = |end: usize| random.next_u32() as usize % end;
    for _ in 0..=below(4) {
        let at = HEADER + below(bytes.len() - HEADER + 1);
        match below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, below(256) as u8),
            2 => {
                let from = HEADER + below(bytes.len() - HEADER + 1);
                let stretch = bytes[from..bytes.len().min(from + 12)].to_vec();
                bytes.splice(at..at, stretch);
            }
            3 => {
                let huge = [0xff; 9].into_iter().take(below(10)).chain([1]);
                bytes.splice(at..at, huge);
            }
            _ if at < bytes.len() => bytes[at] = below(256) as u8,
            _ => {}
        }
    }
}

#[test]
fn reading_a_shard_never_costs_more_than_its_bytes_justify() {
    let shards = shards();
    let check = |bytes: &[u8], what: &str| {
        let (cost, size) = (cost(bytes), bytes.len());
        let bound = TIMES * size + BESIDE;
        assert!(
            cost <= bound,
            "{what}: {size} bytes took {cost} bytes, {bound} at most"
        );
    };
    for bytes in &shards {
        assert!(wire::read(bytes).is_ok());
        check(bytes, "as written");
        for end in (HEADER..bytes.len()).step_by(1 + bytes.len() / 500) {
            check(&sealed(bytes[..end].to_vec()), "cut");
        }
    }
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..20_000 {
        let mut bytes = shards[random.next_u32() as usize % shards.len()].clone();
        change(&mut bytes, &mut random);
        check(&sealed(bytes), "changed");
    }
}
