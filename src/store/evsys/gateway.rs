//! The HTTP of the gateway: one endpoint, tried until it answers or there is no sense in it.

mod answer;
mod fault;
mod proxy;
mod redirect;
mod retry_after;
mod secret;
mod signing;

use std::fmt;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use serde_json::{Map, Value, json};
use ureq::http::{Response, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, Timeout};

use crate::limits;
use crate::sink::chance;
pub(super) use answer::{Answer, Done, Entries, Entry};
use answer::{Kept, Whole};
pub(super) use fault::{Again, Fault};
use retry_after::retry_after;
pub(super) use secret::Secret;
use signing::Signing;

/// The path of the one endpoint.
const ENDPOINT: &str = "/api/dashboard/api/sdk/data/";
/// How much of a refusal's text is kept.
const TEXT: usize = 300;
/// The most that is read of a refusal, and kept of an answer that is none.
const REFUSAL_BYTES: usize = 1 << 16;
/// How often a request is sent on.
const REDIRECTS: usize = 5;

/// How long an [`EvSys`](super::EvSys) waits, and how often it tries again.
#[derive(Clone, Debug, PartialEq)]
pub struct Patience {
    /// For a connection; 5 s.
    pub connect: Duration,
    /// For a whole answer, with the connection; 15 s.
    pub answer: Duration,
    /// Tries after the first; 4. Behind a [`Durable`](crate::sink::Durable) sink rows are tried on without end.
    pub retries: usize,
    /// The wait after a first failure, which doubles (with jitter) up to the second: 200 ms, 5 s.
    pub backoff: (Duration, Duration),
    /// The longest `Retry-After` that is waited for; 60 s.
    pub retry_after: Duration,
    /// How long a request may be under way after the process that made it died: the first row of a run that another process made,
    /// and that the server has not, is asked for again after this; 1 s.
    pub under_way: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            retries: 4,
            backoff: (Duration::from_millis(200), Duration::from_secs(5)),
            retry_after: Duration::from_secs(60),
            under_way: Duration::from_secs(1),
        }
    }
}

pub(super) struct Gateway {
    agent: Agent,
    endpoint: String,
    /// Where the endpoint is for good, as it said itself.
    moved: OnceLock<String>,
    /// The endpoint's base, without what a URL may have of a user's name and password.
    pub(super) place: String,
    key: Secret,
    pub(super) patience: Patience,
    roots: RootCerts,
}

impl Gateway {
    pub(super) fn new(base: &str, key: Secret) -> Self {
        let patience = Patience::default();
        let base = base.trim_end_matches('/');
        let roots = RootCerts::WebPki;
        let endpoint = format!("{base}{ENDPOINT}");
        Self {
            agent: agent(&endpoint, &key, &patience, &roots),
            endpoint,
            moved: OnceLock::new(),
            place: key.scrub(&without_user(base)),
            key,
            patience,
            roots,
        }
    }

    pub(super) fn with(self, patience: Patience) -> Self {
        Self {
            agent: agent(&self.endpoint, &self.key, &patience, &self.roots),
            patience,
            ..self
        }
    }

    /// Believes these authorities and no others.
    pub(super) fn trusting(self, roots: RootCerts) -> Self {
        Self {
            agent: agent(&self.endpoint, &self.key, &self.patience, &roots),
            roots,
            ..self
        }
    }

    /// Whether the key crosses a network that others can read.
    pub(super) fn in_the_clear(&self) -> bool {
        let Ok(url) = self.endpoint.parse::<Uri>() else {
            return true;
        };
        url.scheme_str() != Some("https") && !proxy::host(&url).is_some_and(proxy::is_here)
    }

    pub(super) fn scrub(&self, text: &str) -> String {
        self.key.scrub(text)
    }

    /// Asks for `op`, again and again while there is sense in it; its result.
    pub(super) fn call<T: Answer>(
        &self,
        op: &str,
        args: &Map<String, Value>,
        again: Again,
    ) -> Result<T, Fault> {
        let mut waits = self.waits();
        loop {
            let fault = match self.once(op, args) {
                Ok(result) => return Ok(result),
                Err(fault) => fault,
            };
            if again == Again::IfNotDone && fault.maybe_done() {
                return Err(fault);
            }
            self.wait(op, fault, &mut waits)?;
        }
    }

