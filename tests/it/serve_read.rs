//! What the page is answered, over stores that others write.
#![cfg(feature = "serve")]

use std::path::Path;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::serve::{Query, Reader};
use grpo_metrics::store::{Prediction, RunPatch, RunSpec, Split, Sqlite, Status, Store};
use serde_json::{Value, json};

fn row(step: u64, numbers: &[(&str, f64)]) -> Row {
    let mut metrics = Metrics::default();
    for (key, value) in numbers {
        metrics.set((*key).to_owned(), *value);
    }
    Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics,
        ..Row::default()
    }
}

fn asked(reader: &Reader, name: &str, query: &str) -> Value {
    let body = reader.answer(name, &Query::of(query)).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn store(path: &Path, runs: &[&str]) -> Sqlite {
    let mut store = Sqlite::open(path).unwrap();
    for run in runs {
        store.open_run(&RunSpec::new(*run)).unwrap();
    }
    store
}

#[test]
fn a_list_of_runs_has_each_with_its_steps_and_its_reward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a", "b"]);
    for step in 1..=100 {
        let numbers = [("train/reward", step as f64 / 3.0), ("train/kl", 0.5)];
        let rows = [row(step, &numbers)];
        store.log_windows("a", &rows, Split::Train).unwrap();
    }
    let reader = Reader::new(path);
    assert_eq!(asked(&reader, "store", ""), json!({"name": "runs.db"}));
    let runs = &asked(&reader, "runs", "")["runs"];
    assert_eq!(runs[0]["id"], "a");
    assert_eq!(runs[0]["standing"], "pending");
    assert_eq!(
        (&runs[0]["first_step"], &runs[0]["last_step"]),
        (&json!(1), &json!(100))
    );
    assert_eq!(runs[0]["reward"]["key"], "train/reward");
    assert_eq!(runs[0]["reward"]["last"], 100.0 / 3.0);
    assert!(runs[0]["reward"]["course"].as_array().unwrap().len() <= 60);
    assert_eq!(runs[1]["reward"], Value::Null);
    assert_eq!(runs[1]["last_step"], Value::Null);
}

/// A series as `api/series` has it: steps and values, none where it is null.
fn points(line: &Value) -> Vec<(u64, Option<f64>)> {
    let list = |name: &str| line[name].as_array().unwrap().clone();
    let steps = list("step").into_iter().map(|step| step.as_u64().unwrap());
    steps.zip(list("value").iter().map(Value::as_f64)).collect()
}

fn refused(reader: &Reader, name: &str, query: &str) -> (u16, String) {
    let error = reader.answer(name, &Query::of(query)).unwrap_err();
    (error.status().as_u16(), error.to_string())
}

#[test]
fn a_series_is_what_the_store_has_with_infinite_numbers_counted_and_gaps_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a"]);
    for step in 1..=50_u64 {
        let value = if step == 7 {
            f64::INFINITY
        } else {
            step as f64 / 7.0
        };
        let mut numbers = vec![("train/kl", 0.1 * step as f64)];
        if step % 3 != 0 {
            numbers.push(("train/reward", value));
        }
        store
            .log_windows("a", &[row(step, &numbers)], Split::Train)
            .unwrap();
    }
    store
        .log_metrics("a", 10, &[("train/reward", 0.5)], Split::Val)
        .unwrap();
    let reader = Reader::new(path);
    let found = asked(
        &reader,
        "series",
        "run=a&key=train/reward&key=train/reward+(val)&key=none",
    );
    let series = found["series"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0]["infinite"], 1);
    let told: Vec<(u64, Option<f64>)> = store
        .series("a", "train/reward", Split::Train)
        .unwrap()
        .into_iter()
        .map(|point| {
            (
                point.step,
                Some(point.value).filter(|value| value.is_finite()),
            )
        })
        .collect();
    assert_eq!(points(&series[0]), told);
    assert_eq!(points(&series[1]), [(10, Some(0.5))]);
    // Between two moments, and over time.
    let query = "run=a&key=train/kl&x=time&from=1700000010000&to=1700000012000";
    let found = asked(&reader, "series", query);
    assert_eq!(found["series"][0]["step"], json!([10, 11, 12]));
    assert_eq!(
        found["series"][0]["x"],
        json!([
            1_700_000_010_000.0,
            1_700_000_011_000.0,
            1_700_000_012_000.0
        ])
    );
    // Smoothed over all that came before, with the raw numbers beside.
    let found = asked(
        &reader,
        "series",
        "run=a&key=train/kl&smooth=0.5&from=2&to=2",
    );
    let line = &found["series"][0];
    assert_eq!(line["raw"], json!([0.2]));
    assert_eq!(
        line["value"],
        json!([(0.5 * (0.5 * 0.1) + 0.5 * 0.2) / 0.75])
    );
}

