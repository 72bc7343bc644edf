//! A server on loopback that speaks the `EvSys` gateway over HTTP/1.1, and misbehaves as told.
//!
//! It is written on bare sockets, as an HTTP library would not let it lose an answer, hang or tear one. Numbers are appended, never
//! replaced, so that one that comes twice is seen twice.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod client;
pub mod fixed;
#[cfg(all(feature = "cli", feature = "evsys", feature = "serve"))]
pub mod own;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub const KEY: &str = "sk-very-secret-0123456789";

/// What the server does wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Answers this status, with a header line if there is one, and the key in its text. Nothing is done.
    Status(u16, &'static str),
    /// Does it and answers 500 all the same.
    DoneButFailed,
    /// Does nothing, says nothing, for this long.
    Hang(Duration),
    /// Does it this much later, whether or not anybody waits for the answer.
    Late(Duration),
    /// Hangs up without doing it.
    HangUp,
    /// Does it, then hangs up without an answer.
    Lose,
    /// Does it, then sends half the answer.
    Truncate,
}

/// What is wrong with the request of this number, op and length, if anything is.
pub type Script = Box<dyn FnMut(u64, &str, usize) -> Option<Fault> + Send>;

pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<(Arc<AtomicBool>, thread::JoinHandle<()>)>,
}

struct Shared {
    script: Mutex<Script>,
    records: Mutex<Records>,
    requests: AtomicU64,
    connections: AtomicU64,
}

