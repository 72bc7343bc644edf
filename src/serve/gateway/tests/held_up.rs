//! Many at once, and a store that others hold, share or take away.

use std::path::Path;

use hyper::header::RETRY_AFTER;
use serde_json::json;

use super::{Gateway, asked, done, refused, run_in, scene};

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
        other.execute_batch("COMMIT").unwrap();
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
