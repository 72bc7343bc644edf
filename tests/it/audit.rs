//! `audit`: logs of real trainings, and logs that a script apart from the crate (tests/reference/audit.py) put a fault into, each held
//! against its records.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

const RECORDING: &str = "data/audit/recording.jsonl";

fn audit(args: &[&str]) -> Output {
    Command::new(crate::grpo_metrics())
        .arg("audit")
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))
        .env_remove("COLUMNS")
        .output()
        .unwrap()
}

/// What was found in a log, and the exit code.
fn found(recording: &str, log: &Path, more: &[&str]) -> (Value, Option<i32>) {
    let log = log.to_str().unwrap();
    let out = audit(&[&[recording, "--log", log, "--json"], more].concat());
    let found = serde_json::from_slice(&out.stdout);
    let said = || String::from_utf8_lossy(&out.stderr).into_owned();
    (
        found.unwrap_or_else(|_| panic!("{}", said())),
        out.status.code(),
    )
}

fn logs() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audit/logs.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn right() -> Vec<Map<String, Value>> {
    serde_json::from_value(logs()["right"].clone()).unwrap()
}

/// How rows are written down.
type Shape = fn(&[Map<String, Value>]) -> String;

/// Every shape that a log may have.
const SHAPES: [Shape; 4] = [
    |rows| json!(rows).to_string(),
    |rows| json!({"global_step": 8, "log_history": rows}).to_string(),
    |rows| {
        rows.iter()
            .map(|row| json!(row).to_string() + "\n")
            .collect()
    },
    |rows| {
        let held = |row: &Map<String, Value>| {
            let mut data = row.clone();
            let step = data.remove("step");
            json!({"step": step, "data": data}).to_string() + "\n"
        };
        rows.iter().map(held).collect()
    },
];

fn written(dir: &TempDir, text: &str) -> std::path::PathBuf {
    let path = dir.path().join("log");
    fs::write(&path, text).unwrap();
    path
}

/// The keys that are not exact, with what is said of each.
fn wrong(found: &Value) -> Vec<(String, String)> {
    let keys = found["keys"].as_array().unwrap().iter();
    let wrong = keys.filter(|key| key["verdict"] != "exact");
    let said = |key: &Value| {
        let said = key["by"].as_str().or(key["verdict"].as_str());
        (
            key["key"].as_str().unwrap().to_owned(),
            said.unwrap().to_owned(),
        )
    };
    wrong.map(said).collect()
}

#[test]
fn a_true_log_is_exact_in_every_key_whatever_its_shape() {
    let dir = TempDir::new().unwrap();
    for shape in SHAPES {
        let log = written(&dir, &shape(&right()));
        let (found, code) = found(RECORDING, &log, &["--dialect", "trl"]);
        assert_eq!((wrong(&found), code), (vec![], Some(0)));
        assert_eq!(found["keys"].as_array().unwrap().len(), 18);
        assert_eq!((&found["exact"], &found["rows"]), (&json!(true), &json!(4)));
    }
}

#[test]
fn every_fault_that_was_put_into_a_log_is_named_and_no_other_is() {
    let dir = TempDir::new().unwrap();
    let faults = logs()["faults"].as_array().unwrap().clone();
    assert!(faults.len() > 12);
    for (nth, fault) in faults.iter().enumerate() {
        let key = fault["key"].as_str().unwrap();
        let mut rows = right();
        for (row, number) in rows.iter_mut().zip(fault["numbers"].as_array().unwrap()) {
            row.insert(key.to_owned(), number.clone());
            row.retain(|_, number| !number.is_null());
        }
        let log = written(&dir, &SHAPES[nth % SHAPES.len()](&rows));
        let (found, code) = found(RECORDING, &log, &["--dialect", "trl"]);
        let said = fault["said"].as_str().unwrap();
        assert_eq!(
            wrong(&found),
            [(key.to_owned(), said.to_owned())],
            "{fault}"
        );
        assert_eq!(code, Some(1));
        let keys = found["keys"].as_array().unwrap();
        assert!(keys.iter().all(|key| key["or"] == json!([])), "{found}");
    }
}