#[test]
fn what_is_written_while_the_page_reads_appears_and_what_is_written_again_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a"]);
    let reader = Reader::new(path.clone());
    let read = |reader: &Reader| {
        let found = asked(reader, "series", "run=a&key=r&key=late");
        let series = found["series"].as_array().unwrap();
        series.iter().map(points).collect::<Vec<_>>()
    };
    assert_eq!(read(&reader), Vec::<Vec<_>>::new());
    let mut states = vec![reader.change().unwrap().state];
    let mut log = |step: u64, numbers: &[(&str, f64)]| {
        store
            .log_windows("a", &[row(step, numbers)], Split::Train)
            .unwrap();
    };
    log(2, &[("r", 2.0)]);
    assert_eq!(read(&reader), [[(2, Some(2.0))]]);
    states.push(reader.change().unwrap().state);
    // Later, in between, under a new key, and again with another number.
    log(5, &[("r", 5.0)]);
    log(3, &[("r", 3.0), ("late", 0.5)]);
    log(2, &[("r", -2.0)]);
    let r = vec![(2, Some(-2.0)), (3, Some(3.0)), (5, Some(5.0))];
    assert_eq!(read(&reader), [r.clone(), vec![(3, Some(0.5))]]);
    states.push(reader.change().unwrap().state);
    // More at once than are read row by row.
    for step in 6..700 {
        log(step, &[("r", step as f64)]);
    }
    let after = read(&reader);
    assert_eq!(after[0].len(), 3 + 694);
    assert_eq!(after[0][696], (699, Some(699.0)));
    assert_eq!(after[0][..3], r);
    let last = reader.change().unwrap();
    assert_eq!(last.newest, Some(1_700_000_699_000));
    states.push(last.state);
    assert_eq!(reader.change().unwrap(), last);
    // The run goes, and another comes under its name.
    store.remove_run("a").unwrap();
    states.push(reader.change().unwrap().state);
    assert_eq!(refused(&reader, "series", "run=a&key=r").0, 404);
    store.open_run(&RunSpec::new("a")).unwrap();
    store
        .log_windows("a", &[row(1, &[("r", 9.0)])], Split::Train)
        .unwrap();
    assert_eq!(read(&reader), [[(1, Some(9.0))]]);
    states.push(reader.change().unwrap().state);
    let count = states.len();
    states.dedup();
    assert_eq!(states.len(), count);
}

