//! The `EvSys` store against a gateway on loopback that misbehaves in every way a server can.
#![cfg(feature = "evsys")]
#![allow(
    clippy::format_push_string,
    clippy::type_complexity,
    reason = "a test reads better so"
)]

mod gateway;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::fixed::Fixed;
use gateway::{Fault, Gateway, KEY};
use grpo_metrics::row::run::Ending;
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{Durable, DurableOptions, Receipt, Sink};
use grpo_metrics::store::{
    EvSys, Experiment, Patience, RunPatch, Split, Status, Store, StoreError, StoreSink,
    resolve_store,
};
use tempfile::TempDir;

/// Waits that a test has the time for.
fn quick() -> Patience {
    Patience {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(300),
        retries: 3,
        backoff: (Duration::from_millis(1), Duration::from_millis(5)),
        retry_after: Duration::from_secs(2),
        under_way: Duration::from_millis(1),
    }
}

fn store(gateway: &Gateway, dir: &Path) -> EvSys {
    EvSys::new(&gateway.url(), KEY)
        .unwrap()
        .patience(quick())
        .dead_letters(dir.join("dead.jsonl"))
}

#[test]
fn what_a_process_that_died_had_under_way_is_not_sent_twice() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut first = true;
    gateway.script(move |_, op, _| {
        let late = op == "log_metrics" && std::mem::take(&mut first);
        late.then_some(Fault::Late(Duration::from_millis(400)))
    });
    let metrics: Metrics = [("loss", 0.5)].into_iter().collect();
    let killed = Patience {
        answer: Duration::from_millis(50),
        retries: 0,
        ..quick()
    };
    let mut died = store(&gateway, dir.path()).patience(killed);
    let unanswered = died.log_rows(&run, &[(7, &metrics)], Split::Train);
    assert!(unanswered.is_err(), "{unanswered:?}");
    drop(died);
    let resumed = Patience {
        under_way: Duration::from_secs(1),
        ..quick()
    };
    let mut resumed = store(&gateway, dir.path()).patience(resumed);
    resumed
        .log_rows(&run, &[(7, &metrics)], Split::Train)
        .unwrap();
    assert_eq!(gateway.metrics(&run), [(7, "loss".to_owned(), 0.5)]);
}

fn calls(gateway: &Gateway) -> usize {
    let ops = gateway.ops();
    ops.iter().filter(|op| *op == "log_metrics").count()
}

/// Sends three rows of a backlog; when the server heard that their steps ended, and how often it was asked.
fn times_heard(gateway: &Gateway) -> (Vec<(u64, f64)>, usize) {
    let dir = TempDir::new().unwrap();
    let run = gateway.run();
    let rows: Vec<Row> = (1..4)
        .map(|step| Row {
            timestamp: 1.7e9 + step as f64 / 8.0,
            ..row(step)
        })
        .collect();
    let before = calls(gateway);
    store(gateway, dir.path())
        .log_windows(&run, &rows, Split::Train)
        .unwrap();
    assert_eq!(gateway.steps(&run), [1, 2, 3]);
    assert!(!dir.path().join("dead.jsonl").exists());
    (gateway.times(&run), calls(gateway) - before)
}

#[test]
fn a_row_goes_with_its_time() {
    let gateway = Gateway::start();
    let times = [(1, 1.7e9 + 0.125), (2, 1.7e9 + 0.25), (3, 1.7e9 + 0.375)];
    assert_eq!(times_heard(&gateway), (times.to_vec(), 3));
}

#[test]
fn a_server_that_does_not_know_a_rows_time_takes_the_row_and_is_not_sent_it_again() {
    for (status, text) in [
        (400, "unknown argument `timestamp`"),
        (422, "extra fields not permitted: timestamp"),
        (400, "no"),
        (405, "no"),
    ] {
        let gateway = Gateway::start();
        gateway.know_no_times(status, text);
        assert_eq!(times_heard(&gateway), (vec![], 4), "{status} {text}");
    }
}

