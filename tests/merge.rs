//! `merge`: shards of ranks in files, in any order, into the rows of a replay.
#![cfg(feature = "cli")]

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;

const RECORDING: &str = "tests/data/recordings/trl-4rank-split";

fn command() -> Command {
    Command::cargo_bin("grpo-metrics").unwrap()
}

/// The rows on standard output, without their timestamps.
fn rows(command: &mut Command) -> Vec<String> {
    let output = command.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    let untimed = text
        .lines()
        .map(|line| line.split_once(",\"step\"").unwrap().1);
    untimed.map(ToOwned::to_owned).collect()
}

/// The shards that a replay has written, by name.
fn shards(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut shards: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    shards.sort();
    shards
}

#[test]
fn shards_in_any_order_give_the_rows_of_the_replay() {
    let folder = tempfile::tempdir().unwrap();
    for dialect in ["maxent", "trl"] {
        let replayed = rows(
            command()
                .args([
                    "replay",
                    "--quiet",
                    "--jsonl",
                    "-",
                    "--dialect",
                    dialect,
                    "--shards",
                ])
                .args([folder.path(), RECORDING.as_ref()]),
        );
        let mut shards = shards(&folder);
        assert_eq!(shards.len(), 4 * replayed.len());
        shards.reverse();
        // A riffle, so that steps and ranks are mixed.
        let (front, back) = shards.split_at(shards.len() / 2);
        let mixed: Vec<_> = back
            .iter()
            .chain(front)
            .step_by(2)
            .chain(back.iter().chain(front).skip(1).step_by(2))
            .collect();
        let merged = rows(command().args(["merge", "--dialect", dialect]).args(mixed));
        assert_eq!(merged, replayed);
    }
}

#[test]
fn files_that_are_no_shards_or_the_same_one_twice_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    command()
        .args(["replay", "--quiet", "--jsonl"])
        .arg(folder.path().join("rows.jsonl"))
        .arg("--shards")
        .args([folder.path().join("shards").as_path(), RECORDING.as_ref()])
        .assert()
        .success();
    let shard = fs::read_dir(folder.path().join("shards"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let refusal = |paths: &[PathBuf]| {
        let assert = command().arg("merge").args(paths).assert().code(2);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let twice = refusal(&[shard.clone(), shard.clone()]);
    assert!(twice.contains("is there twice"), "{twice}");
    let rows = refusal(&[folder.path().join("rows.jsonl")]);
    assert!(
        rows.contains("rows.jsonl: expected a message that begins with `grpo-shd`"),
        "{rows}"
    );
    let mut bytes = fs::read(&shard).unwrap();
    bytes[8] = 2;
    fs::write(&shard, bytes).unwrap();
    let newer = refusal(&[shard]);
    assert!(
        newer.contains("expected format version 1, found version 2"),
        "{newer}"
    );
    let none = refusal(&[folder.path().join("nowhere.shard")]);
    assert!(none.contains("nowhere.shard: cannot read it"), "{none}");
}

#[cfg(not(feature = "mpi"))]
#[test]
fn without_the_feature_the_command_says_what_it_was_built_without() {
    let assert = command()
        .args(["replay", "--gather", "mpi", "--jsonl", "-", RECORDING])
        .assert()
        .code(2);
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("built without `mpi`"), "{stderr}");
}

#[test]
fn the_key_table_of_a_run_with_sketches_says_so() {
    let table = |retain| {
        let output = command()
            .args(["keys", "--dialect", "maxent", "--retain", retain])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!table("exact").contains("sketch"));
    let line = table("sketch")
        .lines()
        .find(|line| line.contains("train/rewards/{name}/p05"))
        .unwrap()
        .to_owned();
    assert!(line.contains("from a sketch: within 1 %"), "{line}");
}
