//! Tables of runs, read back by the programs that people read them with.
#![cfg(all(feature = "cli", feature = "sqlite"))]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::store::{RunSpec, Split, Sqlite, Store};
use tempfile::TempDir;

/// A folder with a store of two runs: different keys, both splits, infinities, gaps, a row without a time of its own, and names
/// that a table might stumble over.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        let mut store = Sqlite::open(scene.path("runs.db")).unwrap();
        let names = ["a", "b, \"2\"\n"];
        for (nth, run) in names.into_iter().enumerate() {
            store.open_run(&RunSpec::new(run)).unwrap();
            let rows: Vec<Row> = (1..=20).map(|step| row(nth as u64, step)).collect();
            store.log_windows(run, &rows, Split::Train).unwrap();
            let evaluated: Metrics = [("eval/acc", 0.1), ("train/loss", 9.0)]
                .into_iter()
                .collect();
            store
                .log_rows(run, &[(10, &evaluated)], Split::Val)
                .unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn export(&self, args: &[&str]) -> Output {
        let mut command = assert_cmd::Command::new(crate::grpo_metrics());
        command
            .current_dir(&self.0)
            .env_remove("GRPO_METRICS_STORE")
            .arg("export")
            .args(args);
        command.output().unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("runs.db")).collect();
        names.sort();
        names
    }
}

