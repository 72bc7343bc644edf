//! The endpoint without the sockets before it.

mod held_up;
mod hostile;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Gateway;

/// Asks, and says the status and the answer.
fn asked(gateway: &Gateway, body: impl Into<Bytes>) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    runtime.block_on(async {
        let answer = gateway.answer("ada", body.into()).await;
        let status = answer.status().as_u16();
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&said).unwrap())
    })
}

#[allow(clippy::needless_pass_by_value, reason = "as json! gives it")]
fn op(gateway: &Gateway, op: &str, args: Value) -> (u16, Value) {
    asked(gateway, json!({"op": op, "args": args}).to_string())
}

/// What is done, and its result.
fn done(gateway: &Gateway, name: &str, args: Value) -> Value {
    let (status, said) = op(gateway, name, args);
    assert_eq!(status, 200, "{name}: {said}");
    said["result"].clone()
}

/// Why it is not done.
fn refused(gateway: &Gateway, name: &str, args: Value) -> (u16, String) {
    let (status, said) = op(gateway, name, args);
    (
        status,
        said["error"].as_str().unwrap_or_default().to_owned(),
    )
}

fn scene() -> (tempfile::TempDir, Gateway) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::open(&dir.path().join("runs.db")).unwrap();
    (dir, gateway)
}

fn run_in(gateway: &Gateway) -> String {
    let experiment = done(
        gateway,
        "create_experiment",
        json!({"experiment_name": "e"}),
    );
    let run = done(
        gateway,
        "create_run",
        json!({"experiment_id": experiment["id"]}),
    );
    run["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_created_comes_back_with_its_owner_and_the_fields_that_no_column_has() {
    let (_dir, gateway) = scene();
    let experiment = done(
        &gateway,
        "create_experiment",
        json!({"experiment_name": "lengths", "project_goal_id": "g", "tags": ["a"], "user_id": "eve"}),
    );
    assert_eq!(experiment["project_goal_id"], "g");
    assert_eq!(experiment["user_id"], "ada");
    assert_eq!(experiment["conclusion"], Value::Null);
    let id = &experiment["id"];
    assert_eq!(
        done(&gateway, "get_experiment", json!({"experiment_id": id})),
        experiment
    );
    assert_eq!(
        done(&gateway, "list_experiments", json!({})),
        json!([experiment])
    );
    let run = done(
        &gateway,
        "create_run",
        json!({"experiment_id": id, "seed": 3, "gpus": {"n": 8}}),
    );
    assert_eq!((&run["seed"], &run["gpus"]), (&json!(3), &json!({"n": 8})));
    let patch = json!({"status": "running", "seed": 4, "gpus": null, "host": "n1"});
    let changed = done(
        &gateway,
        "update_run",
        json!({"run_id": run["id"], "patch": patch}),
    );
    assert_eq!(changed["status"], "running");
    assert_eq!(changed["seed"], 4);
    assert_eq!(changed["host"], "n1");
    assert_eq!(changed.get("gpus"), None);
    assert_eq!(
        done(&gateway, "get_run", json!({"run_id": run["id"]})),
        changed
    );
}

#[test]
fn rows_come_back_as_they_were_logged_with_their_time() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let logged = done(
        &gateway,
        "log_metrics",
        json!({"run_id": run, "step": 7, "metrics": {"a": 0.1, "b": "Infinity", "c": null, "d": true, "e": "NaN"},
            "timestamp": 1_700_000_000.25}),
    );
    let rows = json!([
        {"run_id": run, "step": 7, "name": "a", "value": 0.1, "split": "train"},
        {"run_id": run, "step": 7, "name": "b", "value": "Infinity", "split": "train"},
        {"run_id": run, "step": 7, "name": "d", "value": 1.0, "split": "train"},
    ]);
    assert_eq!(logged, rows);
    assert_eq!(done(&gateway, "get_metrics", json!({"run_id": run})), rows);
    let one = json!({"run_id": run, "step": 7, "name": "a", "value": 2, "split": "val"});
    let logged = done(&gateway, "log_metric", one);
    assert_eq!(logged["value"], 2.0);
    let store = crate::store::Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    let row = &store.rows(&run).unwrap()[0];
    assert_eq!(row.time, Some(1_700_000_000_250));
}

#[test]
fn what_is_not_there_is_null_when_asked_for_and_404_where_something_belongs_to_it() {
    let (_dir, gateway) = scene();
    for (name, args) in [
        ("get_run", json!({"run_id": "r"})),
        ("get_experiment", json!({"experiment_id": "e"})),
        ("get_project", json!({"project_id": "p"})),
        ("current_goal", json!({"project_id": "p"})),
        ("experiment_detail", json!({"experiment_id": "e"})),
    ] {
        assert_eq!(done(&gateway, name, args), Value::Null, "{name}");
    }
    for (name, args) in [
        ("get_metrics", json!({"run_id": "r"})),
        ("list_groups", json!({"experiment_id": "e"})),
        ("list_runs", json!({"experiment_id": "e"})),
        ("list_predictions", json!({"run_id": "r"})),
        ("list_goals", json!({"project_id": "p"})),
    ] {
        assert_eq!(done(&gateway, name, args), json!([]), "{name}");
    }
    let experiment = done(
        &gateway,
        "create_experiment",
        json!({"experiment_name": "e"}),
    );
    for (name, args) in [
        ("update_run", json!({"run_id": "r", "patch": {}})),
        (
            "update_experiment",
            json!({"experiment_id": "e", "patch": {}}),
        ),
        ("create_group", json!({"experiment_id": "e", "name": "g"})),
        ("create_run", json!({"experiment_id": "e"})),
        (
            "create_run",
            json!({"experiment_id": experiment["id"], "group_id": "g"}),
        ),
        (
            "log_metrics",
            json!({"run_id": "r", "step": 1, "metrics": {"a": 1}}),
        ),
        ("add_checkpoint", json!({"run_id": "r", "uri": "u"})),
        ("create_eval", json!({"run_id": "r", "benchmark_id": "b"})),
        ("add_prediction", json!({"run_id": "r", "kind": "eval"})),
        ("touch_run", json!({"run_id": "r"})),
        ("delete_experiment", json!({"experiment_id": "e"})),
    ] {
        let (status, why) = refused(&gateway, name, args);
        assert_eq!(status, 404, "{name}: {why}");
        assert!(why.contains("found no such record"), "{name}: {why}");
    }
}

