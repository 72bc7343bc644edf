//! The hooks: who is called, what a fault costs, and what the store logger stores.
#![cfg(feature = "sqlite")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faulty::{Faulty, Mood};
use grpo_metrics::batch::Batch;
use grpo_metrics::hooks::{
    Artifacts, BenchmarkResult, Callback, Callbacks, CheckpointRow, Csv, EarlyStopping, Ending,
    Goal, LogContext, LoopState, Outcome, Progress, StoreLogger,
};
use grpo_metrics::row::Metrics;
use grpo_metrics::sink::Receipt;
use grpo_metrics::store::{Metric, Prediction, Split, Sqlite, Status, Store, StoreError};
use serde_json::json;
use tempfile::TempDir;

/// Far longer than anything here takes; a wait ends as soon as it can.
const LONG: Duration = Duration::from_secs(60);

fn metrics(entries: &[(&'static str, f64)]) -> Metrics {
    entries.iter().copied().collect()
}

fn loss(value: f64) -> Metrics {
    metrics(&[("loss", value)])
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("runs.db")
}

fn stored(path: &Path, split: Split) -> Vec<(u64, String, f64)> {
    let store = Sqlite::open_read_only(path).unwrap();
    let runs = store.list_runs(None, None).unwrap();
    let of_run = |id: &str| store.get_metrics(id, None, Some(split)).unwrap();
    let all = runs.iter().flat_map(|run| of_run(&run.id));
    all.map(
        |Metric {
             step, name, value, ..
         }| (step, name, value),
    )
    .collect()
}

fn steps(path: &Path) -> Vec<u64> {
    stored(path, Split::Train).iter().map(|row| row.0).collect()
}

/// Says which hooks were called, and fails or panics in all of them if told to.
struct Witness {
    seen: Arc<Mutex<Vec<String>>>,
    fault: Option<bool>,
}

impl Witness {
    fn saw(&self, what: impl Into<String>) -> Outcome {
        self.seen.lock().unwrap().push(what.into());
        match self.fault {
            Some(true) => panic!("a bug in a callback"),
            Some(false) => Err("a fault of a callback".into()),
            None => Ok(()),
        }
    }
}

impl Callback for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }
    fn on_train_start(&mut self, _: &mut LoopState) -> Outcome {
        self.saw("train_start")
    }
    fn on_train_end(&mut self, _: &mut LoopState, artifacts: &Artifacts) -> Outcome {
        self.saw(format!("train_end {}", artifacts["weights"]))
    }
    fn on_step_end(
        &mut self,
        _: &mut LoopState,
        step: u64,
        _: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        self.saw(format!("step_end {step} {:?}", metrics.get("loss")))
    }
    fn on_checkpoint(&mut self, _: &mut LoopState, row: &CheckpointRow) -> Outcome {
        self.saw(format!("checkpoint {:?}", row.state_path))
    }
    fn on_eval(&mut self, _: &mut LoopState, step: u64, name: &str, _: &Metrics) -> Outcome {
        self.saw(format!("eval {step} {name}"))
    }
    fn on_experiment_start(&mut self, _: &mut LogContext) -> Outcome {
        self.saw("experiment_start")
    }
    fn on_group_start(&mut self, _: &mut LogContext, name: &str) -> Outcome {
        self.saw(format!("group_start {name}"))
    }
    fn on_run_start(&mut self, _: &mut LogContext) -> Outcome {
        self.saw("run_start")
    }
    fn on_benchmark_eval(
        &mut self,
        _: &mut LogContext,
        result: &BenchmarkResult,
        predictions: &[Prediction],
        step: Option<u64>,
    ) -> Outcome {
        self.saw(format!(
            "benchmark {} {} {step:?}",
            result.benchmark_id,
            predictions.len()
        ))
    }
    fn on_run_end(&mut self, _: &mut LogContext, result: &Ending, arm: &str) -> Outcome {
        self.saw(format!("run_end {} {arm}", result.status))
    }
    fn on_experiment_end(&mut self, _: &mut LogContext, result: &Ending) -> Outcome {
        self.saw(format!("experiment_end {}", result.status))
    }
}