#[test]
fn a_row_that_is_refused_for_itself_costs_no_other_its_time() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut store = store(&gateway, dir.path());
    let at = |step| Row {
        timestamp: 1.7e9,
        ..row(step)
    };
    gateway.refuse_rows();
    let refused = store.log_windows(&run, &[at(1)], Split::Train);
    assert!(refused.is_err_and(|error| error.is_permanent()));
    gateway.recover();
    store.log_windows(&run, &[at(2)], Split::Train).unwrap();
    assert_eq!(gateway.times(&run), [(2, 1.7e9)]);
    let dead = fs::read_to_string(dir.path().join("dead.jsonl")).unwrap();
    assert_eq!(dead.lines().count(), 1, "{dead}");
    assert!(dead.contains("\"timestamp\":1700000000.0"), "{dead}");
}

#[test]
fn signs_of_life_go_to_a_server_that_notes_them_and_another_is_asked_once() {
    let signs = |gateway: &Gateway| {
        let dir = TempDir::new().unwrap();
        let run = gateway.run();
        let mut store = store(gateway, dir.path());
        let noted: Vec<_> = (0..3).map(|_| store.touch_run(&run).unwrap()).collect();
        let ops = gateway.ops();
        let asked = ops.iter().filter(|op| *op == "touch_run").count();
        (noted, asked)
    };
    let gateway = Gateway::start();
    assert_eq!(signs(&gateway), (vec![false; 3], 1));
    let gateway = Gateway::start();
    gateway.note_signs();
    assert_eq!(signs(&gateway), (vec![true; 3], 3));
    gateway.script(|n, _, _| (n < 2).then_some(Fault::Status(503, "")));
    let dir = TempDir::new().unwrap();
    let run = gateway.run();
    let mut store = store(&gateway, dir.path());
    assert!(store.touch_run(&run).is_err() && store.touch_run(&run).is_err());
    assert!(store.touch_run(&run).unwrap());
}

fn row(step: u64) -> Row {
    Row {
        step,
        timestamp: step as f64,
        metrics: [("a", step as f64 / 3.0), ("b", -1.0), ("c", 1e-300)]
            .into_iter()
            .collect(),
        ..Row::default()
    }
}

fn durable(gateway: &Gateway, run: &str, dir: &Path) -> Box<Durable> {
    let sink = StoreSink::over(Box::new(store(gateway, dir)), run).unwrap();
    let policy = DurableOptions {
        backoff: (Duration::from_millis(1), Duration::from_millis(20)),
        patience: Duration::from_secs(60),
        ..DurableOptions::default()
    };
    Box::new(Durable::with(sink, dir.join("journal"), policy).unwrap())
}

fn balanced(receipt: &Receipt) {
    let known = receipt.written + receipt.dropped + receipt.pending;
    assert_eq!(receipt.accepted, known, "{receipt:?}");
}

/// Every number of `steps` came once, and the steps in order.
fn all_there_once(gateway: &Gateway, run: &str, steps: std::ops::Range<u64>) {
    let expected: Vec<_> = steps
        .flat_map(|step| {
            let row = row(step);
            let entries: Vec<_> = row
                .metrics
                .iter()
                .map(|(k, v)| (step, k.to_owned(), v))
                .collect();
            entries
        })
        .collect();
    let found = gateway.metrics(run);
    assert!(
        found == expected,
        "{} for {}: {found:?}",
        found.len(),
        expected.len()
    );
}

