//! `merge`: shards of ranks in files, in any order, into the rows of a replay.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

const RECORDING: &str = "tests/data/recordings/trl-4rank-split";

fn command() -> Command {
    Command::cargo_bin("grpo-metrics").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The rows on standard output, without their timestamps.
fn rows(command: &mut Command) -> Vec<String> {
    let printed = text(&command.assert().success().get_output().stdout);
    let untimed = printed
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

/// Rows, and what was warned of beside them.
type Said = (Vec<String>, Vec<String>);

/// The rows of a replay that is told `counted` and `read`, and those of its shards merged with `read`; each with what was said.
fn replayed_and_merged(recording: &Path, counted: &[&str], read: &[&str]) -> [Said; 2] {
    let folder = tempfile::tempdir().unwrap();
    let warnings = |command: &mut Command| {
        let stderr = text(&command.output().unwrap().stderr);
        let warnings = stderr.lines().filter(|line| line.starts_with("warning: "));
        warnings.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let mut replay = command();
    replay.args(["replay", "--jsonl", "-", "--shards"]);
    replay.args([folder.path(), recording]);
    let dialect = ["--dialect", "verl"];
    replay.args(dialect).args(counted).args(read);
    let replayed = (rows(&mut replay), warnings(&mut replay));
    let mut merge = command();
    merge
        .arg("merge")
        .args(shards(&folder))
        .args(dialect)
        .args(read);
    [replayed, (rows(&mut merge), warnings(&mut merge))]
}

#[test]
fn what_rows_are_read_with_can_be_said_to_the_merge_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("timed.jsonl");
    let record = |rank: u32, rewards: [f64; 2]| {
        format!(
            r#"{{"step": 1, "rank": {rank}, "world_size": 2, "batch": {{"rewards": {rewards:?}, "group_sizes": [2], "completion_lengths": [2, 1],
            "prompt_lengths": [3, 4], "token_logps": [-1.0, -0.5, -2.0], "ref_token_logps": [-1.5, -0.25, -2.0]}},
            "scalars": {{"step_time_sec": 2.0}}}}"#
        )
        .replace('\n', "")
    };
    let records = [record(0, [0.0, 1.0]), record(1, [1.0, 1.0])];
    fs::write(&recording, records.join("\n")).unwrap();
    let read = ["--kl-kind", "k1", "--devices", "5"];
    let [replayed, merged] = replayed_and_merged(&recording, &[], &read);
    assert_eq!(merged, replayed);
    // d is 0.5, -0.25 and 0, twice; 2 * (3 + 4 + 2 + 1) tokens in 2 s on 5 devices.
    let row = &merged.0[0];
    assert!(
        row.contains(r#""actor/kl_loss":0.08333333333333333,"#),
        "{row}"
    );
    assert!(row.contains(r#""perf/throughput":2.0"#), "{row}");

    // The shards know of the penalty: half of 0.25 nats is off the first reward.
    let penalty = ["--kl-penalty", "0.5"];
    let [replayed, merged] = replayed_and_merged(&recording, &penalty, &read);
    assert_eq!(merged, replayed);
    let row = &merged.0[0];
    assert!(row.contains(r#""critic/rewards/min":-0.125,"#), "{row}");

    // Without a reference nobody can tell what the penalty takes off: neither row has rewards after it.
    let without = records.map(|record| record.replace("ref_token_logps", "token_entropies"));
    fs::write(&recording, without.join("\n")).unwrap();
    let [replayed, merged] = replayed_and_merged(&recording, &penalty, &read);
    assert_eq!(merged, replayed);
    assert!(!merged.0[0].contains("critic/rewards/"), "{}", merged.0[0]);
}

#[test]
fn health_is_judged_in_a_merge_as_in_the_replay() {
    let recording = Path::new("tests/data/recordings/trl-2rank");
    let read = [
        "--limit",
        "clipped=0.01",
        "--limit",
        "kl=0.001",
        "--high-kl",
        "0.01",
    ];
    let [replayed, merged] = replayed_and_merged(recording, &["--extended"], &read);
    assert_eq!(merged, replayed);
    assert!(merged.1.len() > 1, "{:?}", merged.1);
    let [told, untold] = [&read[..], &[]].map(|read| {
        let [_, (rows, _)] = replayed_and_merged(recording, &["--extended"], read);
        rows
    });
    assert_ne!(told, untold);
}

#[test]
fn what_was_not_counted_cannot_be_asked_of_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    rows(
        command()
            .args(["replay", "--jsonl", "-", "--shards"])
            .args([folder.path(), RECORDING.as_ref()]),
    );
    let refusal = |args: &[&str]| {
        let mut merge = command();
        merge.arg("merge").args(shards(&folder)).args(args);
        text(&merge.assert().code(2).get_output().stderr)
    };
    for args in [["--high-kl", "0.2"], ["--limit", "kl=2"]] {
        let refused = refusal(&args);
        assert!(
            refused.contains("expected shards with the extended metrics"),
            "{refused}"
        );
    }
    let counted = refusal(&["--kl-penalty", "0.5"]);
    assert!(
        counted.contains("unexpected argument '--kl-penalty'"),
        "{counted}"
    );
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
