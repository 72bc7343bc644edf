//! The gateway of ours over its sockets: rows of 150 keys, by one client and by sixteen, each acknowledged when it is on the disk.
//!
//! `gateway` prints the time of a sync of this disk, in the same run and in the same folder; how long one client waits for a row;
//! and the rows a second of one client and of sixteen.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use grpo_metrics::serve::{Keys, Options, Server};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

#[path = "../tests/gateway/client.rs"]
mod client;

use client::Client;

const KEYS: u32 = 150;

fn is_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// How long clients send.
fn span() -> Duration {
    Duration::from_millis(if is_test() { 200 } else { 4000 })
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Milliseconds that a sync takes after so many bytes were appended, as a row is to the log.
fn sync_ms(dir: &TempDir) -> f64 {
    let mut file = File::create(dir.path().join("sync")).expect("a file");
    let bytes = vec![7; 36 << 10];
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let since = Instant::now();
            file.write_all(&bytes).expect("written");
            file.sync_data().expect("synced");
            since.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    fs::remove_file(dir.path().join("sync")).expect("removed");
    median(&mut times)
}

fn metrics(step: u64) -> Map<String, Value> {
    let number = |key: u32| f64::from(key) + step as f64 / 7.0;
    (0..KEYS)
        .map(|key| (format!("metric/{key:03}"), json!(number(key))))
        .collect()
}

/// Sends rows by so many clients at once: rows a second, and the median wait for one in milliseconds.
fn rows(port: u16, key: &str, clients: u64) -> (f64, f64) {
    let over = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let mut waits: Vec<f64> = thread::scope(|scope| {
        let sending: Vec<_> = (0..clients)
            .map(|_| {
                let (over, sent) = (&over, &sent);
                scope.spawn(move || {
                    let mut client = Client::new(port, key).expect("a connection");
                    let run = client.run();
                    // Its names are made with the first row.
                    let mut waits = Vec::new();
                    for step in 0.. {
                        let args = json!({"run_id": run, "step": step, "metrics": metrics(step)});
                        let body = json!({"op": "log_metrics", "args": args}).to_string();
                        let since = Instant::now();
                        let (status, _) = client.post(body.as_bytes()).expect("an answer");
                        assert_eq!(status, 200);
                        if step > 0 {
                            waits.push(since.elapsed().as_secs_f64() * 1e3);
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                        if over.load(Ordering::Relaxed) && step > 1 {
                            break;
                        }
                    }
                    waits
                })
            })
            .collect();
        thread::sleep(span());
        over.store(true, Ordering::Relaxed);
        sending
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let rate = sent.load(Ordering::Relaxed) as f64 / span().as_secs_f64();
    (rate, median(&mut waits))
}

fn gateway(_: &mut Criterion) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = dir.path().join("runs.db");
    let key = Keys::of(&store).make("bench").expect("a key");
    let mut options = Options::of(store);
    options.gateway = true;
    options.limits.rate = 1_000_000;
    let server = Server::bind(options).expect("a server");
    let port = server.port();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            server
                .run(&|| over.load(Ordering::Relaxed))
                .expect("it ran");
        });
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("load of the machine: {}", load.trim());
        for round in 1..=3 {
            let sync = sync_ms(&dir);
            let (one, wait) = rows(port, &key, 1);
            let (sixteen, crowded) = rows(port, &key, 16);
            println!(
                "round {round}: a sync {sync:.2} ms; one client: a row {wait:.2} ms ({:.2} syncs), {one:.0} rows/s; \
                 sixteen: a row {crowded:.2} ms, {sixteen:.0} rows/s ({:.1} times one)",
                wait / sync,
                sixteen / one
            );
        }
        over.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, gateway);
criterion_main!(benches);
