//! Runs that do not mix: names and ids, what is gone on with, and how a run stands whose writer is gone.
#![cfg(feature = "sqlite")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use grpo_metrics::engine::{Engine, EngineOptions};
use grpo_metrics::row::Row;
use grpo_metrics::row::run::Ending;
use grpo_metrics::sink::{Durable, DurableOptions, Jsonl, Receipt, Sink, SinkError};
use grpo_metrics::store::{
    Experiment, ExperimentPatch, Resume, Run, RunPatch, RunSpec, Sqlite, Status, Store, StoreError,
    StoreSink,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("runs.db")
}

fn row(step: u64) -> Row {
    Row {
        step,
        metrics: [("a", step as f64)].into_iter().collect(),
        ..Row::default()
    }
}

fn allow(name: &str) -> RunSpec {
    RunSpec::new(name).resume(Resume::Allow)
}

/// What somebody else sees: `sqlite3`, say.
fn steps(path: &Path, run: &str) -> Vec<i64> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT DISTINCT step FROM metrics WHERE run_id = ?1 ORDER BY step";
    let mut select = db.prepare(sql).unwrap();
    let steps = select.query_map([run], |line| line.get(0)).unwrap();
    steps.map(Result::unwrap).collect()
}

#[test]
fn a_name_is_a_label_and_an_id_is_one_runs_own() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let opened: Vec<_> = (0..3)
        .map(|_| store.open_run(&RunSpec::new("seed-0")).unwrap())
        .collect();
    let ids: Vec<_> = opened.iter().map(|opened| opened.id.as_str()).collect();
    assert_eq!(ids, ["seed-0", "seed-0-2", "seed-0-3"]);
    assert!(
        opened
            .iter()
            .all(|run| run.name.as_deref() == Some("seed-0"))
    );
    assert_eq!(opened[0].said(), None);
    insta::assert_snapshot!(opened[1].said().unwrap(), @"run `seed-0` is there already, so this one is `seed-0-2`; with resume `allow` it would go on with the one that is there");
    // An id that somebody else's name has made is taken too.
    let other = store.open_run(&RunSpec::new("seed-0-2")).unwrap();
    assert_eq!(other.id, "seed-0-2-2");
}

#[test]
fn a_run_without_a_name_gets_one_that_sorts_by_time_and_can_be_typed() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let now = "SELECT strftime('%Y-%m-%d-%H%M', 'now')";
    let db = Connection::open(file(&dir)).unwrap();
    let now = || {
        db.query_row(now, [], |line| line.get::<_, String>(0))
            .unwrap()
    };
    let before = now();
    let opened = store.open_run(&RunSpec::default()).unwrap();
    let after = now();
    assert_eq!(opened.name.as_ref(), Some(&opened.id));
    assert_eq!(opened.said(), None);
    let (time, words) = opened.id.split_at(15);
    assert!((before.as_str()..=after.as_str()).contains(&time), "{time}");
    let words: Vec<_> = words.split('-').skip(1).collect();
    assert_eq!(words.len(), 2);
    let is_typed = |word: &&str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    assert!(words.iter().all(is_typed), "{words:?}");
}

#[test]
fn a_run_is_gone_on_with_never_where_that_is_allowed_or_where_it_must_be_there() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let open = |store: &mut Sqlite, resume| {
        let opened = store.open_run(&RunSpec::new("r").resume(resume));
        opened.map(|opened| (opened.id.clone(), opened.last_step()))
    };
    let error = open(&mut store, Resume::Must).unwrap_err();
    assert_eq!(error.to_string(), "expected run `r`, found no such record");
    let mine = |id: &str, last| (id.to_owned(), last);
    assert_eq!(open(&mut store, Resume::Allow).unwrap(), mine("r", None));
    store
        .log_windows("r", &[row(7)], grpo_metrics::store::Split::Train)
        .unwrap();
    assert_eq!(open(&mut store, Resume::Allow).unwrap(), mine("r", Some(7)));
    assert_eq!(open(&mut store, Resume::Never).unwrap(), mine("r-2", None));
    // The newest of the name.
    assert_eq!(open(&mut store, Resume::Must).unwrap(), mine("r-2", None));
    let by_id = RunSpec {
        id: Some("r".to_owned()),
        ..RunSpec::default()
    };
    assert_eq!(store.open_run(&by_id).unwrap().last_step(), Some(7));
    let nobody = RunSpec {
        id: Some("s".to_owned()),
        ..RunSpec::default()
    };
    assert!(matches!(
        store.open_run(&nobody),
        Err(StoreError::Unknown { .. })
    ));
}

