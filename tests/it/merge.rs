//! `merge`: shards of ranks in files, in any order, into the rows of a replay.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use grpo_metrics::batch::scalars::Weighting;
use grpo_metrics::engine::{Engine, EngineOptions};
use grpo_metrics::recording::Recording;
use grpo_metrics::row::Metrics;
use grpo_metrics::row::run::Ending;
use grpo_metrics::shard::Shard;

const RECORDING: &str = "tests/data/recordings/trl-4rank-split";

fn command() -> Command {
    Command::new(crate::grpo_metrics())
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
fn shards_in_any_order_give_the_rows_of_the_replay_that_is_told_the_same() {
    let told: [(&[&str], usize); 7] = [
        (&[], 12),
        (&["--dialect", "trl"], 12),
        (&["--dialect", "trl", "--no-kl-bias-correction"], 12),
        (
            &["--dialect", "verl", "--every", "5", "--window", "pooled"],
            3,
        ),
        (&["--every", "5", "--mode", "slim"], 3),
        (&["--every", "5", "--no-emit-partial"], 2),
        (&["--logging-strategy", "epoch"], 1),
    ];
    for (args, count) in told {
        let folder = tempfile::tempdir().unwrap();
        let replayed = rows(
            command()
                .args(["replay", "--quiet", "--jsonl", "-"])
                .args(args)
                .arg("--shards")
                .args([folder.path(), RECORDING.as_ref()]),
        );
        let mut shards = shards(&folder);
        assert_eq!((replayed.len(), shards.len()), (count, 4 * 12), "{args:?}");
        shards.reverse();
        // A riffle, so that steps and ranks are mixed.
        let (front, back) = shards.split_at(shards.len() / 2);
        let mixed: Vec<_> = back
            .iter()
            .chain(front)
            .step_by(2)
            .chain(back.iter().chain(front).skip(1).step_by(2))
            .collect();
        let merged = rows(command().arg("merge").args(args).args(mixed));
        assert_eq!(merged, replayed, "{args:?}");
    }
}

/// The options of the test below, as a file and as an engine reads them.
const TOLD: &str = r#"
dialect = "verl"
mode = "full"
logging_steps = 5
window = "pooled"
kl_kind = "abs"
kl_bias_correction = false
devices = 4
steps_per_epoch = 7
high_kl = 0.001
pass_k = [1, 3, 64]
extended = true
clip_range = [0.1, 0.3]
is_ratio_cap = 1.5
rollout_rs = { token_k1 = [0.7, 1.5], seq_mean_k3 = 0.01 }
kl_penalty = 0.25
kl_penalty_kind = "k2"
success = ["digits", 0.25]
retain = "sketch"
limits = { kl = 0.0001, clipped = 0 }
"#;

/// The keys and bits of a row.
fn bits(metrics: impl IntoIterator<Item = (String, f64)>) -> BTreeMap<String, u64> {
    let bits = metrics.into_iter().map(|(key, x)| (key, x.to_bits()));
    bits.collect()
}

#[test]
fn rows_of_an_engine_a_replay_a_merge_and_a_shard_by_itself_are_equal_in_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let shards_in = folder.path().join("shards");
    for every in [1, 5] {
        let told = TOLD.replace("logging_steps = 5", &format!("logging_steps = {every}"));
        let file = folder.path().join("run.toml");
        fs::write(&file, &told).unwrap();
        let config = ["--config", file.to_str().unwrap()];
        let replayed = rows(
            command()
                .args(["replay", "--quiet", "--jsonl", "-"])
                .args(config)
                .arg("--shards")
                .args([shards_in.as_path(), RECORDING.as_ref()]),
        );
        let entries = fs::read_dir(&shards_in).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        let merged = rows(command().arg("merge").args(config).args(files));
        assert_eq!(merged, replayed);

        let replayed: Vec<_> = replayed
            .iter()
            .map(|row| {
                serde_json::from_str::<serde_json::Value>(&format!("{{\"step\"{row}")).unwrap()
            })
            .map(|row| {
                let metrics = row["metrics"].as_object().unwrap().clone();
                bits(
                    metrics
                        .into_iter()
                        .map(|(key, x)| (key, x.as_f64().unwrap())),
                )
            })
            .collect();
        assert!(replayed[0].contains_key("pass@3") && replayed[0].contains_key("health/kl"));

        let options: EngineOptions = toml::from_str(&told).unwrap();
        let of_row = |metrics: &Metrics| bits(metrics.iter().map(|(key, x)| (key.to_owned(), x)));
        let recording = Recording::open(&[RECORDING]).unwrap();
        let mut engine = Engine::builder().options(options.clone()).build().unwrap();
        let mut computed = Vec::new();
        for step in recording.steps() {
            let snapshot = step.weighting().map(Weighting::clip_range);
            let range = snapshot.or(options.clip_range).unwrap();
            engine.expect_clip_range(range);
            let mut whole = Shard::default();
            for found in step.records() {
                let record = recording.load(found).unwrap();
                let batch = record.batch().unwrap();
                engine.observe(&batch).unwrap();
                let shard = options.count(&batch, found.place, Some(range));
                whole.merge(shard).unwrap();
            }
            if every == 1 && step.step == 1 {
                let alone = options.row(whole, Some(1)).unwrap();
                assert_eq!(of_row(&alone), replayed[0]);
            }
            computed.extend(engine.step(step.step).unwrap());
        }
        computed.extend(engine.finish_as(&Ending::completed()).0);
        let computed: Vec<_> = computed.iter().map(|row| of_row(&row.metrics)).collect();
        assert_eq!(computed, replayed);
    }
}