#[derive(Default)]
struct Records {
    kinds: Map<String, Value>,
    /// (run, step, name, value, split) as they came.
    metrics: Vec<Value>,
    /// (run, step, time) of the calls that said when their step ended, as they came.
    times: Vec<(Value, u64, f64)>,
    /// What a call hears that says so, where the server does not know of it.
    timeless: Option<(u16, &'static str)>,
    /// Whether the server notes signs of life.
    notes_signs: bool,
    ops: Vec<String>,
}

impl Gateway {
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_, _, _| None)),
            records: Mutex::default(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut gateway = Self {
            address: listener.local_addr().unwrap(),
            shared,
            listening: None,
        };
        gateway.listen(listener);
        gateway
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the server does what `script` says; requests are counted from 0 again.
    pub fn script(&self, script: impl FnMut(u64, &str, usize) -> Option<Fault> + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    pub fn recover(&self) {
        self.script(|_, _, _| None);
    }

    /// Refuses connections, and ends those there are.
    pub fn refuse(&mut self) {
        if let Some((open, thread)) = self.listening.take() {
            open.store(false, Ordering::SeqCst);
            thread.join().unwrap();
        }
    }

    pub fn accept(&mut self) {
        self.listen(TcpListener::bind(self.address).unwrap());
    }

    /// Makes a run, and says its id.
    pub fn run(&self) -> String {
        let experiment = self.records().create("experiments", Map::new());
        let mut args = Map::new();
        args.insert("experiment_id".to_owned(), experiment["id"].clone());
        let run = self.records().create("runs", args);
        run["id"].as_str().unwrap().to_owned()
    }

    /// Every number of a run as it came, doubles and all: step, name, value.
    pub fn metrics(&self, run: &str) -> Vec<(u64, String, f64)> {
        let records = self.records();
        let of_run = records.metrics.iter().filter(|m| m["run_id"] == run);
        of_run
            .map(|m| {
                let value = match m["value"].as_str() {
                    Some("Infinity") => f64::INFINITY,
                    Some("-Infinity") => f64::NEG_INFINITY,
                    _ => m["value"].as_f64().unwrap(),
                };
                (
                    m["step"].as_u64().unwrap(),
                    m["name"].as_str().unwrap().to_owned(),
                    value,
                )
            })
            .collect()
    }

    /// The steps of a run as they came, a step's numbers taken together.
    pub fn steps(&self, run: &str) -> Vec<u64> {
        let mut steps: Vec<u64> = self.metrics(run).into_iter().map(|m| m.0).collect();
        steps.dedup();
        steps
    }

    /// When the steps of a run ended, as far as their calls said so: step, time.
    pub fn times(&self, run: &str) -> Vec<(u64, f64)> {
        let records = self.records();
        let of_run = records.times.iter().filter(|time| time.0 == run);
        of_run.map(|(_, step, time)| (*step, *time)).collect()
    }

    /// From now on calls that say when their step ended are refused with this.
    pub fn know_no_times(&self, status: u16, text: &'static str) {
        self.records().timeless = Some((status, text));
    }

    /// From now on signs of life are noted.
    pub fn note_signs(&self) {
        self.records().notes_signs = true;
    }

    pub fn ops(&self) -> Vec<String> {
        self.records().ops.clone()
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.shared.records.lock().unwrap()
    }

    fn listen(&mut self, listener: TcpListener) {
        let open = Arc::new(AtomicBool::new(true));
        let (shared, flag) = (Arc::clone(&self.shared), Arc::clone(&open));
        listener.set_nonblocking(true).unwrap();
        let thread = thread::spawn(move || {
            while flag.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, flag) = (Arc::clone(&shared), Arc::clone(&flag));
                thread::spawn(move || shared.serve(stream, &flag));
            }
        });
        self.listening = Some((open, thread));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl Shared {
    /// Answers the requests of a connection until the client, a fault or the end of the server closes it.
    fn serve(&self, stream: TcpStream, open: &AtomicBool) {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while open.load(Ordering::SeqCst) {
            match reader.fill_buf() {
                Ok([]) => return,
                Ok(_) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    continue;
                }
                Err(_) => return,
            }
            let Ok((head, body)) = request(&mut reader) else {
                return;
            };
            if self.answer(&head, &body, &mut writer).is_err() {
                return;
            }
        }
    }

    /// An error ends the connection.
    fn answer(&self, head: &str, body: &[u8], out: &mut TcpStream) -> io::Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let asked: Value = serde_json::from_slice(body).unwrap();
        let op = asked["op"].as_str().unwrap().to_owned();
        assert!(
            head.starts_with("POST /api/dashboard/api/sdk/data/ HTTP/1.1"),
            "{head}"
        );
        if !head.contains(&format!("Bearer {KEY}")) {
            return respond(out, 401, "", "no such key");
        }
        let fault = (self.script.lock().unwrap())(number, &op, body.len());
        match fault {
            Some(Fault::Status(status, header)) => {
                return respond(out, status, header, &format!("not for {KEY}"));
            }
            Some(Fault::Hang(time)) => {
                thread::sleep(time);
                return Err(io::ErrorKind::TimedOut.into());
            }
            Some(Fault::HangUp) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Late(time)) => thread::sleep(time),
            _ => {}
        }
        let (status, text) = match self.records.lock().unwrap().act(&op, &asked["args"]) {
            Ok(result) => (200, json!({"result": result}).to_string()),
            Err((status, text)) => (status, text),
        };
        match fault {
            Some(Fault::Lose) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::DoneButFailed) => respond(out, 500, "", "after all"),
            Some(Fault::Truncate) => {
                let half = &text[..text.len() / 2];
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{half}",
                    text.len()
                )?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => respond(out, status, "", &text),
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")
                .map(|n| n.trim().parse().unwrap())
        })
        .unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

fn respond(out: &mut TcpStream, status: u16, header: &str, text: &str) -> io::Result<()> {
    let header = if header.is_empty() {
        String::new()
    } else {
        format!("{header}\r\n")
    };
    let answer = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    out.write_all(answer.as_bytes())
}

type Outcome = Result<Value, (u16, String)>;