fn row(nth: u64, step: u64) -> Row {
    let x = (step + nth) as f64;
    let mut metrics: Metrics = [
        ("train/loss", x / 3.0),
        // Smaller ones pandas refuses in JSON.
        ("train/tiny", f64::MIN_POSITIVE * x),
        ("train/huge", 1.797_693_134_862_315_7e308),
        ("step", x),
        ("time", 0.25),
        // Quotes in a header polars reads doubled.
        ("µ, or so", -x),
    ]
    .into_iter()
    .collect();
    match step % 5 {
        0 => metrics.set("train/ratio", f64::INFINITY),
        1 => metrics.set("train/ratio", f64::NEG_INFINITY),
        2 => metrics.set("train/ratio", 0.5),
        _ => {}
    }
    if nth == 1 {
        metrics.set("only/b", x);
    }
    Row {
        step,
        timestamp: 1_763_700_000.125 + step as f64,
        metrics,
        ..Row::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wide_table_has_a_column_a_key_and_a_long_one_a_line_a_number() {
    let scene = Scene::new();
    let keys = ["--key", "train/ratio", "--key", "t*e"];
    let out = scene.export(&[&["a", "--csv", "-"], &keys[..]].concat());
    let lines = text(&out.stdout);
    insta::assert_snapshot!(lines.lines().take(4).collect::<Vec<_>>().join("\n"), @"
    run,step,split,time,time_2,train/huge,train/ratio
    a,1,train,2025-11-21T04:40:01.125Z,0.25,1.7976931348623157e308,-inf
    a,2,train,2025-11-21T04:40:02.125Z,0.25,1.7976931348623157e308,0.5
    a,3,train,2025-11-21T04:40:03.125Z,0.25,1.7976931348623157e308,
    ");
    insta::assert_snapshot!(text(&out.stderr), @"note: the key `time` is in the column `time_2`");
    let out = scene.export(&["a", "--jsonl", "-", "--key", "train/ratio"]);
    insta::assert_snapshot!(text(&out.stdout).lines().take(3).collect::<Vec<_>>().join("\n"), @r#"
    {"run": "a", "step": 1, "split": "train", "time": "2025-11-21T04:40:01.125Z", "train/ratio": "-Infinity"}
    {"run": "a", "step": 2, "split": "train", "time": "2025-11-21T04:40:02.125Z", "train/ratio": 0.5}
    {"run": "a", "step": 3, "split": "train", "time": "2025-11-21T04:40:03.125Z", "train/ratio": null}
    "#);
    let out = scene.export(&["a", "--csv", "-", "--long", "--key", "train/ratio"]);
    insta::assert_snapshot!(text(&out.stdout).lines().take(4).collect::<Vec<_>>().join("\n"), @"
    run,step,split,time,name,value
    a,1,train,2025-11-21T04:40:01.125Z,train/ratio,-inf
    a,2,train,2025-11-21T04:40:02.125Z,train/ratio,0.5
    a,5,train,2025-11-21T04:40:05.125Z,train/ratio,inf
    ");
}

#[test]
fn a_file_that_is_there_is_kept_unless_it_is_told_to_go() {
    let scene = Scene::new();
    fs::write(scene.path("t.csv"), "mine").unwrap();
    let out = scene.export(&["--csv", "t.csv"]);
    assert_eq!(out.status.code(), Some(2));
    let said = text(&out.stderr);
    assert!(
        said.contains("t.csv: expected no file there, found one: --force"),
        "{said}"
    );
    assert_eq!(fs::read(scene.path("t.csv")).unwrap(), b"mine");
    let out = scene.export(&["--csv", "t.csv", "--force"]);
    assert!(out.status.success());
    insta::assert_snapshot!(text(&out.stderr), @"
    note: the key `step` is in the column `step_2`
    note: the key `time` is in the column `time_2`
    t.csv: 42 lines with 288 numbers, of 2 runs
    ");
    assert_eq!(scene.files(), ["t.csv"]);
}

#[test]
fn what_cannot_be_written_leaves_no_file() {
    let scene = Scene::new();
    for (args, code, message) in [
        (
            &["nosuch", "--csv", "t.csv"][..],
            2,
            "expected a run called `nosuch`",
        ),
        (
            &["a", "--csv", "t.csv", "--key", "nosuch"],
            2,
            "--key nosuch",
        ),
        (&["a", "--csv", "no/t.csv"], 1, "there is no folder no"),
        (&["a", "--csv", "."], 1, "a folder is there"),
        (&["a"], 2, "--parquet"),
        (
            &["a", "--csv", "t.csv", "--jsonl", "t.jsonl"],
            2,
            "cannot be used",
        ),
        (&["a", "--parquet", "-"], 2, "expected a file"),
        (
            &["a", "--csv", "t.csv", "--store", "no.db"],
            2,
            "no such file",
        ),
    ] {
        let out = scene.export(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(message), "{args:?}: {said}");
        assert_eq!(scene.files(), [""; 0], "{args:?}");
    }
    #[cfg(target_os = "linux")]
    {
        let out = scene.export(&["a", "--csv", "/dev/full", "--force"]);
        assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_without_its_feature_says_so() {
    let scene = Scene::new();
    let out = scene.export(&["a", "--parquet", "t.parquet"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("without `parquet`"));
    assert_eq!(scene.files(), [""; 0]);
}

#[cfg(feature = "parquet")]
mod readers {
    use std::env;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// A Python that has them: the one that `GRPO_METRICS_PYTHON` names, else that of `target/tables`, which `.ci/full` makes, else
    /// `python3`. Without one, the test says how many it skips.
    fn python() -> Option<String> {
        let candidates = [
            env::var("GRPO_METRICS_PYTHON").ok(),
            Some(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tables/bin/python").to_owned()),
            Some("python3".to_owned()),
        ];
        let has_them = |python: &String| {
            let import = Command::new(python)
                .args(["-c", "import pyarrow, pandas, polars, duckdb, pytz"])
                .output();
            import.is_ok_and(|output| output.status.success())
        };
        let found = candidates.into_iter().flatten().find(has_them);
        if found.is_none() {
            assert!(
                env::var_os("GRPO_METRICS_NEED_TABLES").is_none(),
                "expected a python with pyarrow, pandas, polars and duckdb, found none"
            );
            eprintln!("1 test skipped: no python with pyarrow, pandas, polars and duckdb");
        }
        found
    }

    #[test]
    fn pyarrow_pandas_polars_and_duckdb_read_what_sqlite_reads() {
        let Some(python) = python() else { return };
        let scene = Scene::new();
        for layout in ["wide", "long"] {
            for format in ["parquet", "csv", "jsonl"] {
                let (flag, file) = (format!("--{format}"), format!("{layout}.{format}"));
                let long = if layout == "long" {
                    &["--long"][..]
                } else {
                    &[]
                };
                let out = scene.export(&[&[flag.as_str(), &file], long].concat());
                assert!(out.status.success(), "{}", text(&out.stderr));
            }
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables/read.py");
        let read = Command::new(python)
            .arg(script)
            .arg(scene.path("runs.db"))
            .arg(scene.0.path())
            .output()
            .unwrap();
        assert!(read.status.success(), "{}", text(&read.stderr));
        // Of each layout.
        assert_eq!(text(&read.stdout).lines().count(), 2 * 11);
    }
}
