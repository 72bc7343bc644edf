//! Those who ask for what is not there, say what is not so, or send what is no request.

use serde_json::{Value, json};

use super::{asked, done, refused, run_in, scene};

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
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_is_wrong_says_the_argument_what_was_expected_and_what_was_found() {
    let (_dir, gateway) = scene();
    let run = run_in(&gateway);
    let log = |more: Value| {
        let mut whole = json!({"run_id": run, "step": 1, "metrics": {"a": 1}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ("log_metrics", whole)
    };
    let lengthy = "n".repeat(1 << 20);
    for ((op, args), part) in [
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
            log(json!({"metrics": {&lengthy: 1}})),
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
            ("create_experiment", json!({"experiment_name": lengthy})),
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
        let (status, why) = refused(&gateway, op, args);
        assert_eq!(status, 400, "{why}");
        assert!(
            why.starts_with(&format!("{op}: ")) && why.contains(part),
            "{part}: {why}"
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