#[test]
fn lists_have_the_oldest_first_and_valid_ones_did_not_fail() {
    let (_dir, gateway) = scene();
    let made: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let project = if *name == "c" { "q" } else { "p" };
            done(
                &gateway,
                "create_experiment",
                json!({"experiment_name": name, "project_id": project}),
            )
        })
        .collect();
    let patch = json!({"status": "failed", "conclusion": "no"});
    done(
        &gateway,
        "update_experiment",
        json!({"experiment_id": made[0]["id"], "patch": patch}),
    );
    let names = |args: Value| -> Vec<String> {
        let list = done(&gateway, "list_experiments", args);
        let names = list.as_array().unwrap().iter();
        names
            .map(|e| e["experiment_name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(json!({})), ["a", "b", "c"]);
    assert_eq!(names(json!({"project_id": "p"})), ["a", "b"]);
    assert_eq!(names(json!({"project_id": "p", "valid_only": true})), ["b"]);
    let group = done(
        &gateway,
        "create_group",
        json!({"experiment_id": made[1]["id"], "name": "g"}),
    );
    let run = json!({"experiment_id": made[1]["id"], "group_id": group["id"]});
    let run = done(&gateway, "create_run", run);
    done(
        &gateway,
        "log_metrics",
        json!({"run_id": run["id"], "step": 1, "metrics": {"a": 1}}),
    );
    let checkpoint = done(
        &gateway,
        "add_checkpoint",
        json!({"run_id": run["id"], "uri": "u", "by": "x"}),
    );
    let eval = json!({"run_id": run["id"], "benchmark_id": "b", "checkpoint_id": checkpoint["id"]});
    let eval = done(&gateway, "create_eval", eval);
    let prediction =
        json!({"run_id": run["id"], "kind": "eval", "eval_id": eval["id"], "reward": "-Infinity"});
    let prediction = done(&gateway, "add_prediction", prediction);
    assert_eq!(
        (&checkpoint["by"], &prediction["reward"]),
        (&json!("x"), &json!("-Infinity"))
    );
    assert_eq!(
        done(&gateway, "list_predictions", json!({"run_id": run["id"]})),
        json!([prediction])
    );
    let summaries = done(&gateway, "experiment_summaries", json!({"project_id": "p"}));
    assert_eq!(
        (&summaries[1]["group_count"], &summaries[1]["run_count"]),
        (&json!(1), &json!(1))
    );
    let of = json!({"experiment_id": made[1]["id"], "include_metrics": true});
    let detail = done(&gateway, "experiment_detail", of.clone());
    assert_eq!(detail["groups"], json!([group]));
    assert_eq!(detail["runs"][0]["evals"], json!([eval]));
    assert_eq!(detail["runs"][0]["checkpoints"], json!([checkpoint]));
    assert_eq!(detail["runs"][0]["metrics"][0]["value"], 1.0);
    let removed = done(
        &gateway,
        "delete_experiment",
        json!({"experiment_id": made[1]["id"]}),
    );
    assert_eq!(
        (&removed["groups"], &removed["runs"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(done(&gateway, "experiment_detail", of), Value::Null);
    assert_eq!(names(json!({})), ["a", "c"]);
    assert_eq!(
        done(&gateway, "get_metrics", json!({"run_id": run["id"]})),
        json!([])
    );
}

#[test]
fn projects_and_goals_are_kept() {
    let (_dir, gateway) = scene();
    let project = done(
        &gateway,
        "create_project",
        json!({"name": "p", "organization_id": "o"}),
    );
    let id = &project["id"];
    assert_eq!(
        done(&gateway, "get_project", json!({"project_id": id})),
        project
    );
    for goal in ["shorter", "right"] {
        done(
            &gateway,
            "set_goal",
            json!({"project_id": id, "goal": goal}),
        );
    }
    let goals = done(&gateway, "list_goals", json!({"project_id": id}));
    assert_eq!(
        (&goals[0]["goal"], &goals[1]["goal"]),
        (&json!("shorter"), &json!("right"))
    );
    assert_eq!(
        done(&gateway, "current_goal", json!({"project_id": id})),
        goals[1]
    );
    assert_eq!(
        done(&gateway, "list_goals", json!({"project_id": "other"})),
        json!([])
    );
}

#[test]
fn a_sign_of_life_is_noted_and_a_row_gives_none() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let seen = || {
        let store = crate::store::Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
        store.overview_of(&run).unwrap().unwrap().seen_at
    };
    done(
        &gateway,
        "log_metrics",
        json!({"run_id": run, "step": 1, "metrics": {"a": 1}}),
    );
    assert_eq!(seen(), None);
    assert_eq!(
        done(&gateway, "touch_run", json!({"run_id": run})),
        json!(true)
    );
    assert!(seen().is_some());
}
