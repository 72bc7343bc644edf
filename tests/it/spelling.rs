//! How stores and runs are named: one way in every verb, and the old ways with a hint.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use grpo_metrics::store::{Sqlite, Store};

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/recordings/trl-4rank-split"
);

/// The command with these words and this store in its environment.
fn run(dir: &Path, words: &str, store: Option<&str>) -> Output {
    let mut command = Command::new(crate::grpo_metrics());
    command
        .current_dir(dir)
        .args(words.split(' '))
        .env_remove("GRPO_METRICS_STORE")
        .envs(store.map(|store| ("GRPO_METRICS_STORE", store)));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn runs(dir: &Path, store: &str) -> Vec<String> {
    let store = Sqlite::open_read_only(dir.join(store)).unwrap();
    store.run_names().unwrap()
}

#[test]
fn every_verb_works_on_the_store_that_is_named_else_on_that_of_the_environment_else_on_the_one_here()
 {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("run")).unwrap();
    fs::write(
        dir.join("run/metrics.jsonl"),
        "{\"step\": 1, \"loss\": 0.5}\n",
    )
    .unwrap();
    let replay = format!("replay {RECORDING} --quiet --run replayed");
    let forward = "forward run --run forwarded";
    for (flag, environment, written) in [
        ("", None, "runs.db"),
        ("", Some("environment.db"), "environment.db"),
        ("", Some(""), "runs.db"),
        (" --store named.db", Some("environment.db"), "named.db"),
    ] {
        for verb in [replay.as_str(), forward] {
            let out = run(dir, &format!("{verb}{flag}"), environment);
            assert!(out.status.success(), "{verb}: {out:?}");
        }
        assert_eq!(runs(dir, written), ["replayed", "forwarded"]);
        for verb in ["show replayed", "show forwarded"] {
            let out = run(dir, &format!("{verb}{flag}"), environment);
            assert!(out.status.success(), "{verb}: {out:?}");
        }
        fs::remove_file(dir.join(written)).unwrap();
        // What was sent is remembered for each store.
        fs::remove_dir_all(dir.join("run")).unwrap();
        fs::create_dir(dir.join("run")).unwrap();
        fs::write(
            dir.join("run/metrics.jsonl"),
            "{\"step\": 1, \"loss\": 0.5}\n",
        )
        .unwrap();
    }
    let replay = format!("{replay} --jsonl rows.jsonl");
    assert!(run(dir, &replay, Some("environment.db")).status.success());
    assert!(!dir.join("environment.db").exists());
}

#[test]
fn old_spellings_are_understood_and_the_new_ones_said() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(
        dir,
        &format!("replay {RECORDING} --quiet --store a.db --run r"),
        None,
    );
    let new = run(dir, "show --store a.db r", None);
    assert_eq!(said(&new), "");
    let old = run(dir, "show a.db r", Some("b.db"));
    assert_eq!(old.stdout, new.stdout);
    assert_eq!(
        said(&old),
        "note: a.db is taken as the store: --store a.db says so\n"
    );
    let list = run(dir, "show a.db", None);
    assert_eq!(list.stdout, run(dir, "show --store a.db", None).stdout);

    fs::write(dir.join("metrics.jsonl"), "{\"step\": 1, \"loss\": 0.5}\n").unwrap();
    let out = run(dir, "forward . --run-id old --store a.db", None);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(said(&out), "note: --run-id is spelled --run now\n");
    let store = Sqlite::open_read_only(dir.join("a.db")).unwrap();
    assert_eq!(store.get_metrics("old", None, None).unwrap().len(), 1);

    // No store yet, so that it is taken for a run; what was meant is said.
    let out = run(dir, "show c.db r", Some("a.db"));
    assert_eq!(out.status.code(), Some(2));
    assert!(
        said(&out).ends_with("; a store is named by --store c.db\n"),
        "{out:?}"
    );
}
