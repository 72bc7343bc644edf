//! Who may read and who may write.
//!
//! Whoever may read has a session, which a one-time token of the printed address became, or a key; whoever writes has a key, and no
//! session will do, as a browser sends its cookie for whoever asks it to. Secrets have 256 bits: they are not guessed, so that a right
//! one is taken however many wrong ones came before, and nobody can shut others out.

mod door;
mod origin;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;
use hyper::{StatusCode, Uri};

use super::answer::Refused;
use super::keys::{Keys, KeysError};
use super::rate::Rates;
use super::secret::NoRandomness;
use door::Door;
pub use door::Entered;
pub use origin::Hosts;

/// How many wrong secrets a second are told that they are wrong.
const WRONG: u32 = 10;

/// Who asks: from where, and which address of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub from: IpAddr,
    pub to: IpAddr,
}

#[derive(Debug)]
pub struct Access {
    hosts: Hosts,
    /// None where everybody may read.
    door: Option<Door>,
    keys: Arc<Keys>,
    /// Whether cookies are for TLS alone.
    is_tls: bool,
    wrong: Rates<IpAddr>,
}

impl Access {
    pub fn new(
        hosts: Hosts,
        keys: Keys,
        has_token: bool,
        is_tls: bool,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            hosts,
            door: has_token.then(Door::new).transpose()?,
            keys: Arc::new(keys),
            is_tls,
            wrong: Rates::of(WRONG),
        })
    }

    /// The token that the next browser comes in with.
    pub fn token(&self) -> Option<String> {
        self.door.as_ref().map(Door::token)
    }

    /// Whether somebody may ask at all: for a name that is this server's, and from no page but its own.
    ///
    /// # Errors
    /// If not.
    pub fn may_ask(&self, request: &Parts, peer: Peer) -> Result<(), Refused> {
        origin::checked(request, &self.hosts, peer.to)
    }

    /// Lets a browser in that has the token, or is in already.
    ///
    /// # Errors
    /// If it has neither.
    pub fn enter(&self, token: &str, request: &Parts, peer: Peer) -> Result<Entered, Refused> {
        let cookie = self.cookie(request);
        let Some(door) = &self.door else {
            return Ok(Entered::Already);
        };
        if let Some(entered) = door.enter(token, &cookie, &request.headers, self.is_tls) {
            return Ok(entered);
        }
        self.is_wrong(
            peer,
            "This address has been used, or is not whole. A fresh one is printed where `grpo-metrics serve` runs; a browser that was let \
             in before needs none.",
        )
    }

    /// Whether somebody may read.
    ///
    /// # Errors
    /// If not.
    pub async fn may_read(&self, request: &Parts, peer: Peer) -> Result<(), Refused> {
        let Some(door) = &self.door else {
            return Ok(());
        };
        if door.is_in(&self.cookie(request), &request.headers) {
            return Ok(());
        }
        if request.headers.contains_key(AUTHORIZATION) {
            return self.owner(request, peer).await.map(drop);
        }
        Err(Refused::new(
            StatusCode::UNAUTHORIZED,
            "this browser was not let in: open the address that `grpo-metrics serve` printed last, with its token; a program sends \
             `Authorization: Bearer` and a key",
        ))
    }

    /// Whose key it is that somebody sends.
    ///
    /// # Errors
    /// If there is none, or nobody's.
    pub async fn owner(&self, request: &Parts, peer: Peer) -> Result<String, Refused> {
        let Some(key) = bearer(&request.headers) else {
            return Err(Refused::new(
                StatusCode::UNAUTHORIZED,
                "expected `Authorization: Bearer` and a key of `grpo-metrics serve key new`, found none",
            ));
        };
        let keys = Arc::clone(&self.keys);
        let key = key.to_owned();
        // The file may lie on a disk that answers late.
        let asked = tokio::task::spawn_blocking(move || keys.owner(&key)).await;
        match asked {
            Ok(Ok(Some(owner))) => Ok(owner),
            Ok(Ok(None)) => self.is_wrong(peer, "this key is not known here, or no longer"),
            Ok(Err(error)) => {
                tracing::warn!("no key can be looked up: {error}");
                Err(unreadable(&error))
            }
            Err(_) => Err(Refused::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "looking the key up went wrong",
            )),
        }
    }

    fn is_wrong<T>(&self, peer: Peer, why: &str) -> Result<T, Refused> {
        Err(match self.wrong.take(peer.from, Instant::now()) {
            Ok(()) => Refused::new(StatusCode::UNAUTHORIZED, why),
            Err(again) => Refused::too_often("too many wrong secrets", again),
        })
    }

    /// What the cookie is called. Cookies are shared by all ports of a host: two servers, or one through `ssh -L`, are told apart by
    /// the port that the browser sees.
    fn cookie(&self, request: &Parts) -> String {
        let port = origin::host(&request.headers).and_then(|host| host.port_u16());
        let port = port.unwrap_or(if self.is_tls { 443 } else { 80 });
        // Of this name a browser takes none that is not for TLS and this very host.
        let prefix = if self.is_tls { "__Host-" } else { "" };
        format!("{prefix}grpo-metrics-{port}")
    }
}

fn unreadable(error: &KeysError) -> Refused {
    // Its own words have the path.
    let _ = error;
    Refused::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the file of keys cannot be read: where the server runs it is said why",
    )
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let said = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = said.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim())
        .filter(|key| !key.is_empty())
}

/// The token that an address has.
pub fn token(uri: &Uri) -> Option<String> {
    let query = super::query::Query::of(uri.query()?);
    query.first("token").map(str::to_owned)
}
