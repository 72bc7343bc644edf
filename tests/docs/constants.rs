//! METRICS.md's table of the keys that are there without their inputs.

use std::fmt::Write;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::Weighting;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::row::Metrics;

use super::{check, part_of, read};

/// What the keys of `maxent` need that are there without it.
const NEEDED: &[(&str, &str)] = &[
    ("train/seed_grpo/semantic_entropy", "`semantic_entropies`"),
    ("train/seed_grpo/advantage_scale", "`advantage_scales`"),
    ("train/seed_grpo/alpha_effective", "`seed_alpha_effective`"),
    (
        "train/seed_grpo/max_possible_entropy",
        "`seed_max_possible_entropy`",
    ),
    (
        "train/completions/clipped_frac",
        "`terminated`, or `max_completion_length` beside the lengths",
    ),
    ("train/clip_ratio", "`token_logps` and `ref_token_logps`"),
    ("train/meta/", "`weighting.meta`"),
    (
        "train/",
        "its fields of `weighting`, where there is a snapshot",
    ),
];

/// The row of a step of which rewards, advantages, lengths and the policy's own log-probabilities are known, and that there is a
/// controller: what nothing else is known of must not be told.
fn row(dialect: Dialect, step: u64, rewards: &[f64]) -> Metrics {
    let builder = Engine::builder().dialect(dialect).extended(true);
    let mut engine = builder.build().unwrap();
    let sizes = [u32::try_from(rewards.len()).unwrap()];
    let mut lengths = vec![u32::try_from(step).unwrap(); rewards.len()];
    lengths[0] += 4;
    let tokens = usize::try_from(lengths.iter().sum::<u32>()).unwrap();
    let logps = vec![-0.5 / step as f32; tokens];
    let advantages: Vec<f64> = rewards.iter().map(|reward| reward - 0.75).collect();
    let mut columns = Columns::new(Grouping::Sizes(&sizes), rewards);
    columns.advantages = Some((&advantages).into());
    columns.completion_lengths = Some(&lengths);
    columns.token_logps = Some((&logps).into());
    columns.weighting = Some(Weighting::default());
    engine.observe(&Batch::of(columns).unwrap()).unwrap();
    engine.step(step).unwrap().unwrap().metrics
}

/// The keys that are there without their inputs, with the constant: those that no reward and no step changes.
fn constants(dialect: Dialect) -> Vec<(String, f64)> {
    let one = row(dialect, 3, &[0.75, 0.5]);
    let other = row(dialect, 4, &[1.0, 3.0, 2.0]);
    let same = one.iter().filter(|(key, x)| other.get(key) == Some(*x));
    // What was looked for in the rewards and lengths and not found is no constant of theirs.
    let looked = [
        "health/",
        "groups/",
        "pass@",
        "pass_rate/",
        "effective/",
        "aborted_ratio",
    ];
    let looked = |key: &str| looked.iter().any(|room| key.contains(room)) || key.contains("reward");
    let constants = same.filter(|(key, _)| !looked(key));
    constants.map(|(key, x)| (key.to_owned(), x)).collect()
}

#[test]
fn the_constants_of_maxent_are_those_of_its_rows_and_no_other_dialect_has_any() {
    for dialect in Dialect::ALL
        .iter()
        .filter(|dialect| **dialect != Dialect::MaxEnt)
    {
        assert_eq!(constants(*dialect), [], "{dialect}");
    }
    let mut table = "| key | without its inputs | its inputs |\n| --- | --- | --- |\n".to_owned();
    for (key, constant) in constants(Dialect::MaxEnt) {
        let need = NEEDED.iter().find(|(begin, _)| key.starts_with(begin));
        let (_, needed) = need.unwrap();
        writeln!(table, "| `{key}` | {constant} | {needed} |").unwrap();
    }
    let path = "docs/METRICS.md";
    check(path, &part_of(&read(path), "constants", &table));
}
