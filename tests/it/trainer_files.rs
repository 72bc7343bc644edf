//! What trainers write of their own accord, as `replay` and `record convert` read it. How the files were made is in
//! `tests/data/trainers/README.md`: by the trainers' own writers.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::tempdir;

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new("tests/data/trainers").join(name)
}

fn command() -> Command {
    Command::new(crate::grpo_metrics())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The metrics of the rows on standard output, and what was said beside them.
pub(crate) fn replayed(paths: &[&Path], args: &[&str]) -> (Vec<Value>, String) {
    let mut command = command();
    command.arg("replay").args(paths).args(["--jsonl", "-"]);
    let run = command.args(args).assert().success();
    let rows = text(&run.get_output().stdout);
    let rows = rows.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["metrics"].take()
    });
    (rows.collect(), text(&run.get_output().stderr))
}

/// What is said of bad input, which ends with exit code 2.
pub(crate) fn refused(path: &Path) -> String {
    let mut command = command();
    command
        .arg("replay")
        .arg(path)
        .args(["--jsonl", "-", "--quiet"]);
    text(&command.assert().code(2).get_output().stderr)
}

pub(crate) fn near(found: &Value, expected: f64, within: f64) {
    let found = found.as_f64().unwrap();
    let off = (found - expected).abs();
    assert!(
        off <= within * expected.abs().max(1.0),
        "{found} for {expected}"
    );
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The records that the files are converted to.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let folder = tempdir().unwrap();
    let to = folder.path().join("recording");
    let mut command = command();
    command.args(["record", "convert"]).arg(path).arg(&to);
    command.assert().success();
    lines(&to.join("rank0.jsonl"))
}

#[test]
fn verl_s_rollout_data_has_its_scores_in_the_groups_that_its_keys_name() {
    let (rows, said) = replayed(&[&data("verl")], &["--dialect", "verl", "--extended"]);
    for (step, row) in (1..).zip(&rows) {
        let lines = lines(&data(&format!("verl/{step}.jsonl")));
        let scores: Vec<f64> = lines
            .iter()
            .map(|line| line["score"].as_f64().unwrap())
            .collect();
        near(
            &row["critic/score/mean"],
            scores.iter().sum::<f64>() / 12.0,
            1e-15,
        );
        // The keys of verl sort by prompt: four completions each.
        let mixed = scores
            .chunks(4)
            .filter(|group| group.iter().any(|x| *x != group[0]));
        near(&row["groups/mixed"], mixed.count() as f64 / 3.0, 1e-15);
    }
    assert_eq!(rows.len(), 2);
    insta::assert_snapshot!(said.split_once("standard output\n").unwrap().1);
}

#[test]
fn what_verl_s_reward_function_said_as_numbers_is_a_component_and_groups_are_of_equal_prompts() {
    let (rows, _) = replayed(
        &[&data("verl-extra-infos")],
        &["--dialect", "trl", "--extended"],
    );
    let lines = lines(&data("verl-extra-infos/1.jsonl"));
    let mean = |of: &dyn Fn(&Value) -> f64| lines.iter().map(of).sum::<f64>() / 12.0;
    near(
        &rows[0]["rewards/acc/mean"],
        mean(&|l| f64::from(u8::from(l["acc"].as_bool().unwrap()))),
        1e-15,
    );
    near(
        &rows[0]["rewards/format/mean"],
        mean(&|l| l["format"].as_f64().unwrap()),
        1e-15,
    );
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    for text in ["pred", "request_id", "gts", "odd"] {
        assert!(!keys.iter().any(|key| key.contains(text)), "{text}");
    }
    let batch = &records(&data("verl-extra-infos"))[0]["batch"];
    assert_eq!(batch["trajectory_ids"][3], "req-1-3");
    let alike = |a: usize, b: usize| batch["group_ids"][a] == batch["group_ids"][b];
    assert!(alike(0, 3) && alike(4, 7) && !alike(3, 4) && !alike(7, 8));
}

