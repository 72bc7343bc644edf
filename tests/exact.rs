//! Statistics about a mean against exact fractions, as `tests/reference/exact.py` computes them, rounded once at the end.

use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::metrics::Metrics;
use grpo_metrics::recording::Record;
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