#[test]
fn a_store_that_vanishes_is_an_error_and_what_comes_in_its_place_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let reader = Reader::new(path.clone());
    let gone = |reader: &Reader| {
        let (status, said) = refused(reader, "runs", "");
        assert_eq!(status, 503);
        assert!(!said.contains("runs.db") && !said.contains('/'), "{said}");
        assert!(reader.change().is_err());
        assert!(reader.exposition().is_err());
    };
    gone(&reader);
    let ids = |reader: &Reader| {
        let runs = asked(reader, "runs", "")["runs"]
            .as_array()
            .unwrap()
            .clone();
        runs.iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let fill = |run: &str, value: f64| {
        let mut store = store(&path, &[run]);
        store
            .log_windows(run, &[row(1, &[("r", value)])], Split::Train)
            .unwrap();
    };
    fill("a", 1.0);
    assert_eq!(ids(&reader), ["a"]);
    let first = reader.change().unwrap();
    let value =
        |reader: &Reader| asked(reader, "series", "run=a&key=r")["series"][0]["value"].clone();
    assert_eq!(value(&reader), json!([1.0]));
    let away = dir.path().join("away");
    let both = ["runs.db", "runs.db-wal", "runs.db-shm"];
    std::fs::create_dir(&away).unwrap();
    for file in both {
        let _ = std::fs::rename(dir.path().join(file), away.join(file));
    }
    gone(&reader);
    // Another store of the same runs.
    fill("a", 2.0);
    assert_eq!(value(&reader), json!([2.0]));
    assert_ne!(reader.change().unwrap().state, first.state);
    // And the first again, over it.
    for file in both {
        let _ = std::fs::remove_file(dir.path().join(file));
        let _ = std::fs::rename(away.join(file), dir.path().join(file));
    }
    assert_eq!(value(&reader), json!([1.0]));
    // What is no store is called so.
    for file in both {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    std::fs::write(
        &path,
        "no database, for all I know, and longer than a page's head is",
    )
    .unwrap();
    let (status, said) = refused(&reader, "runs", "");
    assert_eq!(
        (status, said.as_str()),
        (
            503,
            "expected a store of runs, found a file that is no SQLite database"
        )
    );
}

#[test]
fn a_query_that_asks_for_what_cannot_be_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    drop(store(&path, &["seed-0", "seed-1"]));
    let reader = Reader::new(path.clone());
    let expected = [
        (
            "nothing",
            "",
            404,
            "expected one of compare, distribution, run, runs, series, step, store, found `nothing`",
        ),
        (
            "run",
            "run=seed-2",
            404,
            "expected a run of this store, found `seed-2` (did you mean `seed-1`?)",
        ),
        (
            "run",
            "run=%1b[31m%0a",
            404,
            "expected a run of this store, found `\\u{1b}[31m\\n`",
        ),
        (
            "run",
            "",
            400,
            "run: expected the name or id of a run, found nothing",
        ),
        (
            "series",
            "run=seed-0",
            400,
            "key: expected a key of the run, found nothing",
        ),
        (
            "series",
            "run=seed-0&key=a&width=1e99",
            400,
            "width: expected a number of pixels from 1 to 16384, found `1e99`",
        ),
        (
            "series",
            "run=seed-0&key=a&smooth=NaN",
            400,
            "smooth: expected a number from 0 to less than 1, found `NaN`",
        ),
        (
            "series",
            "run=seed-0&key=a&smooth=1",
            400,
            "smooth: expected a number from 0 to less than 1, found `1`",
        ),
        (
            "series",
            "run=seed-0&key=a&from=inf",
            400,
            "from: expected a number, found `inf`",
        ),
        (
            "series",
            "run=seed-0&key=a&x=y",
            400,
            "x: expected one of step time tokens completions, found `y`",
        ),
        (
            "step",
            "run=seed-0&step=-1",
            400,
            "step: expected a step's number, found `-1`",
        ),
        (
            "compare",
            "",
            400,
            "run: expected 1 to 64 names or ids of runs, found nothing",
        ),
    ];
    for (name, query, status, said) in expected {
        assert_eq!(refused(&reader, name, query), (status, said.to_owned()));
    }
    let many = format!("run=seed-0{}", "&key=a".repeat(1001));
    assert_eq!(refused(&reader, "series", &many).0, 400);
    assert_eq!(
        refused(&reader, "series", "run=seed-0&key=a&x=tokens").0,
        400
    );
    // Of a run without rows there is nothing, and nothing is wrong.
    assert_eq!(asked(&reader, "run", "run=seed-0")["sections"], json!([]));
    assert_eq!(
        asked(&reader, "distribution", "run=seed-0")["steps"],
        json!([])
    );
    assert_eq!(
        asked(&reader, "series", "run=seed-0&key=a")["series"],
        json!([])
    );
}

