//! The command stopped and made again: replays that go on where they were, forwards that end their run.
#![cfg(all(feature = "cli", unix))]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use grpo_metrics::store::{Sqlite, Status, Store};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(crate::grpo_metrics());
    command
        .current_dir(dir)
        .env("MAXENT_GIT_SHA", "abc1234")
        .env_remove("GRPO_METRICS_STORE")
        .env_remove("MAXENT_WANDB_METRICS_MODE")
        .env_remove("MAXENT_METRICS_MODE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn replay(dir: &TempDir, recording: &str, args: &[&str]) -> Output {
    let mut command = command(dir);
    command
        .args(["replay", recording, "--store", "runs.db"])
        .args(args);
    command.output().unwrap()
}

/// What was said, without times.
fn said(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("engine's own time"));
    lines.map(|line| line.to_owned() + "\n").collect()
}

/// A recording of so many steps, each of whose numbers is its own.
fn record(dir: &TempDir, name: &str, steps: u64) {
    let mut lines = String::new();
    for step in 1..=steps {
        let (a, b) = (step as f64 / 7.0, (step % 13) as f64);
        writeln!(
            lines,
            r#"{{"step": {step}, "rank": 0, "world_size": 1, "batch": {{"group_sizes": [2], "rewards": [{a}, {b}]}}, "weighting": {{"tau": {b}}}}}"#
        )
        .unwrap();
    }
    fs::write(dir.path().join(name), lines).unwrap();
}

