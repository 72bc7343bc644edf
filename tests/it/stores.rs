//! One contract for every store, and what the embedded one adds: a file that people, other programs and several processes
//! read and write.
#![cfg(feature = "sqlite")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::Engine;
use grpo_metrics::gather::Threads;
use grpo_metrics::row::run::Ending;
use grpo_metrics::row::window::Windowing;
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{Durable, Memory, Queued, Sink};
use grpo_metrics::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Logged, Metric, Prediction, Resume, Run,
    RunPatch, RunSpec, Split, Sqlite, Status, Store, StoreError, StoreSink,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

/// What keeps a store alive.
struct Alive {
    #[cfg(feature = "evsys")]
    _gateway: Option<Box<dyn std::any::Any>>,
    _dir: TempDir,
}

/// Every store there is, empty, with what keeps it alive.
fn stores() -> Vec<(Alive, Box<dyn Store>)> {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(file(&dir)).unwrap();
    let alive = Alive {
        _dir: dir,
        #[cfg(feature = "evsys")]
        _gateway: None,
    };
    #[allow(unused_mut, reason = "there may be no other store")]
    let mut stores: Vec<(Alive, Box<dyn Store>)> = vec![(alive, Box::new(store))];
    #[cfg(feature = "evsys")]
    stores.push(evsys());
    #[cfg(all(feature = "cli", feature = "evsys", feature = "serve"))]
    stores.push(own());
    stores
}

/// The gateway of ours, over sockets.
#[cfg(all(feature = "cli", feature = "evsys", feature = "serve"))]
fn own() -> (Alive, Box<dyn Store>) {
    let dir = TempDir::new().unwrap();
    let own = crate::gateway::own::Own::start(&file(&dir));
    let store = own.store();
    let alive = Alive {
        _dir: dir,
        _gateway: Some(Box::new(own)),
    };
    (alive, Box::new(store))
}

#[cfg(feature = "evsys")]
fn evsys() -> (Alive, Box<dyn Store>) {
    let dir = TempDir::new().unwrap();
    let gateway = crate::gateway::Gateway::start();
    let store = grpo_metrics::store::EvSys::new(&gateway.url(), crate::gateway::KEY)
        .unwrap()
        .dead_letters(dir.path().join("dead-letters.jsonl"));
    let alive = Alive {
        _dir: dir,
        _gateway: Some(Box::new(gateway)),
    };
    (alive, Box::new(store))
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("runs.db")
}

fn new_run(store: &mut dyn Store) -> String {
    let experiment = store
        .create_experiment(&Experiment {
            experiment_name: "e".to_owned(),
            ..Experiment::default()
        })
        .unwrap();
    let run = Run {
        experiment_id: experiment.id,
        ..Run::default()
    };
    store.create_run(&run).unwrap().id
}

