//! Who may read, and who may write.

use std::time::Duration;

use grpo_metrics::serve::{Options, Server};

use super::server::{GATEWAY, Served};

const LIST: &str = r#"{"op":"list_experiments","args":{}}"#;

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[test]
fn a_browser_comes_in_by_the_printed_address_once_and_reads_by_its_cookie() {
    let served = Served::start(|_| {});
    let here = format!("http://127.0.0.1:{}/", served.port);
    assert!(served.address.starts_with(&format!("{here}?token=")));
    assert_eq!(served.token().len(), 64, "256 bits");
    assert_eq!(served.get("/api/runs", &[]).status, 401);
    let let_in = served.get(&format!("/?token={}", served.token()), &[]);
    assert_eq!(
        (let_in.status, let_in.header("location")),
        (303, Some("./"))
    );
    let cookie = let_in.header("set-cookie").unwrap();
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    assert_eq!(attributes, ["httponly", "samesite=strict", "path=/"]);
    let cookie = cookie.split(';').next().unwrap();
    let (name, session) = cookie.split_once('=').unwrap();
    assert_eq!(name, format!("grpo-metrics-{}", served.port));
    assert!(session.len() == 64 && session != served.token());
    let runs = served.get("/api/runs", &[("cookie", cookie)]);
    assert_eq!((runs.status, runs.body.as_str()), (200, r#"{"runs":[]}"#));
    // The token is spent; whom it let in may come by it again.
    let again = served.get(&format!("/?token={}", served.token()), &[]);
    assert_eq!(again.status, 401);
    assert!(again.header("set-cookie").is_none() && again.body.contains("has been used"));
    let own = served.get(
        &format!("/?token={}", served.token()),
        &[("cookie", cookie)],
    );
    assert_eq!((own.status, own.header("set-cookie")), (303, None));
}

#[test]
fn what_looks_at_an_address_without_opening_it_does_not_spend_its_token() {
    let served = Served::start(|_| {});
    let path = format!("/?token={}", served.token());
    let looked = served.ask("HEAD", &path, &[], "");
    assert_eq!((looked.status, looked.header("set-cookie")), (200, None));
    served.cookie();
}

#[test]
fn a_cookie_is_named_by_the_port_that_the_browser_sees() {
    let served = Served::start(|_| {});
    // Through `ssh -L 9000:...`.
    let path = format!("/?token={}", served.token());
    let answer = served.get(&path, &[("host", "localhost:9000")]);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("grpo-metrics-9000="), "{cookie}");
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    let at = |host| served.get("/api/runs", &[cookie, ("host", host)]).status;
    assert_eq!((at("localhost:9000"), at("localhost:9001")), (200, 401));
}

#[test]
fn everybody_may_have_the_page_itself_which_has_no_numbers() {
    let served = Served::start(|_| {});
    for path in ["/", "/assets/main.js", "/assets/style.css", "/health"] {
        assert_eq!(served.get(path, &[]).status, 200, "{path}");
    }
    for path in [
        "/api/store",
        "/api/runs",
        "/api/run?run=a",
        "/api/series?run=a&key=b",
        "/api/step?run=a&step=1",
        "/api/distribution?run=a",
        "/api/compare?run=a",
        "/api/events",
        "/api/none",
        "/metrics",
    ] {
        let answer = served.get(path, &[]);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.error().contains("not let in"), "{answer:?}");
    }
    for path in [
        "/none",
        "/assets/",
        "/assets/../serve.rs",
        "//",
        "/index.html",
    ] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let served = Served::start(|_| {});
    for path in ["/", "/assets/uplot.js"] {
        let first = served.get(path, &[]);
        let tag = first.header("etag").unwrap();
        let again = served.get(path, &[("if-none-match", tag)]);
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
}

#[test]
fn a_program_reads_with_a_key_as_long_as_it_is_not_revoked() {
    let served = Served::start(|_| {});
    let keys = served.keys();
    let prometheus = bearer(&keys.make("prometheus").unwrap());
    let read = |path, key: &str| served.get(path, &[("authorization", key)]).status;
    assert_eq!(read("/metrics", &prometheus), 200);
    assert_eq!(read("/api/runs", &prometheus), 200);
    // A key that was made while the server runs, and one that is revoked then.
    let other = bearer(&keys.make("other").unwrap());
    assert_eq!(read("/api/runs", &other), 200);
    keys.remove("prometheus").unwrap();
    assert_eq!(read("/metrics", &prometheus), 401);
    assert_eq!(read("/api/runs", &other), 200);
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer gm_",
        "Basic abc",
        "",
        &other[..60],
    ] {
        assert_eq!(read("/api/runs", wrong), 401, "{wrong}");
    }
}