#[test]
fn whatever_the_server_does_every_row_is_there_once_in_order_when_it_recovers() {
    let hang = Fault::Hang(Duration::from_millis(400));
    let faults: [(&str, fn(u64) -> bool, Fault); 11] = [
        ("500 for a while", |n| n < 12, Fault::Status(500, "")),
        (
            "503 every other time",
            |n| n % 2 == 0,
            Fault::Status(503, ""),
        ),
        ("done, yet 500", |n| n % 3 == 0, Fault::DoneButFailed),
        ("429", |n| n % 4 == 0, Fault::Status(429, "")),
        (
            "429 with a time",
            |n| n == 3,
            Fault::Status(429, "Retry-After: 1"),
        ),
        ("hangs", |n| n % 20 == 7, hang),
        ("hangs up", |n| n % 3 == 1, Fault::HangUp),
        ("loses every other answer", |n| n % 2 == 1, Fault::Lose),
        ("loses the first answers", |n| n < 5, Fault::Lose),
        ("tears every other answer", |n| n % 2 == 0, Fault::Truncate),
        ("tears most answers", |n| n % 5 != 0, Fault::Truncate),
    ];
    for (name, when, fault) in faults {
        let dir = TempDir::new().unwrap();
        let gateway = Gateway::start();
        let run = gateway.run();
        let mut sink = durable(&gateway, &run, dir.path());
        gateway.script(move |n, _, _| when(n).then_some(fault));
        for step in 0..50 {
            sink.write(&row(step)).unwrap();
        }
        let receipt = sink.flush_within(Duration::from_secs(60));
        balanced(&receipt);
        assert_eq!(
            (receipt.accepted, receipt.written),
            (50, 50),
            "{name}: {receipt:?}"
        );
        gateway.recover();
        let receipt = sink.close();
        assert_eq!(
            (receipt.written, receipt.dropped),
            (50, 0),
            "{name}: {receipt:?}"
        );
        all_there_once(&gateway, &run, 0..50);
        assert!(!dir.path().join("dead.jsonl").exists(), "{name}");
    }
}

#[test]
fn a_server_that_refuses_connections_gets_every_row_when_it_is_back() {
    let dir = TempDir::new().unwrap();
    let mut gateway = Gateway::start();
    let run = gateway.run();
    let mut sink = durable(&gateway, &run, dir.path());
    for round in 0..3 {
        for step in 0..20 {
            if step == 10 {
                gateway.refuse();
            }
            sink.write(&row(round * 20 + step)).unwrap();
        }
        let receipt = sink.flush_within(Duration::from_millis(100));
        balanced(&receipt);
        assert!(receipt.pending >= 1, "{receipt:?}");
        gateway.accept();
    }
    let receipt = sink.close();
    balanced(&receipt);
    assert_eq!((receipt.accepted, receipt.written), (60, 60), "{receipt:?}");
    all_there_once(&gateway, &run, 0..60);
}

#[test]
fn what_is_pending_when_a_process_ends_is_sent_by_the_next() {
    let dir = TempDir::new().unwrap();
    let mut gateway = Gateway::start();
    let run = gateway.run();
    let mut sink = durable(&gateway, &run, dir.path());
    for step in 0..5 {
        sink.write(&row(step)).unwrap();
    }
    assert_eq!(sink.flush_within(Duration::from_secs(30)).pending, 0);
    gateway.refuse();
    for step in 5..30 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.receipt();
    assert_eq!((receipt.written, receipt.pending), (5, 25));
    drop(sink);
    gateway.accept();
    let mut sink = durable(&gateway, &run, dir.path());
    // A connection that stood open may have taken a row more before the first process let go; all are there once.
    let left = sink.recovered().pending;
    assert!((24..=25).contains(&left), "{left}");
    sink.write(&row(30)).unwrap();
    let receipt = sink.close();
    assert_eq!(
        (receipt.accepted, receipt.written),
        (left + 1, left + 1),
        "{receipt:?}"
    );
    all_there_once(&gateway, &run, 0..31);
}

#[test]
fn what_the_server_has_is_not_sent_again_by_another_process() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let rows: Vec<Row> = (0..6).map(row).collect();
    let entries: Vec<(u64, &Metrics)> = rows.iter().map(|row| (row.step, &row.metrics)).collect();
    store(&gateway, dir.path())
        .log_rows(&run, &entries[..4], Split::Train)
        .unwrap();
    let logged = store(&gateway, dir.path())
        .log_rows(&run, &entries, Split::Train)
        .unwrap();
    assert_eq!(logged.written, 18);
    all_there_once(&gateway, &run, 0..6);

    // A step that training went through again, with other numbers, is another matter.
    let again: Metrics = [("c", 7.0)].into_iter().collect();
    let mut store = store(&gateway, dir.path());
    store.log_rows(&run, &[(5, &again)], Split::Train).unwrap();
    let metrics = store.get_metrics(&run, Some("c"), None).unwrap();
    assert_eq!(metrics.last().unwrap().value, 7.0);
    assert_eq!(metrics.len(), 6);
}

