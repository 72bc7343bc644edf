//! A database that is deleted or replaced under the run that writes it, as a cleaning script, a restored backup or a person does.
#![cfg(all(feature = "sqlite", unix))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grpo_metrics::row::Row;
use grpo_metrics::row::run::Ending;
use grpo_metrics::sink::{Durable, DurableOptions, Queued, Receipt, Sink};
use grpo_metrics::store::{RunSpec, Sqlite, Store, StoreError, StoreSink};
use rusqlite::Connection;
use tempfile::TempDir;

fn row(step: u64) -> Row {
    Row {
        step,
        steps: 1 + step % 2,
        metrics: [("train/reward", step as f64)].into_iter().collect(),
        ..Row::default()
    }
}

fn spec() -> RunSpec {
    RunSpec {
        experiment: Some("lengths".to_owned()),
        group: Some("seeds".to_owned()),
        ..RunSpec::new("r")
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What somebody else sees of the run: `sqlite3`, say.
fn steps(path: &Path, run: &str) -> Vec<u64> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT step FROM metrics WHERE run_id = ?1 ORDER BY step";
    let mut select = db.prepare(sql).unwrap();
    let steps = select.query_map([run], |line| line.get::<_, i64>(0));
    steps
        .unwrap()
        .map(|step| step.unwrap().unsigned_abs())
        .collect()
}

type MakeSink = fn(&Path) -> Box<dyn Sink>;

/// A store's sink as it is, behind a queue, and behind a journal.
const SINKS: [(&str, MakeSink); 3] = [
    ("bare", |path| {
        Box::new(StoreSink::open(path, spec()).unwrap())
    }),
    ("queued", |path| {
        Box::new(Queued::new(StoreSink::open(path, spec()).unwrap()).unwrap())
    }),
    ("durable", |path| {
        let policy = DurableOptions {
            backoff: (Duration::from_millis(1), Duration::from_millis(10)),
            pace: Duration::ZERO,
            ..DurableOptions::default()
        };
        let sink = StoreSink::open(path, spec()).unwrap();
        Box::new(Durable::with(sink, path.with_extension("journal"), policy).unwrap())
    }),
];

fn is_whole(receipt: &Receipt) {
    let numbers = (receipt.accepted, receipt.written, receipt.dropped);
    assert_eq!(numbers, (12, 12, 0), "{receipt:?}");
}

/// Twelve rows, each in the store before the next; `meddle` after every third.
fn twelve(sink: &mut dyn Sink, mut meddle: impl FnMut()) {
    for step in 1..=12 {
        sink.write(&row(step)).unwrap();
        sink.flush().unwrap();
        if step % 3 == 0 {
            meddle();
        }
    }
}

#[test]
fn a_database_deleted_under_the_run_is_there_again_with_every_row() {
    let deletions: [&[&str]; 4] = [&[""], &["", "-wal", "-shm"], &["-wal"], &["-shm"]];
    for (name, sink) in SINKS {
        for deleted in deletions {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("runs.db");
            let mut sink = sink(&path);
            twelve(sink.as_mut(), || {
                for suffix in deleted {
                    fs::remove_file(beside(&path, suffix)).unwrap();
                }
            });
            sink.ended(&Ending::failed("out of memory")).unwrap();
            is_whole(&sink.close());
            let expected: Vec<u64> = (1..=12).collect();
            assert_eq!(steps(&path, "r"), expected, "{name}, {deleted:?}");
            let store = Sqlite::open(&path).unwrap();
            let run = store.get_run("r").unwrap();
            assert_eq!(run.error_message.as_deref(), Some("out of memory"));
            let experiment = store.get_experiment(&run.experiment_id).unwrap();
            assert_eq!(experiment.experiment_name, "lengths");
            assert_eq!(store.list_groups(&experiment.id).unwrap().len(), 1);
            let db = Connection::open(&path).unwrap();
            let sound: String = db
                .query_row("PRAGMA integrity_check", [], |line| line.get(0))
                .unwrap();
            assert_eq!(sound, "ok");
            let windows: i64 = db
                .query_row("SELECT count(*) FROM rows WHERE steps > 1", [], |line| {
                    line.get(0)
                })
                .unwrap();
            assert_eq!(windows, 6);
        }
    }
}

#[test]
fn a_database_replaced_under_the_run_keeps_what_it_has_and_gets_every_row() {
    for (name, sink) in SINKS {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        let mut sink = sink(&path);
        let mut number = 0;
        twelve(sink.as_mut(), || {
            number += 1;
            // Another's store, in which there is a run of this name from before, too.
            let other = dir.path().join("other.db");
            for run in ["theirs", "r"] {
                let mut sink = Box::new(StoreSink::open(&other, run).unwrap());
                sink.write(&row(100 + number)).unwrap();
                sink.close();
            }
            fs::rename(&other, &path).unwrap();
        });
        is_whole(&sink.close());
        let expected: Vec<u64> = (1..=12).chain(101..=104).collect();
        assert_eq!(steps(&path, "r"), expected, "{name}");
        assert_eq!(steps(&path, "theirs"), [104]);
    }
}

#[test]
fn at_whatever_moment_the_database_is_deleted_every_row_is_there_in_the_end() {
    for deleted in [&[""][..], &["", "-wal", "-shm"]] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        let policy = DurableOptions {
            backoff: (Duration::from_millis(1), Duration::from_millis(10)),
            pace: Duration::ZERO,
            batch: 4,
            ..DurableOptions::default()
        };
        let store = StoreSink::open(&path, spec()).unwrap();
        let mut sink = Box::new(Durable::with(store, dir.path().join("journal"), policy).unwrap());
        let over = AtomicBool::new(false);
        let mut deletions = 0;
        std::thread::scope(|scope| {
            let cleaner = scope.spawn(|| {
                let mut deletions = 0;
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(700 + 1300 * (deletions % 7)));
                    for suffix in deleted {
                        let _ = fs::remove_file(beside(&path, suffix));
                    }
                    deletions += 1;
                }
                deletions
            });
            for step in 1..=400 {
                sink.write(&row(step)).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            over.store(true, Ordering::Relaxed);
            deletions = cleaner.join().unwrap();
        });
        assert!(deletions > 20, "{deletions}");
        let receipt = sink.close();
        let numbers = (receipt.written, receipt.dropped, receipt.pending);
        assert_eq!(numbers, (400, 0, 0), "{receipt:?}");
        assert_eq!(steps(&path, "r"), (1..=400).collect::<Vec<_>>());
    }
}