#[test]
fn writing_needs_a_key_and_no_cookie_will_do() {
    let served = Served::start(|options| options.gateway = true);
    let cookie = served.cookie();
    let asked = |headers: &[(&str, &str)]| served.ask("POST", GATEWAY, headers, LIST);
    assert_eq!(asked(&[("cookie", &cookie)]).status, 401);
    assert_eq!(served.post("gm_wrong", LIST).status, 401);
    let key = served.keys().make("trainer").unwrap();
    let listed = served.post(&key, LIST);
    assert_eq!(
        (listed.status, listed.body.as_str()),
        (200, r#"{"result":[]}"#)
    );
    served.keys().remove("trainer").unwrap();
    assert_eq!(served.post(&key, LIST).status, 401);
}

#[test]
fn without_a_token_everybody_reads_and_still_nobody_writes_without_a_key() {
    let served = Served::start(|options| {
        options.token = false;
        options.gateway = true;
    });
    assert_eq!(served.address, format!("http://127.0.0.1:{}/", served.port));
    assert_eq!(served.get("/api/runs", &[]).status, 200);
    assert_eq!(served.ask("POST", GATEWAY, &[], LIST).status, 401);
    // A page of another address, and one whose name leads here, read nothing all the same.
    let origin = ("origin", "http://evil.example");
    assert_eq!(served.get("/api/runs", &[origin]).status, 403);
    assert_eq!(
        served.get("/api/runs", &[("host", "evil.example")]).status,
        421
    );
}

#[test]
fn rows_are_taken_only_where_that_was_asked_for() {
    let served = Served::start(|_| {});
    let key = served.keys().make("trainer").unwrap();
    let refused = served.post(&key, LIST);
    assert_eq!(refused.status, 404);
    assert!(refused.error().contains("--gateway"), "{refused:?}");
}

#[test]
fn a_foreign_name_a_foreign_page_and_another_method_are_refused_in_words() {
    let served = Served::start(|options| {
        options.host_names = vec!["gpu.example".to_owned()];
    });
    let port = served.port;
    for host in ["localhost:1", "gpu.example", &format!("[::1]:{port}")] {
        assert_eq!(
            served.get("/health", &[("host", host)]).status,
            200,
            "{host}"
        );
    }
    let rebound = served.get("/api/runs", &[("host", &format!("evil.example:{port}"))]);
    assert_eq!(rebound.status, 421);
    assert!(rebound.error().contains("`evil.example`: `--host-name`"));
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = served.get("/api/runs", &[foreign]);
        assert_eq!(answer.status, 403, "{foreign:?}");
        assert!(answer.error().contains("page of another address"));
    }
    for method in [
        "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW",
    ] {
        let path = if method == "CONNECT" {
            "127.0.0.1:1"
        } else {
            "/"
        };
        let answer = served.ask(method, path, &[("host", "127.0.0.1:1")], "");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("get, head, post"));
    }
    assert_eq!(served.ask("POST", "/api/runs", &[], "x").status, 404);
}

#[test]
fn every_answer_keeps_a_browser_from_making_more_of_it_and_none_is_for_other_pages() {
    let served = Served::start(|_| {});
    let cookie = served.cookie();
    let cookie = ("cookie", cookie.as_str());
    let get = |path, headers: &[(&str, &str)]| served.get(path, headers);
    let answers = [
        get("/", &[]),
        get("/?token=0", &[]),
        get("/assets/main.js", &[]),
        get("/api/runs", &[cookie]),
        get("/api/runs", &[]),
        get("/api/none", &[cookie]),
        get("/metrics", &[cookie]),
        get("/none", &[]),
        get("/", &[("host", "evil.example")]),
        get("/", &[("origin", "http://evil.example")]),
        served.ask("PUT", "/", &[], ""),
        served.ask("POST", GATEWAY, &[], LIST),
    ];
    let path = served.dir.path().display().to_string();
    for answer in answers {
        assert_ne!(answer.status, 0);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
        assert!(answer.header("cache-control").is_some());
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert!(!answer.body.contains(&path), "{}", answer.body);
    }
}