/// The one thing of a list.
fn only<T: std::fmt::Debug>(mut list: Vec<T>) -> T {
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

fn metric(step: u64, name: &str, value: f64, split: Split) -> Metric {
    Metric {
        step,
        name: name.to_owned(),
        value,
        split,
    }
}

#[test]
fn every_record_comes_back_as_it_went_in() {
    for (_dir, mut store) in stores() {
        let experiment = Experiment {
            experiment_name: "lengths".to_owned(),
            project_id: Some("p".to_owned()),
            hypothesis: Some("shorter is \"better\"".to_owned()),
            tags: vec!["a".to_owned(), "b,c".to_owned()],
            ..Experiment::default()
        };
        let experiment = store.create_experiment(&experiment).unwrap();
        assert_eq!(store.get_experiment(&experiment.id).unwrap(), experiment);
        assert_eq!(only(store.list_experiments().unwrap()), experiment);
        assert_eq!(experiment.status, Status::Pending);

        let group = Group {
            experiment_id: experiment.id.clone(),
            name: "seeds".to_owned(),
            description: None,
        };
        let group = store.create_group(&group).unwrap();
        assert_eq!(only(store.list_groups(&experiment.id).unwrap()), group);
        assert_eq!(store.list_groups("other").unwrap(), []);

        let run = Run {
            experiment_id: experiment.id.clone(),
            group_id: Some(group.id.clone()),
            dataset_id: Some("d".to_owned()),
            seed: Some(-7),
            recipe_kind: Some("grpo".to_owned()),
            run_config: json!({"lr": 1e-6, "betas": [0.9, 0.1], "note": "ü"}),
            ..Run::default()
        };
        let run = store.create_run(&run).unwrap();
        assert_eq!(store.get_run(&run.id).unwrap(), run);
        let alone = Run {
            experiment_id: experiment.id.clone(),
            ..Run::default()
        };
        let alone = store.create_run(&alone).unwrap();
        assert_ne!(run.id, alone.id);
        assert_eq!(
            store.list_runs(None, None).unwrap(),
            [run.clone(), alone.clone()]
        );
        assert_eq!(
            only(
                store
                    .list_runs(Some(&experiment.id), Some(&group.id))
                    .unwrap()
            ),
            run
        );
        assert_eq!(store.list_runs(Some("other"), None).unwrap(), []);
    }
}

#[test]
fn what_a_run_left_behind_comes_back_as_it_went_in() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        let checkpoint = Checkpoint {
            run_id: run.clone(),
            uri: "file:///w".to_owned(),
            label: Some("best".to_owned()),
            step: Some(9),
            base_model: Some("m".to_owned()),
            is_final: true,
        };
        let checkpoint = store.add_checkpoint(&checkpoint).unwrap();
        assert_eq!(only(store.list_checkpoints(&run).unwrap()), checkpoint);
        assert_eq!(store.list_checkpoints("other").unwrap(), []);

        let eval = Eval {
            run_id: run.clone(),
            benchmark_id: "gsm".to_owned(),
            checkpoint_id: Some(checkpoint.id.clone()),
            model_ref: Some("m@9".to_owned()),
            step: Some(9),
            metrics: json!({"accuracy": 0.1}),
            breakdowns: json!([{"topic": "sums"}]),
            sdk_version: Some("1".to_owned()),
        };
        let eval = store.create_eval(&eval).unwrap();
        assert_eq!(only(store.list_evals(&run).unwrap()), eval);

        let prediction = Prediction {
            run_id: run.clone(),
            kind: "eval".to_owned(),
            eval_id: Some(eval.id.clone()),
            task_id: Some("t".to_owned()),
            instruction: Some("1+1?".to_owned()),
            model_output: Some("2".to_owned()),
            expected: Some("2".to_owned()),
            reward: Some(0.1),
            advantage: Some(f64::NEG_INFINITY),
            step: Some(9),
            sample_idx: Some(3),
            metadata: json!({"t": 0.7}),
        };
        let bare = Prediction {
            run_id: run.clone(),
            kind: "train".to_owned(),
            ..Prediction::default()
        };
        let prediction = store.add_prediction(&prediction).unwrap();
        assert_eq!(
            store
                .log_predictions(&[bare.clone(), bare.clone()])
                .unwrap(),
            2
        );
        assert_eq!(store.log_predictions(&[]).unwrap(), 0);
        assert_eq!(store.list_predictions(&run, None).unwrap().len(), 3);
        assert_eq!(
            store.list_predictions(&run, Some("eval")).unwrap(),
            [prediction]
        );
        assert_eq!(
            store.list_predictions(&run, Some("train")).unwrap()[1].record,
            bare
        );
    }
}

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    for (_dir, mut store) in stores() {
        let id = new_run(store.as_mut());
        let config = RunPatch {
            run_config: Some(json!({"a": 1})),
            status: Some(Status::Running),
            ..RunPatch::default()
        };
        store.update_run(&id, &config).unwrap();
        let failed = RunPatch {
            status: Some(Status::Failed),
            error_message: Some("out of memory".to_owned()),
            ..RunPatch::default()
        };
        let run = store.update_run(&id, &failed).unwrap();
        assert_eq!(run, store.get_run(&id).unwrap());
        assert_eq!(
            (run.status, &run.run_config),
            (Status::Failed, &json!({"a": 1}))
        );
        assert_eq!(run.error_message.as_deref(), Some("out of memory"));

        let patch = ExperimentPatch {
            tags: Some(vec!["t".to_owned()]),
            conclusion: Some("yes".to_owned()),
            ..ExperimentPatch::default()
        };
        let experiment = store.update_experiment(&run.experiment_id, &patch).unwrap();
        assert_eq!(
            experiment,
            store.get_experiment(&run.experiment_id).unwrap()
        );
        assert_eq!(experiment.experiment_name, "e");
        assert_eq!(
            (experiment.tags.len(), experiment.conclusion.as_deref()),
            (1, Some("yes"))
        );
    }
}

#[test]
fn metrics_come_back_by_step_split_and_name() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        store
            .log_metrics(&run, 10, &[("b", 1.0), ("a", 1.0 / 3.0)], Split::Train)
            .unwrap();
        store
            .log_metric(&run, 2, "b", f64::INFINITY, Split::Val)
            .unwrap();
        store
            .log_metric(&run, 2, "b", f64::NEG_INFINITY, Split::Train)
            .unwrap();
        let expected = [
            metric(2, "b", f64::NEG_INFINITY, Split::Train),
            metric(2, "b", f64::INFINITY, Split::Val),
            metric(10, "a", 1.0 / 3.0, Split::Train),
            metric(10, "b", 1.0, Split::Train),
        ];
        assert_eq!(store.get_metrics(&run, None, None).unwrap(), expected);
        assert_eq!(
            store
                .get_metrics(&run, Some("b"), Some(Split::Val))
                .unwrap(),
            expected[1..2]
        );
        assert_eq!(
            store.get_metrics(&run, Some("a"), None).unwrap(),
            expected[2..3]
        );
        assert_eq!(store.get_metrics("other", None, None).unwrap(), []);
    }
}

