//! The extended metrics against what `tests/reference/extended.py` computes, and what is computed when they are off.

use std::collections::{BTreeMap, BTreeSet};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::{Engine, EngineBuilder, EngineOptions};
use grpo_metrics::recording::Record;
use grpo_metrics::row::Metrics;
use serde::Deserialize;
use serde_json::Value;

fn row(builder: EngineBuilder, records: &Value) -> Metrics {
    let mut engine = builder.build().unwrap();
    for record in records.as_array().unwrap() {
        let record = Record::from_json(&record.to_string()).unwrap();
        engine.observe(&record.batch().unwrap()).unwrap();
    }
    engine.step(5).unwrap().unwrap().metrics
}

/// What the reference solves for iteratively, what a sketch may miss, and everything else.
fn tolerance(key: &str) -> f64 {
    let of_sketch = ["ratio/p", "token_entropy/p"];
    match key {
        key if of_sketch.iter().any(|part| key.starts_with(part)) => 0.0101,
        key if key.contains("ci95") => 1e-7,
        _ => 1e-10,
    }
}

/// Whether a key is a count of a family.
fn counts(key: &str) -> bool {
    key.strip_prefix("health/")
        .is_some_and(|rest| rest.contains('/'))
}

#[test]
fn every_extended_case_gives_what_numpy_and_scipy_give() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/vectors/extended.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut faults = Vec::new();
    let mut compared = BTreeSet::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let options = EngineOptions::deserialize(&case["options"]).unwrap();
        for dialect in Dialect::ALL {
            let builder = || {
                let builder = Engine::builder().options(options.clone());
                builder.dialect(*dialect)
            };
            let plain = row(builder(), &case["records"]);
            let all = row(builder().extended(true), &case["records"]);
            let prefix = if *dialect == Dialect::MaxEnt {
                "train/"
            } else {
                ""
            };
            let mut found: BTreeMap<&str, f64> = all
                .iter()
                .filter(|(key, _)| !plain.contains(key))
                .map(|(key, value)| (key.strip_prefix(prefix).unwrap(), value))
                // Of the families' counts the reference has those that stand for a completion each.
                .filter(|(key, _)| !counts(key) || case["expected"].get(*key).is_some())
                .collect();
            for (key, wanted) in case["expected"].as_object().unwrap() {
                compared.insert(key.clone());
                // Three numbers are what the value lies between, with the exact one in the middle.
                if let Some(band) = wanted.as_array() {
                    let value = found.remove(key.as_str()).unwrap();
                    let [low, high] = [0, 2].map(|i| band[i].as_f64().unwrap());
                    assert!((low..=high).contains(&value), "{key} = {value}");
                    continue;
                }
                let wanted = wanted.as_f64().unwrap();
                let close = |x: f64| {
                    (x - wanted).abs() <= 1e-12 + tolerance(key) * x.abs().max(wanted.abs())
                };
                match found.remove(key.as_str()) {
                    Some(value) if close(value) => {}
                    value => faults.push(format!(
                        "{} {dialect}: {key} = {value:?}, expected {wanted}",
                        case["name"]
                    )),
                }
            }
            let left_over = found.into_iter();
            faults.extend(left_over.map(|(key, value)| {
                format!(
                    "{} {dialect}: {key} = {value} is not expected",
                    case["name"]
                )
            }));
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(compared.len() > 80, "{} keys were compared", compared.len());
}

#[test]
fn flags_and_counts_of_health_are_in_the_row() {
    let records = serde_json::json!([{"step": 1, "rank": 0, "world_size": 1, "batch": {
        "group_sizes": [2, 2], "rewards": [1.0, 1.0, "NaN", 1.0], "completion_lengths": [4, 4, 1, 4],
        "reward_components": {"a": [1, null, 1, 1]}, "max_completion_length": 4}}]);
    let row = row(Engine::builder().extended(true), &records);
    for (key, value) in [
        ("nonfinite", 1.0),
        // Of the second group one reward is there: it has no deviation.
        ("zero_std", 0.0),
        ("kept_out", 0.0),
        ("length_at_cap", 1.0),
        ("reward_saturation", 1.0),
        ("rewards/used", 3.0),
        ("rewards/nonfinite", 1.0),
        ("rewards/absent", 0.0),
        ("reward_components/a/absent", 1.0),
    ] {
        assert_eq!(
            row.get(&format!("train/health/{key}")),
            Some(value),
            "{key}"
        );
    }
    assert_eq!(row.get("train/health/kl"), None);
}

/// The extended metrics of groups that have so many completions, so many of which succeed.
fn tried(groups: &[(u32, u32)]) -> Metrics {
    tried_by(Engine::builder(), groups)
}