#[test]
fn no_answer_has_a_path_of_this_machine_where_the_store_is_gone_or_none() {
    let served = Served::start(|_| {});
    let cookie = served.cookie();
    let path = served.dir.path().display().to_string();
    let asked = || {
        let answers = ["/api/runs", "/api/store", "/api/run?run=a", "/metrics"]
            .map(|path| served.get(path, &[("cookie", &cookie)]));
        for answer in answers {
            assert!(!answer.body.contains(&path), "{}", answer.body);
            assert_ne!(answer.status, 0);
        }
    };
    std::fs::remove_file(served.store()).unwrap();
    asked();
    std::fs::write(served.store(), "no store").unwrap();
    asked();
    std::fs::write(served.dir.path().join("runs.db.keys"), "no keys").unwrap();
    let refused = served.get("/api/runs", &[("authorization", "Bearer gm_0")]);
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("keys") && !refused.body.contains(&path));
}

#[test]
fn wrong_secrets_are_answered_less_and_shut_nobody_out() {
    let served = Served::start(|_| {});
    let key = bearer(&served.keys().make("a").unwrap());
    let mut statuses = Vec::new();
    for nth in 0..40 {
        let answer = if nth % 2 == 0 {
            served.get("/?token=wrong", &[])
        } else {
            served.get("/api/runs", &[("authorization", "Bearer gm_wrong")])
        };
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(
        served.get("/api/runs", &[("authorization", &key)]).status,
        200
    );
    served.cookie();
}

#[test]
fn a_key_that_writes_too_often_waits_and_others_do_not() {
    let served = Served::with_limits(|limits| limits.rate = 3);
    let [one, other] = ["one", "other"].map(|name| served.keys().make(name).unwrap());
    let answers: Vec<_> = (0..20).map(|_| served.post(&one, LIST)).collect();
    let late = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(late.header("retry-after"), Some("1"));
    assert!(late.error().contains("more than 3 requests a second"));
    assert_eq!(
        answers[..3]
            .iter()
            .filter(|answer| answer.status == 200)
            .count(),
        3
    );
    assert_eq!(served.post(&other, LIST).status, 200);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(served.post(&one, LIST).status, 200);
}

#[test]
fn where_others_can_connect_there_is_a_token_and_tls_or_a_word_for_doing_without() {
    let dir = tempfile::tempdir().unwrap();
    let bound = |token, insecure| {
        let mut options = Options::of(dir.path().join("runs.db"));
        options.address = "0.0.0.0:0".parse().unwrap();
        (options.token, options.insecure) = (token, insecure);
        Server::bind(options)
    };
    let error = bound(true, false).unwrap_err().to_string();
    for part in ["0.0.0.0:0", "--cert", "--key", "--insecure"] {
        assert!(error.contains(part), "{error}");
    }
    for insecure in [false, true] {
        let error = bound(false, insecure).unwrap_err().to_string();
        assert!(
            error.contains("--no-token") && error.contains("loopback"),
            "{error}"
        );
    }
    let server = bound(true, true).unwrap();
    let address = server.address();
    assert!(!address.contains("0.0.0.0"), "{address}");
}

#[test]
fn the_address_that_is_printed_can_be_opened_by_a_name_where_one_is_given_but_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let address = |at: &str, name: &str| {
        let mut options = Options::of(dir.path().join("runs.db"));
        options.address = at.parse().unwrap();
        options.host_names = vec![name.to_owned()];
        options.insecure = true;
        let address = Server::bind(options).unwrap().address();
        address.rsplit_once(':').unwrap().0.to_owned()
    };
    let gpu = "gpu.example";
    assert_eq!(address("0.0.0.0:0", gpu), "http://gpu.example");
    assert_eq!(address("0.0.0.0:0", "2001:db8::1"), "http://[2001:db8::1]");
    assert_eq!(address("127.0.0.1:0", gpu), "http://127.0.0.1");
}
