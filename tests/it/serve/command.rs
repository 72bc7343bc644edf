//! `grpo-metrics serve` as its users meet it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::server::{Answer, GUARD};

fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(crate::grpo_metrics());
    command
        .arg("serve")
        .args(args)
        .current_dir(dir)
        .env_remove("GRPO_METRICS_STORE")
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Of what ends by itself; a server that should not have begun is ended.
fn output(dir: &TempDir, args: &[&str]) -> Output {
    let mut command = assert_cmd::Command::from_std(command(dir, args));
    command.timeout(GUARD).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server, and the first line that it prints.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut address).unwrap();
        Self {
            child,
            address: address.trim_end().to_owned(),
        }
    }

    fn port(&self) -> u16 {
        let rest = self.address.split_once("127.0.0.1:").unwrap().1;
        rest.split('/').next().unwrap().parse().unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// Sends a signal, and gives the exit code and what was said on stderr.
    fn signal(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn the_first_line_is_the_address_and_ctrl_c_or_sigterm_is_a_good_end() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["-INT", "-TERM"] {
        let running = Running::start(command(&dir, &["--port", "0"]));
        let token = running.address.split_once("/?token=").unwrap().1.to_owned();
        assert_eq!(running.get("/health").status, 200);
        assert_eq!(running.get(&format!("/?token={token}")).status, 303);
        let (code, said) = running.signal(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("note: runs.db: there is no store yet"),
            "{said}"
        );
        // The address for the next browser has another token.
        let next = said
            .split_once("another one comes in by http://127.0.0.1:")
            .unwrap()
            .1;
        assert!(
            next.contains("/?token=") && !next.contains(&token),
            "{said}"
        );
    }
    assert!(
        !dir.path().join("runs.db").exists(),
        "reading makes no store"
    );
}

#[test]
fn a_port_that_was_named_is_that_one_and_the_default_goes_on_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = output(&dir, &["--port", &port]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains(&format!("127.0.0.1:{port}: ")));
    let [one, other] = [(); 2].map(|()| Running::start(command(&dir, &["--no-token"])));
    assert!((4776..4786).contains(&one.port()) && (4776..4786).contains(&other.port()));
    assert_ne!(one.port(), other.port());
    assert_eq!(one.address, format!("http://127.0.0.1:{}/", one.port()));
}

#[test]
fn what_is_not_safe_or_not_there_is_an_error_that_says_what_would_be() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text.pem"), "no PEM").unwrap();
    for (args, parts) in [
        (
            &["--bind", "0.0.0.0"][..],
            &["--cert", "--key", "--insecure"][..],
        ),
        (
            &["--host", "0.0.0.0", "--insecure", "--no-token"],
            &["--no-token", "loopback"],
        ),
        (&["--cert", "text.pem"], &["--key"]),
        (
            &["--cert", "text.pem", "--key", "text.pem"],
            &["text.pem: expected certificates"],
        ),
        (
            &["--bind", "no such name"],
            &["expected an address of this machine"],
        ),
        (&["--rate", "5"], &["--gateway"]),
        (
            &["--host-name", "gpu.example:4776"],
            &["without a scheme and a port"],
        ),
    ] {
        let refused = output(&dir, args);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(refused.stdout.is_empty());
    }
    // As with every verb that cannot write to the store.
    let refused = output(&dir, &["--gateway", "--store", "none/runs.db"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("none/runs.db: could not open"));
}

#[test]
fn the_help_has_the_page_among_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let help = Command::new(crate::grpo_metrics()).arg("--help").output();
    let help = text(&help.unwrap().stdout);
    assert!(
        help.contains("  serve        Show a store in the browser, while trainings write to it\n")
    );
    for verb in ["list", "new", "rm"] {
        let help = text(&output(&dir, &["key", "--help"]).stdout);
        assert!(help.contains(&format!("\n  {verb} ")), "{help}");
    }
}

