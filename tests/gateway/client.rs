//! A client for a gateway that is as quick as a socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// A connection that asks one thing after the other.
pub struct Client {
    reader: BufReader<TcpStream>,
    port: u16,
    key: String,
}

impl Client {
    pub fn new(port: u16, key: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            reader: BufReader::new(stream),
            port,
            key: key.to_owned(),
        })
    }

    /// What the server says to these bytes: a status, and a body.
    pub fn post(&mut self, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let (port, key) = (self.port, &self.key);
        let mut request = format!(
            "POST /api/dashboard/api/sdk/data/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.reader.get_mut().write_all(&request)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|said| said.parse().ok());
        let length = head.to_lowercase().lines().find_map(|line| {
            let length = line.strip_prefix("content-length:")?;
            length.trim().parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body)?;
        Ok((status.unwrap_or(0), body))
    }

    /// One operation; its status and what was said.
    pub fn ask(&mut self, op: &str, args: &Value) -> io::Result<(u16, Value)> {
        let (status, body) = self.post(json!({"op": op, "args": args}).to_string().as_bytes())?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// The result of an operation that is done.
    pub fn done(&mut self, op: &str, args: &Value) -> Value {
        let (status, said) = self.ask(op, args).unwrap();
        assert_eq!(status, 200, "{op}: {said}");
        said["result"].clone()
    }

    /// A new run, by its id.
    pub fn run(&mut self) -> String {
        let experiment = self.done("create_experiment", &json!({"experiment_name": "e"}));
        let run = self.done("create_run", &json!({"experiment_id": experiment["id"]}));
        run["id"].as_str().unwrap().to_owned()
    }
}