/// Everything that the store has of a run, as somebody else sees it.
fn numbers(path: &Path, run: &str) -> Vec<(i64, String, String, u64)> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT step, split, name, value FROM metrics WHERE run_id = ?1 ORDER BY 1, 2, 3";
    let mut select = db.prepare(sql).unwrap();
    let rows = select.query_map([run], |line| {
        let value: f64 = line.get(3)?;
        Ok((line.get(0)?, line.get(1)?, line.get(2)?, value.to_bits()))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn stands(dir: &TempDir, run: &str) -> (Status, Option<String>) {
    let run = Sqlite::open_read_only(dir.path().join("runs.db"))
        .unwrap()
        .get_run(run)
        .unwrap()
        .record;
    (run.status, run.error_message)
}

fn store(dir: &TempDir) -> PathBuf {
    dir.path().join("runs.db")
}

/// How many steps of the run are stored by now.
fn stored(dir: &TempDir, run: &str) -> u64 {
    let Ok(store) = Sqlite::open_read_only(store(dir)) else {
        return 0;
    };
    let runs = store.overview().unwrap_or_default();
    runs.iter()
        .find(|found| found.id == run)
        .map_or(0, |run| run.steps)
}

/// A verb that was stopped by a signal once it had stored something, and before it was through.
fn stopped(dir: &TempDir, run: &str, mut command: Command, signal: &str) -> Output {
    let mut child: Child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while stored(dir, run) == 0 || stands(dir, run).0 != Status::Running {
        assert!(Instant::now() < deadline, "nothing was stored");
        assert!(child.try_wait().unwrap().is_none(), "it was through");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    child.wait_with_output().unwrap()
}

const LONG: u64 = 8000;

/// A long replay, as one stroke makes it, and the beginning of one.
fn long(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = command(dir);
    command
        .args(["replay", "long.jsonl", "--store", "runs.db"])
        .args(args);
    command
}

#[test]
fn a_replay_of_a_recording_that_is_whole_does_nothing_and_says_so() {
    let dir = TempDir::new().unwrap();
    record(&dir, "rec.jsonl", 6);
    let first = replay(&dir, "rec.jsonl", &[]);
    insta::assert_snapshot!(said(&first), @"
    6 steps, 1 rank, 12 completions, 0 tokens, 6 rows
    rows to runs.db, run `rec`
    ");
    let before = numbers(&store(&dir), "rec");
    let again = replay(&dir, "rec.jsonl", &[]);
    assert_eq!(again.status.code(), Some(0));
    insta::assert_snapshot!(said(&again), @"runs.db, run `rec`: all 6 steps of the recording are there already: nothing to do (--resume never computes them anew, as another run)");
    assert!(said(&replay(&dir, "rec.jsonl", &["--quiet"])).is_empty());
    // Others have the rows all the same.
    let lines = replay(&dir, "rec.jsonl", &["--jsonl", "rows.jsonl"]);
    insta::assert_snapshot!(said(&lines), @"
    6 steps, 1 rank, 12 completions, 0 tokens, 6 rows
    runs.db, run `rec`: all 6 steps of the recording are there already
    rows to rows.jsonl
    ");
    let rows = fs::read_to_string(dir.path().join("rows.jsonl")).unwrap();
    assert_eq!((rows.lines().count(), rows.contains("again")), (6, false));
    assert_eq!(numbers(&store(&dir), "rec"), before);
    // A recording that has grown is gone on with, wherever it lies by now.
    record(&dir, "rec.jsonl", 8);
    fs::create_dir(dir.path().join("moved")).unwrap();
    fs::rename(
        dir.path().join("rec.jsonl"),
        dir.path().join("moved/rec.jsonl"),
    )
    .unwrap();
    let grown = replay(&dir, "moved/rec.jsonl", &[]);
    insta::assert_snapshot!(said(&grown), @"
    note: runs.db: run `rec` goes on; it has steps up to 6
    warning: run `rec`: rows of steps that were there already are written again: 6, of steps 1 to 6
    8 steps, 1 rank, 16 completions, 0 tokens, 8 rows
    rows to runs.db, run `rec`
    ");
    assert_eq!(stored(&dir, "rec"), 8);
}

#[test]
fn a_replay_with_other_options_or_of_another_recording_is_a_run_of_its_own() {
    let dir = TempDir::new().unwrap();
    record(&dir, "rec.jsonl", 6);
    replay(&dir, "rec.jsonl", &["--quiet"]);
    let other = replay(&dir, "rec.jsonl", &["--dialect", "trl", "--every", "2"]);
    insta::assert_snapshot!(said(&other), @"
    note: runs.db: run `rec` has dialect maxent, logging_steps as by default: this one is `rec-2`
    6 steps, 1 rank, 12 completions, 0 tokens, 3 rows
    rows to runs.db, run `rec-2`
    ");
    let again = replay(&dir, "rec.jsonl", &["--dialect", "trl", "--every", "2"]);
    assert!(
        said(&again).starts_with("runs.db, run `rec-2`: all 6 steps"),
        "{}",
        said(&again)
    );
    let again = replay(&dir, "rec.jsonl", &[]);
    assert!(
        said(&again).starts_with("runs.db, run `rec`: all 6 steps"),
        "{}",
        said(&again)
    );
    fs::create_dir(dir.path().join("b")).unwrap();
    record(&dir, "b/rec.jsonl", 5);
    let text = fs::read_to_string(dir.path().join("b/rec.jsonl")).unwrap();
    fs::write(
        dir.path().join("b/rec.jsonl"),
        text.replace("[2]", "[1, 1]"),
    )
    .unwrap();
    let elsewhere = replay(&dir, "b/rec.jsonl", &[]);
    let note = said(&elsewhere);
    assert!(
        note.starts_with("note: runs.db: run `rec` is of another recording: this one is `rec-3`\n"),
        "{note}"
    );
    // Who must have the one that is there is refused, with both named.
    let refused = replay(&dir, "rec.jsonl", &["--resume", "must", "--run", "rec-2"]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(said(&refused), @"error: run `rec-2`: expected dialect trl, logging_steps 2, as it was begun with, found dialect maxent, logging_steps as by default: a run keeps what decides its numbers");
    let nobody = replay(&dir, "rec.jsonl", &["--resume", "must", "--run", "nobody"]);
    assert_eq!(nobody.status.code(), Some(2));
    insta::assert_snapshot!(said(&nobody), @"error: expected run `nobody`, found no such record");
    let anew = replay(&dir, "rec.jsonl", &["--resume", "never"]);
    assert!(
        said(&anew).contains("rows to runs.db, run `rec-4`"),
        "{}",
        said(&anew)
    );
    let wrong = replay(&dir, "rec.jsonl", &["--resume", "perhaps"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("[possible values: never, allow, must]"));
}

#[test]
fn a_replay_that_was_stopped_says_where_it_is_and_the_same_again_gives_what_one_stroke_gives() {
    let dir = TempDir::new().unwrap();
    record(&dir, "long.jsonl", LONG);
    // A window and flags of health look back, so that a beginning within them would show.
    let args = ["--every", "3", "--extended"];
    let whole = dir.path().join("whole.db");
    let mut one = command(&dir);
    one.args(["replay", "long.jsonl", "--store", "whole.db"])
        .args(args);
    assert!(one.output().unwrap().status.success());
    let expected = numbers(&whole, "long");

    for (signal, by) in [("-INT", "Ctrl-C"), ("-TERM", "SIGTERM")] {
        let out = stopped(&dir, "long", long(&dir, &args), signal);
        assert_eq!(out.status.code(), Some(130), "{}", said(&out));
        let text = said(&out);
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("stopped by {by} after step "))
                && last.ends_with("; the same replay goes on with its run"),
            "{text}"
        );
        assert!(text.contains("rows to runs.db, run `long`\n"), "{text}");
        assert_eq!(
            stands(&dir, "long"),
            (Status::Cancelled, Some(by.to_owned()))
        );
        let some = numbers(&store(&dir), "long");
        assert!(!some.is_empty() && some.len() < expected.len());
        assert_eq!(some, expected[..some.len()], "what is there is a beginning");
    }
    // Killed, it cannot say so.
    let out = stopped(&dir, "long", long(&dir, &args), "-KILL");
    assert_eq!(out.status.code(), None);
    assert_eq!(stands(&dir, "long").0, Status::Running);

    let before = stored(&dir, "long");
    let lines = long(&dir, &args)
        .args(["--jsonl", "rows.jsonl"])
        .output()
        .unwrap();
    assert!(lines.status.success(), "{}", said(&lines));
    assert!(said(&lines).contains("run `long` goes on; it has steps up to "));
    assert_eq!(stands(&dir, "long"), (Status::Completed, None));
    assert_eq!(numbers(&store(&dir), "long"), expected);
    let rows = fs::read_to_string(dir.path().join("rows.jsonl")).unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let again = rows.iter().filter(|row| row["again"] == true).count() as u64;
    assert_eq!((rows.len() as u64, again), (LONG / 3 + 1, before));
    let done = long(&dir, &args).output().unwrap();
    assert!(
        said(&done).contains(&format!("all {LONG} steps")),
        "{}",
        said(&done)
    );
}

fn forward(dir: &TempDir, folder: &str, args: &[&str]) -> Command {
    let run: &[&str] = if args.contains(&"--run") {
        &[]
    } else {
        &["--run", "r"]
    };
    let mut command = command(dir);
    command
        .args(["forward", folder, "--store", "runs.db"])
        .args(run)
        .args(args);
    command
}

#[test]
fn a_forward_ends_its_run_and_goes_on_with_the_one_that_it_forwarded_to_before() {
    let dir = TempDir::new().unwrap();
    for folder in ["a", "b"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        let row = "{\"step\": 1, \"reward\": 0.5}\n";
        fs::write(dir.path().join(folder).join("metrics.jsonl"), row).unwrap();
    }
    let output = |folder, args: &[&str]| forward(&dir, folder, args).output().unwrap();
    assert!(said(&output("a", &[])).is_empty());
    assert_eq!(stands(&dir, "r"), (Status::Completed, None));
    let more = "{\"step\": 1, \"reward\": 0.5}\n{\"step\": 2, \"reward\": 0.5}\n";
    fs::write(dir.path().join("a/metrics.jsonl"), more).unwrap();
    assert!(output("a", &[]).status.success());
    assert_eq!(stored(&dir, "r"), 2);
    // Another training under the same name is another run, and stays so.
    let out = output("b", &[]);
    insta::assert_snapshot!(said(&out), @"note: runs.db: run `r` is there already, so this one is `r-2`; with resume `allow` it would go on with the one that is there");
    assert!(said(&output("b", &[])).is_empty());
    assert_eq!((stored(&dir, "r"), stored(&dir, "r-2")), (2, 1));
    let out = output("b", &["--resume", "must", "--run", "s"]);
    assert_eq!(out.status.code(), Some(2));
    insta::assert_snapshot!(said(&out), @"error: expected run `s`, found no such record");
}

#[test]
fn a_forward_that_follows_ends_with_ctrl_c_and_what_it_sent_is_not_sent_again() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    let file = dir.path().join("a/metrics.jsonl");
    fs::write(&file, "{\"step\": 1, \"reward\": 0.5}\n").unwrap();
    let out = stopped(&dir, "r", forward(&dir, "a", &["--follow"]), "-INT");
    assert_eq!(out.status.code(), Some(130), "{}", said(&out));
    let told = String::from_utf8(out.stdout.clone()).unwrap();
    assert_eq!(told, "a/metrics.jsonl: sent 1, skipped 0, failed 0\n");
    assert_eq!(
        said(&out),
        "stopped by Ctrl-C; the next forward sends the rest\n"
    );
    assert_eq!(
        stands(&dir, "r"),
        (Status::Cancelled, Some("Ctrl-C".to_owned()))
    );
    let next = forward(&dir, "a", &[]).output().unwrap();
    let told = String::from_utf8(next.stdout).unwrap();
    assert_eq!(told, "a/metrics.jsonl: sent 0, skipped 0, failed 0\n");
    assert_eq!(stands(&dir, "r"), (Status::Completed, None));
}
