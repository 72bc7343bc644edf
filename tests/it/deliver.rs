//! `grpo-metrics deliver`: the journal of a training that is over, to where its rows were meant to go.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use grpo_metrics::row::Row;
use grpo_metrics::sink::{Durable, DurableOptions, Sink};
use grpo_metrics::store::{Split, Sqlite, Status, Store, StoreSink};
use tempfile::TempDir;

fn row(step: u64) -> Row {
    Row {
        step,
        timestamp: step as f64,
        metrics: [("train/reward", step as f64)].into_iter().collect(),
        ..Row::default()
    }
}

/// What the killed process does: it takes rows and delivers the first at most.
#[test]
#[ignore = "run as another process"]
fn another_process() {
    let dir = PathBuf::from(std::env::var("GRPO_TEST_DIR").unwrap());
    let policy = DurableOptions {
        pace: Duration::MAX,
        ..DurableOptions::default()
    };
    let store = StoreSink::open(dir.join("runs.db"), "r").unwrap();
    let mut sink = Durable::with(store, dir.join("journal/store"), policy).unwrap();
    for step in [1, 2, 3, u64::MAX, 4, 5, 6] {
        sink.write(&row(step)).unwrap();
    }
    std::process::abort();
}

/// The folder of a training that was killed.
fn killed() -> TempDir {
    let dir = TempDir::new().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["deliver::another_process", "--ignored", "--exact"])
        .env("GRPO_TEST_DIR", dir.path())
        .status()
        .unwrap();
    assert!(!status.success());
    dir
}

/// Exit code, standard output and standard error.
fn deliver(dir: &Path, args: &[&str]) -> (i32, String, String) {
    ended(command(dir, args))
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(crate::grpo_metrics());
    command.arg("deliver").args(args).current_dir(dir);
    command
}

fn ended(mut command: Command) -> (i32, String, String) {
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        out.status.code().unwrap(),
        text(out.stdout),
        text(out.stderr),
    )
}

fn steps(path: &Path, run: &str) -> Vec<u64> {
    let store = Sqlite::open_read_only(path).unwrap();
    let metrics = store.get_metrics(run, None, Some(Split::Train)).unwrap();
    metrics.into_iter().map(|metric| metric.step).collect()
}

#[test]
fn what_waits_in_the_journal_of_a_killed_process_is_delivered_once_to_the_run_that_it_names() {
    let dir = killed();
    let there = steps(&dir.path().join("runs.db"), "r").len();
    let (code, out, said) = deliver(dir.path(), &["journal/store", "--store", "runs.db"]);
    assert_eq!(code, 1, "{said}");
    let mut lines = out.lines();
    let counts = lines.next().unwrap();
    // Some may have been delivered before, of which the journal may not know yet.
    assert!(
        (6 - there..=6).any(|written| counts
            == format!("journal/store: delivered {written}, pending 0, dropped 1, damaged 0")),
        "{out}"
    );
    assert_eq!(lines.next(), None);
    assert!(
        said.contains(
            "error: 1 rows could not be delivered and are lost: store: expected a step up to"
        ),
        "{said}"
    );
    assert_eq!(steps(&dir.path().join("runs.db"), "r"), [1, 2, 3, 4, 5, 6]);
    // How the run ended is not known here.
    let store = Sqlite::open(dir.path().join("runs.db")).unwrap();
    assert_eq!(store.get_run("r").unwrap().status, Status::Running);
    drop(store);
    let before = steps(&dir.path().join("runs.db"), "r");
    let (code, out, said) = deliver(dir.path(), &["journal/store", "--store", "runs.db"]);
    assert_eq!(
        (code, out.as_str(), said.as_str()),
        (
            0,
            "journal/store: delivered 0, pending 0, dropped 0, damaged 0\n",
            ""
        )
    );
    assert_eq!(steps(&dir.path().join("runs.db"), "r"), before);
}

#[test]
fn a_run_that_is_over_stays_as_it_ended_and_another_run_is_one_that_is_asked_for() {
    let dir = killed();
    let path = dir.path().join("runs.db");
    Box::new(StoreSink::open(&path, "other").unwrap()).close();
    let args = ["journal/store", "--store", "runs.db", "--run", "other"];
    let (_, _, said) = deliver(dir.path(), &args);
    assert!(
        said.starts_with("warning: the journal's rows are of the run `r`; they go to `other`\n"),
        "{said}"
    );
    assert_eq!(steps(&path, "other").last(), Some(&6));
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.get_run("other").unwrap().status, Status::Completed);
}

#[test]
fn a_journal_is_delivered_to_a_file_and_what_is_damaged_is_counted() {
    let dir = killed();
    let journal = dir.path().join("journal/store");
    let segment = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "journal"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, out, said) = deliver(dir.path(), &["journal/store", "--jsonl", "rows.jsonl"]);
    assert_eq!(code, 1, "{said}");
    assert!(out.ends_with("pending 0, dropped 0, damaged 1\n"), "{out}");
    let text = fs::read_to_string(dir.path().join("rows.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["step"], 5);
}

#[cfg(target_os = "linux")]
#[test]
fn a_journal_is_delivered_to_a_sink_that_a_text_names() {
    let dir = killed();
    let to = ["journal/store", "--sink", "csv:rows.csv"];
    let (code, out, said) = deliver(dir.path(), &to);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("pending 0, dropped 0, damaged 0"), "{out}");
    let text = fs::read_to_string(dir.path().join("rows.csv")).unwrap();
    assert!(text.starts_with("step,train/reward\n"), "{text}");
    assert!(text.ends_with("\n4,4.0\n5,5.0\n6,6.0\n"), "{text}");
}

