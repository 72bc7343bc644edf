//! Many series of a run, read at once.
#![cfg(feature = "sqlite")]

use std::collections::BTreeMap;
use std::path::Path;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};

/// The numbers of a run as one of its queries gives them: by split, name and step, with their bits.
fn told(store: &Sqlite, run: &str) -> BTreeMap<(Split, String, u64), u64> {
    let all = store.get_metrics(run, None, None).unwrap();
    all.into_iter()
        .map(|m| ((m.split, m.name, m.step), m.value.to_bits()))
        .collect()
}

/// The same from its courses.
fn read(
    store: &Sqlite,
    run: &str,
    keep: impl Fn(Split, &str) -> bool,
) -> BTreeMap<(Split, String, u64), u64> {
    let courses = store.courses(run, keep).unwrap();
    let mut numbers = BTreeMap::new();
    for course in courses.courses {
        assert_eq!(course.values.len(), courses.steps.len());
        for (step, value) in courses.steps.iter().zip(course.values) {
            if !value.is_nan() {
                let key = (course.split, course.name.clone(), *step);
                numbers.insert(key, value.to_bits());
            }
        }
    }
    numbers
}

fn row(step: u64, run: u64) -> Row {
    let mut metrics = Metrics::default();
    for key in 0..40 {
        // Gaps, keys that come late, and an infinity.
        if !(step + key).is_multiple_of(7) && (key < 30 || step > 20) {
            let value = (step * 1000 + key * 10 + run) as f64 / 3.0;
            metrics.set(format!("train/k{key:02}"), value);
        }
    }
    if step.is_multiple_of(5) {
        metrics.set("train/k01", f64::INFINITY);
    }
    Row {
        step,
        timestamp: 1.7e9 + step as f64,
        metrics,
        ..Row::default()
    }
}

#[test]
fn courses_are_the_numbers_that_the_store_has_whichever_way_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.db");
    let mut store = Sqlite::open(&path).unwrap();
    for run in ["a", "b"] {
        store.open_run(&RunSpec::new(run)).unwrap();
    }
    // In turns, so that their numbers lie between each other's; and out of order.
    for step in (0..40).rev().chain(40..90) {
        for (nth, run) in ["a", "b"].into_iter().enumerate() {
            if !(step + nth as u64).is_multiple_of(3) {
                let rows = [row(step, nth as u64)];
                store.log_windows(run, &rows, Split::Train).unwrap();
            }
        }
        if step.is_multiple_of(10) {
            let both = [("train/k02", 0.5), ("eval/only", 1.5)];
            store.log_metrics("a", step, &both, Split::Val).unwrap();
        }
    }
    store.log_windows("a", &[row(50, 9)], Split::Train).unwrap();

    let store = Sqlite::open_read_only(&path).unwrap();
    for run in ["a", "b"] {
        let all = told(&store, run);
        assert!(all.len() > 1000, "{}", all.len());
        assert_eq!(read(&store, run, |_, _| true), all, "{run}");
        // Few of them go another way.
        let few = |split: Split, key: &str| split == Split::Val || key.starts_with("train/k0");
        for keep in [&few as &dyn Fn(Split, &str) -> bool, &|_, key| {
            key == "train/k02"
        }] {
            let mut expected = all.clone();
            expected.retain(|(split, key, _), _| keep(*split, key));
            assert_eq!(read(&store, run, keep), expected, "{run}");
        }
    }
    let courses = store.courses("a", |_, _| true).unwrap();
    let rows = store.rows("a").unwrap();
    assert!(courses.steps.is_sorted_by(|a, b| a < b));
    for row in rows.iter().filter(|row| row.split == Split::Train) {
        let at = courses.steps.binary_search(&row.step).unwrap();
        assert_eq!(courses.times[at], row.time);
    }
    assert_eq!(
        store.courses("nobody", |_, _| true).unwrap().steps,
        Vec::<u64>::new()
    );
}

#[test]
fn courses_of_a_store_of_schema_1_are_read_as_well() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores/schema_1.db");
    let store = Sqlite::open_read_only(path).unwrap();
    let mut runs = 0;
    for run in store.run_names().unwrap() {
        let all = told(&store, &run);
        assert_eq!(read(&store, &run, |_, _| true), all, "{run}");
        runs += usize::from(!all.is_empty());
    }
    assert!(runs > 1);
}
