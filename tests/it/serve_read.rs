//! What the page is answered, over stores that others write.
#![cfg(feature = "serve")]

use std::path::Path;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::serve::{Query, Reader};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};
use serde_json::{Value, json};

fn row(step: u64, numbers: &[(&str, f64)]) -> Row {
    let mut metrics = Metrics::default();
    for (key, value) in numbers {
        metrics.set((*key).to_owned(), *value);
    }
    Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics,
        ..Row::default()
    }
}

fn asked(reader: &Reader, name: &str, query: &str) -> Value {
    let body = reader.answer(name, &Query::of(query)).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn store(path: &Path, runs: &[&str]) -> Sqlite {
    let mut store = Sqlite::open(path).unwrap();
    for run in runs {
        store.open_run(&RunSpec::new(*run)).unwrap();
    }
    store
}

#[test]
fn a_list_of_runs_has_each_with_its_steps_and_its_reward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a", "b"]);
    for step in 1..=100 {
        let numbers = [("train/reward", step as f64 / 3.0), ("train/kl", 0.5)];
        let rows = [row(step, &numbers)];
        store.log_windows("a", &rows, Split::Train).unwrap();
    }
    let reader = Reader::new(path);
    assert_eq!(asked(&reader, "store", ""), json!({"name": "runs.db"}));
    let runs = &asked(&reader, "runs", "")["runs"];
    assert_eq!(runs[0]["id"], "a");
    assert_eq!(runs[0]["standing"], "pending");
    assert_eq!(
        (&runs[0]["first_step"], &runs[0]["last_step"]),
        (&json!(1), &json!(100))
    );
    assert_eq!(runs[0]["reward"]["key"], "train/reward");
    assert_eq!(runs[0]["reward"]["last"], 100.0 / 3.0);
    assert!(runs[0]["reward"]["course"].as_array().unwrap().len() <= 60);
    assert_eq!(runs[1]["reward"], Value::Null);
    assert_eq!(runs[1]["last_step"], Value::Null);
}