impl Records {
    fn act(&mut self, op: &str, args: &Value) -> Outcome {
        self.ops.push(op.to_owned());
        let args = args.as_object().unwrap();
        assert!(
            args.values().all(|value| !value.is_null()),
            "{op}: {args:?}"
        );
        match op {
            "create_experiment" => Ok(self.create("experiments", args.clone())),
            "update_experiment" => {
                self.update("experiments", &args["experiment_id"], &args["patch"])
            }
            "create_group" => self.child("groups", args, &["experiment_id"]),
            "create_run" => self.child("runs", args, &["experiment_id", "group_id"]),
            "update_run" => self.update("runs", &args["run_id"], &args["patch"]),
            "add_checkpoint" => self.child("checkpoints", args, &["run_id"]),
            "create_eval" => self.child("evals", args, &["run_id", "checkpoint_id"]),
            "add_prediction" => self.child("predictions", args, &["run_id", "eval_id"]),
            "get_run" => self.find("runs", &args["run_id"]).map(|run| run.clone()),
            "touch_run" if self.notes_signs => self
                .find("runs", &args["run_id"])
                .map(|_| Value::Bool(true)),
            "log_metrics" => self.log(args),
            "get_metrics" => {
                let matching = self
                    .metrics
                    .iter()
                    .filter(|m| args.iter().all(|(k, v)| &m[k] == v));
                Ok(matching.cloned().collect())
            }
            _ => {
                let kind = op
                    .strip_prefix("list_")
                    .ok_or((400, format!("no op {op}")))?;
                let all = self.of(kind).iter();
                let matching = all.filter(|r| args.iter().all(|(k, v)| &r[k] == v));
                Ok(matching.cloned().collect())
            }
        }
    }

    fn log(&mut self, args: &Map<String, Value>) -> Outcome {
        self.find("runs", &args["run_id"])?;
        if let Some(time) = args.get("timestamp") {
            if let Some((status, text)) = self.timeless {
                return Err((status, text.to_owned()));
            }
            let (step, time) = (args["step"].as_u64().unwrap(), time.as_f64().unwrap());
            self.times.push((args["run_id"].clone(), step, time));
        }
        for (name, value) in args["metrics"].as_object().unwrap() {
            self.metrics.push(json!({
                "run_id": args["run_id"], "step": args["step"], "split": args["split"],
                "name": name, "value": value
            }));
        }
        Ok(Value::Null)
    }

    fn of(&mut self, kind: &str) -> &mut Vec<Value> {
        let records = self.kinds.entry(kind).or_insert_with(|| json!([]));
        records.as_array_mut().unwrap()
    }

    fn find(&mut self, kind: &str, id: &Value) -> Result<&mut Value, (u16, String)> {
        let found = self.of(kind).iter_mut().find(|record| &record["id"] == id);
        found.ok_or((404, format!("no {kind} {id}")))
    }

    fn create(&mut self, kind: &str, mut fields: Map<String, Value>) -> Value {
        let records = self.of(kind);
        fields.insert("id".to_owned(), format!("{kind}-{}", records.len()).into());
        fields.insert("created_at".to_owned(), "2026-01-31T12:00:00.000Z".into());
        // As a database answers: what is not there is null.
        for absent in ["group_id", "error_message", "conclusion"] {
            fields.entry(absent).or_insert(Value::Null);
        }
        records.push(fields.clone().into());
        fields.into()
    }

    /// A record that belongs to others, which must be there.
    fn child(&mut self, kind: &str, args: &Map<String, Value>, parents: &[&str]) -> Outcome {
        for parent in parents {
            if let Some(id) = args.get(*parent) {
                let kind = format!("{}s", parent.trim_end_matches("_id"));
                self.find(&kind, id)?;
            }
        }
        Ok(self.create(kind, args.clone()))
    }

    fn update(&mut self, kind: &str, id: &Value, patch: &Value) -> Outcome {
        let record = self.find(kind, id)?;
        for (field, value) in patch.as_object().unwrap() {
            record[field] = value.clone();
        }
        Ok(record.clone())
    }
}

impl Gateway {
    /// Rows are refused for good from now on.
    pub fn refuse_rows(&self) {
        self.script(|_, op, _| (op == "log_metrics").then_some(Fault::Status(422, "")));
    }
}
