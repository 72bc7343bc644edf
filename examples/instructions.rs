//! What `benches/instructions.sh` counts: `step/4096x4` or `tokens/shard`, each also with the extended metrics, so many times,
//! on the calling thread.

#[path = "../benches/inputs/mod.rs"]
mod inputs;

use std::error::Error;
use std::hint::black_box;

use grpo_metrics::batch::{Batch, Place};
use grpo_metrics::shard::{Detail, Shard, Thresholds};
use inputs::step::{RANKS, Rank, row};
use inputs::tokens::Tokens;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (what, times) = (arguments.next(), arguments.next());
    let times: u32 = times
        .ok_or("expected a name and a number of times")?
        .parse()?;
    let mut thresholds = Thresholds::default();
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()?;
    match what.as_deref() {
        Some(name @ ("step/4096x4" | "step/4096x4-extended")) => {
            if name.ends_with("extended") {
                thresholds.detail = Detail::Extended;
            }
            let ranks: Vec<Rank> = (0..RANKS)
                .map(|rank| Rank::new(rank, 4096 / RANKS, 4))
                .collect();
            let batches: Vec<Batch<'_>> = ranks.iter().map(Rank::batch).collect();
            one.install(|| (0..times).for_each(|_| _ = row(black_box(&batches), &thresholds)));
        }
        Some(name @ ("tokens/shard" | "tokens/shard-sketches")) => {
            if name.ends_with("sketches") {
                thresholds.detail = Detail::Extended;
            }
            let tokens = Tokens::new();
            let batch = tokens.batch();
            let count = || Shard::counted(black_box(&batch), Place::default(), &thresholds);
            one.install(|| (0..times).for_each(|_| _ = black_box(count())));
        }
        other => {
            let names = "step/4096x4[-extended] or tokens/shard[-sketches]";
            return Err(format!("expected {names}, found {other:?}").into());
        }
    }
    Ok(())
}
