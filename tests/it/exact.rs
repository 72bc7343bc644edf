//! Statistics about a mean against exact fractions, as `tests/reference/exact.py` computes them, rounded once at the end.

use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::recording::Record;
use grpo_metrics::row::Metrics;
use serde_json::{Value, json};

fn row(dialect: Dialect, records: &Value) -> Metrics {
    let mut engine = Engine::builder()
        .dialect(dialect)
        .extended(true)
        .build()
        .unwrap();
    for record in records.as_array().unwrap() {
        let record = Record::from_json(&record.to_string()).unwrap();
        engine.observe(&record.batch().unwrap()).unwrap();
    }
    engine.step(1).unwrap().unwrap().metrics
}

/// Compares the keys that `wanted` says with exact fractions; returns how many there were.
fn compare(wanted: impl Fn(&str) -> bool) -> usize {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/vectors/exact.jsonl"
    );
    let (mut faults, mut compared) = (Vec::new(), 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let tunix = row(Dialect::Tunix, &case["records"]);
        let trl = row(Dialect::Trl, &case["records"]);
        let expected = case["expected"].as_object().unwrap();
        for (key, right) in expected.iter().filter(|(key, _)| wanted(key)) {
            let right = right.as_f64().unwrap();
            let found = match key.strip_prefix("trl/") {
                Some(key) => trl.get(key),
                None => tunix.get(key),
            };
            // Some units in the last place, of which a subnormal has few.
            let close = |x: f64| (x - right).abs() <= 5e-324_f64.max(right.abs() * 8e-15);
            if !found.is_some_and(close) {
                faults.push(format!(
                    "{}: {key} = {found:?}, expected {right}",
                    case["name"]
                ));
            }
            compared += 1;
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
    compared
}

#[test]
fn skewness_is_that_of_exact_fractions_however_far_from_zero() {
    assert!(compare(|key| key == "reward_skewness") > 40);
}

#[test]
fn the_clustered_error_is_that_of_exact_group_sums() {
    assert!(compare(|key| key == "reward_stderr" || key == "groups/reward_variance") > 80);
}

#[test]
fn deviations_within_groups_keep_their_digits_at_every_offset_and_size() {
    assert!(compare(|key| key.starts_with("reward_group_std/")) > 160);
}

#[test]
fn the_mean_of_sums_is_finite_where_it_can_be_a_double() {
    assert!(compare(|key| key == "rewards/sum" || key == "rewards/mean") > 80);
}

#[test]
fn correlations_deviations_and_effective_sizes_are_those_of_exact_fractions() {
    let others = |key: &str| {
        key.starts_with("reward_by_length/")
            || key.starts_with("weight/ess")
            || key.ends_with("corr_total")
            || key.ends_with("/std")
            || key.ends_with("reward_std")
    };
    assert!(compare(others) > 300);
}

#[test]
fn a_floor_is_applied_once_before_weights_are_renormalised() {
    let norm = |weights: &[f64]| {
        let batch = json!({"group_sizes": [weights.len()], "rewards": vec![0.0; weights.len()], "weights": weights});
        let records = json!([{"step": 1, "rank": 0, "world_size": 1, "batch": batch}]);
        let row = row(Dialect::MaxEnt, &records);
        row.get("train/weight_entropy_norm").unwrap()
    };
    // p = 1e-12 / 1000 is below the floor: -(p ln p + (1 - p) ln (1 - p)) / ln 2, from fractions by 60 digits. 1 - p as a
    // double leaves two of them.
    let right = 5.127_161_646_419_935e-14;
    let found = norm(&[1000.0, -1000.0]);
    assert!((found - right).abs() < 0.01 * right, "{found:e}");
    // A sum beyond the range; the third probability is nothing beside the others.
    let right = std::f64::consts::LN_2 / 3.0_f64.ln();
    let found = norm(&[f64::MAX, f64::MAX, -1.0]);
    assert!((found - right).abs() < 1e-15, "{found}");
}