    /// The waits between the tries of one request.
    pub(super) fn waits(&self) -> ExponentialBackoff {
        let (first, longest) = self.patience.backoff;
        ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_max_times(self.patience.retries)
            .with_jitter()
            // Left to itself, it is the same in every process.
            .with_jitter_seed(chance())
            .build()
    }

    /// Waits before the next try, for as long as the server asked; gives the fault back if there is to be none.
    pub(super) fn wait(
        &self,
        op: &str,
        fault: Fault,
        waits: &mut ExponentialBackoff,
    ) -> Result<(), Fault> {
        let delay = waits.next().filter(|_| fault.is_transient());
        let Some(delay) = delay else {
            return Err(fault);
        };
        let asked = match &fault {
            Fault::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            Fault::Redirected { .. } | Fault::Unanswered { .. } => Duration::ZERO,
        };
        let delay = delay.max(asked.min(self.patience.retry_after));
        tracing::debug!("{}: {op}: {fault}; again in {delay:?}", self.place);
        thread::sleep(delay);
        Ok(())
    }

    /// Waits for what another process may have under way.
    pub(super) fn await_others(&self) {
        thread::sleep(self.patience.under_way);
    }

    /// Asks for `op` once, wherever the endpoint has moved on its host.
    pub(super) fn once<T: Answer>(&self, op: &str, args: &Map<String, Value>) -> Result<T, Fault> {
        let body = json!({"op": op, "args": args}).to_string();
        let mut url = self.moved.get().unwrap_or(&self.endpoint).clone();
        let mut for_good = true;
        let mut redirects = 0;
        loop {
            let answer = self.post(&url, &body)?;
            let status = answer.status().as_u16();
            match status {
                200..300 => {
                    let result = self.result(answer, body.len())?;
                    if redirects > 0 && for_good {
                        self.stay_at(url);
                    }
                    return Ok(result);
                }
                300..400 => {
                    url = self.onward(&url, &answer, redirects)?;
                    for_good &= matches!(status, 301 | 308);
                    redirects += 1;
                }
                _ => return Err(self.refused(answer)),
            }
        }
    }

    fn post(&self, url: &str, body: &str) -> Result<Response<Body>, Fault> {
        let request = self
            .agent
            .post(url)
            .header(header::AUTHORIZATION, signing::stars(&self.key))
            .content_type("application/json");
        let answer = request.send(body.as_bytes());
        answer.map_err(|error| self.unanswered(&error))
    }

    /// Where the same request goes next: to the same host behind TLS, or nowhere.
    fn onward(&self, url: &str, answer: &Response<Body>, before: usize) -> Result<String, Fault> {
        let status = answer.status().as_u16();
        let location = answer.headers().get(header::LOCATION);
        let to = location
            .and_then(|value| value.to_str().ok())
            .map(|value| redirect::absolute(url, value));
        match to {
            Some(to)
                if matches!(status, 301 | 302 | 307 | 308)
                    && before < REDIRECTS
                    && redirect::same_host_behind_tls(&self.endpoint, &to) =>
            {
                Ok(to)
            }
            to => Err(Fault::Redirected {
                status,
                to: to.map_or_else(
                    || "nowhere".to_owned(),
                    |to| self.short(without_user(&to).as_bytes()),
                ),
            }),
        }
    }

    /// From now on the endpoint is asked where it is: the first of two ways may be one that others can read.
    fn stay_at(&self, url: String) {
        let to = self.short(url.as_bytes());
        if self.moved.set(url).is_ok() {
            tracing::warn!("{}: it has moved to {to}; name that address", self.place);
        }
    }

    fn refused(&self, answer: Response<Body>) -> Fault {
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        Fault::Status {
            status: answer.status().as_u16(),
            text: self.refusal(answer),
            retry_after,
        }
    }

