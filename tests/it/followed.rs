//! `show --follow`, while somebody writes.
#![cfg(all(unix, feature = "cli", feature = "sqlite"))]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use grpo_metrics::row::Row;
use grpo_metrics::sink::Sink;
use grpo_metrics::store::StoreSink;

/// How long a line may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);

fn put(sink: &mut StoreSink, steps: std::ops::RangeInclusive<u64>) {
    for step in steps {
        let metrics = [
            ("train/reward", step as f64 / 8.0),
            ("train/kl", 0.5),
            ("train/own", 1.0),
        ];
        let metrics = metrics.into_iter().collect();
        sink.write(&Row {
            step,
            metrics,
            ..Row::default()
        })
        .unwrap();
    }
}

/// `show r --follow`, and its lines as they come.
fn follow(dir: &Path, args: &[&str], columns: Option<&str>) -> (Child, Receiver<String>) {
    let mut command = Command::new(crate::grpo_metrics());
    let mut child = command
        .current_dir(dir)
        .args(["show", "r", "--follow"])
        .args(args)
        .env_remove("GRPO_METRICS_STORE")
        .env_remove("COLUMNS")
        .envs(columns.map(|columns| ("COLUMNS", columns)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, lines) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    (child, lines)
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn rows_appear_as_they_are_stored_until_the_run_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Box::new(StoreSink::open(dir.path().join("runs.db"), "r").unwrap());
    put(&mut sink, 1..=12);
    let (mut child, lines) = follow(dir.path(), &["--last", "2"], None);
    assert_eq!(next(&lines), "    step  train/reward    train/kl");
    assert_eq!(next(&lines), "      11         1.375         0.5");
    assert_eq!(next(&lines), "      12           1.5         0.5");
    put(&mut sink, 13..=13);
    assert_eq!(next(&lines), "      13         1.625         0.5");
    // Again, with other numbers.
    put(&mut sink, 12..=12);
    assert_eq!(next(&lines), "      12           1.5         0.5");
    put(&mut sink, 14..=14);
    sink.close();
    assert_eq!(next(&lines), "      14          1.75         0.5");
    assert_eq!(next(&lines), "r: completed, steps 1 to 14");
    assert!(lines.recv_timeout(PATIENCE).is_err());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_run_without_rows_is_waited_for_and_its_columns_fit() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Box::new(StoreSink::open(dir.path().join("runs.db"), "r").unwrap());
    let (mut child, lines) = follow(dir.path(), &["--all"], Some("34"));
    thread::sleep(Duration::from_millis(300));
    put(&mut sink, 1..=25);
    assert_eq!(next(&lines), "    step      reward          kl");
    for step in 1..=20 {
        assert!(next(&lines).starts_with(&format!("{step:>8} ")));
    }
    // Before it runs out of the terminal.
    assert_eq!(next(&lines), "    step      reward          kl");
    sink.close();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_it_with_130_and_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Box::new(StoreSink::open(dir.path().join("runs.db"), "r").unwrap());
    put(&mut sink, 1..=1);
    let (child, lines) = follow(dir.path(), &[], None);
    next(&lines);
    next(&lines);
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(said, "r: no longer followed, by Ctrl-C\n");
    put(&mut sink, 2..=2);
    assert_eq!(sink.close().error, None);
}

#[test]
fn one_run_is_followed_that_is_there_and_has_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for run in ["r", "s"] {
        let mut sink = Box::new(StoreSink::open(dir.path().join("runs.db"), run).unwrap());
        put(&mut sink, 1..=1);
        sink.close();
    }
    for (args, expected) in [
        (&["s"][..], "error: --follow: expected one run, found 2\n"),
        (
            &["--key", "zz"],
            "error: --key zz: expected a pattern that one of 3 keys matches, found none\n",
        ),
    ] {
        let (child, _lines) = follow(dir.path(), args, None);
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert_eq!(String::from_utf8(out.stderr).unwrap(), expected);
    }
}
