//! The root's work over 1,024 ranks of 512 completions with four components, all doubles different: time and peak memory.
//! `cargo run --release --example merge_memory -- [RANKS] [sketch]`. The ranks' bytes are in memory beforehand, as a gather
//! leaves them, and count.

#[path = "../benches/ranks/mod.rs"]
mod ranks;

use std::error::Error;
use std::time::Instant;

use grpo_metrics::gather::Answer;
use ranks::{part, row};

fn main() -> Result<(), Box<dyn Error>> {
    let ranks: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(1024), |text| text.parse())?;
    let sketch = std::env::args().nth(2).is_some_and(|word| word == "sketch");
    let answers = (0..ranks)
        .map(|rank| Ok(Answer::of(rank, part(rank, sketch)?)))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let bytes: usize = answers
        .iter()
        .flat_map(|answer| &answer.bytes)
        .map(Vec::len)
        .sum();
    println!(
        "{ranks} ranks, {bytes} bytes, {} a rank",
        bytes / ranks.max(1) as usize
    );
    println!("resident with the ranks' bytes: {}", status("VmRSS:"));
    let begun = Instant::now();
    let row = row(answers)?;
    println!(
        "decoded, merged, summarised and named ({} keys) in {:.1} ms",
        row.len(),
        begun.elapsed().as_secs_f64() * 1e3
    );
    println!("peak resident: {}", status("VmHWM:"));
    Ok(())
}

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.map_or("unknown", str::trim).to_owned()
}
