//! The embedded store beside schema 1, and the layouts that schema 2 was chosen from: 10,000 steps of 149 keys.
//!
//! `store/layouts` prints, for each layout: the size of two runs, what a step adds to the log, and how long a step, one series, 30 series
//! of 5 runs, all of a run, the newest five rows and the names take. `store/two-writers` prints how two writers hinder each other. `store/step`, `store/series` and `store/names` are schema 1 and the
//! store by its own calls.

#[path = "inputs/layouts.rs"]
mod layouts;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::store::{Split, Sqlite, Store};
use layouts::{KEYS, Layout, name, run_id, value};
use rusqlite::Connection;

const RUNS: i64 = 5;

fn is_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

fn steps() -> i64 {
    if is_test() { 20 } else { 10_000 }
}

fn fill(db: &Connection, layout: Layout, runs: std::ops::Range<i64>) {
    for first in (0..steps()).step_by(100) {
        db.execute_batch("BEGIN IMMEDIATE").expect("begun");
        for step in first..steps().min(first + 100) {
            for run in runs.clone() {
                layout.write(db, run, step).expect("a row");
            }
        }
        db.execute_batch("COMMIT").expect("committed");
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("a checkpoint");
}

/// The quickest of `times`, in milliseconds.
fn quickest<T>(times: u32, mut act: impl FnMut() -> T) -> f64 {
    let each = (0..times).map(|_| {
        let begin = Instant::now();
        black_box(act());
        begin.elapsed().as_secs_f64() * 1e3
    });
    each.fold(f64::INFINITY, f64::min)
}

fn size(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |file| file.len() as f64)
}

/// How many bytes a step adds to the log, and how many milliseconds half of them take at most; each a transaction.
fn step_cost(path: &Path, mut write: impl FnMut(i64)) -> (f64, f64) {
    const COUNT: i64 = 50;
    let log = format!("{}-wal", path.display());
    let before = size(log.as_ref());
    let mut times: Vec<f64> = (steps()..steps() + COUNT)
        .map(|step| quickest(1, || write(step)))
        .collect();
    times.sort_by(f64::total_cmp);
    (
        (size(log.as_ref()) - before) / COUNT as f64,
        times[times.len() / 2],
    )
}

fn compared() {
    let dir = tempfile::tempdir().expect("a folder");
    println!(
        "store/layouts      2 runs MB  step KB  step ms  series ms  30 of 5 ms  all ms  newest ms  names ms"
    );
    for (said, layout) in Layout::ALL {
        let path = dir.path().join("layout.db");
        let db = layout.create(&path, RUNS).expect("a database");
        fill(&db, layout, 0..2);
        let two = size(&path) / 1e6;
        db.pragma_update(None, "wal_autocheckpoint", 0)
            .expect("set");
        let (log, step) = step_cost(&path, |step| {
            db.execute_batch("BEGIN IMMEDIATE").expect("begun");
            layout.write(&db, 0, step).expect("a row");
            db.execute_batch("COMMIT").expect("committed");
        });
        db.pragma_update(None, "wal_autocheckpoint", 1000)
            .expect("set");
        fill(&db, layout, 2..RUNS);
        drop(db);
        // Each reads as a process that has just opened the file.
        let open = || Connection::open(&path).expect("a database");
        let series = quickest(5, || layout.series(&open(), 1, 70).expect("a series"));
        let page = quickest(1, || {
            let db = open();
            for run in 0..RUNS {
                for key in 60..90 {
                    layout.series(&db, run, key).expect("a series");
                }
            }
        });
        let all = quickest(2, || layout.from(&open(), 1, 0).expect("a run"));
        let newest = quickest(5, || layout.from(&open(), 1, steps() - 5).expect("rows"));
        let names = quickest(3, || layout.names(&open(), 1).expect("names"));
        println!(
            "{said:18} {two:9.1} {:8.1} {step:8.2} {series:10.2} {page:11.0} {all:7.0} {newest:10.2} {names:9.2}",
            log / 1024.0
        );
        fs::remove_file(&path).expect("removed");
    }
}

fn row(run: i64, step: i64) -> Row {
    let metrics: Metrics = (0..KEYS)
        .map(|key| (name(key), value(run, step, key)))
        .collect();
    Row {
        step: step.unsigned_abs(),
        timestamp: 1_763_700_000.0 + step as f64,
        metrics,
        ..Row::default()
    }
}

