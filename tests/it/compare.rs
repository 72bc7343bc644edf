//! `compare`: two recordings held against each other prompt by prompt, as `SciPy` does it (`tests/reference/paired.py`).
#![cfg(feature = "cli")]

mod laws;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn compare(dir: &Path, args: &[&str]) -> Output {
    Command::new(crate::grpo_metrics())
        .arg("compare")
        .args(args)
        .current_dir(dir)
        .env_remove("COLUMNS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What standard output says of files beneath `tests/data`.
fn said(args: &[&str]) -> String {
    let out = compare(&data(), args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
}

/// What is said of input that cannot be used.
fn refused(dir: &Path, args: &[&str]) -> String {
    let out = compare(dir, args);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(out.stdout.is_empty());
    text(&out.stderr)
}

fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

struct Case {
    name: String,
    args: Vec<String>,
    records: [Vec<Value>; 2],
    expected: Map<String, Value>,
}

fn cases() -> Vec<Case> {
    let lines = fs::read_to_string(data().join("vectors/paired.jsonl")).unwrap();
    let case = |line: &str| {
        let mut case: Value = serde_json::from_str(line).unwrap();
        let mut take = |name: &str| case[name].take();
        Case {
            name: take("name").as_str().unwrap().to_owned(),
            args: serde_json::from_value(take("args")).unwrap(),
            records: ["a", "b"].map(|side| serde_json::from_value(take(side)).unwrap()),
            expected: serde_json::from_value(take("expected")).unwrap(),
        }
    };
    lines.lines().map(case).collect()
}

/// Recordings `a` and `b` in a folder.
fn written(records: [&[Value]; 2]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, records) in ["a", "b"].iter().zip(records) {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        fs::write(dir.path().join(name), lines.join("\n")).unwrap();
    }
    dir
}

impl Case {
    fn written(&self) -> TempDir {
        written(self.records.each_ref().map(Vec::as_slice))
    }

    fn args<'c>(&'c self, files: [&'c str; 2]) -> Vec<&'c str> {
        let args = self.args.iter().map(String::as_str);
        files.into_iter().chain(args).collect()
    }
}

#[test]
fn a_comparison_is_a_line_a_number_with_what_is_to_be_known_of_it() {
    let cases = cases();
    let case = &cases[0];
    let out = compare(case.written().path(), &case.args(["a", "b"]));
    insta::assert_snapshot!(text(&out.stdout), @"
    A: a: steps 1 to 2, 54 completions of 14 prompts
    B: b: steps 1 to 2, 50 completions of 15 prompts
    prompts by text: 12 in both, 2 in A alone, 3 in B alone

    number               prompts  only A  only B         A        B     B - A                95 %         if unpaired
    reward                    12       2       3    0.7612   0.9436   +0.1825   [-0.05201, 0.417]   [-0.1593, 0.5243]
    rewards/accuracy          12       2       3    0.6083   0.7798   +0.1714  [-0.09347, 0.4363]   [-0.1186, 0.4615]
    rewards/format            12       2       3  -0.08703  -0.2371     -0.15   [-0.7164, 0.4163]   [-0.7429, 0.4428]
    pass@1                    11       2       3    0.6477   0.7386  +0.09091   [-0.1409, 0.3227]    [-0.198, 0.3798]
    pass@2                    11       2       3    0.8485   0.8636  +0.01515   [-0.1018, 0.1321]   [-0.2562, 0.2865]
    pass@4                     2       2       2         1        1         0                   -                   -
    completions/length        12       2       3     21.83    22.53   +0.6978     [-3.648, 5.044]     [-3.468, 4.864]
    completions/clipped       12       2       3    0.1236   0.0744  -0.04921   [-0.2022, 0.1037]  [-0.1844, 0.08595]
    tags/code/reward           8       1       2    0.9656    1.048  +0.08292                   -                   -
    tags/code/pass@1           8       1       2    0.7562   0.8125  +0.05625                   -                   -
    tags/code/length           8       1       2     21.72    24.84    +3.123                   -                   -
    tags/math/reward           4       1       1    0.3524    0.734   +0.3816                   -                   -
    tags/math/pass@1           4       1       1      0.25   0.4018   +0.1518                   -                   -
    tags/math/length           4       1       1     22.05     17.9    -4.152                   -                   -

    A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B -
      A, by Student's t over prompts
    -: fewer than 10 prompts, or their differences are all the same, and say nothing
      of how far B - A may be off
    reward: NaN or infinite, and left out: 1 of A, 1 of B
    tags/math/reward: NaN or infinite, and left out: 1 of A, 1 of B
    tags/math/pass@1: NaN or infinite, and left out: 1 of A, 1 of B
    ");
    let narrow = Command::new(crate::grpo_metrics())
        .args(["compare", "a", "b", "--key", "rewards/*"])
        .current_dir(case.written().path())
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    insta::assert_snapshot!(text(&narrow.stdout), @"
    A: a: steps 1 to 2, 54 completions of 14 prompts
    B: b: steps 1 to 2, 50 completions of 15 prompts
    prompts by text: 12 in both, 2 in A alone, 3 in B alone

    number            prompts         A        B    B - A                95 %
    rewards/accuracy       12    0.6083   0.7798  +0.1714  [-0.09347, 0.4363]
    rewards/format         12  -0.08703  -0.2371    -0.15   [-0.7164, 0.4163]

    A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B -
      A, by Student's t over prompts
    ");
}

#[test]
fn files_of_trainers_are_compared_by_the_texts_that_they_have() {
    insta::assert_snapshot!(said(&["trainers/verl", "trainers/verl-extra-infos"]), @"
    A: trainers/verl: steps 1 to 2, 24 completions of 6 prompts
    B: trainers/verl-extra-infos: steps 1 to 2, 24 completions of 6 prompts
    prompts by text: 6 in both, 0 in A alone, 0 in B alone

    number          prompts  only A  only B       A       B     B - A  95 %  if unpaired
    reward                6       0       0  0.7083  0.6875  -0.02083     -            -
    rewards/acc           0       0       6       -       -         -     -            -
    rewards/format        0       0       6       -       -         -     -            -
    pass@1                6       0       0  0.7083       0   -0.7083     -            -
    pass@2                6       0       0  0.9444       0   -0.9444     -            -
    pass@4                6       0       0       1       0        -1     -            -

    A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B -
      A, by Student's t over prompts
    -: fewer than 10 prompts, or their differences are all the same, and say nothing
      of how far B - A may be off
    ");
}

#[test]
fn steps_of_one_recording_may_be_compared_with_others_of_it() {
    insta::assert_snapshot!(said(&["trainers/verl", "trainers/verl", "--steps", "1", "--steps", "..2"]), @"
    A: trainers/verl: step 1, 12 completions of 3 prompts
    B: trainers/verl: steps 1 to 2, 24 completions of 6 prompts
    prompts by text: 3 in both, 0 in A alone, 3 in B alone

    number  prompts  only A  only B       A       B  B - A  95 %  if unpaired
    reward        3       0       3    0.75    0.75      0     -            -
    pass@1        3       0       3    0.75    0.75      0     -            -
    pass@2        3       0       3  0.9444  0.9444      0     -            -
    pass@4        3       0       3       1       1      0     -            -

    A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B -
      A, by Student's t over prompts
    -: fewer than 10 prompts, or their differences are all the same, and say nothing
      of how far B - A may be off
    ");
    let beyond = refused(
        &data(),
        &["trainers/verl", "trainers/verl", "--steps", "3.."],
    );
    insta::assert_snapshot!(beyond, @"error: trainers/verl: expected completions in some of the steps from 3 on, found steps 1 to 2");
    let thrice = ["--steps", "1", "--steps", "2", "--steps", "3"];
    let thrice = refused(
        &data(),
        &[&["trainers/verl", "trainers/verl"][..], &thrice].concat(),
    );
    insta::assert_snapshot!(thrice, @"error: --steps: expected steps once, or once for each recording, found them 3 times");
    for (steps, expected) in [
        ("2..1", "the first step before the last"),
        ("..", "10..20"),
        ("a", "10..20"),
    ] {
        let said = refused(
            &data(),
            &["trainers/verl", "trainers/verl", "--steps", steps],
        );
        assert!(
            said.contains(expected) && said.contains(&format!("found `{steps}`")),
            "{said}"
        );
    }
}

#[test]
fn what_names_no_prompt_is_refused_unless_it_is_said_to() {
    let trl = ["recordings/trl-2rank", "recordings/trl-4rank-split"];
    insta::assert_snapshot!(refused(&data(), &trl), @"error: recordings/trl-2rank: expected `prompts`, or `group_ids` that name prompts, found group ids from 0 to 11003, which count groups; if they do name prompts, say `--by group-ids`");
    let found = said(
        &[
            &trl[..],
            &["--by", "group-ids", "--json", "--key", "reward"],
        ]
        .concat(),
    );
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (&found["by"], found["prompts"].as_u64() > Some(0)),
        (&json!("group-ids"), true)
    );
    insta::assert_snapshot!(refused(&data(), &["audit/recording.jsonl", "audit/recording.jsonl"]), @"error: audit/recording.jsonl: expected `prompts`, or `group_ids` that name prompts, found `group_sizes` alone");
    insta::assert_snapshot!(refused(&data(), &["trainers/nemo-rl", "trainers/verl", "--by", "prompts"]), @"error: trainers/nemo-rl: expected `prompts`, found `group_ids` alone");
}

#[test]
fn recordings_with_no_prompt_in_common_or_of_unlike_names_are_refused() {
    let record =
        |batch: Value| vec![json!({"step": 1, "rank": 0, "world_size": 1, "batch": batch})];
    let texts =
        |text: &str| record(json!({"group_sizes": [1], "rewards": [1.0], "prompts": [text]}));
    let ids = |id: &str| record(json!({"group_ids": [id], "rewards": [1.0]}));
    let said = |a: Vec<Value>, b: Vec<Value>| refused(written([&a, &b]).path(), &["a", "b"]);
    insta::assert_snapshot!(said(texts("x"), texts("y")), @"error: expected prompts that are in both recordings, found none by text: 1 in one, 1 in the other");
    insta::assert_snapshot!(said(ids("prompt x"), ids("prompt y")), @"error: expected prompts that are in both recordings, found none by group id: 1 in one, 1 in the other (some trainers draw group ids anew in each run, as verl its `uid`)");
    insta::assert_snapshot!(said(ids("prompt x"), texts("x")), @"error: expected prompts named alike in both, found texts in b and group ids in a");
    let unknown = refused(
        written([&texts("x"), &texts("x")]).path(),
        &["a", "b", "--success", "accuracy"],
    );
    insta::assert_snapshot!(unknown, @"error: a: `success`: unknown reward component `accuracy` (there are none)");
}

#[test]
fn completions_without_a_prompt_and_numbers_that_are_none_are_counted() {
    let record = |rewards: Value| {
        vec![json!({"step": 1, "rank": 0, "world_size": 1, "batch": {
            "group_sizes": [2, 1], "rewards": rewards, "prompts": ["x", "x", ""], "turns": [1, 2, 3],
        }})]
    };
    let mut with_penalty = record(json!([1, "NaN", 5]));
    with_penalty[0]["batch"]["penalised_rewards"] = json!([0.5, null, 3]);
    let dir = written([&record(json!([0, 1, 0])), &with_penalty]);
    let out = compare(dir.path(), &["a", "b"]);
    insta::assert_snapshot!(text(&out.stdout), @"
    A: a: step 1, 2 completions of 1 prompt; 1 more of unknown prompts left out
    B: b: step 1, 2 completions of 1 prompt; 1 more of unknown prompts left out
    prompts by text: 1 in both, 0 in A alone, 0 in B alone

    number            prompts  only A  only B    A    B  B - A  95 %  if unpaired
    reward                  1       0       0  0.5    1   +0.5     -            -
    penalised_reward        0       0       1    -    -      -     -            -
    pass@1                  0       1       0    -    -      -     -            -
    pass@2                  0       1       0    -    -      -     -            -
    turns                   1       0       0  1.5  1.5      0     -            -

    A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B -
      A, by Student's t over prompts
    -: fewer than 10 prompts, or their differences are all the same, and say nothing
      of how far B - A may be off
    reward: NaN or infinite, and left out: 0 of A, 1 of B
    ");
}

#[test]
fn a_recording_that_is_not_whole_is_not_compared() {
    let said = refused(&data(), &["bad/missing_ranks.jsonl", "trainers/verl"]);
    assert!(said.contains("missing_ranks.jsonl, step"), "{said}");
    let said = refused(&data(), &["trainers/verl", "bad/torn_last_line.jsonl"]);
    assert!(said.contains("torn_last_line.jsonl, line"), "{said}");
}
