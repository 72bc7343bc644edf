//! The event files, read back by the real `tensorboard` (PyPI): the same tags, steps and 32-bit floats.
//!
//! It is looked for in the Python that `GRPO_METRICS_PYTHON` names, else in `target/tensorboard/bin/python`, else in
//! `python3`; CI makes the second and sets `GRPO_METRICS_NEED_TENSORBOARD`, so that the test cannot be skipped there.
#![cfg(feature = "tensorboard")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{Sink, TensorBoard};
use serde_json::Value;
use tempfile::TempDir;

/// Prints every scalar as [tag, wall time, step, float bits] and every histogram as [tag, step, its numbers].
const READ: &str = r#"
import json, struct, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0})
events.Reload()
bits = lambda x: struct.unpack("<I", struct.pack("<f", x))[0]
tags = events.Tags()
out = {"scalars": [[tag, e.wall_time, e.step, bits(e.value)] for tag in tags["scalars"] for e in events.Scalars(tag)],
       "histograms": []}
for tag in tags["histograms"]:
    for e in events.Histograms(tag):
        h = e.histogram_value
        out["histograms"].append([tag, e.step, h.min, h.max, h.num, h.sum, h.sum_squares, list(h.bucket_limit), list(h.bucket)])
print(json.dumps(out))
"#;

/// A Python that has tensorboard; without one, the test says how many it skips.
fn python() -> Option<String> {
    let candidates = [
        env::var("GRPO_METRICS_PYTHON").ok(),
        Some(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tensorboard/bin/python").to_owned()),
        Some("python3".to_owned()),
    ];
    let has_it = |python: &String| {
        let import = Command::new(python)
            .args(["-c", "import tensorboard"])
            .output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_it);
    if found.is_none() {
        assert!(
            env::var_os("GRPO_METRICS_NEED_TENSORBOARD").is_none(),
            "expected a python with the package tensorboard, found none"
        );
        eprintln!("1 test skipped: no python with the package tensorboard");
    }
    found
}

fn read(python: &str, dir: &Path) -> Value {
    let output = Command::new(python)
        .args(["-c", READ])
        .arg(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Steps and values of all kinds, among them what a float cannot hold; enough for several fillings of the buffer.
fn rows() -> Vec<Row> {
    let metrics = |i: u64| -> Metrics {
        let x = i as f64;
        let mut metrics: Metrics = (0..60)
            .map(|key| (format!("train/key_{key:02}"), x / 3.0 - f64::from(key)))
            .collect();
        metrics.set("train/µ \"quoted\"", 1e-45 * x);
        metrics.set("k".repeat(200), 1e300);
        metrics.set("infinite", f64::NEG_INFINITY);
        metrics.set("nan", f64::NAN);
        metrics
    };
    // Steps of one to nine bytes as a varint.
    let steps = (0..200).chain([1 << 20, 1 << 35, 1 << 50]);
    steps
        .map(|step| Row {
            step,
            timestamp: 1.7e9 + step as f64 / 8.0,
            metrics: metrics(step),
            ..Row::default()
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation)]
fn float_bits(value: f64) -> u32 {
    (value as f32).to_bits()
}

#[test]
fn the_real_tensorboard_reads_the_same_tags_steps_and_floats() {
    let Some(python) = python() else { return };
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(TensorBoard::open(dir.path().join("run")).unwrap());
    let rows = rows();
    for row in &rows {
        sink.write(row).unwrap();
    }
    let values = [(-1.0, 2), (3.0, 1), (0.0, 5), (f64::NAN, 7)];
    sink.write_histogram(4, "rewards", &values).unwrap();
    sink.write_histogram(5, "rewards", &[(2.5, 3)]).unwrap();
    sink.write_histogram(6, "rewards", &[]).unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.accepted, receipt.written), (203, 203));

    let back = read(&python, &dir.path().join("run"));
    let mut expected: Vec<(String, u64, u64, u32)> = rows
        .iter()
        .flat_map(|row| {
            let wall = row.timestamp.to_bits();
            row.metrics
                .iter()
                .map(move |(key, value)| (key.to_owned(), wall, row.step, float_bits(value)))
        })
        .collect();
    let mut found: Vec<(String, u64, u64, u32)> = back["scalars"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scalar| {
            let bits = u32::try_from(scalar[3].as_u64().unwrap()).unwrap();
            (
                scalar[0].as_str().unwrap().to_owned(),
                scalar[1].as_f64().unwrap().to_bits(),
                scalar[2].as_u64().unwrap(),
                bits,
            )
        })
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }

    let histograms = back["histograms"].as_array().unwrap();
    assert_eq!(histograms.len(), 2);
    let number = |h: usize, field: usize| histograms[h][field].as_f64().unwrap();
    let fields: Vec<f64> = (1..7).map(|field| number(0, field)).collect();
    assert_eq!(fields, [4.0, -1.0, 3.0, 8.0, 1.0, 11.0]);
    let column = |h: usize, field: usize| -> Vec<f64> {
        let cells = histograms[h][field].as_array().unwrap();
        cells.iter().map(|cell| cell.as_f64().unwrap()).collect()
    };
    let (limits, buckets) = (column(0, 7), column(0, 8));
    assert_eq!(limits.last(), Some(&3.0));
    assert!(limits.is_sorted());
    for (value, count) in [(-1.0, 2.0), (0.0, 5.0), (3.0, 1.0)] {
        let bucket = limits.iter().position(|limit| value <= *limit).unwrap();
        assert_eq!(buckets[bucket], count);
    }
    assert_eq!((column(1, 7), column(1, 8)), (vec![2.5], vec![3.0]));
}

#[test]
fn what_is_flushed_can_be_read_while_the_sink_goes_on() {
    let Some(python) = python() else { return };
    let dir = TempDir::new().unwrap();
    let mut sink = TensorBoard::open(dir.path()).unwrap();
    let row = |step| Row {
        step,
        metrics: [("loss", 0.5)].into_iter().collect(),
        ..Row::default()
    };
    sink.write(&row(1)).unwrap();
    sink.flush().unwrap();
    sink.write(&row(2)).unwrap();
    let back = read(&python, dir.path());
    assert_eq!(back["scalars"].as_array().unwrap().len(), 1);
    let second = TensorBoard::open(dir.path()).unwrap();
    assert_ne!(second.path(), sink.path());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_the_file() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("taken"), "").unwrap();
    let error = TensorBoard::open(dir.path().join("taken")).unwrap_err();
    assert!(
        error.to_string().contains("events.out.tfevents."),
        "{error}"
    );
}