#[test]
fn a_request_that_is_too_large_goes_in_parts() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let row: Metrics = (0..100)
        .map(|i| (format!("m{i:03}"), f64::from(i)))
        .collect();
    let too_large = |_, op: &str, len: usize| {
        (op == "log_metrics" && len > 400).then_some(Fault::Status(413, ""))
    };
    gateway.script(too_large);
    store(&gateway, dir.path())
        .log_rows(&run, &[(1, &row)], Split::Train)
        .unwrap();
    let found = gateway.metrics(&run);
    let expected: Vec<_> = row.iter().map(|(k, v)| (1, k.to_owned(), v)).collect();
    assert!(found == expected, "{found:?}");

    // An earlier process may have come as far as half the parts.
    let half = gateway.run();
    gateway.script(move |n, op, len| {
        if n > 8 {
            Some(Fault::HangUp)
        } else {
            too_large(n, op, len)
        }
    });
    store(&gateway, dir.path())
        .log_rows(&half, &[(1, &row)], Split::Train)
        .unwrap_err();
    let before = gateway.metrics(&half).len();
    assert!(before > 0 && before < 100, "{before}");
    gateway.script(too_large);
    store(&gateway, dir.path())
        .log_rows(&half, &[(1, &row)], Split::Train)
        .unwrap();
    assert!(gateway.metrics(&half) == expected);

    // A number that is too large alone is final.
    gateway.script(|_, _, _| Some(Fault::Status(413, "")));
    let one: Metrics = [("a", 1.0)].into_iter().collect();
    let mut sent = store(&gateway, dir.path());
    gateway.script(|_, op, _| (op == "log_metrics").then_some(Fault::Status(413, "")));
    let error = sent.log_rows(&run, &[(2, &one)], Split::Train).unwrap_err();
    assert!(
        matches!(error, StoreError::Refused { status: 413, .. }),
        "{error}"
    );
    assert!(error.is_permanent());
}

#[test]
fn what_is_refused_for_good_is_kept_with_the_reason_and_the_rest_goes_on() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut sink = durable(&gateway, &run, dir.path());
    let mut logs = 0;
    gateway.script(move |_, op, _| {
        logs += u64::from(op == "log_metrics");
        (op == "log_metrics" && logs % 5 == 0).then_some(Fault::Status(422, ""))
    });
    for step in 1..=20 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.close();
    assert_eq!(
        (
            receipt.accepted,
            receipt.written,
            receipt.dropped,
            receipt.pending
        ),
        (20, 16, 4, 0),
        "{receipt:?}"
    );
    assert!(receipt.error.unwrap().contains("422"));
    let steps: Vec<u64> = (1..=20).filter(|step| step % 5 != 0).collect();
    assert_eq!(gateway.steps(&run), steps);
    let letters = fs::read_to_string(dir.path().join("dead.jsonl")).unwrap();
    let letters: Vec<serde_json::Value> = letters
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 4);
    for (letter, step) in letters.iter().zip([5, 10, 15, 20]) {
        assert_eq!(letter["op"], "log_metrics");
        assert_eq!(letter["args"]["step"], step);
        assert_eq!(letter["args"]["metrics"]["a"], f64::from(step) / 3.0);
        assert!(letter["reason"].as_str().unwrap().contains("422"));
    }
}

#[test]
fn an_infinity_that_is_refused_costs_no_other_number() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    gateway
        .script(|_, op, len| (op == "log_metrics" && len > 110).then_some(Fault::Status(400, "")));
    let row: Metrics = [
        ("finite", 1.0),
        ("infinite_with_a_long_name", f64::INFINITY),
        ("b", f64::NAN),
    ]
    .into_iter()
    .collect();
    store(&gateway, dir.path())
        .log_rows(&run, &[(1, &row)], Split::Train)
        .unwrap_err();
    assert_eq!(gateway.metrics(&run), [(1, "finite".to_owned(), 1.0)]);
}