/// Every second one in a log of its own, so that each key is exact in one of the two but where it has two faults.
#[test]
fn every_fault_in_a_log_of_a_newer_dialect_is_named_in_it_and_no_other_is() {
    let dir = TempDir::new().unwrap();
    let dialects = logs()["dialects"].as_object().unwrap().clone();
    assert_eq!(dialects.len(), 4);
    for (dialect, logs) in dialects {
        let faults = logs["faults"].as_array().unwrap();
        for odd in [0, 1] {
            let mut rows: Vec<Map<String, Value>> =
                serde_json::from_value(logs["right"].clone()).unwrap();
            let mut expected = Vec::new();
            for fault in faults.iter().skip(odd).step_by(2) {
                let text = |field: &str| fault[field].as_str().unwrap().to_owned();
                for (row, number) in rows.iter_mut().zip(fault["numbers"].as_array().unwrap()) {
                    assert!(row.insert(text("key"), number.clone()).is_some());
                }
                expected.push((text("key"), text("said")));
            }
            let log = written(&dir, &SHAPES[2](&rows));
            let (found, code) = found(RECORDING, &log, &["--dialect", &dialect]);
            let mut named = wrong(&found);
            named.sort();
            expected.sort();
            assert_eq!((named, code), (expected, Some(1)), "{dialect}");
            // All but the step are keys of the dialect.
            let keys = found["keys"].as_array().unwrap();
            assert_eq!(keys.len() + 1, rows[0].len(), "{dialect}");
        }
    }
}

/// The other way round: a dialect whose deviation is the population's.
#[test]
fn a_sample_deviation_is_named_where_the_populations_is_meant() {
    let dir = TempDir::new().unwrap();
    let renamed = |row: Map<String, Value>| {
        let row = row
            .into_iter()
            .filter(|(key, _)| ["step", "reward", "reward_std"].contains(&key.as_str()));
        let named = |(key, value): (String, Value)| match key.as_str() {
            "step" => (key, value),
            _ => (format!("train/{key}"), value),
        };
        row.map(named).collect()
    };
    let rows: Vec<Map<String, Value>> = right().into_iter().map(renamed).collect();
    let log = written(&dir, &SHAPES[2](&rows));
    let (found, _) = found(RECORDING, &log, &[]);
    let said = ("train/reward_std".to_owned(), "sample deviation".to_owned());
    assert_eq!(wrong(&found), [said]);
}

/// What TRL 1.16 logged (`tests/reference/audit_trl.py` made the last three): over one micro-batch a step it is right, over several, and over
/// several steps, it averages averages; a batch that is trained on again it logs once, and one for two steps at the first.
#[test]
fn the_logs_of_five_real_trainings_are_exact_or_explained() {
    let table = [
        ("recordings/trl-2rank", 27, 0),
        ("recordings/trl-4rank-split", 27, 0),
        ("audit/trl-accumulation", 25, 2),
        ("audit/trl-generation", 9, 18),
        ("audit/trl-window", 9, 18),
    ];
    for (name, exact, explained) in table {
        let recording = format!("data/{name}");
        let log = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/{recording}/trl_log_history.json"));
        let (found, code) = found(&recording, &log, &["--dialect", "trl"]);
        let keys = found["keys"].as_array().unwrap();
        let of = |verdict: &str| keys.iter().filter(|key| key["verdict"] == verdict).count();
        assert_eq!(
            (of("exact"), of("explained"), of("not explained")),
            (exact, explained, 0),
            "{name}"
        );
        assert_eq!(code, Some(i32::from(explained > 0)));
        if name == "audit/trl-accumulation" {
            let by = "mean of micro-batches' numbers";
            let said = ["entropy", "kl"].map(|key| (key.to_owned(), by.to_owned()));
            assert_eq!(wrong(&found), said);
        }
    }
}

