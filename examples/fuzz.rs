//! What outsiders hand us, changed at random: `cargo run --release --example fuzz -- KIND [COUNT] [SEED]`, where KIND is
//! shards, recordings, trainers, journals, metrics or (with the feature `evsys`) answers; 1,000,000 of them and seed 1 without.
//!
//! Whatever panics, or passes for what it is not, ends the run with its turn. Prints what became of them, the time, and the
//! most memory that was held at a time, which for shards must stay below 64 MB.

#[path = "../tests/counting/mod.rs"]
mod counting;
#[path = "../tests/fuzzing/mod.rs"]
mod fuzzing;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

/// Bytes.
const MOST_FOR_SHARDS: usize = 64_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_else(|| "shards".to_owned());
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, seed) = (number(1_000_000)?, number(1)?);
    let begun = Instant::now();
    let mut became = Ok(BTreeMap::default());
    let cost = counting::cost(|| became = fuzzing::run(&kind, count, seed));
    println!(
        "{count} changed {kind} (seed {seed}) in {:.0} s, no panic; at most {:.1} MB at a time",
        begun.elapsed().as_secs_f64(),
        cost.peak as f64 / 1e6
    );
    for (what, times) in became? {
        println!("{times:>12} {what}");
    }
    if kind == "shards" && cost.peak >= MOST_FOR_SHARDS {
        return Err(format!("{} bytes were held, 64 MB may be", cost.peak).into());
    }
    Ok(())
}