#[test]
fn a_number_written_twice_is_the_second() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        for value in [1.0, 2.0] {
            let logged = store.log_metric(&run, 1, "a", value, Split::Train).unwrap();
            assert_eq!(
                logged,
                Logged {
                    written: 1,
                    ..Logged::default()
                }
            );
        }
        assert_eq!(
            store.get_metrics(&run, None, None).unwrap(),
            [metric(1, "a", 2.0, Split::Train)]
        );
    }
}

#[test]
fn a_nan_is_counted_and_touches_no_other_number() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        let row: Metrics = [("a", 1.0), ("b", f64::NAN), ("c", 3.0)]
            .into_iter()
            .collect();
        let logged = store
            .log_rows(&run, &[(1, &row), (2, &row)], Split::Train)
            .unwrap();
        assert_eq!(
            logged,
            Logged {
                written: 4,
                nan: 2,
                ..Logged::default()
            }
        );
        let names: Vec<_> = store
            .get_metrics(&run, None, None)
            .unwrap()
            .into_iter()
            .map(|m| m.name)
            .collect();
        assert_eq!(names, ["a", "c", "a", "c"]);
    }
}

#[test]
fn a_record_that_belongs_to_nothing_is_refused_by_name() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        let missing = |error: StoreError, name: &str| {
            assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        };
        missing(
            store
                .log_metric("r9", 1, "a", 1.0, Split::Train)
                .unwrap_err(),
            "run `r9`",
        );
        missing(store.get_run("r9").unwrap_err(), "run `r9`");
        missing(
            store.update_run("r9", &RunPatch::default()).unwrap_err(),
            "run `r9`",
        );
        missing(store.get_experiment("e9").unwrap_err(), "experiment `e9`");
        missing(
            store
                .update_experiment("e9", &ExperimentPatch::default())
                .unwrap_err(),
            "experiment `e9`",
        );
        let group = Group {
            experiment_id: "e9".to_owned(),
            ..Group::default()
        };
        missing(store.create_group(&group).unwrap_err(), "experiment `e9`");
        let orphan = Run {
            experiment_id: "e9".to_owned(),
            ..Run::default()
        };
        missing(store.create_run(&orphan).unwrap_err(), "experiment `e9`");
        let good = Prediction {
            run_id: run.clone(),
            ..Prediction::default()
        };
        let bad = Prediction {
            eval_id: Some("v9".to_owned()),
            ..good.clone()
        };
        missing(
            store.log_predictions(&[good, bad]).unwrap_err(),
            "evaluation `v9`",
        );
        // A store that takes a record at a time has those before the bad one.
        if store.rows_at_once() > 1 {
            assert_eq!(store.list_predictions(&run, None).unwrap(), []);
        }
    }
}

#[test]
fn rows_are_written_all_or_none() {
    for (_dir, mut store) in stores() {
        let run = new_run(store.as_mut());
        let row: Metrics = [("a", 1.0)].into_iter().collect();
        let error = store
            .log_rows(&run, &[(1, &row), (u64::MAX, &row)], Split::Train)
            .unwrap_err();
        assert!(error.to_string().contains(&u64::MAX.to_string()), "{error}");
        assert_eq!(store.get_metrics(&run, None, None).unwrap(), []);
        assert_eq!(
            store.log_rows(&run, &[], Split::Train).unwrap(),
            Logged::default()
        );
    }
}