#[test]
fn a_run_of_the_name_in_another_experiment_is_another_run() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let of = |experiment: &str| RunSpec {
        experiment: Some(experiment.to_owned()),
        ..allow("seed-0")
    };
    assert_eq!(store.open_run(&of("slow")).unwrap().id, "seed-0");
    assert_eq!(store.open_run(&of("fast")).unwrap().id, "seed-0-2");
    assert_eq!(store.open_run(&of("slow")).unwrap().id, "seed-0");
    assert_eq!(store.open_run(&of("fast")).unwrap().id, "seed-0-2");
    let must = of("third").resume(Resume::Must);
    let error = store.open_run(&must).unwrap_err().to_string();
    assert_eq!(
        error,
        "run `seed-0-2`: expected it in experiment `third`, found it in experiment `fast`"
    );
}

fn deciding(options: &Value) -> serde_json::Map<String, Value> {
    serde_json::from_value::<EngineOptions>(options.clone())
        .unwrap()
        .deciding()
}

#[test]
fn a_run_keeps_its_dialect_and_the_options_that_decide_its_numbers() {
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let of = |options: Value| RunSpec {
        options: deciding(&options),
        config: json!({"lr": 1}),
        ..allow("r")
    };
    let trl = json!({"dialect": "trl", "logging_steps": 2});
    store.open_run(&of(trl.clone())).unwrap();
    let error = store
        .open_run(&of(
            json!({"dialect": "verl", "logging_steps": 2, "extended": true}),
        ))
        .unwrap_err();
    insta::assert_snapshot!(error, @"run `r`: expected dialect trl, extended as by default, as it was begun with, found dialect verl, extended true: a run keeps what decides its numbers");
    // What becomes of a rank that fails decides no number, nor does a text.
    let same = json!({"dialect": "trl", "logging_steps": 2, "policy": "go_on", "metadata": {"git_sha": "b"}});
    assert_eq!(store.open_run(&of(same)).unwrap().id, "r");
    // Who says nothing is held to nothing, and what was kept stays.
    let silent = RunSpec {
        config: json!({"lr": 2}),
        ..allow("r")
    };
    let config = store.open_run(&silent).unwrap().run.record.run_config;
    let kept =
        json!({"lr": 2, "grpo_metrics": {"options": {"dialect": "trl", "logging_steps": 2}}});
    assert_eq!(config, kept);
    assert!(store.open_run(&of(json!({}))).is_err());
}

/// A process of its own by the tests below: what it does with the store is in its environment.
#[test]
#[ignore = "the other process of another test"]
fn another_process() {
    let Some(path) = std::env::var_os("GRPO_TEST_STORE") else {
        return;
    };
    let path = PathBuf::from(path);
    match std::env::var("GRPO_TEST_ACT").unwrap().as_str() {
        "open" => {
            let mut sink = Box::new(StoreSink::open(&path, "r").unwrap());
            sink.write(&row(1)).unwrap();
            sink.close();
        }
        "write" => {
            let mut sink = StoreSink::open(&path, "r").unwrap();
            sink.write(&row(1)).unwrap();
            println!("written");
            std::thread::sleep(Duration::from_secs(600));
        }
        "journal" => {
            let policy = DurableOptions {
                pace: Duration::MAX,
                ..DurableOptions::default()
            };
            let sink = StoreSink::open(&path, "r").unwrap();
            let journal = path.with_extension("journal");
            let mut sink = Durable::with(sink, journal, policy).unwrap();
            for step in 1..=6 {
                sink.write(&row(step)).unwrap();
            }
            std::process::abort();
        }
        act => panic!("nothing is called {act}"),
    }
}

