//! Answers of the gateway: a server on loopback answers each request by bytes that were changed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use grpo_metrics::store::{EvSys, Patience, Store};

use super::{Random, Target};

/// Of experiments, runs, a run and metrics, as the gateway gives them.
const ANSWERS: [&str; 4] = [
    r#"{"result":[{"id":"e1","experiment_name":"lengths","created_at":"2026-01-31T12:00:00Z","status":"running","hypothesis":null,"conclusion":null,"tags":["a"]}]}"#,
    r#"{"result":[{"id":"r1","created_at":"2026-01-31T12:00:00Z","experiment_id":"e1","group_id":null,"status":"completed","seed":7,"run_config":{"lr":0.1},"error_message":null}]}"#,
    r#"{"result":{"id":"r1","created_at":"2026-01-31T12:00:00Z","experiment_id":"e1","group_id":"g1","status":"failed","error_message":"x","run_config":{}}}"#,
    r#"{"result":[{"run_id":"r1","step":1,"name":"train/reward","value":0.5,"split":"train"},{"run_id":"r1","step":2,"name":"b","value":-1e9,"split":"val"}]}"#,
];
/// One answer in so many has its head changed too.
const HEADS: usize = 8;

pub struct Answers {
    given: Vec<Box<[u8]>>,
    next: Arc<Mutex<Vec<u8>>>,
    store: EvSys,
}

impl Answers {
    pub fn new() -> Self {
        let next = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("a port"));
        let answer = Arc::clone(&next);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(&stream, &answer));
            }
        });
        let patience = Patience {
            connect: Duration::from_secs(5),
            answer: Duration::from_millis(500),
            retries: 0,
            backoff: (Duration::ZERO, Duration::ZERO),
            under_way: Duration::ZERO,
            retry_after: Duration::ZERO,
        };
        let store = EvSys::new(&url, "sk-fuzz").expect("a gateway");
        Self {
            given: ANSWERS.iter().map(|text| text.as_bytes().into()).collect(),
            next,
            store: store.patience(patience),
        }
    }
}

/// Answers every request of a connection by what is next, until one is not understood.
fn serve(stream: &TcpStream, next: &Mutex<Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut length, mut lines) = (0_usize, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            lines += 1;
            if line == "\r\n" || lines > 100 {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let answer = next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if writer.write_all(&answer).is_err() {
            return;
        }
        // What was changed may not say where it ends.
        if !answer.starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: ") {
            return;
        }
    }
}

impl Target for Answers {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let asked = random.below(self.given.len());
        let body = random.change(&self.given[asked], &self.given);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let head = if random.below(HEADS) == 0 {
            random.change(head.as_bytes(), &self.given)
        } else {
            head.into_bytes()
        };
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = [head, body].concat();
        let read = match asked {
            0 => self.store.list_experiments().map(drop),
            1 => self.store.list_runs(None, None).map(drop),
            2 => self.store.get_run("r1").map(drop),
            _ => self.store.get_metrics("r1", None, None).map(drop),
        };
        Ok(match read {
            Ok(()) => "read",
            Err(_) => "refused",
        })
    }
}
