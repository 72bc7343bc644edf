//! The sample table: what each column means, and where tables go.

use std::fs;
use std::sync::{Arc, Mutex};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns, Values};
use grpo_metrics::engine::Engine;
use grpo_metrics::hooks::samples::{SampleTable, Samples, mass_proxy};
use grpo_metrics::row::table::{Cell, Table};
use grpo_metrics::sink::{Console, Memory};
use serde_json::{Value, json};
use tempfile::TempDir;

fn texts(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

/// Whether two shares are the same number, or both none.
fn same(got: &[f64], expected: &[f64]) {
    let words = |x: &[f64]| x.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>();
    assert_eq!(words(got), words(expected));
}

#[test]
fn a_table_has_the_named_columns_and_then_the_components_by_name() {
    let prompts = texts("p p q");
    let completions = texts("a b c");
    let (late, early) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    let mut columns = Columns::new(Grouping::Sizes(&[2, 0, 1]), &[0.0, 1.0, 0.5]);
    columns.prompts = Some(&prompts);
    columns.completions = Some(&completions);
    columns.reward_components = vec![
        ("z/late".into(), (&late).into()),
        (
            "early".into(),
            Values::masked(&early, &[false, true, false]),
        ),
    ];
    columns.advantages = Some((&[-0.5, 0.5, 0.0]).into());
    columns.q = Some((&[0.25, 0.75, 1.0]).into());
    columns.weights = Some((&[1.0, 3.0, 2.0]).into());
    let batch = Batch::of(columns).unwrap();
    let json = serde_json::to_value(SampleTable::of(7, &[&batch]).table("completions")).unwrap();
    assert_eq!(
        json,
        json!({
            "columns": ["step", "prompt_index", "completion_index", "group_size", "reward_rank_desc", "prompt",
                "completion", "reward_total", "advantage", "q_mass", "update_weight_raw", "update_mass_proxy",
                "reward/early", "reward/z/late"],
            "data": [
                [7, 0, 0, 2, 2, "p", "a", 0.0, -0.5, 0.25, 1.0, 0.25, 4.0, 1.0],
                [7, 0, 1, 2, 1, "p", "b", 1.0, 0.5, 0.75, 3.0, 0.75, null, 2.0],
                [7, 2, 0, 1, 1, "q", "c", 0.5, 0.0, 1.0, 2.0, 1.0, 6.0, 3.0],
            ]
        })
    );
}

#[test]
fn what_is_missing_is_nan_minus_one_or_an_empty_text() {
    let batch = Batch::of(Columns::new(
        Grouping::Sizes(&[3]),
        Values::masked(&[f64::NAN, 1.0, 5.0], &[false, false, true]),
    ))
    .unwrap();
    let table = SampleTable::of(0, &[&batch]);
    assert_eq!(
        table
            .samples
            .iter()
            .map(|s| s.reward_rank_desc)
            .collect::<Vec<_>>(),
        [-1, 1, -1]
    );
    let first = &table.samples[0];
    assert_eq!((first.prompt.as_str(), first.completion.as_str()), ("", ""));
    same(
        &[
            first.reward_total,
            first.advantage,
            first.q_mass,
            first.update_weight_raw,
            first.update_mass_proxy,
        ],
        &[f64::NAN; 5],
    );
    assert_eq!(
        serde_json::to_value(table.table("t")).unwrap()["data"][0],
        json!([0, 0, 0, 3, -1, "", "", null, null, null, null, null])
    );
    assert_eq!(
        SampleTable::of(1, &[]).table("t").data,
        Vec::<Vec<Cell>>::new()
    );
}

#[test]
fn equal_rewards_rank_by_position() {
    let batch = Batch::of(Columns::new(
        Grouping::Sizes(&[5]),
        &[-0.0, 2.0, 0.0, 2.0, f64::NEG_INFINITY],
    ))
    .unwrap();
    let ranks: Vec<i64> = SampleTable::of(0, &[&batch])
        .samples
        .iter()
        .map(|s| s.reward_rank_desc)
        .collect();
    assert_eq!(ranks, [3, 1, 4, 2, 5]);
}

#[test]
fn the_mass_is_the_positive_part_and_where_there_is_none_the_size() {
    let none = f64::NAN;
    same(&mass_proxy(&[1.0, 3.0, 0.0]), &[0.25, 0.75, 0.0]);
    same(&mass_proxy(&[-8.0, 1.0, 3.0]), &[0.0, 0.25, 0.75]);
    same(&mass_proxy(&[-1.0, -3.0, 0.0]), &[0.25, 0.75, 0.0]);
    same(&mass_proxy(&[0.0, 0.0]), &[none, none]);
    same(&mass_proxy(&[none, 2.0, f64::INFINITY]), &[none, 1.0, none]);
    same(&mass_proxy(&[]), &[]);
}

#[test]
fn a_group_that_two_ranks_share_is_one_group_whatever_comes_first() {
    let mut columns = Columns::new(Grouping::Ids(&[9, 9, 9, 4]), &[0.0, 3.0, 1.0, 2.0]);
    columns.weights = Some((&[1.0, 1.0, 2.0, 5.0]).into());
    let whole = Batch::of(columns).unwrap();
    let part =
        |rank, ids: &'static [u64], rewards: &'static [f64; 2], weights: &'static [f64; 2]| {
            let mut columns = Columns::new(Grouping::Ids(ids), rewards);
            columns.weights = Some(weights.into());
            Batch::of(columns).unwrap().at(rank, 0)
        };
    let one = part(0, &[9, 9], &[0.0, 3.0], &[1.0, 1.0]);
    let two = part(1, &[9, 4], &[1.0, 2.0], &[2.0, 5.0]);
    let expected = serde_json::to_value(SampleTable::of(3, &[&whole]).table("t")).unwrap();
    for order in [[&one, &two], [&two, &one]] {
        let table = serde_json::to_value(SampleTable::of(3, &order).table("t")).unwrap();
        assert_eq!(table, expected);
    }
    let last_of_nine = expected["data"][2].as_array().unwrap();
    assert_eq!(last_of_nine[10..12], [json!(2.0), json!(0.5)]);
}