fn elsewhere(path: &Path, act: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ids::another_process",
            "--ignored",
            "--nocapture",
        ])
        .env("GRPO_TEST_STORE", path)
        .env("GRPO_TEST_ACT", act)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_open_a_new_run_of_the_same_name_at_once_get_one_each() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir);
    let mut others: Vec<_> = (0..4).map(|_| elsewhere(&path, "open")).collect();
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    let store = Sqlite::open_read_only(&path).unwrap();
    let mut runs: Vec<_> = store.overview().unwrap();
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<_> = runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids, ["r", "r-2", "r-3", "r-4"]);
    for run in &runs {
        assert_eq!((run.name.as_str(), run.steps), ("r", 1));
        assert_eq!(run.status, Some(Status::Completed));
    }
}

#[test]
fn a_run_whose_writer_was_killed_has_stopped_a_minute_later() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir);
    let mut writer = elsewhere(&path, "write");
    let said = BufReader::new(writer.stdout.take().unwrap());
    assert!(said.lines().any(|line| line.unwrap().contains("written")));
    writer.kill().unwrap(); // SIGKILL
    writer.wait().unwrap();
    let store = Sqlite::open_read_only(&path).unwrap();
    let [run] = store.overview().unwrap().try_into().unwrap();
    assert_eq!(run.status, Some(Status::Running));
    let in_seconds = |seconds| {
        let now = SystemTime::now() + Duration::from_secs(seconds);
        run.standing(now).unwrap().to_string()
    };
    assert_eq!(in_seconds(0), "running");
    assert!(in_seconds(90).starts_with("stopped (no sign since "));
    let seen = run.seen_at.clone().unwrap();
    let expected = format!("stopped (no sign since {} {})", &seen[..10], &seen[11..16]);
    assert_eq!(in_seconds(2 * 24 * 3600), expected);
    // Who goes on with it is seen again, and one that has ended is what it ended as.
    let sink = Box::new(StoreSink::open(&path, allow("r")).unwrap());
    let store = Sqlite::open_read_only(&path).unwrap();
    assert!(store.overview().unwrap()[0].seen_at.clone().unwrap() >= seen);
    sink.close();
    let run = &store.overview().unwrap()[0];
    let later = SystemTime::now() + Duration::from_secs(24 * 3600);
    assert_eq!(run.standing(later).unwrap().to_string(), "completed");
}

#[test]
fn what_a_killed_run_left_in_its_journal_goes_to_it_and_not_to_the_run_that_comes_after() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir);
    for _ in 0..3 {
        assert!(!elsewhere(&path, "journal").wait().unwrap().success());
    }
    let journal = path.with_extension("journal");
    assert_eq!(Durable::run_of(&journal).unwrap().as_deref(), Some("r-3"));
    let sink = StoreSink::open(&path, "r").unwrap();
    assert_eq!(sink.run_id(), "r-4");
    let mut sink = Box::new(Durable::new(sink, &journal).unwrap());
    sink.write(&row(9)).unwrap();
    let receipt = sink.close();
    assert_eq!(
        (receipt.pending, receipt.dropped, receipt.error),
        (0, 0, None)
    );
    for run in ["r", "r-2", "r-3"] {
        assert_eq!(steps(&path, run), [1, 2, 3, 4, 5, 6], "{run}");
    }
    assert_eq!(steps(&path, "r-4"), [9]);
    let store = Sqlite::open_read_only(&path).unwrap();
    let stands = |run| store.get_run(run).unwrap().status;
    assert_eq!(stands("r"), Status::Running);
    assert_eq!(stands("r-4"), Status::Completed);
    // What is delivered needs no note any more.
    let sink = StoreSink::open(&path, allow("r")).unwrap();
    let sink = Durable::new(sink, &journal).unwrap();
    assert_eq!(fs::read(journal.join("run")).unwrap(), b"\"r-4\"");
    drop(sink);
}