#[test]
fn a_record_that_may_have_been_made_is_not_made_twice() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let mut store = store(&gateway, dir.path());
    gateway.script(|n, _, _| (n == 0).then_some(Fault::Lose));
    let error = store.create_experiment(&Experiment::default()).unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert_eq!(store.list_experiments().unwrap().len(), 1);
    gateway.script(|n, _, _| (n == 0).then_some(Fault::Status(429, "")));
    store.create_experiment(&Experiment::default()).unwrap();
    assert_eq!(store.list_experiments().unwrap().len(), 2);
}

#[test]
fn a_connection_is_kept() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut store = store(&gateway, dir.path());
    for step in 0..50 {
        store
            .log_rows(&run, &[(step, &row(step).metrics)], Split::Train)
            .unwrap();
    }
    assert_eq!(gateway.connections(), 1);
    // The first row of a process is asked for, now and after what another process may have under way, and no other.
    let asked = gateway
        .ops()
        .iter()
        .filter(|op| *op == "get_metrics")
        .count();
    assert_eq!(asked, 2);
}

/// Everything that is logged while `body` runs, on this thread.
fn logged(body: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<String>>);
    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            struct Text<'a>(&'a mut String);
            impl tracing::field::Visit for Text<'_> {
                fn record_debug(
                    &mut self,
                    field: &tracing::field::Field,
                    value: &dyn std::fmt::Debug,
                ) {
                    self.0.push_str(&format!("{field}={value:?} "));
                }
            }
            event.record(&mut Text(&mut self.0.lock().unwrap()));
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), body);
    lines.0.lock().unwrap().clone()
}

#[test]
fn the_key_shows_in_no_error_log_line_debug_text_or_file() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut said = String::new();
    let log = logged(|| {
        let url = gateway
            .url()
            .replace("http://", &format!("http://me:{KEY}@"));
        let mut store = EvSys::new(&url, KEY)
            .unwrap()
            .patience(quick())
            .dead_letters(dir.path().join("dead.jsonl"));
        said += &format!("{store:?} {store:#?}");
        for status in [400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 302] {
            gateway.script(move |_, _, _| Some(Fault::Status(status, "")));
            let row = row(1);
            let error = store
                .log_rows(&run, &[(1, &row.metrics)], Split::Train)
                .unwrap_err();
            said += &format!("{error} {error:?} {error:#?}");
            let error = store.update_run(KEY, &RunPatch::default()).unwrap_err();
            said += &format!("{error} {error:?}");
        }
        for fault in [Fault::HangUp, Fault::Truncate] {
            gateway.script(move |_, _, _| Some(fault));
            let error = store.list_experiments().unwrap_err();
            said += &format!("{error} {error:?}");
        }
        for url in [
            format!("ftp://{KEY}"),
            "http://".to_owned(),
            format!("http://a b{KEY}"),
        ] {
            said += &EvSys::new(&url, KEY).unwrap_err().to_string();
        }
        said += &EvSys::new("http://x", format!("{KEY}\n"))
            .unwrap_err()
            .to_string();
    });
    assert!(log.contains("was refused"), "{log}");
    for text in [said, log] {
        assert!(text.contains("<key>"), "{text}");
        assert!(!text.contains(KEY), "{text}");
    }
    gateway.recover();
    let mut sink = durable(&gateway, &run, dir.path());
    gateway.refuse_rows();
    sink.write(&row(1)).unwrap();
    let shown = format!("{sink:?} {:?}", sink.flush_within(Duration::from_secs(10)));
    assert!(!shown.contains(KEY), "{shown}");
    drop(sink);
    let files = walk(dir.path());
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let found = bytes
            .windows(KEY.len())
            .any(|window| window == KEY.as_bytes());
        assert!(!found, "{}", file.display());
    }
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_wrong_key_is_refused_by_name_of_the_fault() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let store = EvSys::new(&gateway.url(), "wrong")
        .unwrap()
        .patience(quick());
    let error = store.list_experiments().unwrap_err();
    assert!(
        matches!(error, StoreError::Refused { status: 401, .. }),
        "{error}"
    );
    drop(dir);
}