/// A whole training through every hook.
fn train(callbacks: &mut Callbacks, ctx: LogContext) {
    let mut ctx = ctx;
    callbacks.on_experiment_start(&mut ctx);
    callbacks.on_group_start(&mut ctx, "seeds");
    ctx.group_name = Some("seeds".to_owned());
    let config = json!({"seed": 7, "recipe": {"kind": "grpo"}, "lr": 0.5});
    let mut state = LoopState::of(ctx.of_run("r", config));
    state
        .ctx
        .extras
        .insert("wandb_url".to_owned(), json!("https://w"));
    callbacks.on_run_start(&mut state.ctx);
    callbacks.on_train_start(&mut state);
    for step in 1..=3 {
        state.step = step;
        callbacks.on_step_end(&mut state, step, None, &loss(step as f64));
    }
    let row = CheckpointRow {
        state_path: Some("s3://state".to_owned()),
        is_final: true,
        ..CheckpointRow::default()
    };
    callbacks.on_checkpoint(&mut state, &row);
    callbacks.on_eval(&mut state, 3, "gsm8k", &metrics(&[("acc", 0.5)]));
    let artifacts = Artifacts::from([("weights".to_owned(), "w".to_owned())]);
    callbacks.on_train_end(&mut state, &artifacts);
    let result = BenchmarkResult {
        benchmark_id: "math".to_owned(),
        metrics: json!({"acc": 0.75}),
        ..BenchmarkResult::default()
    };
    let predictions = ["a", "b"].map(|output| Prediction {
        kind: "eval".to_owned(),
        model_output: Some(output.to_owned()),
        ..Prediction::default()
    });
    callbacks.on_benchmark_eval(&mut state.ctx, &result, &predictions, Some(3));
    callbacks.on_run_end(&mut state.ctx, &Ending::failed("out of memory"), "arm");
    callbacks.on_experiment_end(&mut ctx, &Ending::completed());
}

const EVERY_HOOK: [&str; 13] = [
    "experiment_start",
    "group_start seeds",
    "run_start",
    "train_start",
    "step_end 1 Some(1.0)",
    "step_end 2 Some(2.0)",
    "step_end 3 Some(3.0)",
    "checkpoint Some(\"s3://state\")",
    "eval 3 gsm8k",
    "train_end w",
    "benchmark math 2 Some(3)",
    "run_end failed arm",
    "experiment_end completed",
];

#[test]
fn every_hook_reaches_every_callback_whatever_the_others_do() {
    let seen: [Arc<Mutex<Vec<String>>>; 4] = Default::default();
    let witness = |i: usize, fault| Witness {
        seen: Arc::clone(&seen[i]),
        fault,
    };
    let mut callbacks = Callbacks::new()
        .with(witness(0, None))
        .with(witness(1, Some(false)))
        .with(witness(2, Some(true)))
        .with(witness(3, None));
    train(&mut callbacks, LogContext::default());
    for seen in &seen {
        assert_eq!(*seen.lock().unwrap(), EVERY_HOOK);
    }
}

#[test]
fn hooks_that_are_not_written_do_nothing() {
    struct Still;
    impl Callback for Still {
        fn name(&self) -> &'static str {
            "still"
        }
    }
    train(&mut Callbacks::new().with(Still), LogContext::default());
}

