//! That rows were stored, to whoever listens.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};
use serde_json::Value;

use super::server::Served;

struct Listening {
    lines: BufReader<TcpStream>,
}

#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    data: Value,
}

impl Listening {
    fn start(served: &Served, cookie: &str, last: Option<&str>) -> Self {
        let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
        let request = format!(
            "GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {cookie}\r\n{last}\r\n",
            served.port
        );
        let mut stream = served.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        Self { lines }
    }

    /// The next event, whatever comments come before.
    fn event(&mut self) -> Event {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it has ended");
            match line.trim_end().split_once(": ") {
                Some(("id", said)) => said.clone_into(&mut id),
                Some(("event", said)) => said.clone_into(&mut kind),
                Some(("data", said)) => {
                    assert_eq!(kind, "change");
                    let data = serde_json::from_str(said).unwrap();
                    return Event { id, data };
                }
                _ => {}
            }
        }
    }
}

fn store_row(store: &mut Sqlite, step: u64) {
    let mut metrics = Metrics::default();
    metrics.set("reward".to_owned(), 0.5);
    let row = Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics,
        ..Row::default()
    };
    store.log_windows("a", &[row], Split::Train).unwrap();
}

#[test]
fn whoever_listens_hears_of_every_change_and_who_comes_back_of_what_it_missed_alone() {
    let served = Served::start(|_| {});
    let cookie = served.cookie();
    let mut store = Sqlite::open(served.store()).unwrap();
    let mut listening = Listening::start(&served, &cookie, None);
    let begin = listening.event();
    assert_eq!(begin.data["newest"], Value::Null);
    store.open_run(&RunSpec::new("a")).unwrap();
    store_row(&mut store, 1);
    let mut event = listening.event();
    // The run may have been seen before its row.
    while event.data["newest"].is_null() {
        event = listening.event();
    }
    assert_eq!(event.data["newest"], 1_700_000_001_000_u64);
    assert_ne!(event.id, begin.id);
    let mut others = Listening::start(&served, &cookie, None);
    assert_eq!(others.event(), event, "at once, how it stands");
    // One that has heard of it is told of the next alone.
    let mut back = Listening::start(&served, &cookie, Some(&event.id));
    store_row(&mut store, 2);
    for listening in [&mut listening, &mut others, &mut back] {
        let event = listening.event();
        assert_eq!(event.data["newest"], 1_700_000_002_000_u64);
    }
}

#[test]
fn a_store_that_vanishes_is_said_and_so_is_that_it_is_back() {
    let served = Served::start(|_| {});
    let cookie = served.cookie();
    let mut listening = Listening::start(&served, &cookie, None);
    assert!(listening.event().data["error"].is_null());
    let aside = served.dir.path().join("aside.db");
    fs::rename(served.store(), &aside).unwrap();
    let gone = listening.event();
    let why = gone.data["error"].as_str().unwrap();
    assert!(why.contains("not there") && !why.contains('/'), "{why}");
    fs::rename(&aside, served.store()).unwrap();
    assert!(listening.event().data["error"].is_null());
}
