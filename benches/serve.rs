//! What the page asks of a store of 10 runs of 10,000 steps of 150 keys, at the server: the bars are in docs/SPEED.md.
//!
//! `serve/read` prints how long the run page's data takes cold and warm, one series, a long one decimated after smoothing, the list of runs
//! and a comparison, and how much memory the process has then.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::serve::{Query, Reader};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};

const RUNS: u64 = 10;
const KEYS: usize = 150;

fn is_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

fn steps() -> u64 {
    if is_test() { 20 } else { 10_000 }
}

/// Keys of the default dialect, as many as it has, and then a trainer's own.
fn keys() -> Vec<String> {
    let lines = grpo_metrics::Dialect::MaxEnt.lines();
    let known = lines.map(|line| {
        line.key
            .replace("{name}", "accuracy")
            .replace("{bucket}", "64-128")
    });
    let own = (0..KEYS).map(|nth| format!("timing_s/part_{nth:03}"));
    known.chain(own).take(KEYS).collect()
}

fn row(step: u64, run: u64, keys: &[String]) -> Row {
    let mut metrics = Metrics::default();
    for (nth, key) in keys.iter().enumerate() {
        let x = step as f64 * (1.0 + nth as f64) / 1000.0 + run as f64;
        metrics.set(key.clone(), x.sin() + 1.0 / (1.0 + step as f64));
    }
    Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics,
        ..Row::default()
    }
}

fn fill(path: &Path) {
    let keys = keys();
    let mut store = Sqlite::open(path).expect("a store");
    for run in 0..RUNS {
        store
            .open_run(&RunSpec::new(format!("run-{run}")))
            .expect("a run");
    }
    // Three at once, as on a machine where several train.
    let runs: Vec<u64> = (0..RUNS).collect();
    for runs in runs.chunks(3) {
        for first in (1..=steps()).step_by(200) {
            for run in runs {
                let rows: Vec<Row> = (first..(first + 200).min(steps() + 1))
                    .map(|step| row(step, *run, &keys))
                    .collect();
                store
                    .log_windows(&format!("run-{run}"), &rows, Split::Train)
                    .expect("rows");
            }
        }
    }
    store.open_run(&RunSpec::new("long")).expect("a run");
    for first in (1..=10 * steps()).step_by(1000) {
        let rows: Vec<Row> = (first..(first + 1000).min(10 * steps() + 1))
            .map(|step| row(step, 0, &keys[..2]))
            .collect();
        store
            .log_windows("long", &rows, Split::Train)
            .expect("rows");
    }
}

/// What the run page asks for when it is opened: the run, and the plots that are shown first.
fn page(reader: &Reader, run: &str) -> usize {
    let mut bytes = 0;
    let mut ask = |name: &str, query: &str| {
        let answer = reader.answer(name, &Query::of(query)).expect("an answer");
        bytes += answer.len();
        answer
    };
    let answer: serde_json::Value =
        serde_json::from_slice(&ask("run", &format!("run={run}"))).expect("JSON");
    let plots = answer["sections"][0]["plots"].as_array().expect("plots");
    for plot in plots.iter().take(12) {
        let keys = plot["keys"].as_array().expect("keys");
        let keys = keys.iter().filter_map(|key| key.as_str());
        let keys: Vec<String> = keys.map(|key| format!("&key={key}")).collect();
        let keys = keys.concat();
        ask("series", &format!("run={run}&width=700{keys}"));
    }
    bytes
}

fn milliseconds<T>(act: impl FnOnce() -> T) -> f64 {
    let begin = Instant::now();
    black_box(act());
    begin.elapsed().as_secs_f64() * 1e3
}

/// The quickest of so many.
fn quickest<T>(times: u32, mut act: impl FnMut() -> T) -> f64 {
    (0..times)
        .map(|_| milliseconds(&mut act))
        .fold(f64::INFINITY, f64::min)
}

/// How much memory the process has, and has had, in MB.
fn memory() -> (f64, f64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or(f64::NAN) / 1e3
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn ask(reader: &Reader, name: &str, query: &str) -> usize {
    reader
        .answer(name, &Query::of(query))
        .expect("an answer")
        .len()
}

fn read(criterion: &mut Criterion) {
    // A store that is there already, so that memory is the reader's alone: made by a run before, in the folder that is named.
    let made = std::env::var_os("GRPO_METRICS_BENCH_STORE");
    let dir = tempfile::tempdir().expect("a folder");
    let path = made.map_or(dir.path().join("runs.db"), Into::into);
    if !path.exists() {
        println!("store written in {:.0} ms", milliseconds(|| fill(&path)));
    }
    let open = || Reader::new(path.clone());
    let colds: Vec<f64> = (0..RUNS.min(5))
        .map(|run| milliseconds(|| page(&open(), &format!("run-{run}"))))
        .collect();
    println!("run page's data, cold, a reader each: {colds:.1?} ms");
    let reader = open();
    let first = milliseconds(|| page(&reader, "run-7"));
    let warm = quickest(20, || page(&reader, "run-7"));
    println!(
        "run page's data, {} kB: first {first:.1} ms, warm {warm:.2} ms",
        page(&reader, "run-7") / 1000
    );
    let of_run = quickest(20, || ask(&reader, "run", "run=run-7"));
    println!("of it `run`: {of_run:.2} ms");
    let one = "run=run-7&key=train/loss";
    println!(
        "one series of {} points, all of them: cold {:.2} ms, warm {:.2} ms",
        steps(),
        milliseconds(|| ask(&open(), "series", one)),
        quickest(20, || ask(&reader, "series", one))
    );
    let long = "run=long&key=train/loss&width=1000&smooth=0.9";
    let cold = milliseconds(|| ask(&reader, "series", long));
    let warm = quickest(20, || ask(&reader, "series", long));
    println!(
        "{} points smoothed and decimated: cold {cold:.2} ms, warm {warm:.2} ms",
        10 * steps()
    );
    println!(
        "all of them, not decimated: {:.2} ms",
        quickest(5, || ask(&reader, "series", "run=long&key=train/loss"))
    );
    let cold = milliseconds(|| ask(&open(), "runs", ""));
    println!("runs: cold {cold:.1} ms, warm {:.2} ms", {
        ask(&reader, "runs", "");
        quickest(10, || ask(&reader, "runs", ""))
    });
    let all: Vec<String> = (0..RUNS).map(|run| format!("run=run-{run}")).collect();
    let cold = milliseconds(|| ask(&reader, "compare", &all.join("&")));
    println!(
        "ten runs compared: first {cold:.0} ms, then {:.0} ms",
        quickest(3, || ask(&reader, "compare", &all.join("&")))
    );
    for run in 0..RUNS {
        page(&reader, &format!("run-{run}"));
    }
    println!(
        "change, nothing written: {:.4} ms",
        quickest(100, || reader.change().expect("a change"))
    );
    let (now, most) = memory();
    println!("memory after all runs' pages: {now:.0} MB, at most {most:.0} MB");
    criterion.bench_function("serve/run-page-warm", |bench| {
        bench.iter(|| page(&reader, "run-9"));
    });
    criterion.bench_function("serve/one-series", |bench| {
        bench.iter(|| ask(&reader, "series", "run=run-9&key=train/loss"));
    });
    criterion.bench_function("serve/long-decimated", |bench| {
        bench.iter(|| ask(&reader, "series", long));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = read
}
criterion_main!(benches);
