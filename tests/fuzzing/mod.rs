//! What outsiders hand us, changed at random: nothing panics, nothing that was changed passes for what it was.
#![allow(dead_code, reason = "the example and the test use a part each")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "random bits are cut on purpose"
)]

#[cfg(feature = "evsys")]
mod answers;
mod journals;
mod metrics_files;
mod random;
mod recordings;
mod shards;
mod trainer_files;

use std::collections::BTreeMap;

use random::Random;

/// One kind of what is read.
trait Target {
    /// Changes something and has it read: what became of it.
    ///
    /// # Errors
    /// What should not have become of it.
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String>;
}

/// The kinds, by name.
pub const KINDS: &[&str] = &[
    "shards",
    "recordings",
    "trainers",
    "journals",
    "metrics",
    #[cfg(feature = "evsys")]
    "answers",
];

/// Reads `count` changed things of this kind: how often became what of them.
///
/// # Errors
/// If there is no such kind, or something became of one that should not have; the same seed and turn do it again.
pub fn run(kind: &str, count: u64, seed: u64) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut target: Box<dyn Target> = match kind {
        "shards" => Box::new(shards::Shards::new()),
        "recordings" => Box::new(recordings::Recordings::new()),
        "trainers" => Box::new(trainer_files::TrainerFiles::new()),
        "journals" => Box::new(journals::Journals::new()),
        "metrics" => Box::new(metrics_files::MetricsFiles::new()),
        #[cfg(feature = "evsys")]
        "answers" => Box::new(answers::Answers::new()),
        _ => return Err(format!("expected {}, found `{kind}`", KINDS.join(", "))),
    };
    let mut became = BTreeMap::new();
    for turn in 0..count {
        let told = Told { seed, turn };
        let outcome = target.turn(&mut Random::of(seed, turn));
        std::mem::forget(told);
        let outcome = outcome.map_err(|why| format!("seed {seed}, turn {turn}: {why}"))?;
        *became.entry(outcome).or_default() += 1;
    }
    Ok(became)
}

/// Says, where a panic drops it, which turn it was.
struct Told {
    seed: u64,
    turn: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("seed {}, turn {}: a panic", self.seed, self.turn);
    }
}
