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
fn an_operation_that_is_not_there_is_named() {
    let (_dir, gateway) = scene();
    for name in [
        "create_dataset",
        "add_dataset_rows",
        "get_benchmark_rows",
        "list_benchmarks",
    ] {
        let (status, why) = refused(&gateway, name, json!({"name": "d"}));
        assert_eq!((status, why.contains(name)), (501, true), "{why}");
    }
    let (status, why) = refused(&gateway, "log_metrcs", json!({}));
    assert_eq!(
        (status, why.contains("`log_metrics`")),
        (400, true),
        "{why}"
    );
    assert_eq!(refused(&gateway, &"x".repeat(1 << 20), json!({})).0, 400);
}

#[test]
fn what_is_wrong_says_the_argument_what_was_expected_and_what_was_found() {
    let (_dir, gateway) = scene();
    let run = run_in(&gateway);
    let log = |args: Value| {
        let mut whole = json!({"run_id": run, "step": 1, "metrics": {"a": 1}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(args.as_object().unwrap().clone());
        ("log_metrics", whole)
    };
    let long = "n".repeat(1 << 20);
    for ((name, args), said) in [
        (
            log(json!({"step": -1})),
            "`step`: expected a whole number from 0 to 2^63 - 1, found -1",
        ),
        (log(json!({"step": 1.5})), "found 1.5"),
        (log(json!({"step": u64::MAX})), "found 18446744073709551615"),
        (log(json!({"step": "7"})), "found a text"),
        (
            log(json!({"step": null})),
            "`step`: expected a whole number from 0 to 2^63 - 1, found nothing",
        ),
        (
            log(json!({"metrics": [1]})),
            "`metrics`: expected an object of numbers by name, found a list",
        ),
        (
            log(json!({"metrics": {"a": "one"}})),
            "`metrics.a`: expected a number, found a text",
        ),
        (
            log(json!({"metrics": {"a": {}}})),
            "`metrics.a`: expected a number, found an object",
        ),
        (
            log(json!({"metrics": {&long: 1}})),
            "found one of 1048576 bytes",
        ),
        (
            log(json!({"split": "test"})),
            "`split`: expected one of train val, found test",
        ),
        (
            log(json!({"timestamp": "now"})),
            "`timestamp`: expected a number, found a text",
        ),
        (
            log(json!({"timestamp": -5})),
            "`timestamp`: expected seconds since 1970, found -5",
        ),
        (
            log(json!({"timestmp": 5})),
            "the closest one is `timestamp`",
        ),
        (
            ("create_experiment", json!({"experiment_name": 7})),
            "`experiment_name`: expected a text, found 7",
        ),
        (
            ("create_experiment", json!({})),
            "`experiment_name`: expected a text, found nothing",
        ),
        (
            ("create_experiment", json!({"experiment_name": long})),
            "expected a name of at most 1024 bytes",
        ),
        (
            (
                "create_experiment",
                json!({"experiment_name": "e", "tags": "t"}),
            ),
            "`tags`: expected a list of texts",
        ),
        (
            (
                "create_experiment",
                json!({"experiment_name": "e", "id": "i"}),
            ),
            "`id`: expected nothing",
        ),
        (
            (
                "create_run",
                json!({"experiment_id": "e", "status": "done"}),
            ),
            "expected one of pending running",
        ),
        (
            ("create_run", json!({"experiment_id": "e", "seed": 0.5})),
            "`seed`: expected a whole number, found 0.5",
        ),
        (
            ("update_run", json!({"run_id": run})),
            "`patch`: expected an object, found nothing",
        ),
        (
            (
                "update_run",
                json!({"run_id": run, "patch": {"status": null}}),
            ),
            "`patch.status`",
        ),
        (
            ("list_experiments", json!({"valid_only": 1})),
            "`valid_only`: expected true or false, found 1",
        ),
        (
            ("get_run", json!({})),
            "`run_id`: expected a text, found nothing",
        ),
        (
            ("get_run", json!({"run_id": run, "limit": 3})),
            "`limit`: expected no argument of that name",
        ),
    ] {
        let (status, why) = refused(&gateway, name, args);
        assert_eq!(status, 400, "{why}");
        assert!(
            why.starts_with(&format!("{name}: ")) && why.contains(said),
            "{said}: {why}"
        );
        assert!(why.len() < 300, "{why}");
    }
    assert_eq!(
        done(&gateway, "get_metrics", json!({"run_id": run})),
        json!([])
    );
}

#[test]
fn a_body_that_is_none_is_refused_and_does_no_harm() {
    let (_dir, gateway) = scene();
    let run = run_in(&gateway);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let row = |metrics: &str| {
        format!(
            r#"{{"op": "log_metrics", "args": {{"run_id": "{run}", "step": 1, "metrics": {metrics}}}}}"#
        )
    };
    for body in [
        Vec::new(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"{\"op\": 3}".to_vec(),
        b"{\"op\": \"get_run\", \"args\": []}".to_vec(),
        b"{\"op\": \"get_run\", \"op\": \"get_run\"}".to_vec(),
        b"{\"op\": \"get_run\", \"args\": {\"run_id\": \"a\", \"run_id\": \"b\"}}".to_vec(),
        b"{\"op\": \"get_run\", \"args\": {\"run_id\": \"\xff\xfe\"}}".to_vec(),
        b"\xff".repeat(1 << 20),
        b"\0".repeat(1 << 20),
        format!(
            r#"{{"op": "create_experiment", "args": {{"experiment_name": "e", "x": {deep}}}}}"#
        )
        .into_bytes(),
        deep.clone().into_bytes(),
        row(&deep).into_bytes(),
        row(r#"{"a": 1, "a": 2}"#).into_bytes(),
        row(r#"{"a": 1e999}"#).into_bytes(),
        row("{").into_bytes(),
        row(&format!(r#"{{"a": 1}}}}}}{}"#, " ".repeat(16 << 20))).into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let (status, said) = asked(&gateway, body);
        assert_eq!(status, 400, "{shown}: {said}");
        let why = said["error"].as_str().unwrap();
        assert!(!why.contains('/') && why.len() < 400, "{why}");
    }
    let bare = row(r#"{"a": NaN, "b": Infinity, "c": -Infinity, "NaN": 1}"#);
    assert_eq!(asked(&gateway, bare).0, 200);
    let names = done(&gateway, "get_metrics", json!({"run_id": run}));
    let names: Vec<_> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|number| &number["name"])
        .collect();
    assert_eq!(names, ["NaN", "b", "c"]);
}

#[test]
fn a_large_row_and_a_long_list_go_in_and_out_whole() {
    let (_dir, gateway) = scene();
    let run = run_in(&gateway);
    let metrics: serde_json::Map<String, Value> = (0..40_000)
        .map(|nth| (format!("metric/{nth:06}"), json!(f64::from(nth) / 7.0)))
        .collect();
    done(
        &gateway,
        "log_metrics",
        json!({"run_id": run, "step": 3, "metrics": metrics}),
    );
    let read = done(&gateway, "get_metrics", json!({"run_id": run}));
    let read = read.as_array().unwrap();
    assert_eq!(read.len(), 40_000);
    assert!(
        read.iter()
            .all(|number| number["value"] == metrics[number["name"].as_str().unwrap()])
    );
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

/// Asks for `count` rows at once; the statuses, and whether those that are to come again say when.
fn at_once(gateway: &Gateway, run: &str, count: u64, meanwhile: impl FnOnce()) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    runtime.block_on(async {
        let ask = |step| {
            let args = json!({"run_id": run, "step": step, "metrics": {"a": step}});
            let body = json!({"op": "log_metrics", "args": args}).to_string();
            async move { gateway.answer("ada", body.into()).await }
        };
        let mut asked: Vec<_> = (0..count).map(|step| Box::pin(ask(step))).collect();
        // Each is asked once, which puts it in the queue.
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for mut one in asked.drain(..) {
            match std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx))).await {
                std::task::Poll::Ready(answer) => answers.push(answer),
                std::task::Poll::Pending => waiting.push(one),
            }
        }
        meanwhile();
        for one in waiting {
            answers.push(one.await);
        }
        for answer in &answers {
            let again = answer.headers().contains_key(RETRY_AFTER);
            assert_eq!(again, matches!(answer.status().as_u16(), 429 | 503));
        }
        answers
            .iter()
            .map(|answer| answer.status().as_u16())
            .collect()
    })
}

fn locked(path: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[test]
fn beyond_what_may_wait_clients_are_asked_to_come_again_and_none_of_the_others_is_lost() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let other = locked(&dir.path().join("runs.db"));
    let statuses = at_once(&gateway, &run, 400, || {
        other.execute_batch("COMMIT").unwrap()
    });
    let count = |status| statuses.iter().filter(|said| **said == status).count();
    assert!(count(429) >= 100 && count(200) >= 100, "{statuses:?}");
    assert_eq!(count(200) + count(429), 400);
    let stored = done(&gateway, "get_metrics", json!({"run_id": run}));
    assert_eq!(stored.as_array().unwrap().len(), count(200));
}

#[test]
fn a_store_that_another_program_holds_is_said_and_comes_back() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let other = locked(&dir.path().join("runs.db"));
    let row = json!({"run_id": run, "step": 1, "metrics": {"a": 1}});
    let (status, why) = refused(&gateway, "log_metrics", row.clone());
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("another program"), "{why}");
    assert_eq!(
        done(&gateway, "get_metrics", json!({"run_id": run})),
        json!([])
    );
    other.execute_batch("COMMIT").unwrap();
    done(&gateway, "log_metrics", row);
}

#[test]
fn one_bad_request_of_many_costs_no_other() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let other = locked(&dir.path().join("runs.db"));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    let statuses: Vec<u16> = runtime.block_on(async {
        let mut asked: Vec<_> = (0..60)
            .map(|step| {
                let run = if step % 3 == 0 { "nobody" } else { &run };
                let args =
                    json!({"run_id": run, "step": step, "metrics": {format!("k{step}"): step}});
                let body = json!({"op": "log_metrics", "args": args}).to_string();
                Box::pin(gateway.answer("ada", body.into()))
            })
            .collect();
        for one in &mut asked {
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
        }
        other.execute_batch("COMMIT").unwrap();
        let mut statuses = Vec::new();
        for one in asked {
            statuses.push(one.await.status().as_u16());
        }
        statuses
    });
    for (step, status) in statuses.iter().enumerate() {
        assert_eq!(*status, if step % 3 == 0 { 404 } else { 200 }, "{step}");
    }
    let stored = done(&gateway, "get_metrics", json!({"run_id": run}));
    let stored = stored.as_array().unwrap();
    assert_eq!(stored.len(), 40);
    assert!(
        stored
            .iter()
            .all(|number| number["name"] == format!("k{}", number["step"]))
    );
}

#[test]
fn two_gateways_stand_over_one_store() {
    let (dir, first) = scene();
    let second = Gateway::open(&dir.path().join("runs.db")).unwrap();
    let run = run_in(&first);
    std::thread::scope(|scope| {
        for (nth, gateway) in [&first, &second].into_iter().enumerate() {
            let run = &run;
            scope.spawn(move || {
                for step in 0..100 {
                    let step = 2 * step + nth;
                    let metrics = json!({"shared": step, format!("own/{}", step % 10): 1});
                    done(
                        gateway,
                        "log_metrics",
                        json!({"run_id": run, "step": step, "metrics": metrics}),
                    );
                }
            });
        }
    });
    let shared = done(
        &second,
        "get_metrics",
        json!({"run_id": run, "name": "shared"}),
    );
    let shared: Vec<_> = shared
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["value"].as_f64())
        .collect();
    let expected: Vec<_> = (0..200).map(|step| Some(f64::from(step))).collect();
    assert_eq!(shared, expected);
    let all = done(&first, "get_metrics", json!({"run_id": run}));
    assert_eq!(all.as_array().unwrap().len(), 400);
    let store = crate::store::Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    assert_eq!(store.faults(true).unwrap(), Vec::<String>::new());
}