#[test]
fn a_run_has_each_of_its_keys_in_a_plot_with_its_meaning_and_what_it_came_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = Sqlite::open(&path).unwrap();
    let mut spec = RunSpec::new("a");
    spec.options = json!({"dialect": "maxent", "limits": {"kl": 0.3}})
        .as_object()
        .unwrap()
        .clone();
    store.open_run(&spec).unwrap();
    for step in 1..=30_u64 {
        let x = step as f64;
        let numbers = [
            ("train/reward", x.sin()),
            ("train/reward_p05", x - 1.0),
            ("train/reward_p50", x),
            ("train/reward_p95", x + 1.0),
            ("train/rewards/a/mean", x),
            ("train/kl", x / 9.0),
            (
                "train/health/kl",
                f64::from(u8::from((10..13).contains(&step))),
            ),
            ("train/num_tokens", 100.0 * x),
            ("timing_s/gen", 2.0),
            ("<script>", 1.0),
        ];
        store
            .log_windows("a", &[row(step, &numbers)], Split::Train)
            .unwrap();
    }
    let reader = Reader::new(path.clone());
    let run = asked(&reader, "run", "run=a");
    let titles: Vec<&str> = run["sections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        titles,
        ["First", "Optimizer", "Health", "Others", "timing_s"]
    );
    assert_eq!(run["sections"][0]["plots"][1]["kind"], "fan");
    assert_eq!(run["axes"], json!(["step", "time", "tokens"]));
    let flag = &run["flags"][0];
    assert_eq!(flag["key"], "train/health/kl");
    assert!(flag["reason"].as_str().unwrap().ends_with("(kl 0.3)"));
    assert_eq!(
        flag["spans"][0][0],
        json!({"step": 10.0, "time": 1_700_000_010_000.0, "tokens": 1000.0})
    );
    assert_eq!(flag["spans"][0][1]["step"], 12.0);
    let reward = &run["keys"]["train/reward"];
    assert_eq!(
        (&reward["unit"], &reward["reduction"], &reward["meaning"]),
        (&json!("reward"), &json!("mean"), &json!("mean reward"))
    );
    assert_eq!(run["keys"]["<script>"]["unit"], Value::Null);
    // As `show --json` has them.
    let told = std::process::Command::new(crate::grpo_metrics())
        .args(["show", "a", "--all", "--json", "--store"])
        .arg(&path)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let keys = told["metrics"].as_array().unwrap();
    assert_eq!(keys.len(), 10, "{told}");
    for key in keys {
        let ours = &run["keys"][key["key"].as_str().unwrap()];
        for number in ["last", "mean", "min", "max"] {
            assert_eq!(ours[number], key[number], "{key}");
        }
    }
    let spread = asked(&reader, "distribution", "run=a&width=10");
    assert_eq!(spread["steps"].as_array().unwrap().len(), 10);
    assert_eq!(spread["quantiles"][1][0], 0.5);
    assert_eq!(spread["quantiles"][1][1][9], 30.0);
}