#[test]
fn records_read_as_the_gateway_spells_them() {
    let run: Run =
        serde_json::from_value(json!({"experiment_id": "e", "status": "failed"})).unwrap();
    assert_eq!(run.status, Status::Failed);
    let patch = RunPatch {
        status: Some(Status::Cancelled),
        ..RunPatch::default()
    };
    assert_eq!(
        serde_json::to_value(patch).unwrap(),
        json!({"status": "cancelled"})
    );
    let bare = serde_json::to_value(Group {
        experiment_id: "e".to_owned(),
        name: "g".to_owned(),
        description: None,
    });
    assert_eq!(bare.unwrap(), json!({"experiment_id": "e", "name": "g"}));
    for status in [
        Status::Pending,
        Status::Running,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
    ] {
        assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
    let error = "done".parse::<Status>().unwrap_err().to_string();
    assert_eq!(
        error,
        "status: expected one of pending running completed failed cancelled, found `done`"
    );
}

// The embedded store's own.

fn row(step: u64, value: f64) -> Row {
    Row {
        step,
        metrics: [("a", value), ("b", -value)].into_iter().collect(),
        ..Row::default()
    }
}

#[test]
fn what_is_written_is_read_again_after_reopening() {
    let dir = TempDir::new().unwrap();
    let run = new_run(&mut Sqlite::open(file(&dir)).unwrap());
    for step in 1..=3 {
        let mut store = Sqlite::open(file(&dir)).unwrap();
        store
            .log_metric(&run, step, "a", 0.1, Split::Train)
            .unwrap();
    }
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    assert_eq!(store.get_metrics(&run, None, None).unwrap().len(), 3);
}

#[test]
fn the_file_reads_with_plain_sql() {
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(StoreSink::open(file(&dir), "first").unwrap());
    sink.write(&row(1, 0.25)).unwrap();
    sink.write(&row(2, f64::INFINITY)).unwrap();
    sink.close();
    let db = Connection::open(file(&dir)).unwrap();
    let value = |sql: &str| -> u64 {
        let value: f64 = db.query_row(sql, [], |line| line.get(0)).unwrap();
        value.to_bits()
    };
    assert_eq!(
        value("SELECT value FROM metrics WHERE run_id = 'first' AND step = 1 AND name = 'a'"),
        0.25_f64.to_bits()
    );
    assert_eq!(
        value("SELECT max(value) FROM metrics"),
        f64::INFINITY.to_bits()
    );
    let text = |sql: &str| {
        db.query_row(sql, [], |line| line.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(
        text("SELECT typeof(value) || ' ' || split FROM metrics"),
        "real train"
    );
    assert_eq!(
        text(
            "SELECT r.id || ' ' || r.status || ' ' || experiment_name FROM runs r JOIN experiments e ON e.id = experiment_id"
        ),
        "first completed default"
    );
    assert_eq!(text("PRAGMA integrity_check"), "ok");
}

#[test]
fn an_evaluations_numbers_are_stored_in_split_val_and_all_others_in_train() {
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(StoreSink::open(file(&dir), "r").unwrap());
    let both = [("eval/reward", 0.5), ("train/reward", 0.25)];
    let rows = [
        Row {
            step: 1,
            metrics: both.into_iter().collect(),
            ..Row::default()
        },
        row(2, 0.75),
    ];
    assert_eq!(sink.write_batch(&rows).written, 2);
    let receipt = sink.close();
    assert_eq!((receipt.accepted, receipt.written), (2, 2));
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let of = |split| {
        let metrics = store.get_metrics("r", None, Some(split)).unwrap();
        let name = |m: Metric| (m.step, m.name, m.value);
        metrics.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(of(Split::Val), [(1, "eval/reward".to_owned(), 0.5)]);
    let train = [
        (1, "train/reward".to_owned(), 0.25),
        (2, "a".to_owned(), 0.75),
        (2, "b".to_owned(), -0.75),
    ];
    assert_eq!(of(Split::Train), train);
}

#[test]
fn metrics_are_a_view_that_finds_a_series_by_the_keys_of_its_tables() {
    let dir = TempDir::new().unwrap();
    Sqlite::open(file(&dir)).unwrap();
    let db = Connection::open(file(&dir)).unwrap();
    let tables = "SELECT group_concat(name, ' ') FROM
        (SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name)";
    let tables: String = db.query_row(tables, [], |line| line.get(0)).unwrap();
    assert_eq!(
        tables,
        "checkpoints evals experiments groups numbers predictions rows runs series"
    );
    let plan = |sql: &str| -> Vec<String> {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = plan.query_map([], |line| line.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    };
    // Each a search, and by step without sorting.
    let series = "SELECT step, value FROM metrics WHERE run_id = 'r' AND name = 'a' ORDER BY step";
    assert_eq!(
        plan(series),
        [
            "SEARCH runs USING COVERING INDEX sqlite_autoindex_runs_1 (id=?)",
            "SEARCH rows USING COVERING INDEX sqlite_autoindex_rows_1 (run=?)",
            "SEARCH series USING PRIMARY KEY (run=? AND split=? AND name=?)",
            "SEARCH numbers USING INTEGER PRIMARY KEY (rowid=?)",
        ]
    );
    let samples = "SELECT * FROM predictions WHERE run_id = 'r' AND kind = 'sample' AND step = 7";
    assert_eq!(
        plan(samples),
        ["SEARCH predictions USING INDEX predictions_by_run (run_id=? AND kind=? AND step=?)"]
    );
}

#[test]
fn the_write_ahead_log_is_on() {
    let dir = TempDir::new().unwrap();
    let _store = Sqlite::open(file(&dir)).unwrap();
    let db = Connection::open(file(&dir)).unwrap();
    let mode: String = db
        .query_row("PRAGMA journal_mode", [], |line| line.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_newer_schema_is_refused_with_both_versions() {
    let dir = TempDir::new().unwrap();
    Sqlite::open(file(&dir)).unwrap();
    Connection::open(file(&dir))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for error in [
        Sqlite::open(file(&dir)).unwrap_err(),
        Sqlite::open_read_only(file(&dir)).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                StoreError::Newer {
                    found: 99,
                    known: 2,
                    ..
                }
            ),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("99") && text.contains("version 2 ") && text.contains("runs.db"),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_store_is_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "dear diary, ".repeat(100)).unwrap();
    let error = Sqlite::open(&notes).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(
        std::fs::read_to_string(&notes).unwrap(),
        "dear diary, ".repeat(100)
    );

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let before = std::fs::read(&foreign).unwrap();
    let error = Sqlite::open(&foreign).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let error = Sqlite::open(dir.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&dir.path().display().to_string()),
        "{error}"
    );
    assert!(Sqlite::open(dir.path().join("no/such/folder/runs.db")).is_err());
}

#[test]
fn reading_makes_no_file_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let error = Sqlite::open_read_only(file(&dir)).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!file(&dir).exists());
    std::fs::write(file(&dir), "").unwrap();
    assert!(matches!(
        Sqlite::open_read_only(file(&dir)),
        Err(StoreError::NotAStore { .. })
    ));
    let run = new_run(&mut Sqlite::open(file(&dir)).unwrap());
    let mut reader = Sqlite::open_read_only(file(&dir)).unwrap();
    let written = reader.log_metric(&run, 1, "a", 1.0, Split::Train);
    assert!(written.is_err());
    assert!(reader.get_metrics(&run, None, None).unwrap().is_empty());
    drop(reader);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(left, ["runs.db"]);
}

#[test]
fn several_writers_that_open_a_new_file_at_once_lose_nothing() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir);
    thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut sink = Box::new(StoreSink::open(path, format!("run-{writer}")).unwrap());
                for step in 1..=50 {
                    sink.write(&row(step, 0.5)).unwrap();
                }
                assert_eq!(sink.close().written, 50);
            });
        }
    });
    let store = Sqlite::open_read_only(&path).unwrap();
    assert_eq!(store.list_experiments().unwrap().len(), 1);
    for run in store.overview().unwrap() {
        assert_eq!(
            (run.steps, run.span, run.values),
            (50, Some((1, 50)), 100),
            "{run:?}"
        );
    }
    assert_eq!(store.list_runs(None, None).unwrap().len(), 4);
}

