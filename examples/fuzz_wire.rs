//! Shards changed at random: `cargo run --release --example fuzz_wire -- [COUNT] [SEED]` (1,000,000 and 1 without).
//!
//! Every shard is changed twice over. As it stands, any change must be refused. With length and checksum made to fit
//! again, what is left must be refused or be a shard like any other: it is merged, summarised and written, and whatever
//! panics ends the run. Prints what became of them, the time, and the peak of memory.

#![allow(
    clippy::cast_possible_truncation,
    reason = "random bits are cut on purpose"
)]

use std::error::Error;
use std::time::Instant;

use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::group::Grouping;
use grpo_metrics::shard::Shard;
use grpo_metrics::summary::Summary;
use grpo_metrics::tokens::TokenIds;
use grpo_metrics::wire;
use xxhash_rust::xxh3::xxh3_64;

const HEADER: usize = 28;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, seed) = (number(1_000_000)?, number(1)?);
    let mut random = Random(seed);
    let shards = shards()?;
    let written = shards
        .iter()
        .map(wire::write)
        .collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let (mut refused, mut accepted, mut resealed_refused, mut resealed_read) =
        (0_u64, 0_u64, 0_u64, 0_u64);
    for turn in 0..count {
        let original = &written[random.below(written.len())];
        let mut bytes = original.clone();
        change(&mut bytes, &mut random);
        if bytes == *original {
            bytes.pop();
        }
        match wire::read(&bytes) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        if bytes.len() > HEADER {
            seal(&mut bytes);
            match wire::read(&bytes) {
                Err(_) => resealed_refused += 1,
                Ok(mut shard) => {
                    resealed_read += 1;
                    let _ = shard.merge(shards[turn as usize % shards.len()].clone());
                    let _ = shard.close(1);
                    let _ = Summary::from(&shard);
                    let _ = wire::write(&shard);
                }
            }
        }
    }
    println!(
        "{count} changed shards (seed {seed}) in {:.1} s, no panic",
        begun.elapsed().as_secs_f64()
    );
    println!("as they stood: {refused} refused, {accepted} accepted");
    println!(
        "with a fitting checksum: {resealed_refused} refused, {resealed_read} read, merged and summarised"
    );
    if let Some(peak) = peak() {
        println!("peak memory: {peak}");
    }
    if accepted > 0 {
        return Err("a changed shard was accepted".into());
    }
    Ok(())
}

/// One to four changes: a byte, a bit, a cut, an insertion, a stretch of bytes from elsewhere, a huge number.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 => {
                let from = random.below(bytes.len());
                let stretch = bytes[from..bytes.len().min(from + 8)].to_vec();
                for (to, byte) in bytes[at..].iter_mut().zip(stretch) {
                    *to = byte;
                }
            }
            3 => {
                let huge = [0xff; 9].into_iter().chain([1]);
                bytes.splice(at..at, huge);
            }
            4 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
}

fn seal(bytes: &mut [u8]) {
    let checksum = xxh3_64(&bytes[HEADER..]);
    let length = (bytes.len() - HEADER) as u64;
    bytes[..8].copy_from_slice(b"grpo-shd");
    bytes[8..12].copy_from_slice(&wire::VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    bytes[20..28].copy_from_slice(&checksum.to_le_bytes());
}

/// Shards of every kind: empty, of whole groups, of spread groups with tokens or texts, sketched, closed.
fn shards() -> Result<Vec<Shard>, Box<dyn Error>> {
    let rewards = [0.0, 1.0, -0.0, f64::NAN, 1e300, 5e-324, -2.5, 1.0];
    let lengths = [2_u32, 0, 1, 3, 0, 0, 1, 1];
    let logps = [-0.5_f32, -1.0, -2.0, f32::NAN, -0.1, -0.2, -3.0, -0.7];
    let token_ids = [1, 2, 1, 9, 4, 4, 7, 1];
    let texts: Vec<String> = ["a b a", "", "c", "a", "b b", "d e f", "g", "a b"]
        .map(Into::into)
        .to_vec();
    let with = |grouping| {
        let mut columns = Columns::new(grouping, &rewards);
        columns.reward_components = vec![
            ("format".into(), (&rewards).into()),
            ("é/x".into(), (&rewards).into()),
        ];
        columns.advantages = Some((&rewards).into());
        columns.weights = Some((&rewards).into());
        columns.completion_lengths = Some(&lengths);
        columns.token_logps = Some((&logps[..]).into());
        columns.ref_token_logps = Some((&logps[..]).into());
        columns.old_token_logps = Some((&logps[..]).into());
        columns.scalars.set("total_loss", f64::NAN);
        columns.scalars.set("mine", 0.25);
        columns
    };
    let ids = [3_u64, 3, 1 << 60, 3, 7, 7, 9, 3];
    let mut by_id = with(Grouping::Ids(&ids));
    by_id.token_ids = Some(TokenIds::Ragged(&token_ids));
    let mut texted = with(Grouping::Ids(&ids));
    texted.completions = Some(&texts);
    let whole = Shard::of(&Batch::of(with(Grouping::Sizes(&[4, 0, 4])))?.at(3, 1));
    let spread = Shard::of(&Batch::of(by_id)?.at(1, 0));
    let mut sketched = whole.clone();
    sketched.sketch();
    let mut assigned = Shard::of(&Batch::of(texted)?.at(2, 0));
    assigned.assign(1)?;
    let mut closed = spread.clone();
    closed.close(9)?;
    Ok(vec![
        Shard::default(),
        whole,
        spread,
        sketched,
        assigned,
        closed,
    ])
}

/// The most memory that the process has held, where the system says so.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
