//! `doctor`: stores that are sound and stores that were damaged byte by byte, and journals beside them.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use grpo_metrics::row::Row;
use grpo_metrics::sink::{Durable, DurableOptions, Memory, Sink};
use grpo_metrics::store::{Sqlite, Store, StoreSink};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

struct Scene(TempDir);

impl Scene {
    /// A store with two runs.
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        for (run, steps) in [("one", 400), ("two", 100)] {
            let mut sink = Box::new(StoreSink::open(scene.path("runs.db"), run).unwrap());
            let rows: Vec<Row> = (1..=steps).map(row).collect();
            assert_eq!(sink.write_batch(&rows).written, rows.len());
            sink.close();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn doctor(&self, args: &[&str]) -> Output {
        Command::new(crate::grpo_metrics())
            .arg("doctor")
            .args(args)
            .current_dir(&self.0)
            .env_remove("GRPO_METRICS_STORE")
            .output()
            .unwrap()
    }

    fn found(&self, args: &[&str]) -> (Value, Option<i32>) {
        let out = self.doctor(&[args, &["--json"]].concat());
        let found = serde_json::from_slice(&out.stdout);
        (
            found.unwrap_or_else(|_| panic!("{}", text(&out.stderr))),
            out.status.code(),
        )
    }
}

fn row(step: u64) -> Row {
    let keys = (0..20).map(|key| (format!("train/key_{key:02}"), step as f64));
    Row {
        step,
        metrics: keys.collect(),
        ..Row::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_sound_store_is_told_with_its_runs_and_nothing_is_changed() {
    let scene = Scene::new();
    let before = fs::read(scene.path("runs.db")).unwrap();
    let out = scene.doctor(&[]);
    assert!(out.status.success());
    let said = text(&out.stdout);
    assert!(said.starts_with("runs.db: sound, schema 2, "), "{said}");
    let (found, _) = scene.found(&[]);
    let runs = found["runs"].as_array().unwrap();
    let of = |run: usize, field: &str| runs[run][field].as_u64().unwrap();
    assert_eq!((of(0, "steps"), of(0, "numbers")), (400, 8000));
    assert_eq!((of(1, "steps"), of(1, "numbers")), (100, 2000));
    let file = before.len() as u64;
    assert!(of(0, "bytes") + of(1, "bytes") <= file && of(0, "bytes") * 5 / 4 > file * 9 / 10);
    assert_eq!(found["repairs"], Value::Array(vec![]));
    assert_eq!(fs::read(scene.path("runs.db")).unwrap(), before);
}

#[test]
fn a_store_that_lost_an_index_entry_is_not_sound_and_is_to_be_indexed_anew() {
    let scene = Scene::new();
    let db = Connection::open(scene.path("runs.db")).unwrap();
    // An index that says it is of another column than it was made of.
    db.execute_batch(
        "PRAGMA writable_schema = on;
        UPDATE sqlite_schema SET sql = replace(sql, '(run, written)', '(run, step)') WHERE name = 'rows_by_writing';
        UPDATE rows SET written = written + 1000;",
    )
    .unwrap();
    drop(db);
    let (found, code) = scene.found(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(found["sound"], false);
    let faults = found["faults"].to_string();
    assert!(faults.contains("rows_by_writing"), "{faults}");
    let repairs = found["repairs"].to_string();
    assert!(repairs.contains("reindex"), "{repairs}");
    // The quick look does not hold indexes against tables.
    assert_eq!(scene.found(&["--quick"]).1, Some(0));
}

#[test]
fn numbers_that_belong_to_nothing_are_found() {
    let scene = Scene::new();
    let db = Connection::open(scene.path("runs.db")).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys = off; DELETE FROM runs WHERE id = 'two'; DELETE FROM numbers WHERE id = (SELECT min(id) FROM numbers);",
    )
    .unwrap();
    drop(db);
    let out = scene.doctor(&[]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stdout);
    assert!(
        said.contains("100 of `rows` belong to no record of `runs`"),
        "{said}"
    );
    assert!(
        said.contains("its rows say that they have 10000 numbers, found 9999"),
        "{said}"
    );
    assert!(said.contains(".recover"), "{said}");
    assert!(text(&out.stderr).contains("runs.db: not sound: "));
}

#[test]
fn a_file_with_bytes_written_over_is_not_sound_wherever_they_are() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("runs.db")).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 20);
    for page in [1, pages / 2, pages - 2] {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 100].fill(0xa5);
        fs::write(scene.path("runs.db"), &bytes).unwrap();
        let (found, code) = scene.found(&[]);
        assert_eq!(
            (code, &found["sound"]),
            (Some(1), &Value::Bool(false)),
            "page {page}"
        );
        assert!(!found["faults"].as_array().unwrap().is_empty());
        assert!(found["repairs"].to_string().contains(".recover"));
    }
}