/// Run as a process of its own by the test below.
#[test]
#[ignore = "the other process of another test"]
fn another_process() {
    let Some(path) = std::env::var_os("GRPO_METRICS_TEST_STORE") else {
        return;
    };
    write_as(Path::new(&path), "theirs");
}

fn write_as(path: &Path, run: &str) {
    let mut sink = Box::new(StoreSink::open(path, run).unwrap());
    for step in 1..=100 {
        sink.write(&row(step, 0.5)).unwrap();
    }
    assert_eq!(sink.close().dropped, 0);
}

#[test]
fn two_processes_write_the_same_file_at_once() {
    let dir = TempDir::new().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stores::another_process", "--ignored"])
        .env("GRPO_METRICS_TEST_STORE", file(&dir))
        .spawn()
        .unwrap();
    write_as(&file(&dir), "ours");
    assert!(other.wait().unwrap().success());
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let runs = store.overview().unwrap();
    let mut held: Vec<_> = runs
        .iter()
        .map(|run| (run.id.as_str(), run.steps, run.status))
        .collect();
    held.sort_unstable();
    assert_eq!(
        held,
        [
            ("ours", 100, Some(Status::Completed)),
            ("theirs", 100, Some(Status::Completed))
        ]
    );
}

#[test]
fn a_reader_sees_whole_rows_while_a_writer_writes() {
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(StoreSink::open(file(&dir), "r").unwrap());
    let path = file(&dir);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let store = Sqlite::open_read_only(&path).unwrap();
            loop {
                let metrics = store.get_metrics("r", None, None).unwrap();
                assert!(metrics.len().is_multiple_of(2), "half a row");
                if store.get_run("r").unwrap().status == Status::Completed {
                    return store.get_metrics("r", None, None).unwrap().len();
                }
            }
        });
        for step in 1..=100 {
            sink.write(&row(step, 1.0)).unwrap();
        }
        sink.close();
        assert_eq!(reader.join().unwrap(), 200);
    });
}

/// The run of this name, gone on with where it is there.
fn again(name: &str) -> RunSpec {
    RunSpec::new(name).resume(Resume::Allow)
}