#[test]
fn seeds_together_are_their_mean_with_a_band() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["s-0", "s-1", "s-2"]);
    for (nth, run) in ["s-0", "s-1", "s-2"].into_iter().enumerate() {
        for step in 1..=4 + nth as u64 {
            store
                .log_windows(
                    run,
                    &[row(step, &[("r", (step * nth as u64) as f64)])],
                    Split::Train,
                )
                .unwrap();
        }
    }
    let reader = Reader::new(path);
    let found = asked(
        &reader,
        "series",
        "run=s-0&run=s-1&run=s-2&key=r&together=1",
    );
    let line = &found["series"][0];
    assert_eq!(line["runs"], 3);
    assert_eq!(line["count"], json!([3, 3, 3, 3, 2, 1]));
    assert_eq!(line["value"], json!([1.0, 2.0, 3.0, 4.0, 7.5, 12.0]));
    assert_eq!(line["low"], json!([0.0, 0.0, 0.0, 0.0, 5.0, 12.0]));
    assert_eq!(line["high"], json!([2.0, 4.0, 6.0, 8.0, 10.0, 12.0]));
    let compared = asked(&reader, "compare", "run=s-0&run=s-2");
    assert_eq!(compared["keys"][0]["key"], "r");
    assert_eq!(compared["keys"][0]["runs"][1]["last"], 12.0);
    assert_eq!(compared["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_step_has_the_samples_that_were_stored_those_without_spread_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a"]);
    for step in 1..=3 {
        store
            .log_windows("a", &[row(step, &[("r", 1.0)])], Split::Train)
            .unwrap();
    }
    let sample = |group: u64, place: u64, reward: f64, text: &str| Prediction {
        run_id: "a".to_owned(),
        kind: "train".to_owned(),
        instruction: Some("2+2?".to_owned()),
        model_output: Some(text.to_owned()),
        reward: Some(reward),
        step: Some(2),
        metadata: json!({"prompt_index": group, "completion_index": place, "group_size": 2, "reward_rank_desc": place + 1,
            "length": 3, "rewards": {"accuracy": reward, "format": null}}),
        ..Prediction::default()
    };
    let long = "\u{202e}<script>".repeat(20_000);
    let samples = [
        sample(0, 0, 1.0, "4"),
        sample(0, 1, 0.0, "5"),
        sample(1, 0, 1.0, &long),
        sample(1, 1, 1.0, "x"),
        sample(0, 0, 1.0, "four"),
    ];
    store.log_predictions(&samples).unwrap();
    let reader = Reader::new(path);
    let found = asked(&reader, "step", "run=a&step=2");
    assert_eq!(
        (&found["previous"], &found["next"], &found["completions"]),
        (&json!(1), &json!(3), &json!(4))
    );
    let groups = &found["groups"];
    assert_eq!(
        (&groups[0]["name"], &groups[0]["spread"]),
        (&json!("1"), &json!(0.0))
    );
    assert_eq!(
        (&groups[1]["name"], &groups[1]["spread"]),
        (&json!("0"), &json!(0.5))
    );
    assert_eq!(groups[1]["prompt"], "2+2?");
    // Of one that was stored again, the newest.
    assert_eq!(groups[1]["completions"][0]["text"], "four");
    assert_eq!(
        groups[1]["completions"][0]["components"],
        json!({"accuracy": 1.0})
    );
    let text = groups[0]["completions"][0]["text"].as_str().unwrap();
    assert!(text.len() < 70_000 && text.ends_with(" more characters are stored)"));
    assert_eq!(found["metrics"], json!([["r", 1.0]]));
    let without = asked(&reader, "step", "run=a&step=1");
    assert_eq!(
        (&without["next_samples"], &without["groups"]),
        (&json!(2), &json!([]))
    );
    assert!(without["missing"].as_str().unwrap().contains("of step 2"));
}

#[test]
fn a_replayed_run_has_its_completions_from_the_recording_beside_the_store_and_from_no_other_place()
{
    let dir = tempfile::tempdir().unwrap();
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings/trl-2rank");
    let beside = dir.path().join("trl-2rank");
    let replayed = std::process::Command::new(crate::grpo_metrics())
        .arg("replay")
        .arg(&recording)
        .args(["--run", "a", "--store"])
        .arg(dir.path().join("runs.db"))
        .output()
        .unwrap();
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stderr)
    );
    let reader = Reader::new(dir.path().join("runs.db"));
    let missing = asked(&reader, "step", "run=a&step=3");
    assert_eq!(missing["groups"], json!([]));
    assert!(
        missing["missing"]
            .as_str()
            .unwrap()
            .contains("not found beside the store")
    );
    // A link leads elsewhere.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&recording, &beside).unwrap();
        assert_eq!(asked(&reader, "step", "run=a&step=3")["groups"], json!([]));
        std::fs::remove_file(&beside).unwrap();
    }
    std::fs::create_dir(&beside).unwrap();
    for file in std::fs::read_dir(&recording).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), beside.join(file.file_name())).unwrap();
    }
    let found = asked(&reader, "step", "run=a&step=3");
    assert_eq!(found["source"], "the run's recording beside the store");
    assert_eq!(found["completions"], 32);
    let groups = found["groups"].as_array().unwrap();
    let rewards = groups
        .iter()
        .flat_map(|group| group["completions"].as_array().unwrap());
    let rewards: Vec<f64> = rewards.map(|one| one["reward"].as_f64().unwrap()).collect();
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    let told = Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    let told = told.series("a", "train/reward", Split::Train).unwrap();
    assert!((told[2].value - mean).abs() < 1e-12, "{mean}");
}