#[test]
fn a_gateway_makes_the_store_and_says_that_nobody_has_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(command(&dir, &["--port", "0", "--gateway"]));
    assert!(dir.path().join("runs.db").exists());
    let (code, said) = running.signal("-INT");
    assert_eq!(code, Some(0));
    assert!(said.contains("serve key new"), "{said}");
}

#[test]
fn over_ssh_the_tunnel_to_the_page_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(&dir, &["--port", "0"]);
    command
        .env("SSH_CONNECTION", "10.0.0.9 50022 10.0.0.7 2222")
        .env("USER", "me");
    let running = Running::start(command);
    let port = running.port();
    let (_, said) = running.signal("-INT");
    let line = format!("`ssh -N -L {port}:127.0.0.1:{port} -p 2222 me@10.0.0.7`");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_browser_that_cannot_be_started_is_a_note_and_one_that_can_sees_no_token_among_its_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let with = |path: &str| {
        let mut command = command(&dir, &["--port", "0", "--open"]);
        command.env("PATH", path).env("TMPDIR", dir.path());
        Running::start(command)
    };
    let running = with("/nowhere");
    assert_eq!(running.get("/health").status, 200);
    let (code, said) = running.signal("-INT");
    assert_eq!(code, Some(0));
    assert!(
        said.contains("note: --open: the browser could not be started"),
        "{said}"
    );
    // A browser that notes what it was given, and what stands there.
    let script = "#!/bin/sh\necho \"$1\" > args\ncat \"$1\" > page.partial\nmv page.partial page\n";
    for name in ["xdg-open", "open"] {
        fs::write(dir.path().join(name), script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path().join(name), executable).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let running = with(&format!("{}:{path}", dir.path().display()));
    let page = dir.path().join("page");
    while !page.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let (args, page) = (dir.path().join("args"), fs::read_to_string(page).unwrap());
    let args = fs::read_to_string(args).unwrap();
    assert!(
        page.contains(&format!("url={}\"", running.address)),
        "{page}"
    );
    let file = args.trim_end().to_owned();
    assert!(
        !args.contains("token") && fs::metadata(&file).is_ok(),
        "{args}"
    );
    running.signal("-INT");
    assert!(fs::metadata(&file).is_err(), "it goes with the server");
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let key = |args: &[&str]| output(&dir, &[&["key"], args].concat());
    assert_eq!(text(&key(&["list"]).stdout), "no keys\n");
    let made = key(&["new", "trainer"]);
    let secret = text(&made.stdout);
    assert!(
        secret.starts_with("gm_") && secret.len() == 3 + 64 + 1,
        "{secret}"
    );
    assert!(text(&made.stderr).contains("shown this once"));
    let listed = text(&key(&["list"]).stdout);
    assert!(
        listed.contains("trainer  20") && !listed.contains("gm_"),
        "{listed}"
    );
    let file = fs::read_to_string(dir.path().join("runs.db.keys")).unwrap();
    assert!(!file.contains(secret.trim_end().trim_start_matches("gm_")));
    let again = key(&["new", "trainer"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("there is a key `trainer` already"));
    let wrong = key(&["rm", "trainr"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("there is no key `trainr`; there are `trainer`"));
    assert_eq!(key(&["rm", "trainer"]).status.code(), Some(0));
    assert_eq!(text(&key(&["list"]).stdout), "no keys\n");
    // Beside the store that is named, wherever the name stands.
    let named = output(&dir, &["--store", "other.db", "key", "new", "a"]);
    assert!(named.status.success() && dir.path().join("other.db.keys").exists());
    let stray = output(&dir, &["--gateway", "key", "list"]);
    assert_eq!(stray.status.code(), Some(2));
    assert!(text(&stray.stderr).contains("--gateway: expected it where a page is served"));
    let nowhere = key(&["new", "a", "--store", "none/runs.db"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("none/runs.db.keys: the keys cannot be written"));
}
