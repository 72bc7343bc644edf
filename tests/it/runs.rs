//! `runs`: which are listed and how, and what is done to them.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::path::Path;

use grpo_metrics::row::Row;
use grpo_metrics::sink::Sink;
use grpo_metrics::store::{Prediction, RunSpec, Sqlite, Store, StoreSink};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::show::{command, text};

/// `runs` with these words, which succeeds.
fn runs(dir: &Path, args: &[&str]) -> String {
    let out = command(dir, &[&["runs"], args].concat(), None);
    assert!(out.status.success(), "{out:?}");
    text(&out.stdout)
}

/// `runs` with these words, which is refused.
fn refused(dir: &Path, args: &[&str]) -> String {
    let out = command(dir, &[&["runs"], args].concat(), None);
    assert_eq!(
        (out.status.code(), text(&out.stdout)),
        (Some(2), String::new()),
        "{out:?}"
    );
    text(&out.stderr)
}

/// The runs that are listed, in order.
fn listed(dir: &Path, args: &[&str]) -> Vec<String> {
    let list = runs(dir, &[&["--json"], args].concat());
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    list.iter()
        .map(|run| run["id"].as_str().unwrap().to_owned())
        .collect()
}

fn open(dir: &Path, run: &str, experiment: &str, steps: u64) -> Box<StoreSink> {
    let spec = RunSpec {
        experiment: Some(experiment.to_owned()),
        ..RunSpec::new(run)
    };
    let mut sink = Box::new(StoreSink::open(dir.join("runs.db"), spec).unwrap());
    for step in 1..=steps {
        let metrics = [("train/reward", step as f64), ("train/kl", 0.5)]
            .into_iter()
            .collect();
        sink.write(&Row {
            step,
            metrics,
            ..Row::default()
        })
        .unwrap();
    }
    sink
}

/// Three runs of known ages; the last one is being written.
fn three() -> (TempDir, Box<StoreSink>) {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), "old", "first", 30).close();
    open(dir.path(), "new", "second", 20).close();
    let writer = open(dir.path(), "now", "second", 10);
    let db = Connection::open(dir.path().join("runs.db")).unwrap();
    for (run, created) in [
        ("old", "2026-01-31T12:00:00.123Z"),
        ("new", "2026-02-01T12:00:00.000Z"),
    ] {
        db.execute(
            "UPDATE runs SET created_at = ?2 WHERE id = ?1",
            [run, created],
        )
        .unwrap();
    }
    db.execute("UPDATE runs SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-90 minutes') WHERE id = 'now'", []).unwrap();
    (dir, writer)
}