#[test]
fn what_takes_nothing_leaves_the_rows_in_the_journal() {
    let dir = killed();
    let args = ["journal/store", "--jsonl", "/dev/full", "--patience", "1"];
    let (code, out, said) = deliver(dir.path(), &args);
    assert_eq!(code, 1, "{said}");
    assert!(
        out.starts_with("journal/store: delivered 0, pending "),
        "{out}"
    );
    assert!(
        said.contains("rows are not delivered; they stay in the journal: ")
            && said.contains("No space left"),
        "{said}"
    );
    let (_, out, _) = deliver(dir.path(), &["journal/store", "--store", "runs.db"]);
    assert!(out.contains("pending 0, dropped 1"), "{out}");
    assert_eq!(steps(&dir.path().join("runs.db"), "r"), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_no_journal_and_one_that_is_in_use_are_refused_and_left_alone() {
    let dir = killed();
    fs::create_dir(dir.path().join("empty")).unwrap();
    for (given, found) in [
        ("nowhere", "found nothing"),
        ("empty", "found something else"),
        (
            "journal",
            "found one that has journals in it: journal/store",
        ),
    ] {
        let (code, out, said) = deliver(dir.path(), &[given, "--jsonl", "new.db"]);
        assert_eq!((code, out.as_str()), (2, ""), "{said}");
        assert!(
            said.contains("expected the folder of a journal") && said.contains(found),
            "{said}"
        );
    }
    assert!(!dir.path().join("new.db").exists());
    assert_eq!(fs::read_dir(dir.path().join("empty")).unwrap().count(), 0);

    let run = dir.path().join("journal/store/run");
    fs::remove_file(&run).unwrap();
    let (code, _, said) = deliver(dir.path(), &["journal/store", "--store", "runs.db"]);
    assert_eq!(code, 2);
    assert!(said.contains("expected --run"), "{said}");

    let sink = StoreSink::open(dir.path().join("runs.db"), "r").unwrap();
    let alive = Durable::new(sink, dir.path().join("journal/store")).unwrap();
    let (code, _, said) = deliver(dir.path(), &["journal/store", "--store", "runs.db"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("found it in use by process") && said.contains("journal/store"),
        "{said}"
    );
    for to in [["--store", "new.db"], ["--sink", "csv:new.csv"]] {
        let (code, ..) = deliver(
            dir.path(),
            &[&["journal/store", "--run", "r"], &to[..]].concat(),
        );
        assert_eq!(code, 2);
    }
    for made in ["new.db", "new.csv"] {
        assert!(!dir.path().join(made).exists(), "{made}");
    }
    drop(alive);
    let both = ["journal/store", "--evsys", "--store", "new.db"];
    let (code, _, said) = deliver(dir.path(), &both);
    assert_eq!(code, 2);
    assert!(said.contains("cannot be used with"), "{said}");
    let (code, _, said) = deliver(dir.path(), &["journal/store", "--sink", "cvs:rows.csv"]);
    assert_eq!(code, 2);
    assert!(said.contains("expected a kind of sink"), "{said}");
}

#[cfg(feature = "evsys")]
#[test]
fn a_journal_is_delivered_to_a_gateway_whose_run_is_known_and_to_no_other() {
    use grpo_metrics::store::{EvSys, Experiment, Run};
    let dir = killed();
    let server = crate::gateway::Gateway::start();
    let mut store = EvSys::new(&server.url(), crate::gateway::KEY).unwrap();
    let experiment = Experiment {
        experiment_name: "e".to_owned(),
        ..Experiment::default()
    };
    let run = Run {
        experiment_id: store.create_experiment(&experiment).unwrap().id,
        ..Run::default()
    };
    let run = store.create_run(&run).unwrap().id;
    let deliver = |args: &[&str]| {
        let mut command = command(dir.path(), &[&["journal/store", "--evsys"], args].concat());
        command
            .env("EVSYS_API_URL", server.url())
            .env("EVSYS_API_KEY", crate::gateway::KEY);
        ended(command)
    };
    // The journal names a run of another store: no row is thrown at a gateway that would refuse each for good.
    let (code, out, said) = deliver(&[]);
    assert_eq!((code, out.as_str()), (2, ""), "{said}");
    assert!(said.contains("expected run `r` at http"), "{said}");
    let (_, out, said) = deliver(&["--run", &run]);
    assert!(
        out.contains("pending 0, dropped 1, damaged 0"),
        "{out}{said}"
    );
    let metrics = store.get_metrics(&run, None, None).unwrap();
    let mut steps: Vec<u64> = metrics.into_iter().map(|metric| metric.step).collect();
    // The first may have been delivered to the store of before.
    steps.retain(|step| *step > 1);
    assert_eq!(steps, [2, 3, 4, 5, 6]);
    assert_eq!(store.get_run(&run).unwrap().status, Status::Pending);
}
