//! Clients that are slow, huge, wrong or many: others are answered meanwhile, and memory stays bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::server::{Answer, GATEWAY, GUARD, Served};

const LIST: &str = r#"{"op":"list_experiments","args":{}}"#;

/// Whether the server has hung up on a client, or does so in time.
fn is_over(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn is_answered(served: &Served) {
    let begun = Instant::now();
    assert_eq!(served.get("/health", &[]).status, 200);
    assert!(begun.elapsed() < GUARD);
}

#[test]
fn headers_that_come_a_byte_at_a_time_are_not_waited_for() {
    let served = Served::with_limits(|limits| limits.header_time = Duration::from_millis(500));
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
            stream
        })
        .collect();
    is_answered(&served);
    for mut stream in slow {
        // It goes on saying a little until nobody listens.
        let begun = Instant::now();
        while begun.elapsed() < GUARD && stream.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(begun.elapsed() < GUARD && is_over(stream));
    }
}

#[test]
fn a_connection_that_asks_nothing_any_more_is_closed() {
    let served = Served::with_limits(|limits| limits.header_time = Duration::from_millis(300));
    assert!(is_over(served.connect()), "one that asked nothing at all");
    let mut stream = served.connect();
    let request = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    assert!(is_over(stream), "one that asked thrice");
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_and_others_are_answered() {
    let served = Served::with_limits(|limits| limits.request_time = Duration::from_millis(700));
    let key = served.keys().make("a").unwrap();
    let head = format!(
        "POST {GATEWAY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    is_answered(&served);
    assert_eq!(served.post(&key, LIST).status, 200);
    for mut stream in slow {
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.status, 408);
        assert!(answer.error().contains("did not come within"), "{answer:?}");
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let served = Served::with_limits(|limits| limits.body = 10_000);
    let key = served.keys().make("a").unwrap();
    let fits = format!(
        r#"{{"op":"list_experiments","args":{{}},"_":"{}"}}"#,
        "x".repeat(9000)
    );
    assert_ne!(served.post(&key, &fits).status, 413);
    let large = "x".repeat(10_001);
    let refused = served.post(&key, &large);
    assert_eq!(refused.status, 413);
    assert!(refused.error().contains("at most 10000 bytes"));
    let mut stream = served.connect();
    let head = format!(
        "POST {GATEWAY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    // It goes on without an end.
    while stream.write_all(chunk.as_bytes()).is_ok() {}
    assert!([413, 0].contains(&Answer::read(&mut stream).status));
    is_answered(&served);
}

#[test]
fn who_has_no_key_hears_so_though_it_sends_much() {
    let served = Served::with_limits(|_| {});
    let large = "x".repeat(200_000);
    let refused = served.post("gm_wrong", &large);
    assert_eq!(refused.status, 401);
}

#[test]
fn so_many_bytes_of_bodies_are_held_at_once_and_others_wait_their_turn() {
    let served = Served::with_limits(|limits| {
        (limits.body, limits.bodies) = (100_000, 100_000);
        limits.request_time = Duration::from_secs(1);
    });
    let key = served.keys().make("a").unwrap();
    let mut slow = served.connect();
    let head = format!(
        "POST {GATEWAY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: 100000\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut slow).status, 408);
    assert_eq!(served.post(&key, LIST).status, 200);
}

#[test]
fn headers_that_are_too_large_or_too_many_are_refused() {
    let served = Served::start(|_| {});
    let long = "x".repeat(40_000);
    assert_eq!(served.get("/health", &[("x", &long)]).status, 431);
    assert_eq!(served.get(&format!("/?{long}"), &[]).status, 431);
    let many: Vec<(String, &str)> = (0..200).map(|nth| (format!("x-{nth}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, y)| (name.as_str(), *y)).collect();
    assert_eq!(served.get("/health", &many).status, 431);
    is_answered(&served);
}

#[test]
fn what_is_no_http_is_hung_up_on() {
    let served = Served::start(|_| {});
    let garbage: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = served.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let status = Answer::read(&mut stream).status;
        assert!([0, 400, 404].contains(&status), "{bytes:?}: {status}");
    }
    is_answered(&served);
}

#[test]
fn clients_that_go_in_the_middle_are_forgotten() {
    let served = Served::with_limits(|limits| limits.connections = 4);
    let key = served.keys().make("a").unwrap();
    let parts = [
        String::new(),
        "GET /health HT".to_owned(),
        "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        format!(
            "POST {GATEWAY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: 9\r\n\r\n{{"
        ),
    ];
    for part in parts.iter().cycle().take(40) {
        let mut stream = served.connect();
        stream.write_all(part.as_bytes()).unwrap();
        drop(stream);
    }
    is_answered(&served);
    assert_eq!(served.post(&key, LIST).status, 200);
}

#[test]
fn connections_that_are_held_and_ask_nothing_make_room_for_one_that_does() {
    let served = Served::start(|_| {});
    let mut held: Vec<TcpStream> = (0..300).map(|_| served.connect()).collect();
    is_answered(&served);
    // Those that came last are still there.
    let mut last = held.pop().unwrap();
    last.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut last).status, 200);
    assert!(is_over(held.remove(0)), "the first had to leave");
}

#[test]
fn where_all_who_are_connected_are_busy_the_next_hears_so() {
    let served = Served::with_limits(|limits| {
        limits.connections = 2;
        limits.silence = Duration::from_millis(100);
    });
    let cookie = served.cookie();
    let mut listening: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = served.connect();
            let request = format!(
                "GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {cookie}\r\n\r\n",
                served.port
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut begin = [0; 15];
            stream.read_exact(&mut begin).unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200 OK");
            stream
        })
        .collect();
    let full = Answer::read(&mut served.connect());
    assert_eq!((full.status, full.header("retry-after")), (503, Some("1")));
    listening.pop();
    let begun = Instant::now();
    while served.get("/health", &[]).status != 200 {
        assert!(begun.elapsed() < GUARD, "who has gone is not noticed");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn who_takes_nothing_of_what_it_asked_for_is_left() {
    let served = Served::with_limits(|limits| limits.request_time = Duration::from_millis(500));
    let mut stream = served.connect();
    let asked = 1000;
    let request = "GET /assets/uplot.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // The server may be the first to stop.
    let _ = stream.write_all(request.repeat(asked).as_bytes());
    thread::sleep(Duration::from_secs(2));
    let mut come = Vec::new();
    let _ = stream.read_to_end(&mut come);
    assert!(come.len() < asked * 51_000, "{} bytes", come.len());
}

#[test]
fn a_server_ends_though_clients_listen_hold_connections_and_send_slowly() {
    let mut served = Served::with_limits(|_| {});
    let cookie = served.cookie();
    let key = served.keys().make("a").unwrap();
    let mut listening = served.connect();
    let request = format!(
        "GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncookie: {cookie}\r\n\r\n",
        served.port
    );
    listening.write_all(request.as_bytes()).unwrap();
    let mut slow = served.connect();
    let head = format!(
        "POST {GATEWAY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: 9\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).unwrap();
    let idle = served.connect();
    is_answered(&served);
    let begun = Instant::now();
    served.end();
    assert!(begun.elapsed() < GUARD);
    for stream in [listening, slow, idle] {
        assert!(is_over(stream));
    }
    let refused = TcpStream::connect(("127.0.0.1", served.port));
    assert!(refused.is_err(), "nobody listens any more");
}