#[test]
fn nemo_rl_s_train_data_gives_what_its_own_masks_and_log_probabilities_say() {
    let (rows, said) = replayed(&[&data("nemo-rl")], &["--dialect", "verl"]);
    assert_eq!(rows.len(), 2, "the validation data is passed over");
    for (step, row) in (1..).zip(&rows) {
        let lines = lines(&data(&format!("nemo-rl/train_data_step{step}.jsonl")));
        let (mut sum, mut tokens, mut longest) = (0.0, 0.0, 0);
        for line in &lines {
            let cells = |field: &str| -> Vec<f64> {
                let cells = line[field][0].as_array().unwrap().iter();
                cells.map(|x| x.as_f64().unwrap()).collect()
            };
            let (mask, old, sampled) = (
                cells("token_loss_mask"),
                cells("prev_logprobs"),
                cells("generation_logprobs"),
            );
            let first = mask.iter().position(|x| *x > 0.0).unwrap();
            let length = line["input_lengths"][0].as_u64().unwrap();
            longest = longest.max(usize::try_from(length).unwrap() - first);
            let counts = line["sample_loss_mask"][0].as_f64().unwrap();
            for at in 0..mask.len() {
                sum += mask[at] * counts * (old[at].exp() - sampled[at].exp()).abs();
                tokens += mask[at] * counts;
            }
        }
        near(&row["training/rollout_probs_diff_mean"], sum / tokens, 1e-6);
        near(&row["response_length/max"], longest as f64, 0.0);
        let rewards = lines
            .iter()
            .map(|line| line["rewards"][0].as_f64().unwrap());
        near(&row["critic/score/mean"], rewards.sum::<f64>() / 6.0, 1e-15);
    }
    insta::assert_snapshot!(said.split_once("standard output\n").unwrap().1);
}

#[test]
fn under_dynamic_sampling_the_samples_that_nemo_rl_kept_are_those_it_trained_on() {
    let dynamic = data("nemo-rl-dynamic-sampling/train_data_step1.jsonl");
    let (rows, _) = replayed(&[&dynamic], &[]);
    let (plain, _) = replayed(&[&data("nemo-rl/train_data_step1.jsonl")], &[]);
    assert_eq!(rows, plain);
}

#[test]
fn zeros_for_log_probabilities_that_nemo_rl_skipped_are_none() {
    let dir = tempdir().unwrap();
    let skipped = dir.path().join("train_data_step1.jsonl");
    let mut rows = lines(&data("nemo-rl/train_data_step1.jsonl"));
    for row in &mut rows {
        for logp in row["prev_logprobs"][0].as_array_mut().unwrap() {
            *logp = 0.0.into();
        }
    }
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(&skipped, rows.join("\n")).unwrap();
    let of = |path: &Path| {
        replayed(&[path], &["--dialect", "nemo-rl"])
            .0
            .swap_remove(0)
    };
    let (plain, skipped) = (of(&data("nemo-rl/train_data_step1.jsonl")), of(&skipped));
    assert!(plain["train/gen_kl_error"].is_number());
    assert!(skipped["train/gen_kl_error"].is_null());
    assert_eq!(plain["train/reward"], skipped["train/reward"]);
}

#[test]
fn prime_rl_s_traces_are_what_verifiers_makes_of_them() {
    let expected = json(&data("prime-rl/expected.json"));
    let rollouts = data("prime-rl/rollouts");
    for (record, expected) in records(&rollouts).iter().zip(expected.as_array().unwrap()) {
        assert_eq!(record["step"], expected["step"]);
        let batch = &record["batch"];
        let of = expected["completions"].as_array().unwrap();
        assert_eq!(batch["rewards"].as_array().unwrap().len(), of.len());
        let cells = |column: &str| batch[column].as_array().unwrap().iter().cloned();
        let mut tokens = cells("loss_mask").zip(cells("sampling_token_logps"));
        for (nth, of) in of.iter().enumerate() {
            near(
                &batch["rewards"][nth],
                of["reward"].as_f64().unwrap(),
                1e-15,
            );
            near(
                &batch["advantages"][nth],
                of["advantage"].as_f64().unwrap(),
                1e-6,
            );
            assert_ne!(of["truncated"], batch["terminated"][nth]);
            assert_eq!(of["prompt"], batch["prompt_lengths"][nth]);
            assert_eq!(of["length"], batch["completion_lengths"][nth]);
            let length = usize::try_from(of["length"].as_u64().unwrap()).unwrap();
            let own: Vec<(Value, Value)> = tokens.by_ref().take(length).collect();
            let trained: Vec<&Value> = own
                .iter()
                .filter(|(mask, _)| *mask == 1)
                .map(|(_, x)| x)
                .collect();
            assert_eq!(of["trained"], trained.len());
            let sum = trained.iter().map(|x| x.as_f64().unwrap()).sum::<f64>();
            near(&of["logprob_sum"], sum, 1e-6);
        }
    }
    let (rows, said) = replayed(&[&rollouts], &["--dialect", "trl", "--extended"]);
    let of = expected[0]["completions"].as_array().unwrap();
    let mean = of
        .iter()
        .map(|of| of["reward"].as_f64().unwrap())
        .sum::<f64>()
        / of.len() as f64;
    near(&rows[0]["reward"], mean, 1e-15);
    assert!(said.contains("not in prime-rl's traces"), "{said}");
    assert!(rows[0].get("tags/adds/reward").is_some());
}

