//! The reference cases: the maxent vectors of the system that defined the dictionary, and those of `tests/reference`,
//! which computes METRICS.md apart from this crate.

use std::collections::{BTreeMap, BTreeSet};

use grpo_metrics::batch::scalars::{ClipRange, Weighting};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::{Engine, EngineBuilder, EngineOptions};
use grpo_metrics::recording::Record;
use grpo_metrics::row::Metrics;
use grpo_metrics::row::filter::Mode;
use grpo_metrics::row::run::Ending;
use grpo_metrics::row::window::Windowing;
use serde::Deserialize;
use serde_json::Value;

fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(cases.len() >= 15);
    cases
}

/// An engine that is told the options of a case, if it has any.
fn builder(options: &Value) -> EngineBuilder {
    let told = Option::<EngineOptions>::deserialize(options).unwrap();
    Engine::builder().options(told.unwrap_or_default())
}

fn records(step: &Value) -> Vec<Record> {
    let records = step.as_array().unwrap();
    records
        .iter()
        .map(|record| Record::from_json(&record.to_string()).unwrap())
        .collect()
}

/// The clip range of the step's snapshot: that of the lowest reporting rank's last.
fn clip_range(records: &[Record]) -> ClipRange {
    let reporting = records.iter().filter(|r| r.weighting.is_some());
    let lowest = reporting.min_by_key(|r| (r.rank, std::cmp::Reverse(r.micro)));
    lowest
        .and_then(|r| r.weighting.as_ref())
        .map(Weighting::clip_range)
        .unwrap_or_default()
}

/// The last row that goes out over the steps.
fn last_row(mut engine: Engine, steps: &[Value]) -> Metrics {
    let mut last = None;
    for step in steps {
        let records = records(step);
        engine.expect_clip_range(clip_range(&records));
        for record in &records {
            engine.observe(&record.batch().unwrap()).unwrap();
        }
        last = engine.step(records[0].step).unwrap().or(last);
    }
    let (left_over, _) = engine.finish_as(&Ending::completed());
    left_over.or(last).expect("a row").metrics
}

/// METRICS.md: |a - b| <= 1e-15 + r * max(|a|, |b|).
fn equal(key: &str, a: f64, b: f64) -> bool {
    let token_level = [
        "kl",
        "clip_ratio",
        "policy_entropy",
        "entropy",
        "diversity",
        "sampl",
        "pg_clipfrac",
        "returns",
        "values",
        "ref_logp",
        "advantages",
        "critic/rewards",
        "critic/vf_explained_var",
        "rollout_",
    ];
    let r = if token_level.iter().any(|part| key.contains(part)) {
        1e-6
    } else {
        1e-12
    };
    (a - b).abs() <= 1e-15 + r * a.abs().max(b.abs())
}

/// What is wrong with a row, key by key.
fn faults(row: &Metrics, expected: &Value) -> Vec<String> {
    let expected: BTreeMap<&str, f64> = expected
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_f64().unwrap()))
        .collect();
    let mut faults = Vec::new();
    for (key, value) in row.iter() {
        match expected.get(key) {
            None => faults.push(format!("{key} = {value} is not expected")),
            Some(wanted) if !equal(key, value, *wanted) => {
                faults.push(format!("{key} = {value}, expected {wanted}"));
            }
            Some(_) => {}
        }
    }
    let there: BTreeSet<&str> = row.iter().map(|(key, _)| key).collect();
    assert_eq!(there.len(), row.len(), "a key is there twice");
    faults.extend(
        expected
            .iter()
            .filter(|(key, _)| !there.contains(*key))
            .map(|(key, v)| format!("{key} is missing, expected {v}")),
    );
    faults
}

fn slim_faults(row: &Metrics, kept: &Value) -> Vec<String> {
    let kept: BTreeSet<&str> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    let got: BTreeSet<&str> = row.iter().map(|(key, _)| key).collect();
    let wrongly = got.difference(&kept).map(|key| format!("slim keeps {key}"));
    let missing = kept.difference(&got).map(|key| format!("slim drops {key}"));
    wrongly.chain(missing).collect()
}

fn report(faults: Vec<(String, Vec<String>)>) {
    let wrong: Vec<String> = faults
        .into_iter()
        .filter(|(_, faults)| !faults.is_empty())
        .map(|(name, faults)| format!("{name}:\n  {}", faults.join("\n  ")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} cases\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_maxent_vector_gives_exactly_its_keys_and_values_and_slim_its_keys() {
    let mut all = Vec::new();
    for case in cases("maxent.jsonl") {
        let name = case["name"].as_str().unwrap();
        let steps = [case["records"].clone()];
        let row = last_row(Engine::builder().build().unwrap(), &steps);
        all.push((name.to_owned(), faults(&row, &case["expected"])));
        let row = last_row(Engine::builder().mode(Mode::Slim).build().unwrap(), &steps);
        all.push((format!("{name} slim"), slim_faults(&row, &case["slim"])));
    }
    report(all);
}

#[test]
fn every_layout_case_gives_its_dictionary_in_every_dialect() {
    let mut all = Vec::new();
    for case in cases("layout.jsonl") {
        let name = case["name"].as_str().unwrap();
        let steps = [case["records"].clone()];
        for dialect in Dialect::ALL {
            let engine = builder(&case["options"]).dialect(*dialect).build().unwrap();
            let row = last_row(engine, &steps);
            all.push((
                format!("{name} {dialect}"),
                faults(&row, &case["expected"][dialect.name()]),
            ));
        }
        let row = last_row(
            builder(&case["options"]).mode(Mode::Slim).build().unwrap(),
            &steps,
        );
        all.push((format!("{name} slim"), slim_faults(&row, &case["slim"])));
    }
    report(all);
}

#[test]
fn every_window_case_gives_its_dictionary_averaged_and_pooled() {
    let mut all = Vec::new();
    for case in cases("windows.jsonl") {
        let name = case["name"].as_str().unwrap();
        for (word, window) in [("mean", Windowing::Mean), ("pooled", Windowing::Pooled)] {
            for dialect in [Dialect::MaxEnt, Dialect::Trl] {
                let engine = builder(&case["options"])
                    .dialect(dialect)
                    .window(window)
                    .build()
                    .unwrap();
                let row = last_row(engine, case["steps"].as_array().unwrap());
                all.push((
                    format!("{name} {word} {dialect}"),
                    faults(&row, &case["expected"][word][dialect.name()]),
                ));
            }
        }
    }
    report(all);
}