/// How long two writers take, each of a connection of its own and with a transaction a step, in seconds: into `paths`.
fn two_writers(old: bool, paths: [&Path; 2]) -> f64 {
    let count = steps().min(300);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for (run, path) in (0..).zip(paths) {
            scope.spawn(move || {
                if old {
                    let db = Connection::open(path).expect("a database");
                    db.busy_timeout(Duration::from_secs(30)).expect("set");
                    for step in 0..count {
                        db.execute_batch("BEGIN IMMEDIATE").expect("begun");
                        Layout::Schema1.write(&db, run, step).expect("a row");
                        db.execute_batch("COMMIT").expect("committed");
                    }
                    return;
                }
                let mut store = Sqlite::open(path).expect("a store");
                store.open_run(&run_id(run).into()).expect("a run");
                for step in 0..count {
                    let rows = [row(run, step)];
                    store
                        .log_windows(&run_id(run), &rows, Split::Train)
                        .expect("a row");
                }
            });
        }
    });
    begin.elapsed().as_secs_f64()
}

fn writers() {
    for (said, old) in [("schema 1", true), ("the store", false)] {
        // The disk is others', too: the quickest of three.
        let [mut one, mut two] = [f64::INFINITY; 2];
        for _ in 0..3 {
            let dir = tempfile::tempdir().expect("a folder");
            let paths = ["a.db", "b.db", "c.db"].map(|name| dir.path().join(name));
            for path in &paths {
                if old {
                    Layout::Schema1.create(path, 2).expect("a database");
                } else {
                    Sqlite::open(path).expect("a store");
                }
            }
            let [a, b, c] = &paths;
            one = one.min(two_writers(old, [a, a]));
            two = two.min(two_writers(old, [b, c]));
        }
        println!(
            "store/two-writers  {said}: into one file {one:.2} s, into two {two:.2} s: {:.2} times",
            one / two
        );
    }
}

fn store(c: &mut Criterion) {
    compared();
    writers();
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (dir.path().join("schema_1.db"), dir.path().join("store.db"));
    let db = Layout::Schema1.create(&old, 2).expect("a database");
    fill(&db, Layout::Schema1, 0..2);
    let mut store = Sqlite::open(&new).expect("a store");
    for run in 0..2 {
        store.open_run(&run_id(run).into()).expect("a run");
    }
    for first in (0..steps()).step_by(100) {
        for run in 0..2 {
            let rows: Vec<_> = (first..steps().min(first + 100))
                .map(|step| row(run, step))
                .collect();
            store
                .log_windows(&run_id(run), &rows, Split::Train)
                .expect("rows");
        }
    }
    let fold = |path: &Path| {
        let db = Connection::open(path).expect("a database");
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .expect("a checkpoint");
        size(path)
    };
    let (before, now) = (fold(&old), fold(&new));
    println!(
        "store/size         schema 1 {:.1} MB, the store {:.1} MB: {:.0} %",
        before / 1e6,
        now / 1e6,
        100.0 * now / before
    );

    let mut group = c.benchmark_group("store");
    group.sample_size(10);
    group.bench_function("series/schema-1", |b| {
        b.iter(|| Layout::Schema1.series(&Connection::open(&old).expect("a database"), 1, 70));
    });
    let read = || Sqlite::open_read_only(&new).expect("a store");
    group.bench_function("series/store", |b| {
        b.iter(|| {
            read()
                .series("seed-1", name(70), Split::Train)
                .map(|points| points.len())
        });
    });
    group.bench_function("names/schema-1", |b| {
        b.iter(|| Layout::Schema1.names(&Connection::open(&old).expect("a database"), 1));
    });
    group.bench_function("names/store", |b| {
        b.iter(|| read().names("seed-1").map(|names| names.len()));
    });
    let mut step = steps();
    group.bench_function("step/schema-1", |b| {
        b.iter(|| {
            step += 1;
            db.execute_batch("BEGIN IMMEDIATE").expect("begun");
            Layout::Schema1.write(&db, 0, step).expect("a row");
            db.execute_batch("COMMIT").expect("committed");
        });
    });
    let mut step = steps();
    group.bench_function("step/store", |b| {
        b.iter(|| {
            step += 1;
            store
                .log_windows("seed-0", &[row(0, step)], Split::Train)
                .expect("a row");
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