#[test]
fn a_given_completion_index_orders_the_group() {
    let mut columns = Columns::new(Grouping::Ids(&[1, 1, 1]), &[0.5, 0.5, 0.5]);
    columns.completion_index = Some(&[2, 0, 1]);
    let batch = Batch::of(columns).unwrap();
    let table = SampleTable::of(0, &[&batch]);
    let order: Vec<_> = table
        .samples
        .iter()
        .map(|s| (s.completion_index, s.reward_rank_desc))
        .collect();
    assert_eq!(order, [(0, 1), (1, 2), (2, 3)]);
}

#[test]
fn trajectories_are_a_last_column_where_there_are_any() {
    let ids = texts("t1 t2");
    let mut columns = Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]);
    columns.trajectory_ids = Some(&ids);
    columns.reward_components = vec![("a".into(), (&[1.0, 2.0]).into())];
    let batch = Batch::of(columns).unwrap();
    let table = SampleTable::of(0, &[&batch]).table("t");
    assert_eq!(table.columns[12..], ["reward/a", "trajectory_id"]);
    assert_eq!(table.data[1][13], Cell::Text("t2".to_owned()));
}

fn small(step: u64) -> SampleTable {
    let prompts = texts("p p p p p p");
    let mut columns = Columns::new(Grouping::Sizes(&[6]), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    columns.prompts = Some(&prompts);
    let batch = Batch::of(columns).unwrap();
    SampleTable::of(step, &[&batch])
}

#[test]
fn a_table_is_one_file_a_step_under_its_key() {
    let dir = TempDir::new().unwrap();
    let samples = Samples::new(dir.path()).key("train/rollouts").every(5);
    assert_eq!(samples.write(&small(7)).unwrap(), None);
    let path = samples.write(&small(10)).unwrap().unwrap();
    assert_eq!(
        path,
        dir.path()
            .join("rich_completions/train_rollouts_step_000010.json")
    );
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["columns"].as_array().unwrap().len(), 12);
    assert_eq!(json["data"].as_array().unwrap().len(), 6);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let off = Samples::new(dir.path().join("off")).enabled(false);
    assert_eq!(off.write(&small(10)).unwrap(), None);
    assert!(!dir.path().join("off").exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_the_file() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("taken"), "").unwrap();
    let error = Samples::new(dir.path().join("taken"))
        .write(&small(1))
        .unwrap_err();
    assert!(
        error.to_string().contains("completions_step_000001.json"),
        "{error}"
    );
}

