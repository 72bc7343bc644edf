//! Several runs beside each other, and what programs get.

use grpo_metrics::store::RunSpec;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{command, show, text, widest, write};

/// Two runs that were configured differently, and have different keys.
fn two() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let spec = |name: &str, config: Value| RunSpec {
        config,
        ..RunSpec::new(name)
    };
    write(
        dir.path(),
        spec(
            "seed-0",
            json!({"lr": 1e-6, "seed": 0, "optimizer": {"name": "adamw", "eps": 1e-8}}),
        ),
        &[
            ("reward", &[0.1, 0.5, 0.25]),
            ("kl", &[0.0, 0.02, 0.01]),
            ("loss", &[0.5, -0.5, 0.25]),
            ("entropy", &[2.0, 2.0, 2.0]),
            ("own", &[1.0, 2.0, 3.0]),
        ],
    );
    write(
        dir.path(),
        spec(
            "seed-1-with-a-name-that-is-long",
            json!({"lr": 2e-6, "seed": 0, "optimizer": {"name": "adamw", "eps": 1e-8, "b2": 0.95}}),
        ),
        &[
            ("reward", &[0.1, 0.25, 0.5]),
            ("kl", &[0.0, 0.03, 0.02]),
            ("loss", &[0.5, 0.25, 0.125]),
            ("entropy", &[2.0, 2.0, 2.0]),
            ("grad_norm", &[1.0, 2.0, 1.5]),
        ],
    );
    dir
}

#[test]
fn runs_are_compared_by_what_they_came_to_and_by_their_configurations() {
    let dir = two();
    let runs = ["seed-0", "seed-1-with-a-name-that-is-long"];
    insta::assert_snapshot!(show(dir.path(), &runs, Some(60)), @"
    seed-0: completed, steps 1 to 3
    seed-1-with-a-name-that-is-long: completed, steps 1 to 3

    key        run                     last     best  difference
    reward     seed-0                  0.25      0.5
               seed-1-wit…at-is-long    0.5      0.5       +0.25
    kl         seed-0                  0.01  0..0.02
               seed-1-wit…at-is-long   0.02  0..0.03       +0.01
    loss       seed-0                  0.25     -0.5
               seed-1-wit…at-is-long  0.125    0.125      -0.125
    grad_norm  seed-0                     -
               seed-1-wit…at-is-long    1.5     1..2

    best: min..max, where neither way is better

    1 constant in all: entropy 2

    configuration  run                              value
    lr             seed-0                           1e-6
                   seed-1-with-a-name-that-is-long  2e-6
    optimizer.b2   seed-0                           -
                   seed-1-with-a-name-that-is-long  0.95

    1 more key: show --all, or --key GLOB
    ");
    for columns in [60, 80, 200] {
        let shown = show(dir.path(), &runs, Some(columns));
        assert!(widest(&shown) <= columns, "{columns}: {shown}");
    }
    let shown = show(dir.path(), &[&runs[..], &["--key", "own"]].concat(), None);
    assert!(shown.contains("\nown  seed-0 "), "{shown}");
    let out = command(dir.path(), &["show", "seed-0", "seed-2"], None);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text(&out.stderr).contains("did you mean `seed-0`?"),
        "{out:?}"
    );
}

#[test]
fn runs_of_many_steps_are_told_how_far_apart_they_are_on_average_and_how_sure_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let same: Vec<f64> = (0..40).map(|at| f64::from(at % 7)).collect();
    let noise = |at: usize| if at.is_multiple_of(3) { 0.2 } else { -0.1 };
    let above: Vec<f64> = (0..40).map(|at| same[at] + 0.5 + noise(at)).collect();
    write(dir.path(), RunSpec::new("a"), &[("reward", &same)]);
    write(dir.path(), RunSpec::new("b"), &[("reward", &above)]);
    let told = show(dir.path(), &["a", "b", "--json"], None);
    let told: Value = serde_json::from_str(&told).unwrap();
    let [first, other] = [0, 1].map(|run| &told["metrics"][0]["runs"][run]);
    assert!(first["common_steps"].is_null() && first["mean_difference"].is_null());
    assert_eq!(other["common_steps"], 40);
    let number = |name: &str| other[name].as_f64().unwrap();
    let (low, high) = (
        number("mean_difference_low"),
        number("mean_difference_high"),
    );
    // The runs' own course falls out: what is left is the noise, of mean 0.005 and deviation 0.14.
    assert!((number("mean_difference") - 0.505).abs() < 1e-9);
    assert!(
        0.4 < low && low < 0.505 && 0.505 < high && high < 0.6,
        "{low} {high}"
    );
    let wide = show(dir.path(), &["a", "b"], Some(120));
    assert!(
        wide.contains("mean difference") && wide.contains("+0.505 ["),
        "{wide}"
    );
    let narrow = show(dir.path(), &["a", "b"], Some(60));
    assert!(
        !narrow.contains("mean difference") && widest(&narrow) <= 60,
        "{narrow}"
    );
}

