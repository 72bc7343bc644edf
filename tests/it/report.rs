//! The page with its data in one file.
#![cfg(feature = "serve")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Steps, and the values over them.
type Course = (Vec<u64>, Vec<f64>);

/// A run of `steps` steps in which `some` is missing in two of three and infinite once, and one of a few.
fn folder(steps: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("runs.db");
    let mut writer = Sqlite::open(&store).unwrap();
    for (run, steps) in [("long", steps), ("a </script> run", 3)] {
        writer.open_run(&RunSpec::new(run)).unwrap();
        let rows: Vec<Row> = (1..=steps).map(row).collect();
        writer.log_windows(run, &rows, Split::Train).unwrap();
    }
    (dir, store)
}

fn row(step: u64) -> Row {
    let mut metrics = Metrics::default();
    metrics.set("reward".to_owned(), (step as f64 * 0.7).sin() / 3.0);
    if step.is_multiple_of(3) {
        let value = if step == 6 {
            f64::INFINITY
        } else {
            1e-7 / step as f64
        };
        metrics.set("some".to_owned(), value);
    }
    Row {
        step: 10 * step,
        timestamp: 1.7e9 + 0.5 * step as f64,
        metrics,
        ..Row::default()
    }
}

fn report(dir: &TempDir, arguments: &[&str]) -> Assert {
    Command::new(crate::grpo_metrics())
        .current_dir(dir.path())
        .env_remove("GRPO_METRICS_STORE")
        .arg("report")
        .args(arguments)
        .assert()
}

fn data(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    let (_, rest) = text.split_once(r#"id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// What the page reads of a series: distances summed up.
fn course(data: &Value, run: &str, key: &str) -> Course {
    let sums = |distances: &Value| -> Vec<u64> {
        let distances = distances.as_array().unwrap().iter();
        let summed = distances.scan(0, |at, distance| {
            *at += distance.as_u64().unwrap();
            Some(*at)
        });
        summed.collect()
    };
    let table = &data["series"][run];
    let steps = sums(&table["axes"]["step"]);
    let course = &table["series"][key];
    let rows = sums(&course["rows"]);
    let values = course["value"].as_array().unwrap().iter();
    (
        rows.iter()
            .map(|row| steps[usize::try_from(*row).unwrap()])
            .collect(),
        values.map(|value| value.as_f64().unwrap()).collect(),
    )
}

fn stored(store: &Path, run: &str, key: &str) -> BTreeMap<u64, f64> {
    let store = Sqlite::open_read_only(store).unwrap();
    let all = store.get_metrics(run, Some(key), None).unwrap();
    all.iter().map(|one| (one.step, one.value)).collect()
}

#[test]
fn a_full_report_has_every_number_of_the_store() {
    let (dir, store) = folder(2000);
    report(&dir, &["long", "--html", "out.html", "--full"]).success();
    let data = data(&dir.path().join("out.html"));
    assert_eq!(data["points"], Value::Null);
    for key in ["reward", "some"] {
        let (steps, values) = course(&data, "long", key);
        let mut all = stored(&store, "long", key);
        all.retain(|_, value| value.is_finite());
        assert_eq!(steps, all.keys().copied().collect::<Vec<_>>());
        assert_eq!(values, all.values().copied().collect::<Vec<_>>());
    }
    assert_eq!(data["series"]["long"]["series"]["some"]["infinite"], 1);
    let times = data["series"]["long"]["axes"]["time"].as_array().unwrap();
    assert_eq!(times[0], 1_700_000_000_500_u64);
    assert!(times[1..].iter().all(|distance| distance == 500));
}

#[test]
fn a_report_keeps_the_extremes_and_the_ends_of_a_long_run_and_says_how_much() {
    let (dir, store) = folder(5000);
    report(&dir, &["long", "--html", "out.html"]).success();
    let data = data(&dir.path().join("out.html"));
    let (steps, values) = course(&data, "long", "reward");
    let all = stored(&store, "long", "reward");
    assert!(steps.len() as u64 <= data["points"].as_u64().unwrap() && steps.len() > 600);
    assert!(
        steps
            .iter()
            .zip(&values)
            .all(|(step, value)| all[step] == *value)
    );
    let extremes = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(least, greatest), value| {
            (value.min(least), value.max(greatest))
        })
    };
    assert_eq!(
        extremes(&mut values.iter().copied()),
        extremes(&mut all.values().copied())
    );
    assert_eq!((steps[0], steps[steps.len() - 1]), (10, 50_000));
}

#[test]
fn a_report_of_several_runs_has_them_beside_each_other_and_no_other() {
    let (dir, _) = folder(4);
    report(
        &dir,
        &["a </script> run", "long", "long", "--html", "out.html"],
    )
    .success();
    let data = data(&dir.path().join("out.html"));
    let ids: Vec<&Value> = data["answers"]["runs"]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["id"])
        .collect();
    assert_eq!(ids, [&json!("a </script> run"), &json!("long")]);
    assert!(data["answers"]["compare"]["keys"].is_array());
    assert_eq!(data["series"].as_object().unwrap().len(), 2);
    report(&dir, &["long", "--html", "one.html"]).success();
    let one = fs::read_to_string(dir.path().join("one.html")).unwrap();
    assert!(!one.contains("script> run"), "a run that was not asked for");
}

#[test]
fn a_file_that_is_there_stays_unless_it_may_go() {
    let (dir, _) = folder(3);
    let file = dir.path().join("out.html");
    fs::write(&file, "mine").unwrap();
    report(&dir, &["long", "--html", "out.html"])
        .code(2)
        .stderr("error: out.html: expected no file there, found one: --force writes over it\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    report(&dir, &["long", "--html", "out.html", "--force"]).success();
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with("<!doctype html>")
    );
    // Nothing is left beside it.
    let names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().ends_with(".partial"))
    );
}

#[test]
fn help_says_what_a_report_is() {
    let help = Command::new(crate::grpo_metrics()).arg("--help").unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("  report       Write runs as a page in one file, which opens offline\n")
    );
}

#[test]
fn what_cannot_be_reported_is_told_and_makes_no_file() {
    let (dir, _) = folder(3);
    let said = report(&dir, &["lung", "--html", "out.html"]).code(2);
    let said = String::from_utf8(said.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`lung`") && said.contains("long"), "{said}");
    report(&dir, &["long", "--html", "missing/out.html"]).code(1);
    report(&dir, &["long", "--store", "other.db", "--html", "out.html"]).code(2);
    assert!(!dir.path().join("out.html").exists());
    let piped = report(&dir, &["long", "--html", "-"]).success();
    assert!(piped.get_output().stdout.starts_with(b"<!doctype html>"));
}