fn tried_by(engine: EngineBuilder, groups: &[(u32, u32)]) -> Metrics {
    let sizes: Vec<u32> = groups.iter().map(|(size, _)| *size).collect();
    let member = |&(size, hits): &(u32, u32)| (0..size).map(move |i| f64::from(u8::from(i < hits)));
    let rewards: Vec<f64> = groups.iter().flat_map(member).collect();
    let engine = engine.dialect(Dialect::Trl).extended(true);
    let mut engine = engine.build().unwrap();
    let batch = Batch::of(Columns::new(Grouping::Sizes(&sizes), &rewards)).unwrap();
    engine.observe(&batch).unwrap();
    engine.step(1).unwrap().unwrap().metrics
}

/// Uniform numbers in (0, 1) (Steele and others' `SplitMix64`, 2014).
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) as f64 + 0.5) / 18_446_744_073_709_551_616.0
    }
}

#[test]
fn an_interval_by_groups_holds_what_pass_at_k_estimates_in_19_of_20_steps() {
    const STEPS: u32 = 1000;
    let mut next = uniform(12);
    // Chances from Beta(1/2, 1/2) and Beta(1, 9), by their inverse distributions; E of 1 - (1 - p)^k is
    // 1 - product of (b + i)/(a + b + i) for i below k.
    let arcsine: fn(f64) -> f64 = |u| (std::f64::consts::FRAC_PI_2 * u).sin().powi(2);
    let hard: fn(f64) -> f64 = |u| 1.0 - u.powf(1.0 / 9.0);
    for (a, b, chance) in [(0.5, 0.5, arcsine), (1.0, 9.0, hard)] {
        for (groups, size) in [(8, 8), (16, 16), (32, 8)] {
            let mut held = [0; 2];
            for _ in 0..STEPS {
                let group = |_| {
                    let p = chance(next());
                    (size, (0..size).map(|_| u32::from(next() < p)).sum())
                };
                let row = tried(&(0..groups).map(group).collect::<Vec<_>>());
                for (held, k) in held.iter_mut().zip([1_u8, 4]) {
                    let missed: f64 = (0..k)
                        .map(f64::from)
                        .map(|i| (b + i) / (a + b + i))
                        .product();
                    let end = |end| row.get(&format!("pass@{k}/ci95/{end}")).unwrap();
                    *held += u32::from((end("low")..=end("high")).contains(&(1.0 - missed)));
                }
            }
            for (held, k) in held.iter().zip([1, 4]) {
                let covered = f64::from(*held) / f64::from(STEPS);
                // Two standard deviations of a count of 1000 below 95 %.
                assert!(
                    covered > 0.936,
                    "{groups} groups of {size}, Beta({a}, {b}), k = {k}: {covered}"
                );
            }
        }
    }
}

#[test]
fn groups_that_agree_do_not_make_an_interval_of_nothing() {
    for (hits, mean) in [(0, 0.0), (8, 1.0), (4, 0.5)] {
        let row = tried(&[(8, hits); 6]);
        let [low, high] =
            ["low", "high"].map(|end| row.get(&format!("pass@1/ci95/{end}")).unwrap());
        assert!(low <= mean && mean <= high, "{low} {mean} {high}");
        assert!(
            (0.0..=1.0).contains(&low) && high <= 1.0 && high - low > 0.3,
            "{low} {high}"
        );
        assert_eq!((low == 0.0, high == 1.0), (hits == 0, hits == 8));
    }
    // One group has no spread to judge by.
    assert_eq!(tried(&[(8, 3)]).get("pass@1/ci95/low"), None);
}

#[test]
fn groups_of_fewer_than_k_are_said_in_a_count() {
    let row = tried(&[(1, 1), (63, 1)]);
    // pass@16 is of one group, pass@1 of both.
    assert!(row.get("pass@16").unwrap() < row.get("pass@1").unwrap());
    let short: Vec<Option<f64>> = [1, 2, 4, 8, 16, 32, 64]
        .map(|k| row.get(&format!("pass@{k}/groups_short")))
        .into();
    let one = Some(1.0);
    assert_eq!(short, [Some(0.0), one, one, one, one, one, None]);
}

#[test]
fn pass_at_k_is_of_the_k_that_are_told_and_of_none_that_no_group_reaches() {
    let groups = [(4, 1), (6, 3)];
    let told = Engine::builder().pass_k([5, 3, 1, 3, 9].into());
    let row = tried_by(told, &groups);
    let passed: Vec<(&str, f64)> = row
        .iter()
        .filter(|(key, _)| key.starts_with("pass@") && !key.contains('/'))
        .collect();
    let of_3 = f64::midpoint(1.0 - 1.0 / 4.0, 1.0 - 1.0 / 20.0);
    assert_eq!(
        passed,
        [("pass@1", 0.375), ("pass@3", of_3), ("pass@5", 1.0)]
    );
    let powers = Engine::builder().pass_k([1, 2, 4].into());
    assert_eq!(tried_by(powers, &groups), tried(&groups));
}
