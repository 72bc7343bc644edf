//! The gateway of ours, as a program that can be killed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grpo_metrics::serve::Keys;
use grpo_metrics::store::{EvSys, Patience};

use super::client::Client;

/// `grpo-metrics serve --gateway`, always at the same port.
pub struct Own {
    store: PathBuf,
    port: u16,
    key: String,
    child: Option<Child>,
}

impl Own {
    /// Starts it over the store at a path.
    pub fn start(store: &Path) -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut own = Self {
            store: store.to_owned(),
            port,
            key: Keys::of(store).make("ada").unwrap(),
            child: None,
        };
        own.again();
        own
    }

    /// Starts it again.
    pub fn again(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_grpo-metrics"))
            .args(["serve", "--gateway", "--no-token", "--rate", "1000000"])
            .args(["--port", &self.port.to_string(), "--store"])
            .arg(&self.store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "{address:?}");
        self.child = Some(child);
    }

    /// Kills it, as the system does: it can do nothing about it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its memory in kB, of which the largest there was.
    pub fn peak_kb(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    pub fn store(&self) -> EvSys {
        let url = format!("http://127.0.0.1:{}", self.port);
        let patience = Patience {
            answer: Duration::from_secs(20),
            backoff: (Duration::from_millis(5), Duration::from_millis(50)),
            under_way: Duration::from_millis(100),
            ..Patience::default()
        };
        EvSys::new(&url, self.key.as_str())
            .unwrap()
            .patience(patience)
            .dead_letters(self.store.with_extension("dead.jsonl"))
    }

    pub fn client(&self) -> Client {
        Client::new(self.port, &self.key).unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}
