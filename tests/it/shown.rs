//! `show` of stores that something is wrong with.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use grpo_metrics::row::Row;
use grpo_metrics::sink::Sink;
use grpo_metrics::store::{Resume, RunSpec, StoreSink};
use rusqlite::Connection;
use tempfile::TempDir;

fn write(path: &Path, run: &str, steps: u64) -> Box<StoreSink> {
    let run = RunSpec::new(run).resume(Resume::Allow);
    let mut sink = Box::new(StoreSink::open(path, run).unwrap());
    for step in 1..=steps {
        sink.write(&Row {
            step,
            metrics: [("train/reward", step as f64)].into_iter().collect(),
            ..Row::default()
        })
        .unwrap();
    }
    sink
}

/// `show` with these arguments, which must not take forever.
fn show(dir: &Path, args: &[&str]) -> Output {
    let mut child = Command::new(crate::grpo_metrics())
        .arg("show")
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("show {args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_view_without_end_that_is_called_like_a_table_is_refused_by_name() {
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let views = [
        (
            "VIEW",
            "metrics",
            format!("{endless} SELECT 'r' AS run_id, i AS step, 'train' AS split, 'a' AS name, 1.0 AS value FROM n"),
        ),
        (
            "TABLE",
            "rows",
            format!("{endless} SELECT i AS id, 1 AS run, i AS step, 'train' AS split, NULL AS time, 1 AS steps, 1 AS count, i AS written FROM n"),
        ),
        (
            "TABLE",
            "RUNS",
            format!(
                "{endless} SELECT i AS id, 'e' AS experiment_id, NULL AS group_id, NULL AS dataset_id, NULL AS seed,
                NULL AS recipe_kind, NULL AS run_config, 'running' AS status, NULL AS error_message, NULL AS wandb_run_url,
                '' AS created_at FROM n"
            ),
        ),
    ];
    for (kind, table, view) in views {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        write(&path, "r", 3).close();
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA foreign_keys = OFF; DROP {kind} {table}; CREATE VIEW {table} AS {view}"
        ))
        .unwrap();
        drop(db);
        for args in [&[][..], &["r"], &["r", "--last", "2"]] {
            let out = show(dir.path(), args);
            assert_eq!(out.status.code(), Some(2), "{out:?}");
            let expected = format!(
                "error: runs.db: expected a store of runs, found a view called `{table}` in the place of a table\n"
            );
            assert_eq!(text(&out.stderr), expected);
        }
    }
}

#[test]
fn a_run_whose_configuration_cannot_be_read_hides_no_other() {
    for (config, fault) in [
        (
            "'{no JSON'",
            "its run_config cannot be read: key must be a string at line 1 column 2",
        ),
        (
            "CAST(x'7bff7d' AS TEXT)",
            "its run_config cannot be read: invalid utf-8 sequence",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        for run in ["before", "bad", "behind"] {
            write(&path, run, 3).close();
        }
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "UPDATE runs SET run_config = {config} WHERE id = 'bad'"
        ))
        .unwrap();
        drop(db);
        let out = show(dir.path(), &[]);
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        let shown = text(&out.stdout);
        for run in ["before", "bad", "behind"] {
            let line = shown
                .lines()
                .find(|line| line.starts_with(&format!("{run} ")));
            assert!(
                line.is_some_and(|line| line.contains("completed")),
                "{shown}"
            );
        }
        assert!(shown.contains(&format!("\nbad: {fault}")), "{shown}");
        for run in ["before", "bad", "behind"] {
            let out = show(dir.path(), &[run]);
            assert!(text(&out.stdout).contains("train/reward"), "{out:?}");
        }
    }
}

/// `show` where the folder is mounted read-only, in a namespace of its own; `None` where that may not be done here.
#[cfg(target_os = "linux")]
fn show_read_only(dir: &Path) -> Option<Output> {
    let mount = "mount --bind . . && cd . && mount -o remount,ro,bind \"$PWD\" && cd \"$PWD\"";
    let run = |script: &str| {
        Command::new("unshare")
            .args(["-m", "sh", "-ec", script])
            .current_dir(dir)
            .output()
    };
    let may = run(&format!("{mount} && ! touch probe 2>/dev/null"));
    if !may.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: nothing may be mounted here");
        return None;
    }
    let command = crate::grpo_metrics();
    Some(run(&format!("{mount} && exec {command} show --store runs.db r")).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_on_a_read_only_disk_is_shown_and_what_its_log_has_more_is_said() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("runs.db");
    write(&path, "r", 3).close();
    let Some(out) = show_read_only(dir.path()) else {
        return;
    };
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(text(&out.stdout).contains(", steps 1 to 3\n"), "{out:?}");
    assert!(
        text(&out.stderr)
            .contains("runs.db: its folder cannot be written, so it is read as it lies"),
        "{out:?}"
    );

    // The writer is alive, or was killed: the log is there, with the rest of what it needs.
    let sink = write(&path, "r", 5);
    let out = show_read_only(dir.path()).unwrap();
    assert!(text(&out.stdout).contains(", steps 1 to 5\n"), "{out:?}");
    // Copied without the log's index, as nobody needs that.
    let copy = TempDir::new().unwrap();
    for name in ["runs.db", "runs.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let out = show_read_only(copy.path()).unwrap();
    let said = text(&out.stderr);
    assert!(
        said.contains(
            "bytes of its log (runs.db-wal) cannot be read: the last rows are missing here"
        ),
        "{out:?}"
    );
    assert!(text(&out.stdout).contains(", steps 1 to 3\n"), "{out:?}");
    sink.close();
}