#[test]
fn what_is_no_store_is_wrong_input() {
    let scene = Scene::new();
    fs::write(scene.path("text"), "not a store, by far").unwrap();
    for args in [
        &["--store", "text"][..],
        &["--store", "nosuch.db"],
        &["nosuch"],
    ] {
        let out = scene.doctor(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(!scene.path("nosuch.db").exists());
    }
}

#[test]
fn rows_that_wait_in_journals_are_counted_and_left_as_they_are() {
    /// Takes nothing.
    struct Closed;
    impl Sink for Closed {
        fn name(&self) -> &'static str {
            "closed"
        }
        fn run(&self) -> Option<&str> {
            Some("one")
        }
        fn write(&mut self, _: &Row) -> Result<(), grpo_metrics::sink::SinkError> {
            Err(grpo_metrics::sink::SinkError::other("closed"))
        }
        fn flush(&mut self) -> Result<(), grpo_metrics::sink::SinkError> {
            Ok(())
        }
        fn close(self: Box<Self>) -> grpo_metrics::sink::Receipt {
            grpo_metrics::sink::Receipt::default()
        }
    }
    let scene = Scene::new();
    let options = DurableOptions {
        patience: std::time::Duration::ZERO,
        ..DurableOptions::default()
    };
    let full = scene.path("runs.db.journal").join("store");
    let mut waiting = Box::new(Durable::with(Closed, &full, options.clone()).unwrap());
    let mut done = Box::new(Durable::with(Memory::default(), scene.path("done"), options).unwrap());
    for step in 1..=7 {
        waiting.write(&row(step)).unwrap();
        done.write(&row(step)).unwrap();
    }
    // While they are in use, and after.
    let (found, code) = scene.found(&[]);
    assert_eq!(
        (code, &found["journals"][0]["rows"]),
        (Some(0), &Value::from(7))
    );
    done.flush_within(std::time::Duration::from_secs(30));
    done.close();
    waiting.close();
    let (found, code) = scene.found(&["done"]);
    assert_eq!(code, Some(0));
    let journals = found["journals"].as_array().unwrap();
    let rows: Vec<_> = journals.iter().map(|j| (&j["run"], &j["rows"])).collect();
    assert_eq!(
        rows,
        [(&Value::Null, &Value::from(0)), (&"one".into(), &7.into())]
    );
    let repairs = found["repairs"].to_string();
    assert!(
        repairs.contains("grpo-metrics deliver runs.db.journal/store --store runs.db"),
        "{repairs}"
    );
    // As it says.
    let deliver = Command::new(crate::grpo_metrics())
        .args(["deliver", "runs.db.journal/store", "--store", "runs.db"])
        .current_dir(&scene.0)
        .output()
        .unwrap();
    assert!(
        text(&deliver.stdout).contains("delivered 7, pending 0"),
        "{}",
        text(&deliver.stderr)
    );
    assert_eq!(scene.found(&[]).0["journals"][0]["rows"], 0);
}

#[test]
fn a_run_whose_writer_gave_no_sign_for_long_is_told() {
    let scene = Scene::new();
    let mut store = Sqlite::open(scene.path("runs.db")).unwrap();
    store.touch_run("two").unwrap();
    drop(store);
    let db = Connection::open(scene.path("runs.db")).unwrap();
    db.execute_batch("UPDATE runs SET status = 'running', seen_at = '2026-01-01T00:00:00.000Z', ended_at = NULL WHERE id = 'two'")
        .unwrap();
    drop(db);
    let (found, code) = scene.found(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(found["runs"][1]["stopped"], true);
    assert_eq!(
        found["runs"][1]["status"],
        "stopped (no sign since 2026-01-01 00:00)"
    );
    assert!(found["repairs"].to_string().contains("`two`"));
    let store = Sqlite::open_read_only(scene.path("runs.db")).unwrap();
    assert_eq!(
        store.get_run("two").unwrap().record.status.to_string(),
        "running"
    );
}