#[test]
fn what_was_taken_is_stored_when_the_gateway_ends() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    let path = dir.path().join("runs.db");
    let other = locked(&path);
    let row = json!({"run_id": run, "step": 1, "metrics": {"a": 1}});
    let body = json!({"op": "log_metrics", "args": row}).to_string();
    let (begun, ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let answer = asked(&gateway, body);
            begun.send(()).unwrap();
            answer
        });
        assert!(
            ended
                .recv_timeout(std::time::Duration::from_millis(200))
                .is_err()
        );
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(asking.join().unwrap().0, 200);
    });
    drop(gateway);
    let again = Gateway::open(&path).unwrap();
    assert_eq!(
        done(&again, "get_metrics", json!({"run_id": run}))[0]["value"],
        1.0
    );
}

#[test]
fn a_gateway_goes_on_in_the_file_that_takes_the_place_of_one_that_was_deleted() {
    let (dir, gateway) = scene();
    let run = run_in(&gateway);
    done(
        &gateway,
        "update_run",
        json!({"run_id": run, "patch": {"host": "n1"}}),
    );
    let row = |step: u64| json!({"run_id": run, "step": step, "metrics": {"a": step}});
    done(&gateway, "log_metrics", row(1));
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(dir.path().join(format!("runs.db{suffix}"))).unwrap();
    }
    done(&gateway, "log_metrics", row(2));
    let steps = done(&gateway, "get_metrics", json!({"run_id": run}));
    assert_eq!(steps.as_array().unwrap().len(), 2);
    let carried = done(&gateway, "get_run", json!({"run_id": run}));
    assert_eq!(
        (&carried["host"], &carried["user_id"]),
        (&json!("n1"), &json!("ada"))
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
