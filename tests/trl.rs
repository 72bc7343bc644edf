//! TRL's own log of a training is what the `trl` dialect makes of the recording of that training.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::dialect::Dialect;
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
    let out = assert_cmd::cargo::cargo_bin_cmd!("grpo-metrics")
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
