//! The page over TLS.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use grpo_metrics::serve::{Options, Server};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::server::{Answer, Served};

struct Files {
    dir: TempDir,
    roots: RootCertStore,
    cert: PathBuf,
    key: PathBuf,
}

fn files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    fs::write(&cert_file, cert.pem()).unwrap();
    fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    Files {
        dir,
        roots,
        cert: cert_file,
        key: key_file,
    }
}

fn asked(served: &Served, files: &Files, path: &str, cookie: &str) -> Answer {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(files.roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, served.connect());
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n",
        served.port
    );
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut stream)
}

#[test]
fn with_a_certificate_the_page_is_read_over_tls_and_its_cookie_is_for_tls_alone() {
    let files = files();
    let served = Served::start(|options| {
        options.certificate = Some((files.cert.clone(), files.key.clone()));
    });
    assert!(served.address.starts_with("https://127.0.0.1:"));
    let path = format!("/?token={}", served.token());
    let let_in = asked(&served, &files, &path, "");
    let cookie = let_in.header("set-cookie").unwrap();
    let name = format!("__host-grpo-metrics-{}=", served.port);
    assert!(cookie.starts_with(&name), "{cookie}");
    assert!(cookie.ends_with("; httponly; samesite=strict; path=/; secure"));
    let cookie = cookie.split(';').next().unwrap();
    let cookie = cookie.replace("__host", "__Host");
    assert_eq!(asked(&served, &files, "/api/runs", &cookie).status, 200);
    // Who forgets the s hears so, and a client that says nothing keeps nobody.
    let silent = served.connect();
    let plain = served.get("/", &[]);
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("https://"), "{plain:?}");
    assert_eq!(asked(&served, &files, "/health", "").status, 200);
    drop(silent);
}

#[test]
fn a_file_that_is_no_certificate_no_key_or_of_another_certificate_is_named() {
    let (files, others) = (files(), files());
    let text = files.dir.path().join("text.pem");
    fs::write(&text, "no PEM").unwrap();
    let missing = files.dir.path().join("missing.pem");
    let error = |cert: &PathBuf, key: &PathBuf| {
        let mut options = Options::of(files.dir.path().join("runs.db"));
        options.certificate = Some((cert.clone(), key.clone()));
        Server::bind(options).unwrap_err().to_string()
    };
    let cases = [
        (
            error(&missing, &files.key),
            "missing.pem: expected certificates in PEM",
        ),
        (
            error(&text, &files.key),
            "text.pem: expected certificates in PEM",
        ),
        (
            error(&files.key, &files.key),
            "key.pem: expected certificates in PEM",
        ),
        (
            error(&files.cert, &text),
            "text.pem: expected a private key in PEM",
        ),
        (
            error(&files.cert, &files.cert),
            "cert.pem: expected a private key in PEM",
        ),
        (error(&files.cert, &others.key), "cert.pem and "),
    ];
    for (error, part) in cases {
        assert!(error.contains(part), "{error}");
    }
}