#[test]
fn a_run_that_is_there_goes_on_where_that_is_allowed() {
    let dir = TempDir::new().unwrap();
    let spec = RunSpec {
        experiment: Some("e".to_owned()),
        group: Some("g".to_owned()),
        seed: Some(3),
        config: json!({"lr": 1}),
        ..RunSpec::new("r")
    };
    let mut sink = Box::new(StoreSink::open(file(&dir), spec.clone()).unwrap());
    let mut first = row(1, 1.0);
    first.text = vec![("run/git_sha".to_owned(), "abc".to_owned())];
    sink.write(&first).unwrap();
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    assert_eq!(store.get_run("r").unwrap().status, Status::Running);
    drop(sink); // killed, as it were: never closed

    let mut sink = Box::new(StoreSink::open(file(&dir), again("r")).unwrap());
    assert_eq!(sink.run_id(), "r");
    sink.write(&row(2, 2.0)).unwrap();
    let mut repeated = row(1, 5.0);
    repeated.text = vec![("run/method_name".to_owned(), "grpo".to_owned())];
    sink.write(&repeated).unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.accepted, receipt.written), (2, 2));

    let run = store.get_run("r").unwrap();
    assert_eq!((run.status, run.seed), (Status::Completed, Some(3)));
    let metadata = json!({"run/git_sha": "abc", "run/method_name": "grpo"});
    assert_eq!(run.run_config, json!({"lr": 1, "metadata": metadata}));
    let a: Vec<f64> = store
        .get_metrics("r", Some("a"), None)
        .unwrap()
        .iter()
        .map(|m| m.value)
        .collect();
    assert_eq!(a, [5.0, 2.0]);

    let elsewhere = RunSpec {
        group: Some("other".to_owned()),
        resume: Resume::Must,
        ..spec.clone()
    };
    let error = StoreSink::open(file(&dir), elsewhere).unwrap_err();
    assert!(matches!(error, StoreError::Elsewhere { .. }), "{error}");
    assert!(
        error.to_string().contains("group `other`") && error.to_string().contains("group `g`"),
        "{error}"
    );
    // A second run joins the same experiment and group.
    StoreSink::open(
        file(&dir),
        RunSpec {
            name: "s".to_owned(),
            ..spec
        },
    )
    .unwrap();
    assert_eq!(store.list_experiments().unwrap().len(), 1);
    assert_eq!(store.list_groups(&run.experiment_id).unwrap().len(), 1);
}

#[test]
fn a_sink_tells_of_nan_and_of_rows_that_the_store_refused() {
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(StoreSink::open(file(&dir), "r").unwrap());
    sink.write(&row(1, f64::NAN)).unwrap();
    let receipt = sink.close();
    assert_eq!(
        (receipt.accepted, receipt.written, receipt.dropped),
        (1, 1, 0)
    );
    assert!(receipt.error.unwrap().contains("2 NaN"));

    let mut sink = Box::new(StoreSink::open(file(&dir), "r").unwrap());
    assert!(sink.write(&row(u64::MAX, 1.0)).is_err());
    sink.write(&row(2, 1.0)).unwrap();
    let receipt = sink.close();
    assert_eq!(
        (receipt.accepted, receipt.written, receipt.dropped),
        (2, 1, 1)
    );
    assert!(receipt.error.unwrap().contains(&u64::MAX.to_string()));
}

#[test]
fn a_sink_over_a_store_needs_a_run_that_is_there() {
    for (_dir, store) in stores() {
        assert!(matches!(
            StoreSink::over(store, "nobody"),
            Err(StoreError::Unknown { .. })
        ));
    }
}

#[test]
fn the_last_steps_of_a_run_are_its_highest() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let run = new_run(&mut store);
    for step in [3, 100, 7, 50] {
        store
            .log_metrics(&run, step, &[("a", 1.0), ("b", 1.0)], Split::Train)
            .unwrap();
    }
    let steps = |n| -> Vec<u64> {
        store
            .last_metrics(&run, n)
            .unwrap()
            .iter()
            .map(|m| m.step)
            .collect()
    };
    assert_eq!(steps(2), [50, 50, 100, 100]);
    assert_eq!(steps(9).len(), 8);
    assert!(steps(0).is_empty());
    assert!(store.last_metrics("other", 2).unwrap().is_empty());
}

#[test]
fn a_run_stands_as_the_engine_was_told_that_it_ended() {
    let dir = TempDir::new().unwrap();
    let finished = |run: &str, ending: &Ending, journal: bool| {
        let sink = StoreSink::open(file(&dir), again(run)).unwrap();
        let builder = Engine::builder();
        let builder = if journal {
            builder.sink(Durable::new(sink, dir.path().join(run)).unwrap())
        } else {
            builder.sink(sink)
        };
        let mut engine = builder.build().unwrap();
        engine.step(1).unwrap();
        let (_, receipts) = engine.finish_as(ending);
        assert_eq!((receipts[0].written, &receipts[0].error), (1, &None));
        let run = Sqlite::open(file(&dir)).unwrap().get_run(run).unwrap();
        (run.record.status, run.record.error_message)
    };
    for (run, journal) in [("a", false), ("b", true)] {
        let failed = Ending::failed("out of memory");
        let said = Some("out of memory".to_owned());
        assert_eq!(finished(run, &failed, journal), (Status::Failed, said));
        let cancelled = Ending::cancelled("Ctrl-C");
        let said = Some("Ctrl-C".to_owned());
        assert_eq!(
            finished(run, &cancelled, journal),
            (Status::Cancelled, said)
        );
        // What it ended with before is forgotten.
        assert_eq!(
            finished(run, &Ending::open(), journal),
            (Status::Running, None)
        );
        assert_eq!(
            finished(run, &Ending::completed(), journal),
            (Status::Completed, None)
        );
    }
}

