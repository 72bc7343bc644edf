//! A server of the test's own process, and a client on bare sockets, which no library keeps from being rude.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use grpo_metrics::serve::{Keys, Limits, Options, Server};
use grpo_metrics::store::Sqlite;
use tempfile::TempDir;

/// How long a test waits for what has to come.
pub const GUARD: Duration = Duration::from_secs(30);

pub struct Served {
    pub dir: TempDir,
    pub port: u16,
    /// The address that was printed first.
    pub address: String,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl Served {
    /// A server over an empty store.
    pub fn start(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        drop(Sqlite::open(dir.path().join("runs.db")).unwrap());
        let mut options = Options::of(dir.path().join("runs.db"));
        change(&mut options);
        let server = Server::bind(options).unwrap();
        let (port, address) = (server.port(), server.address());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let running = thread::spawn(move || {
            server.run(&|| flag.load(Ordering::SeqCst)).unwrap();
        });
        Self {
            dir,
            port,
            address,
            stop,
            running: Some(running),
        }
    }

    pub fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start(|options| {
            options.gateway = true;
            change(&mut options.limits);
        })
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("runs.db")
    }

    pub fn keys(&self) -> Keys {
        Keys::of(&self.store())
    }

    /// The token of the printed address.
    pub fn token(&self) -> &str {
        self.address.split_once("token=").unwrap().1
    }

    /// The cookie of a browser that opens the printed address.
    pub fn cookie(&self) -> String {
        let answer = self.get(&format!("/?token={}", self.token()), &[]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, "")
    }

    pub fn post(&self, key: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {key}");
        self.ask("POST", GATEWAY, &[("authorization", &bearer)], body)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut lines = vec![
            format!("{method} {path} HTTP/1.1"),
            "connection: close".to_owned(),
        ];
        if !headers.iter().any(|(name, _)| *name == "host") {
            lines.push(format!("host: 127.0.0.1:{}", self.port));
        }
        lines.extend(
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        if !body.is_empty() {
            lines.push(format!("content-length: {}", body.len()));
        }
        let text = lines.join("\r\n") + "\r\n\r\n" + body;
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// Ends the server, and says nothing before it has ended.
    pub fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub const GATEWAY: &str = "/api/dashboard/api/sdk/data/";

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// All that comes until the server hangs up.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        // What came before a connection was reset is there all the same.
        let _ = stream.read_to_end(&mut bytes);
        Self::of(&String::from_utf8_lossy(&bytes))
    }

    pub fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(called, _)| *called == name);
        values.next().map(|(_, value)| value)
    }

    pub fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }
}