#[test]
fn the_environment_says_which_store() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let local = dir.path().join("runs.db");
    let resolve = |explicit: Option<Box<dyn Store>>, set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let environment =
            move |name: &str| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let mut store = resolve_store(explicit, environment, &local).unwrap();
        let before = gateway.ops().len();
        store.create_experiment(&Experiment::default()).unwrap();
        gateway.ops().len() > before
    };
    let url = gateway.url();
    let online = [("EVSYS_API_URL", url.as_str()), ("EVSYS_API_KEY", KEY)];
    assert!(resolve(None, &online));
    assert!(!resolve(None, &[]));
    assert!(!resolve(None, &[("EVSYS_API_KEY", "")]));
    for yes in ["1", "true", "YES", "On"] {
        assert!(!resolve(
            None,
            &[online[0], online[1], ("EVSYS_OFFLINE", yes)]
        ));
    }
    for no in ["0", "false", "", "off"] {
        assert!(resolve(
            None,
            &[online[0], online[1], ("EVSYS_OFFLINE", no)]
        ));
    }
    let explicit = store(&gateway, dir.path());
    assert!(resolve(Some(Box::new(explicit)), &[("EVSYS_OFFLINE", "1")]));
}

#[test]
fn the_project_of_the_environment_is_that_of_new_experiments() {
    let gateway = Gateway::start();
    let url = gateway.url();
    let mut store = EvSys::from_env(|name| {
        let value = match name {
            "EVSYS_API_URL" => url.as_str(),
            "EVSYS_API_KEY" => KEY,
            "EVSYS_PROJECT_ID" => "p1",
            _ => return None,
        };
        Some(value.to_owned())
    })
    .unwrap();
    let made = store.create_experiment(&Experiment::default()).unwrap();
    assert_eq!(made.project_id.as_deref(), Some("p1"));
    assert_eq!(made.status, Status::Pending);
    let error = EvSys::from_env(|_| None).unwrap_err();
    assert!(error.to_string().contains("EVSYS_API_KEY"), "{error}");
}

#[test]
fn the_gateway_hears_how_a_run_ended_and_of_a_run_gone_on_with_that_it_runs() {
    let (gateway, dir) = (Gateway::start(), TempDir::new().unwrap());
    let run = gateway.run();
    let how = || {
        let run = store(&gateway, dir.path()).get_run(&run).unwrap().record;
        (
            run.status,
            run.error_message.filter(|text| !text.is_empty()),
        )
    };
    let said = |text: &str| Some(text.to_owned());
    let endings = [
        (
            Ending::failed("out of memory"),
            Status::Failed,
            said("out of memory"),
        ),
        (
            Ending::cancelled("Ctrl-C"),
            Status::Cancelled,
            said("Ctrl-C"),
        ),
        (Ending::completed(), Status::Completed, None),
    ];
    for (step, (ending, status, error)) in endings.into_iter().enumerate() {
        let mut sink = durable(&gateway, &run, dir.path());
        assert_eq!(how(), (Status::Running, None));
        sink.write(&row(step as u64)).unwrap();
        sink.ended(&ending).unwrap();
        let receipt = sink.close();
        assert_eq!((receipt.written, receipt.error), (1, None));
        assert_eq!(how(), (status, error));
    }
}

#[test]
fn a_row_that_was_cut_short_leaves_the_one_over_more_steps_at_the_gateway_too() {
    let (gateway, dir) = (Gateway::start(), TempDir::new().unwrap());
    let run = gateway.run();
    // Each with a store of its own, as another process has.
    let put = |steps, cut, value: f64| {
        let row = Row {
            step: 12,
            steps,
            cut,
            metrics: [("a", value)].into_iter().collect(),
            ..Row::default()
        };
        let mut store = store(&gateway, dir.path());
        let logged = store.log_windows(&run, &[row], Split::Train).unwrap();
        let found = store.get_metrics(&run, Some("a"), None).unwrap();
        (logged.surpassed, found.last().unwrap().value)
    };
    assert_eq!(put(2, true, 1.0), (0, 1.0));
    assert_eq!(put(3, false, 2.0), (0, 2.0));
    assert_eq!(put(2, true, 3.0), (1, 2.0));
    assert_eq!(put(3, true, 4.0), (0, 4.0));
    assert_eq!(put(3, false, 5.0), (0, 5.0));
}