/// A sink of the run of this name: the first takes nothing for now, the second nothing of another run, ever.
struct Of(&'static str);

impl Sink for Of {
    fn name(&self) -> &'static str {
        "of a run"
    }

    fn run(&self) -> Option<&str> {
        Some(self.0)
    }

    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        run.map_or(Ok(()), |run| {
            Err(SinkError::refused(format!("no run `{run}`")))
        })
    }

    fn write(&mut self, _: &Row) -> Result<(), SinkError> {
        match self.0 {
            "first" => Err(SinkError::other("not now")),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Receipt {
        Receipt::default()
    }
}

#[test]
fn rows_of_a_run_that_a_sink_will_never_take_are_dropped_and_keep_none_behind_them_waiting() {
    let dir = TempDir::new().unwrap();
    let open = |run| {
        let options = DurableOptions {
            patience: Duration::ZERO,
            ..DurableOptions::default()
        };
        Durable::with(Of(run), dir.path().join("journal"), options).unwrap()
    };
    let mut first = Box::new(open("first"));
    first.write(&row(1)).unwrap();
    first.write(&row(2)).unwrap();
    assert_eq!(first.close().pending, 2);
    let mut second = Box::new(open("second"));
    second.write(&row(3)).unwrap();
    let receipt = second.flush_within(Duration::from_secs(60));
    assert_eq!(
        (receipt.pending, receipt.dropped, receipt.written),
        (0, 2, 1)
    );
    assert!(receipt.error.unwrap().contains("no run `first`"));
}

#[test]
fn rows_that_a_resumed_run_writes_again_are_marked_in_json_lines_behind_a_journal_too() {
    let dir = TempDir::new().unwrap();
    let lines = dir.path().join("rows.jsonl");
    let train = |steps: std::ops::RangeInclusive<u64>| {
        let sink = StoreSink::open(file(&dir), allow("r")).unwrap();
        let store = Durable::new(sink, dir.path().join("store")).unwrap();
        let jsonl = Durable::new(Jsonl::open(&lines).unwrap(), dir.path().join("jsonl")).unwrap();
        let mut engine = Engine::builder().sink(jsonl).sink(store).build().unwrap();
        for step in steps {
            engine.step(step).unwrap();
        }
        for receipt in engine.finish() {
            assert_eq!(receipt.accepted, receipt.written);
        }
    };
    train(1..=4);
    train(3..=6);
    let read = fs::read_to_string(&lines).unwrap();
    let rows: Vec<Value> = read
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let marked: Vec<_> = rows
        .iter()
        .map(|row| (row["step"].as_u64().unwrap(), row.get("again").is_some()))
        .collect();
    let again = [(3, true), (4, true), (5, false), (6, false)];
    assert_eq!(
        marked[..4],
        [(1, false), (2, false), (3, false), (4, false)]
    );
    assert_eq!(marked[4..], again);
    assert_eq!(rows[4]["again"], json!(true));
    assert_eq!(steps(&file(&dir), "r"), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_experiment_stands_as_its_runs_do() {
    use Status::{Cancelled, Completed, Failed, Pending, Running};
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(file(&dir)).unwrap();
    let experiment = store.create_experiment(&Experiment::default()).unwrap().id;
    let run = |store: &mut Sqlite| {
        let run = Run {
            experiment_id: experiment.clone(),
            ..Run::default()
        };
        store.create_run(&run).unwrap().id
    };
    let (a, b, c) = (run(&mut store), run(&mut store), run(&mut store));
    let stands = |store: &mut Sqlite, run: &str, status| {
        let patch = RunPatch {
            status: Some(status),
            ..RunPatch::default()
        };
        store.update_run(run, &patch).unwrap();
        store.get_experiment(&experiment).unwrap().status
    };
    assert_eq!(stands(&mut store, &a, Pending), Pending);
    assert_eq!(stands(&mut store, &a, Running), Running);
    assert_eq!(stands(&mut store, &a, Completed), Running); // two have not begun
    assert_eq!(stands(&mut store, &b, Failed), Failed);
    assert_eq!(stands(&mut store, &c, Running), Running);
    assert_eq!(stands(&mut store, &c, Cancelled), Failed);
    assert_eq!(stands(&mut store, &b, Completed), Cancelled);
    assert_eq!(stands(&mut store, &c, Completed), Completed);
    // What somebody says of it stands until a run changes.
    let said = ExperimentPatch {
        status: Some(Cancelled),
        ..ExperimentPatch::default()
    };
    let status = store.update_experiment(&experiment, &said).unwrap().status;
    assert_eq!(status, Cancelled);
    // So does that of a run that an engine ends.
    let sink = StoreSink::open(file(&dir), "other").unwrap();
    let engine = Engine::builder().sink(sink).build().unwrap();
    let of_other = |store: &Sqlite| {
        let run = store.get_run("other").unwrap();
        store.get_experiment(&run.experiment_id).unwrap().status
    };
    assert_eq!(of_other(&store), Running);
    let _ = engine.finish_as(&Ending::failed("out of memory"));
    assert_eq!(of_other(&store), Failed);
}