#[test]
fn rows_wait_while_something_else_is_where_the_database_was() {
    for (name, sink) in &SINKS[1..] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        let mut sink = sink(&path);
        sink.write(&row(1)).unwrap();
        sink.flush().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(
            &path,
            "not a database, and longer than the header of one is",
        )
        .unwrap();
        for step in 2..=12 {
            sink.write(&row(step)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(fs::read(&path).unwrap().starts_with(b"not a database"));
        fs::remove_file(&path).unwrap();
        sink.flush().unwrap();
        let receipt = sink.close();
        is_whole(&receipt);
        let error = receipt.error.unwrap();
        assert!(
            error.contains("deleted or replaced") && error.contains("no SQLite database"),
            "{name}: {error}"
        );
        assert_eq!(steps(&path, "r"), (1..=12).collect::<Vec<_>>());
    }
}

#[test]
fn without_a_place_to_go_on_a_write_fails_for_now_and_says_why() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("run");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("runs.db");
    let mut sink = Box::new(StoreSink::open(&path, "r").unwrap());
    sink.write(&row(1)).unwrap();
    let away = dir.path().join("moved");
    fs::rename(&folder, &away).unwrap();
    let error = sink.write(&row(2)).unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(
            "run/runs.db: could not write to the file that was opened: it was deleted or replaced"
        ),
        "{said}"
    );
    fs::rename(&away, &folder).unwrap();
    sink.write(&row(3)).unwrap();
    let receipt = sink.close();
    let numbers = (receipt.accepted, receipt.written, receipt.dropped);
    assert_eq!(numbers, (3, 2, 1));
    assert_eq!(steps(&path, "r"), [1, 3]);
}

#[test]
fn a_link_that_leads_elsewhere_later_takes_no_row_with_it() {
    let dir = TempDir::new().unwrap();
    for run in ["first", "second"] {
        fs::create_dir(dir.path().join(run)).unwrap();
    }
    let latest = dir.path().join("latest");
    std::os::unix::fs::symlink("first", &latest).unwrap();
    let mut sink = Box::new(StoreSink::open(latest.join("runs.db"), "r").unwrap());
    sink.write(&row(1)).unwrap();
    fs::remove_file(&latest).unwrap();
    std::os::unix::fs::symlink("second", &latest).unwrap();
    sink.write(&row(2)).unwrap();
    assert_eq!(sink.close().written, 2);
    assert_eq!(steps(&dir.path().join("first/runs.db"), "r"), [1, 2]);
    assert!(!dir.path().join("second/runs.db").exists());
}

#[test]
fn a_path_that_keeps_nothing_is_no_store() {
    if std::env::var_os(IN_A_FOLDER_OF_ITS_OWN).is_some() {
        return refuse_paths_that_keep_nothing();
    }
    let dir = TempDir::new().unwrap();
    // Relative paths are what is tried: a process has one working folder.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "deleted::a_path_that_keeps_nothing_is_no_store"])
        .current_dir(dir.path())
        .env(IN_A_FOLDER_OF_ITS_OWN, "1")
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    assert!(dir.path().join(IN_ONE).exists());
}

const IN_A_FOLDER_OF_ITS_OWN: &str = "GRPO_TEST_IN_A_FOLDER_OF_ITS_OWN";
const IN_ONE: &str = "file:runs.db?mode=memory";

fn refuse_paths_that_keep_nothing() {
    for (path, word) in [
        ("", "found nothing"),
        (":memory:", "./:memory:"),
        ("/dev/null", "no file"),
        (".", "a folder"),
    ] {
        for opened in [Sqlite::open(path), Sqlite::open_read_only(path)] {
            let error = opened.unwrap_err();
            assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    // A path is a path, also one that SQLite could take for a URI.
    let here = std::env::current_dir().unwrap();
    for path in ["./:memory:", IN_ONE] {
        let mut sink = Box::new(StoreSink::open(path, "r").unwrap());
        sink.write(&row(1)).unwrap();
        assert_eq!(sink.close().written, 1);
        assert_eq!(steps(&here.join(path), "r"), [1]);
    }
}
