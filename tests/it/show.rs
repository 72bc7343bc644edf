//! `show` of a run and of several: what stands first, in how much room, and as what.
#![cfg(all(feature = "cli", feature = "sqlite"))]

mod compared;

use std::path::Path;
use std::process::{Command, Output};

use grpo_metrics::row::Row;
use grpo_metrics::sink::Sink;
use grpo_metrics::store::{RunSpec, StoreSink};
use serde_json::Value;
use tempfile::TempDir;

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recordings/");

/// The command in a folder, with so many columns.
pub fn command(dir: &Path, args: &[&str], columns: Option<usize>) -> Output {
    let mut command = Command::new(crate::grpo_metrics());
    command
        .current_dir(dir)
        .args(args)
        .env_remove("GRPO_METRICS_STORE")
        .env_remove("COLUMNS")
        .envs(columns.map(|columns| ("COLUMNS", columns.to_string())));
    command.output().unwrap()
}

/// What is shown, if it is.
fn show(dir: &Path, args: &[&str], columns: Option<usize>) -> String {
    let out = command(dir, &[&["show"], args].concat(), columns);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(text(&out.stderr), "");
    text(&out.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with a replayed run of 24 steps and many keys.
fn replayed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let recording = format!("{RECORDINGS}trl-2rank");
    let args = ["replay", &recording, "--quiet", "--extended", "--run", "r"];
    assert!(command(dir.path(), &args, None).status.success());
    dir
}

/// A run with these rows, as its keys and their numbers by step.
fn write(dir: &Path, spec: RunSpec, series: &[(&str, &[f64])]) {
    let mut sink = Box::new(StoreSink::open(dir.join("runs.db"), spec).unwrap());
    for step in 0..series[0].1.len() {
        let metrics = series.iter().filter(|(_, values)| !values[step].is_nan());
        sink.write(&Row {
            step: step as u64 + 1,
            metrics: metrics
                .map(|(key, values)| ((*key).to_owned(), values[step]))
                .collect(),
            ..Row::default()
        })
        .unwrap();
    }
    sink.close();
}

/// How many columns a text takes.
fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap()
}

#[test]
fn what_matters_stands_first_in_whatever_room_there_is() {
    let dir = replayed();
    let narrow = show(dir.path(), &["r"], Some(60));
    insta::assert_snapshot!(narrow, @"
    r: completed, steps 1 to 24

    key                   last     mean      min     max  course
    train/reward        0.4753   0.4442   0.3791  0.5237  ▁▃▄▄▆█
    train/reward_std    0.2961   0.2667   0.1464  0.3799  ▆█▁▅▅▇
    train/r…acy/mean   0.07031   0.0638  0.02344  0.1172  ██▁▄▂▆
    train/r…ity/mean    0.4823   0.4294   0.2798  0.5949  ▁▅▂▅▇█
    train/r…its/mean    0.6352   0.5993   0.4756   0.691  ▁▁█▆██
    train/kl            0.1947   0.1271        0  0.2364  ▁▂▄▇▇█
    train/clip_ratio    0.7949   0.6341        0  0.8381  ▁▄▇▇▇█
    train/p…_entropy      3.02      3.1     3.02   3.206  █▇▅▃▂▁
    train/c…_sampled     12.34    14.64    8.688   21.78  █▃▇▃▁▁
    train/c…ped_frac         0  0.02604        0   0.125  █▁▄▁▁▁
    train/loss        -0.02225  0.09017  -0.1501  0.3493  ▆▃█▂▁▁
    train/grad_norm     0.3851    0.427   0.3557  0.5349  ▅█▁▁▂▅
    train/h…clipping         0  0.08333        0       1  █▁▁▁▁▁
    train/health/kl          0    0.125        0       1  ▁▁▁▁▅█

    6 constant: train/frac_reward_zero_std 0, and 5 more

    283 more keys: show --all, or --key GLOB
    ");
    let keys = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("train/"))
            .count()
    };
    for columns in [60, 61, 72, 80, 100, 132, 200] {
        let shown = show(dir.path(), &["r"], Some(columns));
        assert!(widest(&shown) <= columns, "{columns}: {shown}");
        assert_eq!(keys(&shown), keys(&narrow), "{columns}: {shown}");
        let all = show(dir.path(), &["r", "--all"], Some(columns));
        assert!(widest(&all) <= columns, "{columns}: {all}");
    }
    let wide = show(dir.path(), &["r"], Some(200));
    assert!(!wide.contains('…'), "{wide}");
    // A pipe has no width: every key is whole, for the programs behind it.
    let piped = show(dir.path(), &["r"], None);
    assert!(!piped.contains('…'), "{piped}");
    assert!(
        piped.contains("train/completions/mean_length_sampled "),
        "{piped}"
    );
}