#[test]
fn metrics_of_ones_own_fold_in_a_merge_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("own.jsonl");
    let record = |(step, rank, own): (u64, u32, f64)| {
        format!(
            r#"{{"step": {step}, "rank": {rank}, "world_size": 2, "batch": {{"rewards": [1.0], "group_sizes": [1]}}, "scalars": {{"own": {own}}}}}"#
        )
    };
    let records = [(1, 0, 1.0), (1, 1, 2.0), (2, 0, 4.0), (2, 1, 8.0)].map(record);
    fs::write(&recording, records.join("\n")).unwrap();
    for (fold, value) in [
        ("own=sum", "15.0"),
        ("own=max", "8.0"),
        ("own=mean", "3.75"),
    ] {
        let read = ["--every", "2", "--window", "pooled", "--fold", fold];
        let [replayed, merged] = replayed_and_merged(&recording, &[], &read);
        assert_eq!(merged, replayed);
        let row = &merged.0[0];
        assert!(row.contains(&format!(r#""own":{value}"#)), "{fold}: {row}");
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
    bytes[8] = 9;
    fs::write(&shard, bytes).unwrap();
    let newer = refusal(&[shard]);
    let expected = format!(
        "expected format version {}, found version 9",
        grpo_metrics::wire::VERSION
    );
    assert!(newer.contains(&expected), "{newer}");
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
        let assert = merge.assert().code(2).stdout("");
        text(&assert.get_output().stderr)
    };
    let asked: [(&[&str], &str, &str); 3] = [
        (
            &["--high-kl", "0.2"],
            "the extended metrics",
            "`replay --extended --shards`",
        ),
        (
            &["--limit", "kl=2", "--dialect", "verl"],
            "the extended metrics",
            "`replay --extended --shards`",
        ),
        (
            &["--dialect", "verl"],
            "what actor and critic report",
            "`replay --dialect verl --shards`",
        ),
    ];
    for (args, wanted, by) in asked {
        let refused = refusal(args);
        for part in [
            "step-1.rank-0.shard: step 1, rank 0: expected a shard with ",
            wanted,
            by,
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    let counted = refusal(&["--kl-penalty", "0.5"]);
    assert!(
        counted.contains("unexpected argument '--kl-penalty'"),
        "{counted}"
    );
}

#[test]
fn extended_shards_have_what_verl_names() {
    let [_, (rows, _)] = replayed_and_merged(RECORDING.as_ref(), &[], &[]);
    let folder = tempfile::tempdir().unwrap();
    let mut replay = command();
    replay.args(["replay", "--jsonl", "-", "--extended", "--shards"]);
    replay.args([folder.path(), RECORDING.as_ref()]);
    replay.assert().success();
    let mut merge = command();
    merge.args(["merge", "--dialect", "verl"]);
    let out = merge.args(shards(&folder)).assert().success();
    let key = r#""actor/kl_loss":"#;
    assert!(rows.iter().all(|row| row.contains(key)), "{rows:?}");
    let merged = text(&out.get_output().stdout);
    assert!(merged.lines().all(|row| row.contains(key)), "{merged}");
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