#[test]
fn a_redirect_that_the_key_does_not_follow_keeps_every_row_and_says_where_it_points() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let elsewhere = Fixed::start("200 OK", r#"{"result": []}"#);
    let to = format!("http://127.0.0.1:{}/there", elsewhere.address.port());
    let location: &str = Box::leak(format!("Location: {to}").into_boxed_str());
    for status in 300..309 {
        let run = gateway.run();
        let mut sink = durable(&gateway, &run, &dir.path().join(status.to_string()));
        gateway.script(move |_, _, _| Some(Fault::Status(status, location)));
        for step in 0..60 {
            sink.write(&row(step)).unwrap();
        }
        let receipt = sink.flush_within(Duration::from_millis(100));
        balanced(&receipt);
        assert_eq!(
            (receipt.pending, receipt.dropped),
            (60, 0),
            "{status}: {receipt:?}"
        );
        let error = receipt.error.unwrap();
        assert!(
            error.contains(&to) && error.contains(&status.to_string()),
            "{error}"
        );
        gateway.recover();
        let receipt = sink.close();
        assert_eq!(
            (receipt.written, receipt.dropped),
            (60, 0),
            "{status}: {receipt:?}"
        );
        all_there_once(&gateway, &run, 0..60);
    }
    assert_eq!(elsewhere.heard(), [""; 0]);
    assert!(!dir.path().join("dead.jsonl").exists());
}

/// What libraries said on this thread through `log`, at TRACE.
mod trace {
    use std::cell::RefCell;

    thread_local! {
        static SAID: RefCell<String> = const { RefCell::new(String::new()) };
    }

    struct Trace;

    impl log::Log for Trace {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            SAID.with_borrow_mut(|said| said.push_str(&format!("{}\n", record.args())));
        }
        fn flush(&self) {}
    }

    pub fn of(body: impl FnOnce()) -> String {
        // The one test of this file that listens.
        log::set_logger(&Trace).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        body();
        SAID.take()
    }
}

/// The bytes of a dump as `ureq` logs them: 16 in a row, by number in groups of two, and then as characters.
fn dumped(log: &str) -> String {
    let rows = log
        .lines()
        .filter(|line| line.len() == 57 && line.is_char_boundary(40));
    let digits: String = rows.map(|row| row[..40].replace([' ', '-'], "")).collect();
    let bytes = digits.as_bytes().chunks(2);
    let bytes =
        bytes.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.map(char::from).collect()
}

#[test]
fn the_key_shows_in_no_trace_of_the_http_library() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let log = trace::of(|| {
        let mut store = store(&gateway, dir.path());
        store.create_experiment(&Experiment::default()).unwrap();
    });
    let dump = dumped(&log);
    let header = format!("authorization: Bearer {}\r\n", "*".repeat(KEY.len()));
    assert!(dump.contains(&header), "{dump}\n{log}");
    assert!(!dump.contains(KEY) && !log.contains(KEY), "{dump}");
    assert_eq!(gateway.ops(), ["create_experiment"]);
}

#[test]
fn a_key_that_the_server_echoes_escaped_shows_in_no_error_and_no_dead_letter() {
    let key = r#"sk/very+secret&"0123456789"#;
    let echoes = [
        r#"{"bad": "sk\/very+secret&\"0123456789"}"#,
        "bad=sk%2Fvery%2Bsecret%26%220123456789",
        "<p>sk/very+secret&amp;&quot;0123456789</p>",
    ];
    for echo in echoes {
        let dir = TempDir::new().unwrap();
        let dead = dir.path().join("dead.jsonl");
        let (server, garbled) = (Fixed::start("422 No", echo), Fixed::start("200 OK", echo));
        let pointing = Fixed::start(&format!("302 Found\r\nLocation: http://x/{echo}"), "");
        let mut said = String::new();
        for server in [&server, &garbled, &pointing] {
            let mut store = EvSys::new(&format!("http://{}", server.address), key)
                .unwrap()
                .patience(quick())
                .dead_letters(&dead);
            let error = store.list_experiments().unwrap_err();
            said += &format!("{error} {error:?} {error:#?}");
            let error = store
                .log_rows("r", &[(1, &row(1).metrics)], Split::Train)
                .unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            said += &format!("{error} {error:?} {source:?}");
            let checkpoint = grpo_metrics::store::Checkpoint::default();
            let error = store.add_checkpoint(&checkpoint).unwrap_err();
            said += &format!("{error} {error:?}");
            assert!(server.heard()[0].contains(&format!("Bearer {key}\r\n")));
        }
        said += &fs::read_to_string(&dead).unwrap();
        assert!(
            said.contains("<key>") && !said.contains("0123456789"),
            "{said}"
        );
    }
}