#[test]
fn the_store_logger_stores_everything() {
    let dir = TempDir::new().unwrap();
    let logger = StoreLogger::over(Sqlite::open(file(&dir)).unwrap()).project_id("p");
    let outbox = logger.outbox();
    let ctx = LogContext {
        config: json!({"metadata": {"name": "lengths", "hypothesis": "h", "tags": ["a", "b"]}}),
        ..LogContext::default()
    };
    let ids = ctx.ids.clone();
    train(&mut Callbacks::new().with(logger), ctx);
    // Experiment, group, run, 3 steps, checkpoint, eval row, benchmark, 2 predictions, 2 endings.
    let expected = Receipt {
        sink: "store logger".to_owned(),
        accepted: 13,
        written: 13,
        ..Receipt::default()
    };
    assert_eq!(outbox.receipt(), expected);

    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let experiment = store.list_experiments().unwrap().remove(0);
    assert_eq!(ids.get("experiment_id"), Some(experiment.id.clone()));
    assert_eq!(experiment.experiment_name, "lengths");
    assert_eq!(experiment.hypothesis.as_deref(), Some("h"));
    assert_eq!(experiment.tags, ["a", "b"]);
    assert_eq!(experiment.project_id.as_deref(), Some("p"));
    assert_eq!(experiment.status, Status::Completed);
    let group = store.list_groups(&experiment.id).unwrap().remove(0);
    assert_eq!(ids.get("group:seeds"), Some(group.id.clone()));
    let run = store.list_runs(None, Some(&group.id)).unwrap().remove(0);
    assert_eq!(
        (run.seed, run.recipe_kind.as_deref()),
        (Some(7), Some("grpo"))
    );
    assert_eq!(run.run_config["lr"], 0.5);
    assert_eq!(run.wandb_run_url.as_deref(), Some("https://w"));
    assert_eq!(run.status, Status::Failed);
    assert_eq!(run.error_message.as_deref(), Some("out of memory"));
    let of = |split| stored(&file(&dir), split);
    let row = |step, name: &str, value| (step, name.to_owned(), value);
    assert_eq!(
        of(Split::Train),
        [
            row(1, "loss", 1.0),
            row(2, "loss", 2.0),
            row(3, "loss", 3.0)
        ]
    );
    assert_eq!(of(Split::Val), [row(3, "gsm8k/acc", 0.5)]);
    let checkpoint = store.list_checkpoints(&run.id).unwrap().remove(0);
    assert_eq!(
        (checkpoint.uri.as_str(), checkpoint.step),
        ("s3://state", Some(3))
    );
    assert!(checkpoint.is_final);
    let eval = store.list_evals(&run.id).unwrap().remove(0);
    assert_eq!((eval.benchmark_id.as_str(), eval.step), ("math", Some(3)));
    let predictions = store.list_predictions(&run.id, Some("eval")).unwrap();
    assert_eq!(predictions.len(), 2);
    assert!(
        predictions
            .iter()
            .all(|p| p.eval_id.as_ref() == Some(&eval.id))
    );
}

/// A logger over a faulty store, its mood, and a state to log with.
fn logger(dir: &TempDir, mood: Mood) -> (StoreLogger, Arc<Mutex<Mood>>, crate::faulty::Calls) {
    let store = Faulty::over(Sqlite::open(file(dir)).unwrap());
    let (shared, calls) = (Arc::clone(&store.mood), Arc::clone(&store.calls));
    *shared.lock().unwrap() = mood;
    (StoreLogger::over(store), shared, calls)
}

fn run_steps(
    logger: &mut StoreLogger,
    state: &mut LoopState,
    steps: std::ops::RangeInclusive<u64>,
) {
    for step in steps {
        logger.on_step_end(state, step, None, &loss(0.5)).unwrap();
    }
}