#[test]
fn all_keys_are_shown_on_all_and_what_is_constant_is_told_once() {
    let dir = replayed();
    let all = show(dir.path(), &["r", "--all"], Some(100));
    let stored = command(dir.path(), &["show", "r", "--json"], None);
    let stored: Value = serde_json::from_slice(&stored.stdout).unwrap();
    let joined = all.replace("\n  ", " ");
    let keys = stored["metrics"].as_array().unwrap();
    assert!(keys.len() > 200, "{}", keys.len());
    for key in keys {
        let (name, is_constant) = (key["key"].as_str().unwrap(), key["min"] == key["max"]);
        let constant = format!("{name} ");
        let in_line = joined
            .lines()
            .any(|line| line.contains(" constant: ") && line.contains(&constant));
        let in_table = all.lines().any(|line| line.starts_with(&constant));
        assert_eq!(
            (in_line, in_table),
            (is_constant, !is_constant),
            "{name}\n{all}"
        );
    }
    assert!(!all.contains("more keys"), "{all}");
}

#[test]
fn constant_keys_take_one_line_unless_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (rising, level) = ([0.1, 0.2, 0.3], [0.5; 3]);
    write(
        dir.path(),
        RunSpec::new("r"),
        &[
            ("own", &rising),
            ("reward", &rising),
            ("reward_std", &level),
            ("kl", &[0.0, f64::NAN, f64::INFINITY]),
            ("entropy", &[f64::NAN, 2.5, f64::NAN]),
        ],
    );
    insta::assert_snapshot!(show(dir.path(), &["r"], Some(80)), @"
    r: completed, steps 1 to 3

    key      last  mean  min  max  over the steps
    reward    0.3   0.2  0.1  0.3  ▁▅█
    kl        inf     0    0    0  ▄↑
    entropy   2.5   2.5  2.5  2.5  ▄

    1 constant: reward_std 0.5

    infinite values, left out of mean, min and max: 1

    1 more key: show --all, or --key GLOB
    ");
    insta::assert_snapshot!(show(dir.path(), &["r", "--key", "reward*"], Some(80)), @"
    r: completed, steps 1 to 3

    key         last  mean  min  max  over the steps
    reward       0.3   0.2  0.1  0.3  ▁▅█
    reward_std   0.5   0.5  0.5  0.5  ▄▄▄
    ");
    insta::assert_snapshot!(show(dir.path(), &["r", "--all", "--last", "2"], Some(80)), @"
    r: completed, steps 2 to 3

    key      last  mean  min  max  over the steps
    reward    0.3  0.25  0.2  0.3  ▁█
    kl        inf     -    -    -  ↑
    entropy   2.5   2.5  2.5  2.5  ▄

    own       0.3  0.25  0.2  0.3  ▁█

    1 constant: reward_std 0.5

    infinite values, left out of mean, min and max: 1
    ");
}

#[test]
fn a_run_whose_keys_no_dialect_has_is_looked_at_by_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let values = [0.1, 0.2];
    let keys = [
        "time/step",
        "loss/mean",
        "optim/grad_norm",
        "reward/mean",
        "seq_len/mean",
        "optim/lr",
    ];
    let series: Vec<(&str, &[f64])> = keys.iter().map(|key| (*key, &values[..])).collect();
    write(dir.path(), RunSpec::new("r"), &series);
    let shown = show(dir.path(), &["r"], None);
    let keys: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys[2..6],
        [
            "reward/mean",
            "seq_len/mean",
            "loss/mean",
            "optim/grad_norm"
        ]
    );
    assert!(
        shown.ends_with("\n2 more keys: show --all, or --key GLOB\n"),
        "{shown}"
    );

    write(
        dir.path(),
        RunSpec::new("odd"),
        &[("a/b", &values), ("c", &[1.0, 1.0])],
    );
    insta::assert_snapshot!(show(dir.path(), &["odd"], None), @"
    odd: completed, steps 1 to 2

    key  last  mean  min  max  over the steps
    a/b   0.2  0.15  0.1  0.2  ▁█

    1 constant: c 1
    ");
}

#[test]
fn a_key_that_nothing_matches_is_refused_with_the_closest() {
    let dir = replayed();
    let refused = |args: &[&str]| {
        let out = command(dir.path(), &[&["show"], args].concat(), None);
        assert_eq!(
            (out.status.code(), out.stdout.len()),
            (Some(2), 0),
            "{out:?}"
        );
        text(&out.stderr)
    };
    insta::assert_snapshot!(refused(&["r", "--key", "train/rewrad"]), @"error: --key train/rewrad: expected a pattern that one of 303 keys matches, found none; the closest: `train/reward`, `train/reward_p00`, `train/reward_p05`");
    insta::assert_snapshot!(refused(&["r", "--key", "zzz*", "--key", "qqq"]), @"error: --key zzz*, --key qqq: expected a pattern that one of 303 keys matches, found none");
    let out = command(
        dir.path(),
        &["show", "r", "--key", "zzz", "--key", "train/kl"],
        None,
    );
    assert!(
        out.status.success() && text(&out.stdout).contains("\ntrain/kl "),
        "{out:?}"
    );
    assert_eq!(text(&out.stderr), "note: --key zzz: no key matches\n");
}