#[cfg(feature = "sqlite")]
#[test]
fn samples_are_predictions_of_the_run() {
    use grpo_metrics::hooks::samples::PREDICTION_KIND;
    use grpo_metrics::store::{RunSpec, Sqlite, Store};
    let dir = TempDir::new().unwrap();
    let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
    let run = store.open_run(&RunSpec::new("r")).unwrap().run.id;
    let samples = Samples::new(dir.path());
    assert_eq!(samples.record(&mut store, &run, &small(3)).unwrap(), 6);
    let kept = store.list_predictions(&run, Some(PREDICTION_KIND)).unwrap();
    assert_eq!(kept.len(), 6);
    let best = &kept[5];
    assert_eq!((best.reward, best.advantage), (Some(5.0), None));
    assert_eq!((best.step, best.sample_idx), (Some(3), Some(5)));
    assert_eq!(best.instruction.as_deref(), Some("p"));
    assert_eq!(best.metadata["reward_rank_desc"], 1);
    assert_eq!(best.metadata["q_mass"], Value::Null);
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
fn the_first_four_rows_go_to_the_sinks_that_show_tables() {
    let (pretty, line) = (Shared::default(), Shared::default());
    let mut engine = Engine::builder()
        .sink(Memory::new())
        .sink(Console::line().to(line.clone()))
        .sink(Console::pretty().to(pretty.clone()))
        .build()
        .unwrap();
    let shown: Table = Samples::new("unused").shown(&small(2)).unwrap();
    engine.show(&shown);
    let json: Value = serde_json::from_slice(&pretty.0.lock().unwrap()).unwrap();
    assert_eq!(
        (&json["table"], &json["step"]),
        (&json!("completions"), &json!(2))
    );
    assert_eq!(json["samples"].as_array().unwrap().len(), 4);
    assert_eq!(json["samples"][3]["reward_total"], 3.0);
    assert_eq!(*line.0.lock().unwrap(), b"");
    assert!(engine.sink_error().is_none());
    let receipts = engine.finish();
    assert!(
        receipts
            .iter()
            .all(|r| r.accepted == 0 && r.error.is_none())
    );
}

#[test]
fn samples_are_taken_of_every_so_many_steps_and_their_texts_are_cut() {
    use grpo_metrics::hooks::samples::Taker;
    let (prompts, completions) = (texts("p p q q"), texts("short ääääääää c d"));
    let observe = |taker: &mut Taker, first: u64, rewards: [f64; 2]| {
        let ids = [first, first];
        let lengths = [3, 4];
        let mut columns = Columns::new(Grouping::Ids(&ids), &rewards);
        columns.prompts = Some(&prompts[..2]);
        columns.completions = Some(&completions[..2]);
        columns.completion_lengths = Some(&lengths);
        taker.observe(&Batch::of(columns).unwrap());
    };
    let mut taker = Taker::new(10, 3, 60); // ten bytes a text
    let mut tables = Vec::new();
    for step in (5..=40).step_by(5) {
        // One group over two micro-batches: its ranks are over both.
        observe(&mut taker, step, [1.0, 4.0]);
        observe(&mut taker, step, [2.0, 3.0]);
        tables.extend(taker.step(step));
    }
    let steps: Vec<u64> = tables.iter().map(|table| table.step).collect();
    assert_eq!(steps, [10, 20, 30, 40]);
    for table in &tables {
        let told: Vec<_> = table
            .samples
            .iter()
            .map(|s| (s.completion.as_str(), s.reward_rank_desc, s.length))
            .collect();
        let cut = "äää...";
        assert_eq!(
            told,
            [
                ("short", 4, Some(3)),
                (cut, 1, Some(4)),
                ("short", 3, Some(3))
            ]
        );
    }
    let objects = tables[0].objects();
    assert_eq!(
        (&objects[1]["completion"], &objects[1]["length"]),
        (&json!("äää..."), &json!(4))
    );
    // A batch without texts has no samples, and nothing is left of a step that is forgotten.
    taker.observe(&Batch::of(Columns::new(Grouping::Sizes(&[1]), &[1.0])).unwrap());
    assert_eq!(taker.step(50), None);
    observe(&mut taker, 60, [1.0, 2.0]);
    taker.forget();
    assert_eq!(taker.step(60), None);
}
