//! The endpoint without the sockets before it.

use std::path::Path;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
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