#[test]
fn rows_that_a_store_failed_to_take_stay_and_are_sent_when_it_is_back() {
    let dir = TempDir::new().unwrap();
    let (mut logger, mood, _) = logger(&dir, Mood::Away);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    run_steps(&mut logger, &mut state, 1..=50);
    let away = outbox.flush(Duration::from_millis(1));
    assert_eq!((away.accepted, away.pending, away.dropped), (51, 51, 0));
    *mood.lock().unwrap() = Mood::Fine;
    let back = outbox.flush(LONG);
    assert_eq!((back.written, back.pending, back.dropped), (51, 0, 0));
    assert_eq!(steps(&file(&dir)), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_row_that_is_refused_for_good_costs_the_others_nothing() {
    let dir = TempDir::new().unwrap();
    let (logger, _, _) = logger(&dir, Mood::RefusesStep(4));
    let mut logger = logger.flush_every(10);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    run_steps(&mut logger, &mut state, 1..=10);
    let delivery = outbox.flush(LONG);
    assert_eq!((delivery.written, delivery.dropped), (10, 1));
    assert!(delivery.error.unwrap().contains("a better record"));
    assert_eq!(steps(&file(&dir)), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_record_that_no_store_can_hold_does_not_keep_those_behind_it() {
    let dir = TempDir::new().unwrap();
    let (mut logger, _, _) = logger(&dir, Mood::Fine);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    let row = CheckpointRow {
        state_path: Some("s3://state".to_owned()),
        step: Some(u64::MAX),
        ..CheckpointRow::default()
    };
    logger.on_checkpoint(&mut state, &row).unwrap();
    run_steps(&mut logger, &mut state, 1..=3);
    let receipt = outbox.flush(Duration::from_secs(5));
    assert_eq!(
        (receipt.written, receipt.dropped, receipt.pending),
        (4, 1, 0)
    );
    assert_eq!(steps(&file(&dir)), [1, 2, 3]);
}

#[test]
fn an_ending_that_is_none_leaves_the_run_as_it_stands() {
    let dir = TempDir::new().unwrap();
    let (mut logger, _, _) = logger(&dir, Mood::Fine);
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    logger
        .on_run_end(&mut state.ctx, &Ending::default(), "")
        .unwrap();
    drop(logger);
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let run = state.ctx.ids.get("run_id").unwrap();
    assert_eq!(store.get_run(&run).unwrap().record.status, Status::Running);
}

#[test]
fn a_prediction_that_is_refused_costs_itself_alone_and_doubles_no_other() {
    for at_once in [usize::MAX, 1] {
        let dir = TempDir::new().unwrap();
        let mut store = Faulty::over(Sqlite::open(file(&dir)).unwrap());
        store.at_once = at_once;
        *store.mood.lock().unwrap() = Mood::RefusesStep(2);
        let mut logger = StoreLogger::over(store);
        let mut ctx = LogContext::default();
        logger.on_run_start(&mut ctx).unwrap();
        let predictions = [1, 2, 3].map(|step| Prediction {
            kind: "eval".to_owned(),
            step: Some(step),
            ..Prediction::default()
        });
        let result = BenchmarkResult::default();
        logger
            .on_benchmark_eval(&mut ctx, &result, &predictions, None)
            .unwrap();
        let receipt = logger.outbox().flush(LONG);
        assert_eq!((receipt.written, receipt.dropped), (4, 1), "{receipt:?}");
        let store = Sqlite::open_read_only(file(&dir)).unwrap();
        let run = ctx.ids.get("run_id").unwrap();
        let stored = store.list_predictions(&run, None).unwrap();
        let steps: Vec<_> = stored.iter().map(|stored| stored.step).collect();
        assert_eq!(steps, [Some(1), Some(3)]);
    }
}

#[test]
fn a_store_that_panics_costs_what_it_was_asked_and_no_more() {
    let dir = TempDir::new().unwrap();
    let (mut logger, mood, _) = logger(&dir, Mood::Fine);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    assert_eq!(outbox.flush(LONG).written, 1);
    *mood.lock().unwrap() = Mood::Panics;
    run_steps(&mut logger, &mut state, 1..=1);
    assert_eq!(outbox.flush(LONG).dropped, 1);
    *mood.lock().unwrap() = Mood::Fine;
    run_steps(&mut logger, &mut state, 2..=2);
    assert_eq!(outbox.flush(LONG).written, 2);
    assert_eq!(steps(&file(&dir)), [2]);
}

#[test]
fn rows_go_out_every_so_many_steps_and_the_rest_at_the_end() {
    let dir = TempDir::new().unwrap();
    let (logger, _, calls) = logger(&dir, Mood::Fine);
    let mut logger = logger.flush_every(4);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    run_steps(&mut logger, &mut state, 1..=6);
    logger
        .on_eval(&mut state, 6, "held_out", &metrics(&[("acc", 1.0)]))
        .unwrap();
    assert_eq!(outbox.flush(LONG).written, 5);
    assert_eq!(*calls.lock().unwrap(), [(vec![1, 2, 3, 4], Split::Train)]);
    logger.on_train_end(&mut state, &Artifacts::new()).unwrap();
    assert_eq!(outbox.flush(LONG).written, 8);
    // An evaluation after the last step, and after the end too.
    logger
        .on_eval(&mut state, 7, "held_out", &metrics(&[("acc", 2.0)]))
        .unwrap();
    drop(logger);
    assert_eq!(outbox.receipt().pending, 0);
    let expected = [
        (vec![1, 2, 3, 4], Split::Train),
        (vec![5, 6], Split::Train),
        (vec![6], Split::Val),
        (vec![7], Split::Val),
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[test]
fn a_store_that_hangs_does_not_hold_up_a_hook() {
    let dir = TempDir::new().unwrap();
    let (hung, gate) = (Arc::new(Mutex::new(())), file(&dir));
    let held = hung.lock().unwrap();
    let theirs = Arc::clone(&hung);
    // Opening hangs until this test lets go: were a hook to wait for it, the test would never end.
    let mut logger = StoreLogger::opening(move || {
        drop(theirs.lock());
        Ok(Box::new(Sqlite::open(&gate)?) as Box<dyn Store>)
    });
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    run_steps(&mut logger, &mut state, 1..=3);
    assert_eq!(outbox.receipt().pending, 4);
    drop(held);
    assert_eq!(outbox.flush(LONG).written, 4);
}

#[test]
fn a_store_that_cannot_be_opened_is_opened_again() {
    let dir = TempDir::new().unwrap();
    let (path, mut attempts) = (file(&dir), 0);
    let mut logger = StoreLogger::opening(move || {
        attempts += 1;
        if attempts < 3 {
            return Err(StoreError::Backend {
                place: "the server".to_owned(),
                act: "be reached",
                source: "away".into(),
            });
        }
        Ok(Box::new(Sqlite::open(&path)?) as Box<dyn Store>)
    });
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    assert_eq!(logger.outbox().flush(LONG).written, 1);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let dir = TempDir::new().unwrap();
    let (logger, mood, _) = logger(&dir, Mood::Away);
    let mut logger = logger.capacity(3);
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    logger.on_run_start(&mut state.ctx).unwrap();
    run_steps(&mut logger, &mut state, 1..=5);
    let full = outbox.receipt();
    assert_eq!((full.accepted, full.pending, full.dropped), (6, 3, 3));
    *mood.lock().unwrap() = Mood::Fine;
    assert_eq!(outbox.flush(LONG).written, 3);
    assert_eq!(steps(&file(&dir)), [1, 2]);
}

#[test]
fn a_logger_that_is_dropped_gives_up_when_its_time_is_over_and_says_what_is_left() {
    let dir = TempDir::new().unwrap();
    let (logger, _, _) = logger(&dir, Mood::Away);
    let mut logger = logger.close_within(Duration::from_millis(20));
    let outbox = logger.outbox();
    let mut state = LoopState::default();
    run_steps(&mut logger, &mut state, 1..=2);
    logger.on_run_start(&mut state.ctx).unwrap();
    drop(logger);
    let delivery = outbox.receipt();
    assert_eq!(delivery.accepted, 3);
    assert_eq!(delivery.written + delivery.dropped + delivery.pending, 3);
    assert_eq!(delivery.written, 0);
}

#[test]
fn an_experiment_that_writes_itself_switches_the_logger_off() {
    let dir = TempDir::new().unwrap();
    let (logger, _, calls) = logger(&dir, Mood::Fine);
    let outbox = logger.outbox();
    let other = Sqlite::open(dir.path().join("other.db")).unwrap();
    let ctx = LogContext {
        store: Some(Arc::new(Mutex::new(other))),
        ..LogContext::default()
    };
    train(&mut Callbacks::new().with(logger), ctx);
    let receipt = outbox.receipt();
    assert_eq!((receipt.accepted, receipt.error), (0, None));
    assert!(calls.lock().unwrap().is_empty());
}

#[test]
fn runs_of_one_experiment_keep_their_rows_apart() {
    let dir = TempDir::new().unwrap();
    let (logger, _, _) = logger(&dir, Mood::Fine);
    let mut logger = logger.flush_every(100);
    let mut ctx = LogContext::default();
    logger.on_experiment_start(&mut ctx).unwrap();
    let mut states = [1, 2].map(|_| LoopState::of(ctx.of_run("r", json!(null))));
    for (i, state) in (1..).zip(&mut states) {
        logger.on_run_start(&mut state.ctx).unwrap();
        run_steps(&mut logger, state, 1..=i);
    }
    drop(logger);
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    assert_eq!(store.list_experiments().unwrap().len(), 1);
    let rows = states.map(|state| {
        let id = state.ctx.ids.get("run_id").unwrap();
        store.get_metrics(&id, None, None).unwrap().len()
    });
    assert_eq!(rows, [1, 2]);
}

#[test]
fn a_checkpoint_without_a_path_is_an_error_and_the_sampler_goes_first() {
    let dir = TempDir::new().unwrap();
    let (mut logger, _, _) = logger(&dir, Mood::Fine);
    let mut state = LoopState::default();
    let error = logger
        .on_checkpoint(&mut state, &CheckpointRow::default())
        .unwrap_err();
    assert!(error.to_string().contains("sampler path"), "{error}");
    logger.on_run_start(&mut state.ctx).unwrap();
    let row = CheckpointRow {
        sampler_path: Some("sampler".to_owned()),
        state_path: Some("state".to_owned()),
        step: Some(9),
        ..CheckpointRow::default()
    };
    logger.on_checkpoint(&mut state, &row).unwrap();
    drop(logger);
    let store = Sqlite::open_read_only(file(&dir)).unwrap();
    let run = state.ctx.ids.get("run_id").unwrap();
    let kept = store.list_checkpoints(&run).unwrap().remove(0);
    assert_eq!((kept.uri.as_str(), kept.step), ("sampler", Some(9)));
}

#[test]
fn a_csv_gives_a_key_that_appears_later_a_column_and_is_continued() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.csv");
    let mut state = LoopState::default();
    let mut csv = Csv::open(&path).unwrap();
    let mut step = |csv: &mut Csv, step, entries: &[(&'static str, f64)]| {
        csv.on_step_end(&mut state, step, None, &metrics(entries))
            .unwrap();
    };
    step(&mut csv, 1, &[("loss", 0.1), ("a,b", 1e-300)]);
    step(
        &mut csv,
        2,
        &[("a,b", f64::INFINITY), ("new \"key\"", f64::NAN)],
    );
    drop(csv);
    let torn = fs::read_to_string(&path).unwrap() + "3,0.5";
    fs::write(&path, torn).unwrap();
    let mut csv = Csv::open(&path).unwrap();
    step(&mut csv, 4, &[("loss", 0.300_000_000_000_000_04)]);
    step(&mut csv, 5, &[("later", -0.0)]);
    csv.on_eval(&mut state, 5, "gsm8k", &metrics(&[("acc", 0.5)]))
        .unwrap();
    insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
    step,loss,"a,b","new ""key""",later,gsm8k/acc
    1,0.1,1e-300,,,
    2,,inf,nan,,
    4,0.30000000000000004,,,,
    5,,,,-0.0,
    5,,,,,0.5
    "#);
    fs::write(&path, "epoch,loss\n").unwrap();
    let error = Csv::open(&path).unwrap_err().to_string();
    assert!(error.contains("`epoch`"), "{error}");
}

/// The step at which a training with these values would stop.
fn stops_at(mut stopping: EarlyStopping, values: &[f64]) -> Option<usize> {
    let mut state = LoopState::default();
    values.iter().position(|value| {
        stopping
            .on_step_end(&mut state, 0, None, &loss(*value))
            .unwrap();
        state.stop_requested()
    })
}

#[test]
fn a_training_stops_once_its_metric_has_not_got_better_for_so_long() {
    let stopping = || EarlyStopping::new("loss", 2);
    assert_eq!(stops_at(stopping(), &[1.0, 2.0, 2.0, 2.0, 3.0]), Some(3));
    assert_eq!(stops_at(stopping(), &[1.0, 0.0, 2.0, 1.0, 3.0]), None);
    let down = || stopping().goal(Goal::Min);
    assert_eq!(stops_at(down(), &[3.0, 2.0, 2.5, 2.0, 1.0]), Some(3));
    let delta = down().min_delta(-0.5);
    assert_eq!(stops_at(delta, &[3.0, 2.6, 2.5, 0.0]), Some(2));
    let none = [1.0, f64::NAN, f64::INFINITY];
    assert_eq!(stops_at(stopping(), &none), Some(2));
    assert_eq!(stops_at(EarlyStopping::new("other", 1), &[1.0, 1.0]), None);
    assert_eq!(
        stops_at(EarlyStopping::new("loss", 0), &[1.0, 1.0]),
        Some(1)
    );
}

#[test]
fn a_stop_may_be_by_an_evaluation_of_one_name() {
    let mut stopping = EarlyStopping::new("acc", 1).of_eval("gsm8k");
    let mut state = LoopState::default();
    let acc = metrics(&[("acc", 0.5)]);
    for _ in 0..3 {
        stopping.on_step_end(&mut state, 1, None, &acc).unwrap();
        stopping.on_eval(&mut state, 1, "math", &acc).unwrap();
    }
    stopping.on_eval(&mut state, 1, "gsm8k", &acc).unwrap();
    assert!(!state.stop_requested());
    stopping.on_eval(&mut state, 2, "gsm8k", &acc).unwrap();
    assert!(state.stop_requested());
    assert_eq!(stopping.best(), Some(0.5));
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_says_how_far_the_training_is() {
    let out = Shared::default();
    let mut progress = Progress::to(out.clone());
    let mut state = LoopState::default();
    state.num_steps = Some(100);
    progress
        .on_step_end(&mut state, 12, None, &loss(0.25))
        .unwrap();
    state.num_steps = None;
    progress
        .on_step_end(&mut state, 13, None, &loss(0.5))
        .unwrap();
    progress
        .on_train_end(&mut state, &Artifacts::new())
        .unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "step 12/100  loss 0.25\nstep 13  loss 0.5\n");
}