#[cfg(feature = "parquet")]
#[test]
fn trl_s_completions_give_the_rewards_that_trl_logged() {
    let (rows, said) = replayed(&[&data("trl")], &["--dialect", "trl"]);
    let log = json(&data("trl/trl_log.json"));
    let mut compared = 0;
    for (row, logged) in rows.iter().zip(log.as_array().unwrap()) {
        for (key, logged) in logged
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| *key != "step")
        {
            near(&row[key], logged.as_f64().unwrap(), 1e-6);
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 9);
    insta::assert_snapshot!(said.split_once("standard output\n").unwrap().1);
}

#[cfg(feature = "parquet")]
#[test]
fn rewards_that_trl_weighed_are_absent_and_their_components_are_not() {
    let (rows, _) = replayed(&[&data("trl-weighed")], &["--dialect", "trl"]);
    let log = json(&data("trl-weighed/trl_log.json"));
    near(
        &rows[0]["rewards/evens/mean"],
        log[0]["rewards/evens/mean"].as_f64().unwrap(),
        1e-6,
    );
    assert!(rows[0].get("reward").is_none());
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_its_feature_trl_s_parquet_says_how_to_read_it() {
    let said = refused(&data("trl"));
    assert!(
        said.contains("completions_00001.parquet: it is Parquet"),
        "{said}"
    );
    assert!(said.contains("--features parquet"), "{said}");
}

#[test]
fn what_is_converted_gives_the_rows_of_the_files_themselves() {
    let folders = [
        "verl",
        "verl-extra-infos",
        "nemo-rl",
        "prime-rl/rollouts",
        "prime-rl/token_exports",
        "prime-rl-agents/rollouts",
        "skyrl-evals",
    ];
    for name in folders {
        for format in [&[][..], &["--tensors"]] {
            let folder = tempdir().unwrap();
            let to = folder.path().join("recording");
            let mut command = command();
            command
                .args(["record", "convert"])
                .arg(data(name))
                .arg(&to)
                .args(format);
            command.assert().success();
            let extended = ["--extended"];
            let (ours, _) = replayed(&[&to], &extended);
            assert_eq!(ours, replayed(&[&data(name)], &extended).0, "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}

#[test]
fn a_recording_is_put_nowhere_where_something_is_and_whole_or_not_at_all() {
    let folder = tempdir().unwrap();
    let convert = |from: &Path, to: &Path| {
        let mut command = command();
        command.args(["record", "convert"]).arg(from).arg(to);
        text(&command.assert().code(2).get_output().stderr)
    };
    let said = convert(&data("verl"), folder.path().parent().unwrap());
    assert!(said.contains("found one with something in it"), "{said}");
    let bad = folder.path().join("2.jsonl");
    let good = fs::read_to_string(data("verl/2.jsonl")).unwrap();
    fs::write(&bad, good.replacen("\"output\"", "\"outputs\"", 3)).unwrap();
    fs::copy(data("verl/1.jsonl"), folder.path().join("1.jsonl")).unwrap();
    convert(folder.path(), &folder.path().join("to"));
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["1.jsonl", "2.jsonl"]);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line_and_field() {
    let folder = tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let verl = fs::read_to_string(data("verl/1.jsonl")).unwrap();
    let mut third: Vec<String> = verl.lines().map(str::to_owned).collect();
    third[2] = third[2].replace("\"score\": 1.0", "\"score\": \"high\"");
    let nemo = fs::read_to_string(data("nemo-rl/train_data_step1.jsonl")).unwrap();
    let cases = [
        (
            write("a.jsonl", &third.join("\n")),
            "a.jsonl, line 3, step 1, rank 0, micro-batch 0: `score`: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\", or null, found the text \"high\"",
        ),
        (
            write("b.jsonl", &verl.replacen("\"step\": 1", "\"step\": 2", 1)),
            "b.jsonl, line 2, step 2, rank 0, micro-batch 0: `step`: expected 2 as in the first line, found 1",
        ),
        (
            write("c.jsonl", &nemo),
            "c.jsonl: expected `train_data_step` and a number before `.jsonl`, as NeMo-RL calls its files: nothing in the file says its step",
        ),
        (
            write(
                "train_data_step7.jsonl",
                &nemo.replacen("\"input_lengths\": [9]", "\"input_lengths\": [99]", 1),
            ),
            "train_data_step7.jsonl, line 1, step 7, rank 0, micro-batch 0: `input_lengths`: expected at most 19, the tokens of the line, found 99",
        ),
        (
            data("nemo-rl/val_data_step1.jsonl"),
            "val_data_step1.jsonl: expected records, found NeMo-RL's validation data, which is of no training step",
        ),
        (
            write(
                "d.jsonl",
                "{\"id\": 1, \"env\": {}, \"task\": {}, \"ok\": true, \"traces\": []}",
            ),
            "d.jsonl: expected a folder `step_` and a number above it",
        ),
        (
            write("e.pt", "PK\u{3}\u{4}\0\0archive/data.pkl"),
            "python -m grpo_metrics.convert",
        ),
    ];
    for (path, expected) in cases {
        let said = refused(&path);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_nan_that_python_wrote_bare_is_counted_and_left_out() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("1.jsonl");
    let verl = fs::read_to_string(data("verl/1.jsonl")).unwrap();
    fs::write(&path, verl.replacen("\"score\": 1.0", "\"score\": NaN", 1)).unwrap();
    let (rows, said) = replayed(&[&path], &["--dialect", "verl"]);
    assert!(rows[0]["critic/score/mean"].is_number());
    assert!(said.contains("rewards    11       0          1"), "{said}");
}

#[test]
fn the_dialects_of_trainers_have_what_the_trainers_own_functions_say() {
    // OpenRLHF's _compute_rollout_stats, SkyRL's get_rollout_metrics and get_metrics_from_generator_output, prime-rl's Stat.
    let expected = json(&data("prime-rl/dialects.json"));
    let mut compared = 0;
    for dialect in ["openrlhf", "skyrl", "prime-rl"] {
        let (rows, _) = replayed(&[&data("prime-rl/rollouts")], &["--dialect", dialect]);
        for (row, expected) in rows.iter().zip(expected.as_array().unwrap()) {
            for (key, value) in expected[dialect].as_object().unwrap() {
                // OpenRLHF's are singles.
                near(&row[key], value.as_f64().unwrap(), 2e-7);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * (5 + 4 + 4));
    // NeMo-RL has no function for it: the mean, largest and smallest of what its token mask marks.
    let (rows, _) = replayed(
        &[&data("nemo-rl/train_data_step1.jsonl")],
        &["--dialect", "nemo-rl"],
    );
    let mut marked = Vec::new();
    for line in lines(&data("nemo-rl/train_data_step1.jsonl")) {
        let cells = |field: &str| line[field][0].as_array().unwrap().clone();
        let both = cells("advantages")
            .into_iter()
            .zip(cells("token_loss_mask"));
        marked.extend(
            both.filter(|(_, mask)| *mask == 1)
                .map(|(x, _)| x.as_f64().unwrap()),
        );
    }
    let mean = marked.iter().sum::<f64>() / marked.len() as f64;
    near(&rows[0]["train/advantages/mean"], mean, 1e-6);
    near(
        &rows[0]["train/advantages/max"],
        marked.iter().copied().fold(f64::MIN, f64::max),
        1e-12,
    );
    let lengths = lines(&data("nemo-rl/train_data_step1.jsonl"));
    let total = lengths
        .iter()
        .map(|line| line["input_lengths"][0].as_f64().unwrap());
    near(&rows[0]["train/total_num_tokens"], total.sum(), 0.0);
}
