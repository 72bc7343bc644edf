//! A metrics file of any size is forwarded in constant memory. Alone in its process, whose peak is measured.
//! `GRPO_METRICS_FORWARD_MB` says how large the file is; 1000 is the size that the promise names.
#![cfg(all(feature = "sqlite", target_os = "linux"))]

mod faulty;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use faulty::{Faulty, Mood};
use grpo_metrics::forward::{Forward, METRICS_FILE};
use grpo_metrics::store::Sqlite;
use tempfile::TempDir;

/// The most memory that this process has had, in kB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Appends rows from `step` on, of so many megabytes; the step after the last.
fn append(path: &Path, mut step: u64, megabytes: u64) -> u64 {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut out = BufWriter::new(file.unwrap());
    let note = "x".repeat(20_000);
    let mut written = 0;
    while written < megabytes << 20 {
        let val = if step.is_multiple_of(2) { "val/" } else { "" };
        let row = format!("{{\"step\": {step}, \"{val}loss\": 0.5, \"note\": \"{note}\"}}\n");
        out.write_all(row.as_bytes()).unwrap();
        written += row.len() as u64;
        step += 1;
    }
    out.into_inner().unwrap();
    step
}

#[test]
fn a_large_file_is_forwarded_in_constant_memory_though_gzipped_and_refused_by_the_store() {
    let megabytes: u64 = env::var("GRPO_METRICS_FORWARD_MB").map_or(48, |mb| mb.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(METRICS_FILE);
    let next = append(&path, 1, megabytes);

    // The store refuses all: each row is kept on the disk, none in memory.
    let store = Sqlite::open(dir.path().join("runs.db")).unwrap();
    let mut store = Faulty::over(store);
    *store.mood.lock().unwrap() = Mood::Away;
    let before = peak();
    let forward = Forward::new(dir.path(), "store", "r");
    let done = forward.once(&mut store, &mut |_| ()).unwrap();
    assert_eq!((done.sent, done.failed), (0, next - 1));

    // The rest of it is gzipped, behind all that.
    let last = append(&path, next, megabytes / 2);
    let rotated = dir.path().join("metrics.jsonl.1");
    fs::rename(&path, &rotated).unwrap();
    let gzipped = Command::new("gzip").arg(&rotated).status().unwrap();
    assert!(gzipped.success());
    append(&path, last, 0);
    let done = forward.once(&mut store, &mut |_| ()).unwrap();
    assert_eq!((done.failed, done.gone), (last - 1, 0));
    let grown = peak() - before;
    assert!(grown < 16 << 10, "{grown} kB more for {megabytes} MB");
}