#[test]
fn programs_get_every_key_in_full_as_csv_and_json() {
    let dir = two();
    let run = show(dir.path(), &["seed-0", "--csv"], Some(60));
    insta::assert_snapshot!(run, @"
    key,split,rows,first_step,last_step,last,mean,min,max
    reward,train,3,1,3,0.25,0.2833333333333333,0.1,0.5
    kl,train,3,1,3,0.01,0.01,0.0,0.02
    entropy,train,3,1,3,2.0,2.0,2.0,2.0
    loss,train,3,1,3,0.25,0.08333333333333333,-0.5,0.5
    own,train,3,1,3,3.0,2.0,1.0,3.0
    ");
    let run: Value = serde_json::from_str(&show(
        dir.path(),
        &["seed-0", "--json", "--key", "kl"],
        None,
    ))
    .unwrap();
    let kl = json!({
        "key": "kl", "split": "train", "rows": 3, "first_step": 1, "last_step": 3,
        "last": 0.01, "mean": 0.01, "min": 0.0, "max": 0.02
    });
    assert_eq!(
        run,
        json!({
            "run": "seed-0", "status": "completed", "rows": 3, "first_step": 1, "last_step": 3, "metrics": [kl]
        })
    );
    let runs = ["seed-0", "seed-1-with-a-name-that-is-long"];
    let compared = show(
        dir.path(),
        &[
            &runs[..],
            &["--csv", "--key", "reward", "--key", "grad_norm"],
        ]
        .concat(),
        None,
    );
    insta::assert_snapshot!(compared, @"
    key,split,better,run,last,best,best_step,min,max,difference,common_steps,mean_difference,mean_difference_low,mean_difference_high
    grad_norm,train,,seed-1-with-a-name-that-is-long,1.5,,,1.0,2.0,,,,,
    reward,train,higher,seed-0,0.25,0.5,2,0.1,0.5,0.0,,,,
    reward,train,higher,seed-1-with-a-name-that-is-long,0.5,0.5,3,0.1,0.5,0.25,,,,
    ");
    let compared = show(dir.path(), &[&runs[..], &["--json"]].concat(), None);
    let compared: Value = serde_json::from_str(&compared).unwrap();
    let loss = compared["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|metric| metric["key"] == "loss")
        .unwrap();
    assert_eq!(
        (
            &loss["better"],
            &loss["runs"][0]["best"],
            &loss["runs"][0]["best_step"]
        ),
        (&json!("lower"), &json!(-0.5), &json!(2))
    );
    assert_eq!(
        compared["configuration"],
        json!([
            {"name": "lr", "values": [1e-6, 2e-6]}, {"name": "optimizer.b2", "values": [null, 0.95]}
        ])
    );
    let out = command(dir.path(), &["show", "seed-0", "--csv", "--json"], None);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn what_replays_know_their_recordings_by_is_no_difference_of_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recordings");
    let two = format!("{recordings}/trl-2rank");
    for (recording, dialect) in [
        (two.clone(), "maxent"),
        (format!("{recordings}/trl-4rank-split"), "maxent"),
        (two, "trl"),
    ] {
        let args = ["replay", &recording, "--dialect", dialect, "--quiet"];
        assert!(command(dir.path(), &args, None).status.success());
    }
    let shown = show(dir.path(), &["trl-2rank", "trl-4rank-split"], None);
    assert!(!shown.contains("configuration"), "{shown}");
    let shown = show(dir.path(), &["trl-2rank", "trl-2rank-2"], None);
    assert!(shown.contains("grpo_metrics.options.dialect"), "{shown}");
}