#[test]
fn a_rank_that_is_not_the_root_leaves_the_run_as_it_is() {
    let dir = TempDir::new().unwrap();
    let mut ranks = Threads::of(2, std::time::Duration::from_secs(60)).into_iter();
    let engine = |gather| {
        let sink = StoreSink::open(file(&dir), "r").unwrap();
        Engine::builder().sink(sink).gather(gather).build().unwrap()
    };
    let (root, other) = (engine(ranks.next().unwrap()), engine(ranks.next().unwrap()));
    let status = || {
        Sqlite::open(file(&dir))
            .unwrap()
            .get_run("r")
            .unwrap()
            .status
    };
    let _ = other.finish();
    assert_eq!(status(), Status::Running);
    let _ = root.finish_as(&Ending::failed("rank 1 died"));
    assert_eq!(status(), Status::Failed);
}

#[test]
fn with_the_engine_on_every_rank_the_root_alone_opens_writes_and_ends_what_they_share() {
    let dir = TempDir::new().unwrap();
    let gathers = Threads::of(3, std::time::Duration::from_secs(60));
    let given = Memory::new();
    let engines: Vec<Engine> = gathers
        .into_iter()
        .map(|gather| {
            let opened = || {
                let store = StoreSink::open(file(&dir), "r").map_err(|e| e.to_string())?;
                Durable::new(store, dir.path().join("journal")).map_err(|e| e.to_string())
            };
            let builder = Engine::builder().gather(gather).sink(given.clone());
            builder.sink_at_root(opened).unwrap().build().unwrap()
        })
        .collect();
    let receipts = std::thread::scope(|scope| {
        let ranks: Vec<_> = engines
            .into_iter()
            .map(|mut engine| {
                scope.spawn(move || {
                    for step in 1..=5 {
                        let columns = Columns::new(Grouping::Sizes(&[1]), &[1.0]);
                        engine.observe(&Batch::of(columns).unwrap()).unwrap();
                        engine.step(step).unwrap();
                        engine.log(step, [("eval/own", 1.0)].into_iter().collect());
                    }
                    engine.finish()
                })
            })
            .collect();
        let ended = ranks.into_iter().map(|rank| rank.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    assert_eq!(receipts[0].len(), 2);
    assert!(receipts[0].iter().all(|receipt| receipt.written == 10));
    assert!(receipts[1].is_empty() && receipts[2].is_empty());
    assert_eq!(given.rows().len(), 10);
    let store = Sqlite::open(file(&dir)).unwrap();
    assert_eq!(store.get_run("r").unwrap().status, Status::Completed);
}

/// A row as an engine hands it out: over `steps` steps, whose window was `cut` short or not.
fn over(step: u64, steps: u64, cut: bool, value: f64) -> Row {
    Row {
        steps,
        cut,
        ..row(step, value)
    }
}

fn a_of(store: &Sqlite, run: &str, step: u64) -> Option<f64> {
    let metrics = store.get_metrics(run, Some("a"), None).unwrap();
    let found = metrics.iter().find(|metric| metric.step == step);
    found.map(|metric| metric.value)
}

#[test]
fn a_row_that_was_cut_short_leaves_the_one_over_more_steps_and_any_other_replaces_it() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let run = store.open_run(&RunSpec::new("r")).unwrap().run.id;
    let mut put = |steps, cut, value| {
        let logged = store
            .log_windows(&run, &[over(12, steps, cut, value)], Split::Train)
            .unwrap();
        (logged.surpassed, a_of(&store, &run, 12).unwrap())
    };
    assert_eq!(put(1, true, 1.0), (0, 1.0));
    assert_eq!(put(2, true, 2.0), (0, 2.0)); // more steps
    assert_eq!(put(2, true, 3.0), (0, 3.0)); // as many: the newer
    assert_eq!(put(3, false, 4.0), (0, 4.0));
    assert_eq!(put(2, true, 5.0), (1, 4.0)); // fewer: what stands stays, whole
    assert_eq!(put(2, false, 6.0), (0, 6.0)); // a whole window, if a shorter one
    assert_eq!(put(3, true, 7.0), (0, 7.0));
    assert_eq!(put(1, false, 8.0), (0, 8.0)); // a step of its own
    assert_eq!(put(1, true, 9.0), (0, 9.0)); // and what stood before it is forgotten
    assert_eq!(put(3, false, 10.0), (0, 10.0));
    // Who says nothing of steps writes, as ever.
    assert_eq!(put(0, false, 11.0), (0, 11.0));
    store.log_metric(&run, 12, "a", 12.0, Split::Train).unwrap();
    assert_eq!(a_of(&store, &run, 12), Some(12.0));
    // Other runs and steps are their own.
    let other = store.open_run(&RunSpec::new("other")).unwrap().run.id;
    for (run, step) in [(&other, 12), (&run, 13)] {
        store
            .log_windows(run, &[over(step, 1, true, 13.0)], Split::Train)
            .unwrap();
        assert_eq!(a_of(&store, run, step), Some(13.0));
    }
}

#[test]
fn a_row_has_the_time_of_its_step_and_how_many_steps_it_is_over() {
    let dir = TempDir::new().unwrap();
    let mut sink = Box::new(StoreSink::open(file(&dir), "r").unwrap());
    let mut three = over(3, 2, false, 3.0);
    three.timestamp = 1_763_700_000.123_4;
    three.metrics.push("eval/a", 0.5);
    sink.write(&over(1, 1, false, 1.0)).unwrap();
    sink.write(&three).unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.accepted, receipt.written), (2, 2));
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let rows = store.rows("r").unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|r| (r.step, r.split, r.steps, r.count))
        .collect();
    assert_eq!(
        seen,
        [
            (1, Split::Train, 1, 2),
            (3, Split::Train, 2, 2),
            (3, Split::Val, 1, 1)
        ]
    );
    for row in &rows[1..] {
        assert_eq!(row.time, Some(1_763_700_000_123));
    }
    // Without one, it is when it was written.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let age = i64::try_from(now.as_millis()).unwrap() - rows[0].time.unwrap();
    assert!((0..60_000).contains(&age), "{age}");
}