#[test]
fn prometheus_reads_the_newest_rows_of_live_runs_and_of_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["live \"1\"\\\n", "done"]);
    let live = RunPatch {
        status: Some(Status::Running),
        ..RunPatch::default()
    };
    store.update_run("live \"1\"\\\n", &live).unwrap();
    for run in ["live \"1\"\\\n", "done"] {
        let numbers = [
            ("train/reward", 0.5),
            ("train/r", f64::INFINITY),
            ("train_r", -1.5),
            ("train/pass@4", 1e-300),
        ];
        store
            .log_windows(
                run,
                &[row(4, &[("train/reward", 0.0)]), row(5, &numbers)],
                Split::Train,
            )
            .unwrap();
        store
            .log_metrics(run, 3, &[("eval/x", 1.0)], Split::Val)
            .unwrap();
    }
    let reader = Reader::new(path);
    let text = reader.exposition().unwrap();
    assert!(!text.contains("done"));
    assert!(text.contains("# HELP grpo_train_reward train/reward: mean reward (reward)\n# TYPE grpo_train_reward gauge\n"));
    let labels = r#"{run="live \"1\"\\\n",name="live \"1\"\\\n",split="train"}"#;
    for line in [
        "grpo_metrics_step{} 5.0",
        "grpo_metrics_last_step_timestamp_seconds{} 1700000005.0",
        "grpo_train_reward{} 0.5",
        "grpo_train_r{} +Inf",
        "grpo_train_pass_4{} 1e-300",
    ] {
        let wanted = line.replace("{}", labels);
        assert!(text.lines().any(|told| told == wanted), "{wanted}\n{text}");
    }
    let Some(python) = python("prometheus_client") else {
        return;
    };
    let program = "import json, sys\nfrom prometheus_client.parser import text_string_to_metric_families as read\n\
        print(json.dumps([[s.name, s.labels, str(s.value)] for f in read(sys.stdin.read()) for s in f.samples]))";
    let output: Value = serde_json::from_str(
        &told(
            std::process::Command::new(python).args(["-c", program]),
            &text,
        )
        .unwrap(),
    )
    .unwrap();
    let samples = output.as_array().unwrap();
    assert_eq!(
        samples.len(),
        text.lines().filter(|line| !line.starts_with('#')).count()
    );
    let reward = samples
        .iter()
        .find(|sample| sample[0] == "grpo_train_reward")
        .unwrap();
    assert_eq!(reward[1]["run"], "live \"1\"\\\n");
    assert_eq!(reward[2], "0.5");
}

/// Prometheus' own tool, where there is one.
#[test]
fn promtool_finds_nothing_wrong_with_what_is_told() {
    let promtool = std::env::var("GRPO_METRICS_PROMTOOL").unwrap_or("promtool".to_owned());
    if std::process::Command::new(&promtool)
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("1 test skipped: no promtool");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a"]);
    let live = RunPatch {
        status: Some(Status::Running),
        ..RunPatch::default()
    };
    store.update_run("a", &live).unwrap();
    let names = [
        "one/two",
        "one_two",
        "one:two",
        "9",
        "\u{fc}",
        "one two\n",
        "metrics/step",
        "x{y=\"z\"}",
    ];
    let numbers: Vec<(&str, f64)> = names
        .into_iter()
        .map(|name| (name, f64::MIN_POSITIVE))
        .collect();
    store
        .log_windows("a", &[row(1, &numbers)], Split::Train)
        .unwrap();
    let text = Reader::new(path).exposition().unwrap();
    assert_eq!(
        text.lines().filter(|line| !line.starts_with('#')).count(),
        names.len() + 2
    );
    told(
        std::process::Command::new(promtool).args(["check", "metrics"]),
        &text,
    )
    .unwrap();
}