#[test]
fn the_newest_runs_stand_first_and_the_list_is_that_of_show() {
    let (dir, writer) = three();
    writer.close();
    let dir = dir.path();
    runs(dir, &["note", "old", "the first try"]);
    let list = runs(dir, &[]);
    let shown = command(dir, &["show"], None);
    assert_eq!(text(&shown.stdout), list);
    let list: String = list
        .lines()
        .filter(|line| !line.starts_with("now "))
        .map(|line| line.to_owned() + "\n")
        .collect();
    insta::assert_snapshot!(list, @"
    run  experiment  status     steps  first  last  values  created              note
    new  second      completed     20      1    20      40  2026-02-01 12:00:00
    old  first       completed     30      1    30      60  2026-01-31 12:00:00  the first try
    ");
    for columns in [60, 80, 200] {
        let list = text(&command(dir, &["runs"], Some(columns)).stdout);
        assert!(
            list.lines().all(|line| line.chars().count() <= columns),
            "{columns}: {list}"
        );
    }
    let narrow = text(&command(dir, &["runs"], Some(60)).stdout);
    assert!(
        narrow.contains("\nold  first       completed     30    30  2026-01-31\n"),
        "{narrow}"
    );
}

#[test]
fn runs_are_filtered_and_ordered_as_asked_for() {
    let (dir, writer) = three();
    let dir = dir.path();
    runs(dir, &["tag", "old", "base", "long"]);
    runs(dir, &["tag", "new", "base"]);
    for (args, expected) in [
        (&[][..], &["now", "new", "old"][..]),
        (&["--reverse"], &["old", "new", "now"]),
        (&["--status", "completed"], &["new", "old"]),
        (&["--status", "running"], &["now"]),
        (&["--status", "failed", "--status", "running"], &["now"]),
        (&["--status", "failed"], &[]),
        (&["--tag", "base"], &["new", "old"]),
        (&["--tag", "base", "--tag", "long"], &["old"]),
        (&["--experiment", "second"], &["now", "new"]),
        (&["--since", "2026-02-01"], &["now", "new"]),
        (&["--since", "2026-02-01 12:01"], &["now"]),
        (&["--since", "2h"], &["now"]),
        (&["--since", "60m"], &[]),
        (&["--sort", "name"], &["new", "now", "old"]),
        (&["--sort", "steps"], &["old", "new", "now"]),
        (&["--sort", "experiment"], &["old", "now", "new"]),
        (&["--sort", "status"], &["new", "old", "now"]),
    ] {
        assert_eq!(listed(dir, args), expected, "{args:?}");
    }
    assert_eq!(
        runs(dir, &["--tag", "none"]),
        "no such runs; 3 in the store\n"
    );
    for args in [
        &["--since", "yesterday"][..],
        &["--since", "2026-13-01"],
        &["--sort", "size"],
        &["--status", "done"],
    ] {
        assert!(refused(dir, args).contains(args[1]), "{args:?}");
    }
    drop(writer);
}

#[test]
fn a_run_is_found_by_what_it_was_renamed_to_and_by_its_id() {
    let (dir, writer) = three();
    writer.close();
    let dir = dir.path();
    assert_eq!(
        runs(dir, &["rename", "old", "baseline"]),
        "old: named `baseline`\n"
    );
    for name in ["old", "baseline"] {
        let out = command(dir, &["show", name], None);
        assert!(
            text(&out.stdout).starts_with("old: completed, steps 1 to 30\n"),
            "{out:?}"
        );
    }
    assert!(
        runs(dir, &[]).contains("\nold  baseline  first "),
        "{}",
        runs(dir, &[])
    );
    runs(dir, &["rename", "new", "baseline"]);
    let several =
        "error: runs.db: expected the id of a run, found `baseline`, the name of `old`, `new`\n";
    assert_eq!(refused(dir, &["rename", "baseline", "x"]), several);
    assert!(refused(dir, &["rename", "basline", "x"]).contains("did you mean `baseline`?"));
    assert_eq!(
        refused(dir, &["rename", "old", " "]),
        "error: expected a name with something in it, found none\n"
    );
}

#[test]
fn tags_and_notes_are_put_on_a_run_and_taken_away() {
    let (dir, writer) = three();
    let dir = dir.path();
    assert_eq!(
        runs(dir, &["tag", "now", "a", "b", "a"]),
        "now: tags: a, b\n"
    );
    assert_eq!(runs(dir, &["tag", "now", "c", "b"]), "now: tags: a, b, c\n");
    assert_eq!(runs(dir, &["untag", "now", "a", "c"]), "now: tags: b\n");
    assert_eq!(runs(dir, &["untag", "now", "b", "z"]), "now: no tags\n");
    assert_eq!(
        runs(dir, &["note", "now", "lr too high"]),
        "now: note: lr too high\n"
    );
    assert!(runs(dir, &[]).contains("  lr too high\n"));
    assert_eq!(runs(dir, &["note", "now", ""]), "now: no note\n");
    assert!(!runs(dir, &[]).contains("note"));
    let status = refused(dir, &["--status", "failed", "note", "now", "x"]);
    assert_eq!(
        status,
        "error: --status: expected it where runs are listed, found it beside a change of one\n"
    );
    // The writer is not disturbed.
    let receipt = writer.close();
    assert_eq!((receipt.written, receipt.error), (10, None));
}

#[test]
fn a_removed_run_takes_all_of_its_own_along_and_nothing_else() {
    let (dir, writer) = three();
    let dir = dir.path();
    let path = dir.join("runs.db");
    let mut store = Sqlite::open(&path).unwrap();
    for run in ["old", "new"] {
        let prediction = Prediction {
            run_id: run.to_owned(),
            ..Prediction::default()
        };
        store.add_prediction(&prediction).unwrap();
    }
    drop(store);
    let count = |table: &str| -> i64 {
        let db = Connection::open(&path).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |line| {
            line.get(0)
        })
        .unwrap()
    };
    assert_eq!(
        (count("numbers"), count("rows"), count("predictions")),
        (120, 60, 2)
    );
    let unasked = refused(dir, &["rm", "old", "old"]);
    assert_eq!(
        unasked,
        "error: `old` (30 steps, 60 values) would be removed: expected --yes, as nobody can be asked here\n"
    );
    let written = refused(dir, &["rm", "--yes", "old", "now"]);
    assert_eq!(
        written,
        "error: run `now` is being written: it is not removed without --force\n"
    );
    assert_eq!(count("numbers"), 120);

    let removed = runs(dir, &["rm", "--yes", "old"]);
    assert!(
        removed.starts_with("removed `old` (30 steps, 60 values): "),
        "{removed}"
    );
    assert!(
        removed.ends_with(" of runs.db are free for what is written next\n"),
        "{removed}"
    );
    assert_eq!(
        (
            count("numbers"),
            count("rows"),
            count("series"),
            count("predictions")
        ),
        (60, 30, 4, 1)
    );
    assert_eq!(listed(dir, &[]), ["now", "new"]);
    let out = command(dir, &["show", "new", "--csv"], None);
    assert!(
        text(&out.stdout).contains("\ntrain/reward,train,20,1,20,20.0,10.5,1.0,20.0\n"),
        "{out:?}"
    );
    let receipt = writer.close();
    assert_eq!((receipt.written, receipt.error), (10, None));
    runs(dir, &["rm", "-y", "now", "new"]);
    assert_eq!(
        (count("numbers"), count("rows"), count("series")),
        (0, 0, 0)
    );
    assert_eq!(runs(dir, &[]), "no runs\n");
}

#[test]
fn a_run_that_is_being_written_is_removed_by_force() {
    let (dir, writer) = three();
    runs(dir.path(), &["rm", "--yes", "--force", "now"]);
    assert_eq!(listed(dir.path(), &[]), ["new", "old"]);
    drop(writer);
}

#[test]
fn nothing_is_made_where_there_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &[][..],
        &["rename", "a", "b"],
        &["tag", "a", "b"],
        &["note", "a", "b"],
        &["rm", "--yes", "a"],
    ] {
        assert!(
            refused(dir.path(), args)
                .contains("runs.db: expected a store of runs, found no such file")
        );
    }
    assert!(!dir.path().join("runs.db").exists());
}