#[test]
fn a_host_that_only_begins_like_this_machine_is_warned_of() {
    for (url, warned) in [
        ("http://localhost.evil.invalid", true),
        ("http://127.0.0.1.evil.invalid:8000", true),
        ("http://localhost@evil.invalid", true),
        ("http://localhost:8000", false),
        ("http://127.0.0.2", false),
        ("http://[::1]:8000/base", false),
        ("https://evsys.example", false),
    ] {
        let log = logged(|| drop(EvSys::new(url, KEY).unwrap()));
        assert_eq!(log.contains("without TLS"), warned, "{url}: {log}");
    }
}

#[test]
fn what_goes_to_this_machine_or_a_host_in_no_proxy_passes_no_proxy() {
    // This test again, in a process of its own, whose environment names a proxy.
    if let Ok(url) = std::env::var("GATEWAY_OF_THE_TEST") {
        let patience = Patience {
            retries: 0,
            ..quick()
        };
        let store = EvSys::new(&url, KEY).unwrap().patience(patience);
        let _ = store.list_experiments();
        return;
    }
    let name = "what_goes_to_this_machine_or_a_host_in_no_proxy_passes_no_proxy";
    let gateway = Gateway::start();
    let heard = |url: &str, list: &str| {
        let proxy = Fixed::start("502 No", "");
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", name])
            .env("GATEWAY_OF_THE_TEST", url);
        for variable in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "http_proxy"] {
            again.env(variable, format!("http://{}", proxy.address));
        }
        again.env_remove("no_proxy").env("NO_PROXY", list);
        assert!(again.output().unwrap().status.success());
        proxy.heard().concat()
    };
    let port = gateway.url().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(heard(&format!("http://{host}:{port}"), ""), "");
    }
    assert_eq!(gateway.ops(), ["list_experiments"; 2]);
    for list in [
        "gateway.invalid",
        "x, gateway.invalid",
        "invalid",
        ".invalid",
        "*",
    ] {
        assert_eq!(heard("http://gateway.invalid", list), "", "{list}");
    }
    // Others do, by way of a tunnel; one that fails is told nothing.
    let asked = heard("http://gateway.invalid", "other.invalid");
    assert!(asked.starts_with("CONNECT gateway.invalid:80 "), "{asked}");
    assert!(!asked.contains("Bearer"), "{asked}");
}

#[test]
fn of_a_row_whose_second_part_waits_the_first_is_not_sent_twice() {
    let dir = TempDir::new().unwrap();
    let gateway = Gateway::start();
    let run = gateway.run();
    let mut store = store(&gateway, dir.path());
    let metrics: Metrics = [("a", 0.5), ("b", f64::INFINITY)].into_iter().collect();
    store
        .log_rows(&run, &[(1, &metrics)], Split::Train)
        .unwrap();
    // 503 says that nothing has begun.
    gateway.script(|n, _, _| (n > 0).then_some(Fault::Status(503, "")));
    let waits = store.log_rows(&run, &[(2, &metrics)], Split::Train);
    assert!(waits.is_err_and(|error| !error.is_permanent()));
    gateway.recover();
    store
        .log_rows(&run, &[(2, &metrics)], Split::Train)
        .unwrap();
    assert_eq!(gateway.metrics(&run).len(), 4);
}
