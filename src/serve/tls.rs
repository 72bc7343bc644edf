//! TLS by a certificate and a key of one's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::server::TlsStream;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Of the file of certificates.
    #[error("{path}: expected certificates in PEM, the server's own first, found {found}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        found: String,
    },
    /// Of the file with the private key.
    #[error("{path}: expected a private key in PEM without a password, found {found}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        found: String,
    },
    /// Both can be read, and do not go together.
    #[error("{certificate} and {key}: {found}")]
    Pair {
        /// The file of certificates.
        certificate: String,
        /// The file with the private key.
        key: String,
        /// Why not.
        found: String,
    },
}

/// How what a client of TLS says begins.
const HANDSHAKE: u8 = 0x16;

/// What is said to who speaks HTTP without TLS.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis port is asked by https://\n";

/// What a server shakes hands with.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// By the files of certificates and of the private key.
    ///
    /// # Errors
    /// If one of them has not what it is to have, or they do not go together.
    pub fn of(files: &(PathBuf, PathBuf)) -> Result<Self, TlsError> {
        let config = config(files)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// None for a client that speaks no TLS, or another; one that speaks HTTP without it is told so.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let mut first = [0];
        stream.peek(&mut first).await.ok()?;
        if first == [HANDSHAKE] {
            return self.0.accept(stream).await.ok();
        }
        // What was not read would take the answer with it.
        let mut request = [0; 8 << 10];
        let _ = stream.try_read(&mut request);
        let _ = stream.try_write(NO_TLS);
        None
    }
}

fn config((certificate, key): &(PathBuf, PathBuf)) -> Result<ServerConfig, TlsError> {
    let pair = |found: tokio_rustls::rustls::Error| TlsError::Pair {
        certificate: certificate.display().to_string(),
        key: key.display().to_string(),
        found: found.to_string(),
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key {
        path: key.display().to_string(),
        found: found(&error),
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::Certificate {
        path: path.display().to_string(),
        found,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(found(&error)))?;
    let chain: Result<Vec<_>, _> = read.collect();
    let chain = chain.map_err(|error| wrong(found(&error)))?;
    if chain.is_empty() {
        return Err(wrong("none".to_owned()));
    }
    Ok(chain)
}

fn found(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::NoItemsFound => "none".to_owned(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