/// Rows of a training that logs every three steps, from `steps` whose reward is `reward`.
fn trained(dir: &TempDir, steps: std::ops::RangeInclusive<u64>, reward: f64, window: Windowing) {
    let sink = StoreSink::open(file(dir), again("r")).unwrap();
    let journal = Durable::new(sink, dir.path().join("journal")).unwrap();
    let builder = Engine::builder().logging_steps(3).window(window);
    let mut engine = builder.sink(journal).build().unwrap();
    for step in steps {
        let rewards = [reward + step as f64];
        let columns = Columns::new(Grouping::Sizes(&[1]), &rewards);
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
        engine.step(step).unwrap();
    }
    let receipts = engine.finish();
    assert_eq!(receipts[0].accepted, receipts[0].written);
}

#[test]
fn a_training_that_resumes_within_a_window_leaves_the_complete_row_through_a_journal_too() {
    for window in [Windowing::Mean, Windowing::Pooled] {
        let dir = TempDir::new().unwrap();
        let rewards = || {
            let store = Sqlite::open(file(&dir)).unwrap();
            let metrics = store.get_metrics("r", Some("train/reward"), None).unwrap();
            let rewards: Vec<_> = metrics.iter().map(|m| (m.step, m.value)).collect();
            rewards
        };
        trained(&dir, 1..=13, 0.0, window);
        let first = [(3, 2.0), (6, 5.0), (9, 8.0), (12, 11.0), (13, 13.0)];
        assert_eq!(rewards(), first);
        // From the checkpoint of step 10, with other data from there on.
        trained(&dir, 11..=15, 100.0, window);
        let resumed = [
            (3, 2.0),
            (6, 5.0),
            (9, 8.0),
            (12, 11.0),
            (13, 13.0),
            (15, 114.0),
        ];
        assert_eq!(rewards(), resumed);
        // From the one of step 9: a whole window is as good as any.
        trained(&dir, 10..=12, 200.0, window);
        assert_eq!(rewards()[3], (12, 211.0));
    }
}

#[test]
fn a_store_behind_a_queue_has_every_row_and_a_queue_that_is_dropped_leaves_its_run_running() {
    let dir = TempDir::new().unwrap();
    let status = || {
        Sqlite::open(file(&dir))
            .unwrap()
            .get_run("r")
            .unwrap()
            .status
    };
    let mut queued = Queued::new(StoreSink::open(file(&dir), "r").unwrap()).unwrap();
    queued.write(&row(1, 0.5)).unwrap();
    drop(queued);
    assert_eq!(status(), Status::Running);
    let sink = StoreSink::open(file(&dir), again("r")).unwrap();
    let mut queued = Box::new(Queued::new(sink).unwrap());
    queued.write(&row(2, 1.5)).unwrap();
    assert_eq!(queued.close().written, 1);
    assert_eq!(status(), Status::Completed);
    let store = Sqlite::open(file(&dir)).unwrap();
    assert_eq!(
        (a_of(&store, "r", 1), a_of(&store, "r", 2)),
        (Some(0.5), Some(1.5))
    );
}

#[test]
fn a_journal_that_is_dropped_leaves_its_run_running() {
    let dir = TempDir::new().unwrap();
    let sink = StoreSink::open(file(&dir), "r").unwrap();
    let mut journal = Durable::new(sink, dir.path().join("journal")).unwrap();
    journal.write(&row(1, 0.5)).unwrap();
    journal.flush().unwrap();
    drop(journal);
    let run = Sqlite::open(file(&dir)).unwrap().get_run("r").unwrap();
    assert_eq!(run.status, Status::Running);
}