    /// Reads an answer to a request of so many bytes.
    fn result<T: Answer>(&self, mut answer: Response<Body>, asked: usize) -> Result<T, Fault> {
        let limited = answer.body_mut().with_config().limit(T::most(asked));
        let mut body = Kept::new(limited.reader(), REFUSAL_BYTES);
        let error = match serde_json::from_reader(BufReader::new(&mut body)) {
            Ok(Whole { result }) => return Ok(result),
            Err(error) => error,
        };
        if error.is_io() {
            return Err(self.unanswered(&io::Error::from(error).into()));
        }
        Err(Fault::Unanswered {
            sent: true,
            reason: format!(
                "expected an answer {{\"result\": ...}}, found {:?}",
                self.short(body.beginning())
            ),
        })
    }

    fn refusal(&self, mut answer: Response<Body>) -> String {
        let limited = answer.body_mut().with_config().limit(REFUSAL_BYTES as u64);
        let text = limited.read_to_vec().unwrap_or_default();
        self.short(&text)
    }

    /// The beginning of a text of the server's. What it echoes of the key goes before the text is cut, which could leave half.
    fn short(&self, text: &[u8]) -> String {
        let text = &text[..text.len().min(REFUSAL_BYTES)];
        let text = self.key.scrub(&String::from_utf8_lossy(text));
        text.trim().chars().take(TEXT).collect()
    }

    fn unanswered(&self, error: &ureq::Error) -> Fault {
        let never_sent = match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        Fault::Unanswered {
            sent: !never_sent,
            reason: self.key.scrub(&error.to_string()),
        }
    }
}

/// The certificates in a file; what it holds instead, if there is none.
pub(super) fn certificates(path: &Path) -> Result<RootCerts, String> {
    let text = limits::whole(path, limits::CERTIFICATES).map_err(|error| error.to_string())?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err("no certificate".to_owned());
    }
    Ok(certificates.into())
}

fn agent(endpoint: &str, key: &Secret, patience: &Patience, roots: &RootCerts) -> Agent {
    let tls = TlsConfig::builder().root_certs(roots.clone()).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy::proxy(endpoint))
        .timeout_connect(Some(patience.connect))
        .timeout_global(Some(patience.answer))
        // A refusal's text says why.
        .http_status_as_error(false)
        // Where the key may go is for `onward` to say.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("grpo-metrics/", env!("CARGO_PKG_VERSION")));
    let connector = DefaultConnector::default().chain(Signing(key.clone()));
    Agent::with_parts(config.build(), connector, DefaultResolver::default())
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("place", &self.place)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A URL without the user's name and password.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let key = Secret::new("k-123".to_owned()).unwrap();
        assert_eq!(format!("{key:?} {key:#?}"), "<key> <key>");
        assert_eq!(key.scrub("bad key k-123!k-123"), "bad key <key>!<key>");
        let gateway = Gateway::new("https://user:k-123@host:1/base/", key);
        assert_eq!(gateway.place, "https://host:1/base");
        assert!(!format!("{gateway:?}").contains("k-123"));
    }

    #[test]
    fn those_that_one_outage_has_stopped_do_not_come_back_in_step() {
        let key = || Secret::new("k".to_owned()).unwrap();
        let waits = || -> Vec<Duration> {
            let gateway = Gateway::new("http://localhost", key());
            gateway.waits().collect()
        };
        let first = waits();
        assert_eq!(first.len(), 4);
        assert!((0..4).all(|_| waits() != first), "{first:?}");
    }

    #[test]
    fn a_key_is_in_the_clear_only_to_another_machine_without_tls() {
        let clear = |base: &str| {
            let key = Secret::new("k".to_owned()).unwrap();
            Gateway::new(base, key).in_the_clear()
        };
        for open in [
            "http://evsys.example",
            "http://localhost.evil.invalid",
            "http://127.evil.invalid",
            "http://127.0.0.1@evil.invalid",
        ] {
            assert!(clear(open), "{open}");
        }
        for fine in [
            "https://evsys.example",
            "http://localhost:8000",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://me@localhost/base",
        ] {
            assert!(!clear(fine), "{fine}");
        }
    }
}
