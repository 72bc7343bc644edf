//! A page over a store: what `grpo-metrics serve` answers, and the same page in one file.
//!
//! ```text
//! socket -> listen -> access -> route -+-> page      the page itself: HTML, scripts, styles
//!                                      +-> read      answers about runs, in JSON, for the page and for Prometheus
//!                                      +-> events    that rows were stored
//!                                      +-> gateway   EvSys's operations, where it is on
//! ```
//!
//! The store is only read, but by the gateway. Answers are made on threads that may block; the sockets have one of their own.

mod access;
mod answer;
mod ending;
mod events;
mod gateway;
mod keys;
mod listen;
mod page;
mod query;
mod rate;
mod read;
#[cfg(feature = "cli")]
mod report;
mod route;
mod secret;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::StoreError;
pub use keys::{KeyEntry, Keys, KeysError};
pub use listen::Server;
pub use query::Query;
pub use read::{Change, ReadError, Reader};
#[cfg(feature = "cli")]
pub(crate) use report::{Report, ReportError};
use secret::NoRandomness;
pub use tls::TlsError;

/// What is served, where, and to whom.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // a flag each
#[non_exhaustive]
pub struct Options {
    /// The store; without a gateway it need not be there yet.
    pub store: PathBuf,
    /// Where to listen; at port 0 any that is free.
    pub address: SocketAddr,
    /// Names by which the server may be asked besides those of loopback and the address; the first stands in the printed address.
    pub host_names: Vec<String>,
    /// Whether reading needs a token; without it only on loopback.
    pub token: bool,
    /// Files in PEM with certificates, the server's own first, and with its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether another address than loopback may do without TLS.
    pub insecure: bool,
    /// Whether rows are taken from `EvSys`'s clients; the store is made if need be.
    pub gateway: bool,
    /// The most of everything.
    pub limits: Limits,
}

/// The most that a client may have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once. Beyond, the one that has been idle for longest makes room; where none is, the next is answered 503.
    pub connections: usize,
    /// Bytes of a request's line and headers: 8192 or more.
    pub headers: usize,
    /// How long they may take, and how long a connection may be idle.
    pub header_time: Duration,
    /// How long a page that listens hears nothing; one that has gone is noticed by it.
    pub silence: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of all bodies that are held at once; others wait.
    pub bodies: usize,
    /// How long a body may take, and how long an answer.
    pub request_time: Duration,
    /// Answers that are made of the store at once; others wait.
    pub reading: usize,
    /// Requests a second that a key may write with; as many may come at once.
    pub rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            headers: 32 << 10,
            header_time: Duration::from_secs(20),
            silence: Duration::from_secs(15),
            body: 16 << 20,
            bodies: 64 << 20,
            request_time: Duration::from_secs(60),
            reading: 8,
            rate: 10_000,
        }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What is sent could be read on its way.
    #[error(
        "{address}: expected a certificate (--cert and --key) where others can connect, found none; --insecure does without, and whoever \
         sees the network sees the numbers and the keys"
    )]
    Open {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Everybody could read.
    #[error(
        "{address}: --no-token: expected an address of loopback, found one where others can connect"
    )]
    NoToken {
        /// Where to listen.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("{address}: {source}")]
    Bind {
        /// Where to listen.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There can be no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be written.
    #[error(transparent)]
    Gateway(StoreError),
    /// Without random bits nobody can be let in.
    #[error("the system gives no random bits, of which a token is made")]
    NoRandomness,
    /// The system has no room for a server.
    #[error("the server cannot run: {0}")]
    Run(#[source] io::Error),
}

impl From<NoRandomness> for ServeError {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::NoRandomness
    }
}

impl Options {
    /// A store on loopback, as `grpo-metrics serve` has it: with a token, without a gateway, at any port that is free.
    #[must_use]
    pub fn of(store: PathBuf) -> Self {
        Self {
            store,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            host_names: Vec::new(),
            token: true,
            certificate: None,
            insecure: false,
            gateway: false,
            limits: Limits::default(),
        }
    }

    /// Whether it is as safe as it has to be.
    fn check(&self) -> Result<(), ServeError> {
        let address = self.address;
        if address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if !self.token {
            return Err(ServeError::NoToken { address });
        }
        if self.certificate.is_none() && !self.insecure {
            return Err(ServeError::Open { address });
        }
        Ok(())
    }
}
