//! The key of the `EvSys` gateway goes to a server whose certificate is in order, and to no other.
#![cfg(feature = "evsys")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::gateway::fixed::Fixed;
use grpo_metrics::store::{EvSys, Patience, Store, StoreError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

const KEY: &str = "sk-very-secret-0123456789";

/// A server behind TLS that answers every request with an empty list, but `/ring` with where it is.
struct Server {
    address: SocketAddr,
    heard: Arc<Heard>,
    open: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    connections: AtomicU64,
    /// Everything that came out of the encryption.
    text: Mutex<Vec<u8>>,
}

impl Server {
    fn start(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (config, heard) = (Arc::new(config), Arc::new(Heard::default()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let (flag, ears) = (Arc::clone(&open), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if !flag.load(Ordering::SeqCst) {
                    return;
                }
                ears.connections.fetch_add(1, Ordering::SeqCst);
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that will not have the certificate hangs up.
                let _ = ears.serve(StreamOwned::new(tls, stream.unwrap()));
            }
        });
        Self {
            address,
            heard,
            open,
            thread: Some(thread),
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Ends the server: the connections it had, and what it heard on them.
    fn end(mut self) -> (u64, String) {
        self.open.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
        let text = self.heard.text.lock().unwrap().clone();
        let connections = self.heard.connections.load(Ordering::SeqCst);
        (connections, String::from_utf8(text).unwrap())
    }
}

impl Heard {
    fn serve(&self, stream: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
        let timeout = Some(Duration::from_secs(5));
        stream.sock.set_read_timeout(timeout)?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            self.text.lock().unwrap().extend(line.as_bytes());
            let line = line.to_lowercase();
            if let Some(said) = line.strip_prefix("content-length:") {
                length = said.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        self.text.lock().unwrap().extend(body);
        let stream = reader.get_mut();
        if self.text.lock().unwrap().starts_with(b"POST /ring ") {
            stream.write_all(
                b"HTTP/1.1 301 Round\r\nLocation: /ring\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )?;
            stream.conn.send_close_notify();
            return stream.flush();
        }
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"result\":[]}",
        )?;
        stream.conn.send_close_notify();
        stream.flush()
    }
}

/// An authority of one's own, and the file that names it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("ca.pem");
        fs::write(&file, issuer.pem()).unwrap();
        Self {
            issuer,
            file,
            _dir: dir,
        }
    }

    /// A server whose certificate this authority signed.
    fn vouch(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Server::start(certificate.der().clone(), &key)
    }
}

fn store(server: &Server) -> EvSys {
    let patience = Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        retries: 1,
        backoff: (Duration::from_millis(1), Duration::from_millis(1)),
        under_way: Duration::ZERO,
        retry_after: Duration::ZERO,
    };
    EvSys::new(&server.url(), KEY).unwrap().patience(patience)
}

/// The error of a store that was to ask its server, which heard nothing of it but that somebody came.
fn refused(server: Server, store: &EvSys) -> String {
    let error = store.list_experiments().unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    let (connections, heard) = server.end();
    assert!(connections > 0);
    assert_eq!(heard, "");
    let shown = format!("{error} {error:?} {store:?}");
    assert!(!shown.contains(KEY), "{shown}");
    error.to_string()
}

#[test]
fn a_certificate_that_no_public_authority_signed_is_refused_before_the_key_is_sent() {
    let server = Authority::new().vouch("localhost", |_| {});
    let store = store(&server);
    let error = refused(server, &store);
    assert!(
        error.contains("invalid peer certificate: UnknownIssuer"),
        "{error}"
    );
}

#[test]
fn a_certificate_that_signed_itself_is_refused_before_the_key_is_sent() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let server = Server::start(certificate.der().clone(), &key);
    let store = store(&server);
    let error = refused(server, &store);
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn a_company_can_name_an_authority_of_its_own() {
    let authority = Authority::new();
    let server = authority.vouch("localhost", |_| {});
    // Either order: neither setting undoes the other.
    let store = store(&server)
        .ca_file(&authority.file)
        .unwrap()
        .patience(Patience::default());
    assert!(store.list_experiments().unwrap().is_empty());
    let (_, heard) = server.end();
    assert!(heard.contains(&format!("Bearer {KEY}")), "{heard}");
    assert!(heard.contains("list_experiments"), "{heard}");
}

#[test]
fn an_authority_vouches_for_no_other_host_and_not_for_ever() {
    let authority = Authority::new();
    let other = authority.vouch("elsewhere.example", |_| {});
    let trusting = store(&other).ca_file(&authority.file).unwrap();
    let error = refused(other, &trusting);
    assert!(error.contains("not valid for name"), "{error}");

    let expired = authority.vouch("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let trusting = store(&expired).ca_file(&authority.file).unwrap();
    let error = refused(expired, &trusting);
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn the_environment_names_the_authorities_of_a_gateway_behind_tls() {
    let authority = Authority::new();
    let server = authority.vouch("localhost", |_| {});
    let of = |url: &str, file: &str| {
        EvSys::from_env(|name| {
            let value = match name {
                "EVSYS_API_URL" => url,
                "EVSYS_API_KEY" => KEY,
                "SSL_CERT_FILE" => file,
                _ => return None,
            };
            Some(value.to_owned())
        })
    };
    let file = authority.file.to_str().unwrap();
    let store = of(&server.url(), file).unwrap();
    assert!(store.list_experiments().unwrap().is_empty());
    assert!(server.end().1.contains(KEY));
    // Without TLS there is nothing to vouch for.
    assert!(of("http://localhost:1", "/no/such/file").is_ok());
}

#[test]
fn a_file_of_authorities_that_names_none_is_refused() {
    let dir = TempDir::new().unwrap();
    let torn = "-----BEGIN CERTIFICATE-----\neA==\n-----EN";
    for text in ["", "no certificate", torn] {
        let file = dir.path().join("ca.pem");
        fs::write(&file, text).unwrap();
        let error = EvSys::new("https://localhost:1", KEY)
            .unwrap()
            .ca_file(&file)
            .unwrap_err();
        let setting = matches!(
            error,
            StoreError::Setting {
                name: "SSL_CERT_FILE",
                ..
            }
        );
        assert!(setting && error.to_string().contains("ca.pem"), "{error}");
    }
    let missing = dir.path().join("none.pem");
    assert!(
        EvSys::new("https://localhost:1", KEY)
            .unwrap()
            .ca_file(missing)
            .is_err()
    );
}

/// A store whose gateway answers with `status` and points to `to`, and that gateway.
fn pointed(status: u16, to: &str, authority: &Authority) -> (EvSys, Fixed) {
    let open = Fixed::start(&format!("{status} Elsewhere\r\nLocation: {to}"), "");
    let patience = Patience {
        retries: 0,
        ..Patience::default()
    };
    let store = EvSys::new(&format!("http://localhost:{}", open.address.port()), KEY);
    let store = store.unwrap().patience(patience);
    (store.ca_file(&authority.file).unwrap(), open)
}

#[test]
fn a_redirect_to_tls_on_the_same_host_takes_the_whole_request_there() {
    let authority = Authority::new();
    for (status, first_asked) in [(301, 1), (302, 2), (307, 2), (308, 1)] {
        let server = authority.vouch("localhost", |_| {});
        let to = format!("{}/api/dashboard/api/sdk/data/", server.url());
        let (store, open) = pointed(status, &to, &authority);
        for _ in 0..2 {
            assert!(store.list_experiments().unwrap().is_empty());
        }
        // What has moved for good is asked where it is.
        assert_eq!(open.heard().len(), first_asked, "{status}");
        let (_, heard) = server.end();
        for part in [
            "POST /api/dashboard/api/sdk/data/ HTTP/1.1\r\n",
            &format!("Bearer {KEY}\r\n"),
            r#""op":"list_experiments""#,
        ] {
            assert_eq!(heard.matches(part).count(), 2, "{status}: {heard}");
        }
    }
}

#[test]
fn a_redirect_to_another_host_takes_no_key_there_though_its_certificate_is_in_order() {
    let authority = Authority::new();
    for status in [301, 302, 303, 307, 308] {
        let server = authority.vouch("127.0.0.1", |_| {});
        let to = format!("https://127.0.0.1:{}/x", server.address.port());
        let (store, open) = pointed(status, &to, &authority);
        let error = store.list_experiments().unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(&to), "{said}");
        assert_eq!(open.heard().len(), 1);
        assert_eq!(server.end(), (0, String::new()));
    }
}

#[test]
fn redirects_in_a_ring_end_and_the_row_stays() {
    let authority = Authority::new();
    let server = authority.vouch("localhost", |_| {});
    let (store, open) = pointed(301, &format!("{}/ring", server.url()), &authority);
    let error = store.list_experiments().unwrap_err();
    assert!(
        !error.is_permanent() && error.to_string().contains("/ring"),
        "{error}"
    );
    assert_eq!((open.heard().len(), server.end().0), (1, 5));
}
