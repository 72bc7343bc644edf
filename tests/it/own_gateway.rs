//! The gateway of ours over its sockets: killed, started again, held up, and asked by those who mean no good.
#![cfg(all(feature = "cli", feature = "evsys", feature = "serve"))]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::gateway::own::Own;
use grpo_metrics::row::Row;
use grpo_metrics::sink::{Durable, DurableOptions, Sink};
use grpo_metrics::store::{Sqlite, Status, Store, StoreSink};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

fn row(step: u64) -> Row {
    Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics: [
            ("a", step as f64 / 3.0),
            ("b", f64::INFINITY),
            ("c", 1e-300),
        ]
        .into_iter()
        .collect(),
        ..Row::default()
    }
}

fn durable(own: &Own, run: &str, dir: &TempDir) -> Box<Durable> {
    let sink = StoreSink::over(Box::new(own.store()), run).unwrap();
    let policy = DurableOptions {
        backoff: (Duration::from_millis(5), Duration::from_millis(50)),
        pace: Duration::from_millis(5),
        patience: Duration::from_secs(60),
        ..DurableOptions::default()
    };
    Box::new(Durable::with(sink, dir.path().join("journal"), policy).unwrap())
}

/// The rows of a run are these steps, each written as often as it has parts, with the time that it had.
fn all_there_once(dir: &TempDir, run: &str, steps: u64) {
    let store = Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    let rows = store.rows(run).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.step, row.time, row.count))
        .collect();
    let time = |step: u64| i64::try_from(1_700_000_000_000 + 1000 * step).unwrap();
    let expected: Vec<_> = (0..steps).map(|step| (step, Some(time(step)), 3)).collect();
    assert_eq!(found, expected);
    let written = rows.iter().map(|row| row.written).max().unwrap();
    assert_eq!(written, 2 * steps, "what is finite, and what is not");
    assert_eq!(store.faults(true).unwrap(), Vec::<String>::new());
}

#[test]
fn a_gateway_that_is_killed_under_a_journal_has_every_row_once_in_the_end() {
    let dir = TempDir::new().unwrap();
    let mut own = Own::start(&dir.path().join("runs.db"));
    let run = own.client().run();
    let mut sink = durable(&own, &run, &dir);
    for step in 0..300 {
        sink.write(&row(step)).unwrap();
        if step % 100 == 50 {
            own.kill();
        }
        if step % 100 == 99 {
            own.again();
        }
        thread::sleep(Duration::from_millis(2));
    }
    let receipt = sink.close();
    assert_eq!(
        (receipt.written, receipt.dropped, receipt.pending),
        (300, 0, 0),
        "{receipt:?}"
    );
    all_there_once(&dir, &run, 300);
    assert_eq!(own.store().get_run(&run).unwrap().status, Status::Completed);
}

#[test]
fn a_journal_waits_for_a_store_that_another_program_holds() {
    let dir = TempDir::new().unwrap();
    let own = Own::start(&dir.path().join("runs.db"));
    let run = own.client().run();
    let mut sink = durable(&own, &run, &dir);
    let other = Connection::open(dir.path().join("runs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for step in 0..20 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.flush_within(Duration::from_secs(7));
    assert_eq!((receipt.written, receipt.dropped), (0, 0), "{receipt:?}");
    other.execute_batch("COMMIT").unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.written, receipt.dropped), (20, 0), "{receipt:?}");
    all_there_once(&dir, &run, 20);
}

#[test]
fn what_sixteen_clients_were_told_is_stored_when_the_gateway_is_killed_under_them() {
    let dir = TempDir::new().unwrap();
    let mut own = Own::start(&dir.path().join("runs.db"));
    for round in 0..3 {
        let runs: Vec<String> = (0..16).map(|_| own.client().run()).collect();
        let begun = AtomicBool::new(false);
        let acknowledged: Vec<BTreeSet<u64>> = thread::scope(|scope| {
            let clients: Vec<_> = runs
                .iter()
                .map(|run| {
                    let (mut client, begun) = (own.client(), &begun);
                    scope.spawn(move || {
                        let mut heard = BTreeSet::new();
                        for step in 0.. {
                            let metrics = json!({"a": step, "b": step});
                            let args = json!({"run_id": run, "step": step, "metrics": metrics});
                            match client.ask("log_metrics", &args) {
                                Ok((200, _)) => heard.insert(step),
                                _ => break,
                            };
                            begun.store(true, Ordering::SeqCst);
                        }
                        heard
                    })
                })
                .collect();
            while !begun.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(100 + 57 * round));
            own.kill();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        let store = Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
        let heard: usize = acknowledged.iter().map(BTreeSet::len).sum();
        assert!(heard > 16, "{heard}");
        for (run, heard) in runs.iter().zip(acknowledged) {
            let rows = store.rows(run).unwrap();
            assert!(
                rows.iter().all(|row| row.count == 2),
                "half a row: {rows:?}"
            );
            let stored: BTreeSet<u64> = rows.iter().map(|row| row.step).collect();
            assert!(heard.is_subset(&stored), "{heard:?}: {stored:?}");
            // One was under way.
            assert!(stored.len() <= heard.len() + 1);
        }
        own.again();
    }
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_a_revoked_key_writes_no_more() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("runs.db");
    let mut own = Own::start(&path);
    let run = own.client().run();
    let before = own.store().list_experiments().unwrap();
    own.kill();
    own.again();
    assert_eq!(own.store().list_experiments().unwrap(), before);
    let mut client = own.client();
    assert_eq!(
        client.done("get_run", &json!({"run_id": run}))["user_id"],
        "ada"
    );
    grpo_metrics::serve::Keys::of(&path).remove("ada").unwrap();
    let refused = client.ask("get_run", &json!({"run_id": run})).unwrap();
    assert_eq!(refused.0, 401, "{refused:?}");
}

#[test]
fn a_row_of_sixteen_megabytes_is_taken_or_refused_and_holds_up_nobody() {
    let dir = TempDir::new().unwrap();
    let own = Own::start(&dir.path().join("runs.db"));
    let mut client = own.client();
    let run = client.run();
    let large = "x".repeat(15 << 20);
    let args = json!({"run_id": run, "kind": "train", "model_output": large});
    client.done("add_prediction", &args);
    let listed = own.store().list_predictions(&run, None);
    // A client of ours reads no record that large; it says so.
    assert!(listed.is_err() || listed.is_ok_and(|all| all.len() == 1));
    let too_large = "x".repeat(17 << 20);
    let args = json!({"run_id": run, "kind": "train", "model_output": too_large});
    let refused = own.client().ask("add_prediction", &args);
    assert!(refused.is_err() || refused.is_ok_and(|(status, _)| status == 413));
    client.done(
        "log_metrics",
        &json!({"run_id": run, "step": 1, "metrics": {"a": 1}}),
    );
}

#[test]
fn a_run_of_which_no_more_signs_come_has_stopped_and_one_that_was_ended_has_not() {
    let dir = TempDir::new().unwrap();
    let own = Own::start(&dir.path().join("runs.db"));
    let run = own.client().run();
    let sink = StoreSink::over(Box::new(own.store()), run.as_str()).unwrap();
    let store = Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    let in_an_hour = std::time::SystemTime::now() + Duration::from_secs(3600);
    let standing = || {
        let overview = store.overview_of(&run).unwrap().unwrap();
        overview.standing(in_an_hour).unwrap().to_string()
    };
    // Nobody gives a sign in that hour: as if the process had been killed now.
    assert!(
        standing().starts_with("stopped (no sign since "),
        "{}",
        standing()
    );
    Box::new(sink).close();
    assert_eq!(standing(), "completed");
}