#[test]
fn what_is_said_reads_so() {
    let dir = TempDir::new().unwrap();
    let mut rows = right();
    for row in &mut rows {
        row.retain(|key, _| {
            ["step", "reward", "reward_std", "completions/max_length"].contains(&key.as_str())
        });
        row.insert("seconds\nof wall time".to_owned(), json!(3));
    }
    rows[1].insert("reward".to_owned(), json!(1.5));
    let numbers = &logs()["faults"][4];
    assert_eq!(numbers["fault"], "population");
    for (row, number) in rows.iter_mut().zip(numbers["numbers"].as_array().unwrap()) {
        row.insert("reward_std".to_owned(), number.clone());
    }
    let log = written(&dir, &SHAPES[0](&rows));
    let out = audit(&[
        RECORDING,
        "--log",
        log.to_str().unwrap(),
        "--dialect",
        "trl",
    ]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!(text, @r"
    key                     rows  off  difference  verdict
    completions/max_length     4    0           -  exact
    reward                     4    1    +2.36e-1  not explained
    reward_std                 4    4    -5.67e-3  explained

    reward: not explained
      step 4: logged 1.5, exact 1.2642463235294117, off by +2.36e-1; its digits tell
        8e-6

    reward_std: population deviation
      step 6: logged 0.7170029014092428, exact 0.7226709967392837, off by -5.67e-3;
        its digits tell 4e-6

    not computed: seconds\nof wall time

    1 of 3 keys exact, 1 explained, 1 not, over 4 rows; told by the digits of a
      logged number: half the last where they are few, else 5e-6 of it, as of single
      precision
    ");
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        said.ends_with("log: 2 of 3 keys are not what they say\n"),
        "{said}"
    );
}

#[test]
fn a_number_that_is_none_is_wrong_and_not_explained() {
    let dir = TempDir::new().unwrap();
    let text = SHAPES[0](&right());
    let reward = right()[2]["reward"].to_string();
    for none in ["NaN", "Infinity", "-Infinity", "\"inf\""] {
        let none = format!("\"reward\":{none}");
        let log = written(&dir, &text.replace(&format!("\"reward\":{reward}"), &none));
        let (found, code) = found(RECORDING, &log, &["--dialect", "trl"]);
        let said = ("reward".to_owned(), "not explained".to_owned());
        assert_eq!((wrong(&found), code), (vec![said], Some(1)), "{none}");
    }
}

#[test]
fn a_rows_window_is_not_ended_by_an_evaluation_and_our_own_numbers_are_not_the_trainers() {
    let dir = TempDir::new().unwrap();
    let mut rows = right();
    for row in &mut rows {
        row.insert("grpo_metrics/reward".to_owned(), json!(9));
        let reward = row.remove("reward").unwrap();
        row.insert("train/reward".to_owned(), reward);
    }
    // As transformers logs it, which says of every row where the run stands.
    let eval = json!({"step": 3, "eval_reward": 1.0, "epoch": 0.375});
    rows.push(eval.as_object().unwrap().clone());
    let log = written(&dir, &SHAPES[0](&rows));
    let (found, code) = found(RECORDING, &log, &["--dialect", "trl"]);
    assert_eq!((wrong(&found), code), (vec![], Some(0)));
    assert_eq!(found["not_computed"], json!(["epoch", "eval_reward"]));
    let keys = found["keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["key"] == "train/reward"));
}

#[test]
fn a_window_that_the_recording_does_not_have_whole_is_left_out() {
    let dir = TempDir::new().unwrap();
    let records = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(RECORDING);
    let records = fs::read_to_string(records).unwrap();
    // Of the steps 1 to 8, two to a row, all but the first and the last.
    let some: Vec<&str> = records.lines().skip(4).take(24).collect();
    let recording = dir.path().join("some.jsonl");
    fs::write(&recording, some.join("\n")).unwrap();
    let mut rows = right();
    let before = json!({"step": 0, "reward": 0.5});
    rows.insert(0, before.as_object().unwrap().clone());
    let log = written(&dir, &SHAPES[0](&rows));
    let (found, code) = found(recording.to_str().unwrap(), &log, &["--dialect", "trl"]);
    assert_eq!(
        (wrong(&found), code, &found["rows"]),
        (vec![], Some(0), &json!(2))
    );
}

/// As transformers prints a row: every number a text of four significant digits.
#[test]
fn a_log_of_four_significant_digits_is_exact_within_them() {
    let recording = "data/recordings/trl-2rank";
    let log = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/{recording}/trl_log_history.json"));
    let rows: Vec<Map<String, Value>> =
        serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    let four = |value: f64| format!("{value:.3e}").parse::<f64>().unwrap();
    let dir = TempDir::new().unwrap();
    let printed = |by: f64| {
        let rows = rows.iter().map(|row| {
            let printed = |(key, value): (&String, &Value)| match key.as_str() {
                "step" => (key.clone(), value.clone()),
                "kl" => (
                    key.clone(),
                    json!(four(value.as_f64().unwrap() * by).to_string()),
                ),
                _ => (
                    key.clone(),
                    json!(four(value.as_f64().unwrap()).to_string()),
                ),
            };
            row.iter().map(printed).collect()
        });
        written(&dir, &SHAPES[2](&rows.collect::<Vec<_>>()))
    };
    let (right, _) = found(recording, &printed(1.0), &["--dialect", "trl"]);
    assert_eq!(wrong(&right), []);
    assert_eq!(right["keys"].as_array().unwrap().len(), 27);
    let (off, _) = found(recording, &printed(1.003), &["--dialect", "trl"]);
    assert_eq!(wrong(&off), [("kl".to_owned(), "not explained".to_owned())]);
}

/// TRL under `mask_truncated_completions`: a micro-batch of which every completion was cut off has a KL of 0, and that is averaged too.
#[test]
fn a_mean_that_takes_a_micro_batch_without_tokens_for_0_is_named() {
    let dir = TempDir::new().unwrap();
    let recording = dir.path().join("records.jsonl");
    let record = |step: u64, micro: u64, mask: [u8; 3]| {
        let entropies = [1.5, 0.25, step as f64];
        let batch = json!({
            "group_sizes": [2], "rewards": [0.0, 1.0], "completion_lengths": [1, 2],
            "token_entropies": entropies, "loss_mask": mask,
        });
        json!({"step": step, "rank": 0, "world_size": 1, "micro": micro, "batch": batch})
            .to_string()
    };
    let all = [1, 1, 1];
    let records = [
        record(1, 0, all),
        record(1, 1, [0; 3]),
        record(2, 0, [0; 3]),
        record(2, 1, [0; 3]),
        record(3, 0, all),
        record(3, 1, [0, 1, 1]),
    ];
    fs::write(&recording, records.join("\n")).unwrap();
    let means = [
        (1, 2.75 / 3.0 / 2.0),
        (2, 0.0),
        (3, f64::midpoint(4.75 / 3.0, 3.25 / 2.0)),
    ];
    let rows = means.map(|(step, mean)| json!({"step": step, "entropy": mean}).to_string());
    let log = written(&dir, &rows.join("\n"));
    let (found, _) = found(recording.to_str().unwrap(), &log, &["--dialect", "trl"]);
    let by = "mean of micro-batches' numbers; 0 where one has none";
    assert_eq!(wrong(&found), [("entropy".to_owned(), by.to_owned())]);
    assert_eq!(found["keys"][0]["or"], json!([]));
}

#[test]
fn steps_that_are_counted_from_another_one_are_told_from_wrong_numbers() {
    let dir = TempDir::new().unwrap();
    let recording = "data/recordings/trl-2rank";
    let log = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/{recording}/trl_log_history.json"));
    let rows: Vec<Map<String, Value>> =
        serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    let moved = |by: i64| {
        let moved = rows.iter().map(|row| {
            let mut row = row.clone();
            row["step"] = json!(row["step"].as_i64().unwrap() + by);
            row
        });
        written(&dir, &SHAPES[0](&moved.collect::<Vec<_>>()))
    };
    let shift = |by| found(recording, &moved(by), &["--dialect", "trl"]).0["shift"].clone();
    assert_eq!(
        [shift(0), shift(1), shift(-1)],
        [json!(null), json!(-1), json!(1)]
    );
    let log = moved(1);
    let log = log.to_str().unwrap();
    let out = audit(&[recording, "--log", log, "--dialect", "trl"]);
    let text = String::from_utf8(out.stdout).unwrap();
    let said = "\nWith the log's steps one less, most of these are exact: ";
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_state_that_transformers_wrote_is_the_log_that_it_holds() {
    let folder = "data/audit/trl-window";
    let of = |name: &str| {
        let log = Path::new(folder).join(name);
        let (mut found, code) = found(folder, &log, &["--dialect", "trl"]);
        found.as_object_mut().unwrap().remove("log");
        (found, code)
    };
    // `TrainerState.save_to_json` of transformers 5.23.
    assert_eq!(of("trainer_state.json"), of("trl_log_history.json"));
}

/// What is said of a log that cannot be used.
fn refused(recording: &str, text: Option<&str>, more: &[&str]) -> String {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    if let Some(text) = text {
        fs::write(&log, text).unwrap();
    }
    let log = log.to_str().unwrap();
    let out = audit(&[&[recording, "--log", log], more].concat());
    assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0));
    String::from_utf8(out.stderr).unwrap().replace(log, "LOG")
}

#[test]
fn what_cannot_be_used_is_told_and_nothing_else() {
    let trl = &["--dialect", "trl"][..];
    let of = |text| refused(RECORDING, Some(text), trl);
    let said = [
        refused(RECORDING, None, trl),
        of(""),
        of("[]"),
        of(r#"[{"train_runtime": 3.5}]"#),
        of(r#"[{"step": 101, "reward": 0.5}, {"step": 103, "reward": 0.5}]"#),
        of(r#"[{"step": 1.5, "reward": 0.5}]"#),
        of("{\"step\": 1, \"reward\": 0.5}\nreward 0.5\n"),
        of("[{\"step\": 1, \"reward\""),
        refused(
            RECORDING,
            Some(r#"{"step": 2, "reward": 0.5, "kl": 0.1}"#),
            &["--dialect", "verl"],
        ),
        refused(
            "data/bad/missing_ranks.jsonl",
            Some(r#"{"step": 2, "reward": 0.5}"#),
            trl,
        ),
        refused(
            "data/bad/torn_last_line.jsonl",
            Some(r#"{"step": 2, "reward": 0.5}"#),
            trl,
        ),
    ];
    insta::assert_snapshot!(said.concat(), @r"
    error: LOG: cannot read it: No such file or directory (os error 2)
    error: LOG: expected logged rows of steps 1 to 8, which were recorded, found no row with a step
    error: LOG: expected logged rows of steps 1 to 8, which were recorded, found no row with a step
    error: LOG: expected logged rows of steps 1 to 8, which were recorded, found no row with a step
    error: LOG: expected logged rows of steps 1 to 8, which were recorded, found rows of steps 101 to 103
    error: LOG, row 1: expected a `step` that is a whole number from 0 on, found 1.5
    error: LOG:2: expected a row as a JSON object, found expected value at line 1 column 1
    error: LOG: expected a list of rows, each a JSON object, found EOF while parsing an object at line 1 column 21
    error: LOG: expected keys of the dialect `verl` that the records can tell, found `kl`, `reward`: try --dialect trl
    error: data/bad/missing_ranks.jsonl, step 2: expected records of all 3 ranks, found none of rank 1, 2
    error: data/bad/torn_last_line.jsonl, line 2, step 2, rank 0, micro-batch 0: broken JSON: EOF while parsing a string at column 200
    ");
}
