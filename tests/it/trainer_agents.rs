//! What trainers' files say of single tokens, of agents and of evaluations, beside what the trainers' own functions say of them. How
//! the files were made is in `tests/data/trainers/README.md`.
#![cfg(feature = "cli")]

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use crate::trainer_files::{data, json, lines, near, records, refused, replayed};

fn floats(cells: &Value) -> Vec<Option<f64>> {
    cells
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_f64)
        .collect()
}

fn naturals(cells: &Value) -> Vec<usize> {
    let cells = cells.as_array().unwrap().iter();
    cells
        .map(|x| usize::try_from(x.as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn prime_rl_s_token_exports_are_told_apart_by_rank_and_begin_at_the_first_trained_token() {
    let exports = data("prime-rl/token_exports");
    let (rows, said) = replayed(&[&exports], &["--dialect", "prime-rl", "--extended"]);
    assert_eq!(rows.len(), 2);
    let records = records(&exports);
    assert_eq!(records.len(), 4);
    for (step, row) in (1..).zip(&rows) {
        let (mut kls, mut entropies) = (Vec::new(), Vec::new());
        for rank in 0..2 {
            let path = format!("prime-rl/token_exports/step_{step}/rank_{rank}.jsonl");
            let exported = lines(&data(&path));
            let record = records
                .iter()
                .find(|record| record["step"] == step && record["micro"] == rank)
                .unwrap();
            let batch = &record["batch"];
            let mut tokens = naturals(&batch["token_ids"]).into_iter();
            let mut mask = naturals(&batch["loss_mask"]).into_iter();
            for (nth, line) in exported.iter().enumerate() {
                let marked: Vec<bool> = line["loss_mask"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_bool().unwrap())
                    .collect();
                let first = marked.iter().position(|x| *x).unwrap();
                let end = marked.iter().rposition(|x| *x).unwrap() + 1;
                assert_eq!(batch["prompt_lengths"][nth], first);
                assert_eq!(batch["completion_lengths"][nth], end - first);
                assert_eq!(batch["tags"][nth], line["env_name"]);
                near(
                    &batch["advantages"][nth],
                    line["advantages"][first].as_f64().unwrap(),
                    0.0,
                );
                let own: Vec<usize> = tokens.by_ref().take(end - first).collect();
                assert_eq!(own, naturals(&line["token_ids"])[first..end]);
                let own: Vec<bool> = mask.by_ref().take(end - first).map(|x| x == 1).collect();
                assert_eq!(own, marked[first..end]);
                let counted = |field: &str| {
                    let cells = floats(&line[field]).into_iter().zip(&marked);
                    let cells = cells.filter(|(_, marked)| **marked).map(|(x, _)| x);
                    cells.flatten().collect::<Vec<f64>>()
                };
                kls.extend(counted("mismatch_kl"));
                entropies.extend(counted("entropy"));
            }
            // Prompts that are equal are one group, in whichever rank.
            let groups = naturals(&batch["group_ids"]);
            assert_eq!(groups[0], groups[1]);
            assert_ne!(groups[1], groups[2]);
        }
        let mean = |cells: &[f64]| cells.iter().sum::<f64>() / cells.len() as f64;
        // prime-rl's own, computed in singles: of the token that the trainer gives no chance it is not finite, and null.
        near(&row["kl_sampler/k3"], mean(&kls), 1e-6);
        near(&row["entropy/all/mean"], mean(&entropies), 1e-6);
        assert!(row.get("reward").is_none());
    }
    assert!(
        said.contains("`token_logps`: 1 of 28 values are NaN"),
        "{said}"
    );
    assert!(
        said.contains("token exports have no rewards; traces do"),
        "{said}"
    );
}

#[test]
fn lines_of_a_token_export_that_do_not_fit_together_are_named() {
    let folder = tempdir().unwrap();
    let export = fs::read_to_string(data("prime-rl/token_exports/step_1/rank_0.jsonl")).unwrap();
    let cases = [
        (
            ("\"loss_mask\":[false,", "\"loss_mask\":["),
            "line 1, step 1, rank 0, micro-batch 0: `loss_mask`: expected 7 cells, as `token_ids` has, found 6",
        ),
        (
            ("\"entropy\":[1", "\"entropy\":[2,1"),
            "line 1, step 1, rank 0, micro-batch 0: `entropy`: expected 7 cells, as `token_ids` has, found 8",
        ),
        (
            ("\"rank\":0,\"micro_step\":1", "\"rank\":1,\"micro_step\":1"),
            "line 3, step 1, rank 0, micro-batch 0: `step`: expected step and rank of the first line, found step 1, rank 1",
        ),
        (
            ("\"token_ids\":[3", "\"token_ids\":[-3"),
            "line 1, step 1, rank 0, micro-batch 0: `token_ids[0]`: expected a whole number from 0 to 4294967295, found -3",
        ),
    ];
    for ((from, to), expected) in cases {
        let path = folder.path().join("rank_0.jsonl");
        assert!(export.contains(from), "{from}");
        fs::write(&path, export.replacen(from, to, 1)).unwrap();
        let said = refused(&path);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn prime_rl_s_traces_have_the_turns_calls_ends_and_ages_that_its_own_functions_say() {
    let expected = json(&data("prime-rl-agents/expected.json"));
    let rollouts = data("prime-rl-agents/rollouts");
    let (rows, said) = replayed(&[&rollouts], &["--dialect", "prime-rl", "--extended"]);
    let records = records(&rollouts);
    assert_eq!((rows.len(), records.len()), (2, 2));
    for ((row, record), expected) in rows.iter().zip(&records).zip(expected.as_array().unwrap()) {
        let step = expected["step"].as_u64().unwrap();
        let batch = &record["batch"];
        assert_eq!(record["step"], step);
        for column in ["turns", "tool_calls", "stop_conditions", "errors"] {
            assert_eq!(batch[column], expected[column], "{column}");
        }
        let cut = expected["truncated"].as_array().unwrap();
        for (nth, cut) in cut.iter().enumerate() {
            assert_ne!(batch["terminated"][nth], *cut);
        }
        // The step trains the version before it.
        assert_eq!(record["scalars"]["weight_version"], step as f64 - 1.0);
        let ages = naturals(&expected["staleness"]);
        let lengths = naturals(&batch["completion_lengths"]);
        let mut versions = naturals(&batch["weight_versions"]).into_iter();
        for (age, length) in ages.iter().zip(lengths) {
            let own: Vec<usize> = versions.by_ref().take(length).collect();
            assert_eq!(own, vec![usize::try_from(step).unwrap() - 1 - age; length]);
        }
        near(
            &row["staleness/age/max"],
            *ages.iter().max().unwrap() as f64,
            0.0,
        );
        near(&row["turns/mean"], 7.0 / 4.0, 0.0);
        near(&row["tool_calls/max"], 3.0, 0.0);
        near(&row["error_frac"], 0.25, 0.0);
        near(&row["stop_conditions/agent_completed/frac"], 0.75, 0.0);
    }
    assert!(
        said.contains("not which each token was sampled with"),
        "{said}"
    );
}

#[test]
fn a_policy_that_is_no_version_of_what_is_trained_leaves_its_step_without_ages() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("step_3/train/effective/traces.jsonl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let own = data("prime-rl-agents/rollouts/step_3/train/effective/traces.jsonl");
    let text = fs::read_to_string(own).unwrap();
    let span = "\"policy\":{\"start\":2,\"end\":2}";
    assert!(text.contains(span));
    fs::write(&path, text.replacen(span, "\"policy\":null", 1)).unwrap();
    let record = &records(folder.path())[0];
    assert!(record["batch"].get("weight_versions").is_none());
    assert!(record.get("scalars").is_none());
    assert!(record["batch"].get("token_ids").is_some());
    fs::write(
        &path,
        text.replacen(span, "\"policy\":{\"start\":-2,\"end\":2}", 1),
    )
    .unwrap();
    let said = refused(&path);
    assert!(
        said.contains("line 1, step 3, rank 0, micro-batch 0: `run.work.policy.start`: expected a whole number"),
        "{said}"
    );
}

#[test]
fn skyrl_s_evaluations_have_the_scores_that_skyrl_adds_up_by_data_source() {
    let evaluations = data("skyrl-evals");
    let (rows, said) = replayed(&[&evaluations], &["--dialect", "trl", "--extended"]);
    assert_eq!(rows.len(), 2);
    for (step, row) in [5, 10].into_iter().zip(&rows) {
        let path = format!("skyrl-evals/global_step_{step}_evals/aggregated_results.jsonl");
        let skyrl = &lines(&data(&path))[0];
        for (ours, theirs) in [
            ("reward", "eval/all/avg_score"),
            ("tags/math/adds/reward", "eval/math_adds/avg_score"),
            ("tags/unknown/reward", "eval/unknown/avg_score"),
        ] {
            near(&row[ours], skyrl[theirs].as_f64().unwrap(), 1e-15);
        }
    }
    let records = records(&evaluations);
    let ended = |record: &Value| {
        let stops = record["batch"]["stop_conditions"].as_array().unwrap();
        let ended: Vec<Value> = stops.iter().map(|stop| (*stop == "stop").into()).collect();
        assert_eq!(record["batch"]["terminated"], Value::from(ended));
    };
    records.iter().for_each(ended);
    let groups = naturals(&records[0]["batch"]["group_ids"]);
    assert!(groups[0] == groups[3] && groups[3] != groups[4]);
    assert!(said.contains("none was trained on"), "{said}");
}

#[test]
fn what_skyrl_writes_beside_its_evaluations_and_elsewhere_is_told_by_name() {
    let evaluation = "skyrl-evals/global_step_5_evals";
    let said = refused(&data(&format!("{evaluation}/aggregated_results.jsonl")));
    assert!(
        said.contains("found SkyRL's numbers of an evaluation, which are no completions"),
        "{said}"
    );
    let folder = tempdir().unwrap();
    let text = fs::read_to_string(data(&format!("{evaluation}/unknown.jsonl"))).unwrap();
    let elsewhere = folder.path().join("unknown.jsonl");
    fs::write(&elsewhere, &text).unwrap();
    let said = refused(&elsewhere);
    assert!(
        said.contains("expected a folder `global_step_`, a number and `_evals`"),
        "{said}"
    );
    let alone = folder.path().join("eval_only");
    fs::create_dir(&alone).unwrap();
    fs::write(alone.join("unknown.jsonl"), &text).unwrap();
    assert_eq!(records(&alone)[0]["step"], 0);
    fs::write(
        alone.join("unknown.jsonl"),
        text.replacen("\"score\": ", "\"score\": \"much\", \"was\": ", 1),
    )
    .unwrap();
    let said = refused(&alone);
    assert!(
        said.contains(
            "unknown.jsonl, line 1, step 0, rank 0, micro-batch 0: `score`: expected a number"
        ),
        "{said}"
    );
}

#[test]
fn a_trace_of_another_shape_is_refused_by_name_and_nothing_of_it_is_passed_over() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("step_3/train/effective/traces.jsonl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let own = data("prime-rl-agents/rollouts/step_3/train/effective/traces.jsonl");
    let text = fs::read_to_string(own).unwrap();
    let place = "line 1, step 3, rank 0, micro-batch 0: ";
    for (from, to, expected) in [
        (
            "\"rewards\":{\"correct\":{\"score\":1.0,\"weight\":1.0}}",
            "\"rewards\":[1.0]",
            "`traces[0].rewards`: expected an object, found an array",
        ),
        (
            "\"correct\":{\"score\":1.0,\"weight\":1.0}",
            "\"correct\":1.0",
            "`traces[0].rewards.correct`: expected an object, found 1.0",
        ),
        (
            "\"group\":{\"id\":\"3-a\"}",
            "\"group\":{\"id\":3}",
            "`group.id`: expected a text, found 3",
        ),
        (
            "\"policy\":{\"start\":2,\"end\":2}",
            "\"policy\":2",
            "`run.work.policy`: expected an object, found 2",
        ),
        (
            "\"stop_condition\":\"agent_completed\"",
            "\"stop_condition\":7",
            "`traces[0].stop_condition`: expected a text, found 7",
        ),
        (
            "\"stop_condition\":",
            "\"stop_condition\":\"error\",\"stop_condition\":",
            "`stop_condition` is given twice",
        ),
        (
            "\"tool_calls\":[",
            "\"tool_calls\":\"two\",\"other\":[",
            "`traces[0].nodes[2].message.tool_calls`: expected an array, found the text \"two\"",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let said = refused(&path);
        let expected = format!("{place}{expected}");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn marks_line_ends_and_blank_lines_of_other_programs_change_no_file() {
    for name in ["verl/1.jsonl", "nemo-rl/train_data_step1.jsonl"] {
        let folder = tempdir().unwrap();
        let text = fs::read_to_string(data(name)).unwrap();
        let path = folder.path().join(data(name).file_name().unwrap());
        let other = format!("\u{feff}\r\n{}\r\n", text.replace('\n', "\r\n\r\n"));
        fs::write(&path, other).unwrap();
        let args = ["--extended"];
        assert_eq!(
            replayed(&[&path], &args).0,
            replayed(&[&data(name)], &args).0
        );
    }
}

#[test]
fn a_file_is_told_by_its_own_members_and_not_by_a_word_in_one() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("1.jsonl");
    let verl = fs::read_to_string(data("verl/1.jsonl")).unwrap();
    let noted = verl.replacen('{', "{\"note\": {\"world_size\": 8}, ", 1);
    fs::write(&path, noted).unwrap();
    assert_eq!(
        replayed(&[&path], &[]).0,
        replayed(&[&data("verl/1.jsonl")], &[]).0
    );
}