/// What a program says of a text; what is wrong where it fails.
fn told(program: &mut std::process::Command, text: &str) -> Result<String, String> {
    use std::io::Write;
    use std::process::Stdio;
    let program = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = program.spawn().unwrap();
    running
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = running.wait_with_output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        return Ok(said(output.stdout));
    }
    Err(format!(
        "{}\n{}\n{text}",
        said(output.stdout),
        said(output.stderr)
    ))
}

/// A Python that has a package: the one that `GRPO_METRICS_PYTHON` names, else `python3`. Without one, the test says how many it skips.
fn python(package: &str) -> Option<String> {
    let candidates = [
        std::env::var("GRPO_METRICS_PYTHON").ok(),
        Some("python3".to_owned()),
    ];
    let has_it = |python: &String| {
        let import = std::process::Command::new(python)
            .args(["-c", &format!("import {package}")])
            .output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_it);
    if found.is_none() {
        eprintln!("1 test skipped: no python with {package}");
    }
    found
}

#[test]
fn readers_ask_at_once_while_a_training_writes_and_each_is_told_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = store(&path, &["a"]);
    let reader = Reader::new(path);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // Both keys are written at once: they are read at once, whoever brings up what is kept.
                    let found = asked(&reader, "series", "run=a&key=x&key=y");
                    if let [x, y] = found["series"].as_array().unwrap().as_slice() {
                        assert_eq!(x["step"], y["step"]);
                        assert_eq!(x["value"], y["value"]);
                    }
                    reader.change().unwrap();
                }
            });
        }
        for step in 0..400_u64 {
            // Some are written again.
            let step = if step % 5 == 4 { step - 3 } else { step };
            let value = (step * 7) as f64;
            store
                .log_windows(
                    "a",
                    &[row(step, &[("x", value), ("y", value)])],
                    Split::Train,
                )
                .unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let found = asked(&reader, "series", "run=a&key=x");
    let told = store.series("a", "x", Split::Train).unwrap();
    let told: Vec<_> = told
        .into_iter()
        .map(|point| (point.step, Some(point.value)))
        .collect();
    assert_eq!(points(&found["series"][0]), told);
}

#[test]
fn a_store_of_an_older_schema_is_read_as_it_is_and_as_it_becomes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../src/store/sqlite/schema_1.sql"))
        .unwrap();
    old.execute_batch(
        "PRAGMA application_id = 1196576847; PRAGMA user_version = 1;
        INSERT INTO experiments (id, experiment_name, tags, status) VALUES ('e', 'default', '[]', 'running');
        INSERT INTO runs (id, experiment_id, status) VALUES ('a', 'e', 'running');
        INSERT INTO metrics VALUES ('a', 1, 'train', 'r', 0.5);",
    )
    .unwrap();
    let reader = Reader::new(path.clone());
    let value =
        |reader: &Reader| asked(reader, "series", "run=a&key=r")["series"][0]["value"].clone();
    assert_eq!(value(&reader), json!([0.5]));
    old.execute_batch("INSERT INTO metrics VALUES ('a', 2, 'train', 'r', 1.5)")
        .unwrap();
    assert_eq!(value(&reader), json!([0.5, 1.5]));
    old.close().unwrap();
    let mut new = Sqlite::open(&path).unwrap();
    new.log_metrics("a", 3, &[("r", 2.5)], Split::Train)
        .unwrap();
    assert_eq!(value(&reader), json!([0.5, 1.5, 2.5]));
}
