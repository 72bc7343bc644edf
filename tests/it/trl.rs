//! TRL's own log of a training is what the `trl` dialect makes of the recording of that training; what its loss logs of
//! a micro-batch is what the dialect makes of the record (`tests/reference/trl_loss.py`).
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::dialect::Dialect;
use grpo_metrics::recording::Record;
use grpo_metrics::row::Metrics;
use grpo_metrics::shard::Shard;
use grpo_metrics::summary::Summary;
use serde_json::{Map, Value};

/// Not in the records.
const NOT_RECORDED: [&str; 2] = ["num_tokens", "step_time"];

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/recordings")
        .join(name)
}

/// The rows of a replay, by step.
fn replayed(name: &str) -> BTreeMap<u64, Map<String, Value>> {
    let out = assert_cmd::Command::new(crate::grpo_metrics())
        .args(["replay", "--dialect", "trl", "--every", "1"])
        .args(["--mode", "full", "--quiet", "--jsonl", "-"])
        .arg(recording(name))
        .assert()
        .success();
    String::from_utf8_lossy(&out.get_output().stdout)
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let metrics = row["metrics"].as_object().unwrap().clone();
            (row["step"].as_u64().unwrap(), metrics)
        })
        .collect()
}

/// Whether METRICS.md's trl table names `key`.
fn is_named(key: &str) -> bool {
    Dialect::Trl
        .lines()
        .any(|line| match line.key.split_once("{name}") {
            Some((before, after)) => key
                .strip_prefix(before)
                .is_some_and(|rest| rest.ends_with(after)),
            None => key == line.key,
        })
}

/// Compares every logged number that the records can give; how many there were.
fn compare(name: &str) -> usize {
    let rows = replayed(name);
    let log = fs::read(recording(name).join("trl_log_history.json")).unwrap();
    let log: Vec<Map<String, Value>> = serde_json::from_slice(&log).unwrap();
    let mut compared = 0;
    let mut missing = Vec::new();
    let mut worst = (0.0, String::new());
    for logged in &log {
        let step = logged["step"].as_u64().unwrap();
        for (key, value) in logged {
            if !is_named(key) || NOT_RECORDED.contains(&key.as_str()) {
                continue;
            }
            let Some(found) = rows[&step].get(key).and_then(Value::as_f64) else {
                missing.push(format!("step {step}: {key}"));
                continue;
            };
            compared += 1;
            let expected = value.as_f64().unwrap();
            let difference = (found - expected).abs();
            if difference.is_nan() || difference > worst.0 {
                let what = format!("step {step}: {key} is {found}, TRL logged {expected}");
                worst = (difference, what);
            }
        }
    }
    assert!(missing.is_empty(), "{name} lacks {missing:?}");
    assert!(
        worst.0 <= 1e-6,
        "{name}: the worst difference is {}: {}",
        worst.0,
        worst.1
    );
    compared
}

#[test]
fn two_ranks_with_whole_groups_give_what_trl_logged() {
    // 11 keys a step, 16 more where completions were generated (every other step), and the last line's epoch.
    assert_eq!(compare("trl-2rank"), 24 * 11 + 12 * 16 + 1);
}

#[test]
fn four_ranks_with_split_groups_give_what_trl_logged() {
    assert_eq!(compare("trl-4rank-split"), 12 * 11 + 6 * 16 + 1);
}

/// The rows of the cases whose name begins with one of these, beside what TRL's loss logged.
fn of_losses(starts: &[&str]) -> Vec<(String, Metrics, Map<String, Value>)> {
    let cases = include_str!("../data/vectors/trl_loss.jsonl").lines();
    let cases = cases.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named = cases.filter(|case| {
        let name = case["name"].as_str().unwrap();
        starts.iter().any(|start| name.starts_with(start))
    });
    named
        .map(|case| {
            let record = Record::from_json(&case["record"].to_string()).unwrap();
            let shard = Shard::of(&record.batch().unwrap());
            (
                case["name"].as_str().unwrap().to_owned(),
                Dialect::Trl.row(&Summary::from(&shard)),
                case["expected"].as_object().unwrap().clone(),
            )
        })
        .collect()
}

/// Compares `kl`, `entropy`, `cispo_clip_ratio` and all of `clip_ratio/`: the same keys, the same numbers in single precision.
fn compare_losses(names: &[&str], cases: usize) {
    let found = of_losses(names);
    assert_eq!(found.len(), cases);
    let of_loss = ["kl", "entropy", "cispo_clip_ratio"];
    let by_loss = |key: &str| of_loss.contains(&key) || key.starts_with("clip_ratio/");
    for (name, row, expected) in found {
        let keys: Vec<&str> = row
            .iter()
            .map(|(key, _)| key)
            .filter(|k| by_loss(k))
            .collect();
        let mut known: Vec<&str> = expected.keys().map(String::as_str).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        known.sort_unstable();
        assert_eq!(sorted, known, "{name}");
        for key in keys {
            let (ours, theirs) = (row.get(key).unwrap(), expected[key].as_f64().unwrap());
            assert!(
                (ours - theirs).abs() <= 1e-6 * (1.0 + theirs.abs()),
                "{name}: {key} is {ours}, TRL's loss logs {theirs}"
            );
        }
    }
}

#[test]
fn where_a_ratio_is_of_a_whole_completion_so_are_kl_and_clipping() {
    let losses = [
        "grpo by seq",
        "bnpo by seq",
        "dr_grpo by seq",
        "dapo by seq",
        "luspo by seq",
    ];
    compare_losses(&losses, 3 * (3 + 4));
}

#[test]
fn a_cap_on_ratios_comes_before_the_clip_range() {
    compare_losses(&["grpo by token"], 3 * 3);
}

#[test]
fn a_loss_without_a_clip_range_clips_nothing_and_says_nothing() {
    compare_losses(&["sapo", "vespo"], 3 * 2 * 2);
}

#[test]
fn a_loss_that_caps_ratios_as_weights_says_how_many_with_a_positive_advantage_are_beyond_its_cap() {
    compare_losses(&["cispo"], 3 * 2);
    let shares = of_losses(&["cispo"]).into_iter();
    let shares = shares.map(|(_, row, _)| row.get("cispo_clip_ratio").unwrap());
    assert!(shares.clone().any(|share| share > 0.0) && shares.clone().all(|share| share < 1.0));
}

#[test]
fn the_geometric_mean_clips_the_log_ratio() {
    compare_losses(&["gmpo"], 3);
}
