//! What a sink costs the thread that trains: the time of `Engine::step` over a batch of 64 completions with a `maxent` row of ~100 numbers.
//!
//! `step/overhead`: without a sink, and with those that write to a disk, itself or through a journal.
//! `sink/step-while-down`: the row goes to a server that refuses every connection, then to one that takes them and never answers.
//! Printed are percentiles, as a mean would hide what training feels.

#[cfg(feature = "evsys")]
use std::net::TcpListener;
use std::time::{Duration, Instant};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::{Engine, EngineBuilder};
use grpo_metrics::sink::{Durable, DurableOptions, Jsonl};

const STEPS: u64 = 5_000;
/// Between two steps a training does something else, and the other threads have their turn.
const PAUSE: Duration = Duration::from_micros(500);

fn main() {
    // `cargo bench -- --test` and `cargo test --benches` only want to know that it runs.
    let steps = if std::env::args().any(|arg| arg == "--test") {
        10
    } else {
        STEPS
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let policy = || DurableOptions {
        patience: Duration::ZERO,
        ..DurableOptions::default()
    };

    let overhead = |name: &str, engine: EngineBuilder| measure(name, engine, steps);
    overhead("step/overhead/no-sink", Engine::builder());
    let jsonl = Jsonl::open(path("rows.jsonl")).expect("a file");
    overhead("step/overhead/jsonl", Engine::builder().sink(jsonl));

    #[cfg(feature = "sqlite")]
    {
        use grpo_metrics::store::StoreSink;
        let sqlite = |name| StoreSink::open(path(name), "run").expect("a store");
        overhead(
            "step/overhead/sqlite",
            Engine::builder().sink(sqlite("direct.db")),
        );
        let durable = Durable::with(
            sqlite("durable.db"),
            path("journal"),
            DurableOptions::default(),
        )
        .expect("a journal");
        overhead(
            "step/overhead/sqlite-durable",
            Engine::builder().sink(durable),
        );
    }

    #[cfg(feature = "evsys")]
    {
        use grpo_metrics::store::{EvSys, StoreSink};
        // The run is opened before the server goes down, as a run is.
        let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        for (name, listener) in [("refuses", closed), ("hangs", silent)] {
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let store = EvSys::new(&url, "key").expect("a store");
            let answering = listener.try_clone().expect("a listener");
            let answer = std::thread::spawn(move || answer_once(&answering));
            let sink = StoreSink::over(Box::new(store), "run").expect("a run");
            answer.join().expect("an answer");
            let held = (name == "hangs").then_some(listener);
            let durable = Durable::with(sink, path(name), policy()).expect("a journal");
            overhead(
                &format!("sink/step-while-down/{name}"),
                Engine::builder().sink(durable),
            );
            drop(held);
        }
    }
    let _ = policy;
}

/// Answers one request, and no other.
#[cfg(feature = "evsys")]
fn answer_once(listener: &TcpListener) {
    use std::io::{BufRead, BufReader, Read, Write};
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        let value = line.to_lowercase();
        if let Some(value) = value.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let answer = r#"{"result": {"id": "run"}}"#;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
    .expect("sent");
}

fn measure(name: &str, engine: EngineBuilder, steps: u64) {
    let mut engine = engine.build().expect("an engine");
    let rewards: Vec<f64> = (0..64).map(|i| f64::from(i * 37 % 11) / 11.0).collect();
    let sizes = [8u32; 8];
    let mut times = Vec::new();
    for step in 1..=steps {
        let batch = Batch::of(Columns::new(Grouping::Sizes(&sizes), &rewards)).expect("a batch");
        engine.observe(&batch).expect("observed");
        let begin = Instant::now();
        engine.step(step).expect("a row");
        times.push(begin.elapsed());
        std::thread::sleep(PAUSE);
    }
    times.sort_unstable();
    let at = |thousandth: usize| times[(times.len() - 1) * thousandth / 1000].as_secs_f64() * 1e6;
    println!(
        "{name:32} p50 {:8.1} us   p90 {:8.1} us   p99 {:8.1} us   p99.9 {:8.1} us   max {:8.1} us",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000)
    );
    let receipts = engine.finish();
    for receipt in receipts {
        println!("{:32} {receipt:?}", "");
    }
}
