//! Which answer a request gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH,
    LOCATION, SET_COOKIE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Limits;
use super::access::{self, Access, Entered, Peer};
use super::answer::{Answer, Kind, Refused, answer};
use super::ending::Ending;
use super::events::Events;
use super::gateway::Gateway;
use super::page;
use super::query::Query;
use super::rate::Rates;
use super::read::{ReadError, Reader};
use super::secret::Digest;

/// Where `EvSys`'s clients send what they have.
const GATEWAY: &str = "/api/dashboard/api/sdk/data/";

/// How much of a refused body is read, so that its sender hears why, and for how long.
const DRAINED: usize = 256 << 10;
const DRAINING: Duration = Duration::from_secs(1);

/// Bodies are counted by so many bytes.
const UNIT: usize = 1 << 10;

/// What answers are made of.
#[derive(Debug)]
pub struct Routes {
    pub access: Access,
    pub reader: Arc<Reader>,
    pub events: Events,
    /// None where nothing is written.
    pub gateway: Option<Gateway>,
    limits: Limits,
    /// How many read the store at once.
    reading: Arc<Semaphore>,
    /// How much of bodies is held at once.
    bodies: Semaphore,
    writing: Rates<String>,
    /// The address to print, without a token.
    base: String,
}

impl Routes {
    pub fn new(
        access: Access,
        reader: Reader,
        gateway: Option<Gateway>,
        limits: Limits,
        base: String,
    ) -> Self {
        Self {
            access,
            reader: Arc::new(reader),
            events: Events::new(limits.silence),
            gateway,
            reading: Arc::new(Semaphore::new(limits.reading.max(1))),
            bodies: Semaphore::new((limits.bodies.max(limits.body) / UNIT).max(1)),
            writing: Rates::of(limits.rate),
            limits,
            base,
        }
    }

    /// The address to open, with a token where one is needed.
    pub fn address(&self) -> String {
        match self.access.token() {
            Some(token) => format!("{}?token={token}", self.base),
            None => self.base.clone(),
        }
    }

    /// The answer to a request, whatever it is. `place` is kept as long as the answer goes on.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        ending: Ending,
        place: impl Send + 'static,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let answered = match head.method {
            Method::GET | Method::HEAD => self.read(&head, peer, ending, place).await,
            Method::POST => self.write(&head, body, peer).await,
            _ => self.refuse(&head, peer, None),
        };
        answered.unwrap_or_else(Answer::from)
    }

    async fn read(
        &self,
        head: &Parts,
        peer: Peer,
        ending: Ending,
        place: impl Send + 'static,
    ) -> Result<Answer, Refused> {
        self.access.may_ask(head, peer)?;
        let path = head.uri.path();
        match path {
            "/" => return self.index(head, peer),
            "/health" => return Ok(answer(StatusCode::OK, Kind::Json, r#"{"status":"ok"}"#)),
            _ => {}
        }
        if let Some((kind, bytes)) = path.strip_prefix("/assets/").and_then(page::asset) {
            return Ok(kept(head, answer(StatusCode::OK, kind, bytes), bytes));
        }
        let name = path.strip_prefix("/api/").map(str::to_owned);
        if name.is_none() && path != "/metrics" || path == GATEWAY {
            return self.refuse(head, peer, Some("GET"));
        }
        self.access.may_read(head, peer).await?;
        match name {
            None => {
                let text = |reader: &Reader| Ok(reader.exposition()?.into_bytes());
                self.asked(Kind::Exposition, text).await
            }
            Some(name) if name == "events" => {
                let last = head.headers.get("last-event-id");
                let last = last.and_then(|last| last.to_str().ok()).map(str::to_owned);
                self.events.listen(last, ending, place)
            }
            Some(name) => {
                let query = Query::of(head.uri.query().unwrap_or_default());
                self.asked(Kind::Json, move |reader| reader.answer(&name, &query))
                    .await
            }
        }
    }

    /// The page, which has no numbers in it: whoever may ask has it, and a browser with a token is let in on the way.
    fn index(&self, head: &Parts, peer: Peer) -> Result<Answer, Refused> {
        let token = access::token(&head.uri).filter(|_| head.method == Method::GET);
        let Some(token) = token else {
            let (document, policy) = page::index();
            let mut answer = answer(StatusCode::OK, Kind::Html, document.clone());
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            return Ok(kept(head, answer, &document));
        };
        let entered = match self.access.enter(&token, head, peer) {
            Ok(entered) => entered,
            Err(refused) => return Ok(refused.in_words()),
        };
        // Where the token is in no address bar and no history. Relative, as somebody may stand before this server.
        let mut answer = answer(StatusCode::SEE_OTHER, Kind::Text, Bytes::new());
        answer
            .headers_mut()
            .insert(LOCATION, HeaderValue::from_static("./"));
        if let Entered::Now { cookie } = entered {
            let cookie = HeaderValue::from_str(&cookie).map_err(|_| {
                Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the cookie is no header")
            })?;
            answer.headers_mut().insert(SET_COOKIE, cookie);
            tracing::info!(
                "a browser was let in; another one comes in by {}",
                self.address()
            );
        }
        Ok(answer)
    }

    /// What the reader makes of it, on a thread that may block.
    async fn asked(
        &self,
        kind: Kind,
        ask: impl FnOnce(&Reader) -> Result<Vec<u8>, ReadError> + Send + 'static,
    ) -> Result<Answer, Refused> {
        let late = |_| {
            let seconds = self.limits.request_time.as_secs();
            Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no answer was made within {seconds} s"),
            )
        };
        let wrong = || {
            Refused::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "making the answer went wrong: that is a fault of grpo-metrics",
            )
        };
        let made = async {
            let turn = Arc::clone(&self.reading).acquire_owned().await;
            let turn = turn.map_err(|_| wrong())?;
            let reader = Arc::clone(&self.reader);
            let made = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                ask(&reader)
            });
            made.await.map_err(|_| wrong())
        };
        match timeout(self.limits.request_time, made)
            .await
            .map_err(late)??
        {
            Ok(body) => Ok(answer(StatusCode::OK, kind, body)),
            Err(error) => Err(Refused::new(error.status(), error.to_string())),
        }
    }

    async fn write(&self, head: &Parts, body: Incoming, peer: Peer) -> Result<Answer, Refused> {
        match self.may_write(head, peer).await {
            Ok((gateway, owner)) => self.written(gateway, &owner, head, body).await,
            Err(refused) => {
                drain(body).await;
                Err(refused)
            }
        }
    }

    async fn may_write(&self, head: &Parts, peer: Peer) -> Result<(&Gateway, String), Refused> {
        self.access.may_ask(head, peer)?;
        if head.uri.path() != GATEWAY {
            return self.refuse(head, peer, Some("POST"));
        }
        let owner = self.access.owner(head, peer).await?;
        let Some(gateway) = &self.gateway else {
            return Err(Refused::new(
                StatusCode::NOT_FOUND,
                "nothing is written here: `grpo-metrics serve --gateway` takes rows",
            ));
        };
        let taken = self.writing.take(owner.clone(), Instant::now());
        taken.map_err(|again| {
            let rate = self.limits.rate;
            Refused::too_often(
                format!("more than {rate} requests a second with this key"),
                again,
            )
        })?;
        Ok((gateway, owner))
    }

    async fn written(
        &self,
        gateway: &Gateway,
        owner: &str,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, Refused> {
        let most = self.limits.body;
        let too_large = || {
            Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("expected a body of at most {most} bytes, found more"),
            )
        };
        let told = head.headers.get(CONTENT_LENGTH);
        let told = told.and_then(|told| told.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|told| told > most) {
            drain(body).await;
            return Err(too_large());
        }
        // As much is set aside for it as it says, or may have.
        let units = told.unwrap_or(most).div_ceil(UNIT).max(1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let read = async {
            let room = self.bodies.acquire_many(units).await;
            let read = Limited::new(body, most).collect().await;
            (room, read.map(http_body_util::Collected::to_bytes))
        };
        let read = timeout(self.limits.request_time, read).await;
        let (_room, read) = read.map_err(|_| {
            let seconds = self.limits.request_time.as_secs();
            Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {seconds} s"),
            )
        })?;
        let body = read.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return too_large();
            }
            Refused::new(
                StatusCode::BAD_REQUEST,
                "the body could not be read to its end",
            )
        })?;
        let answered = timeout(self.limits.request_time, gateway.answer(owner, body)).await;
        answered.map_err(|_| Refused {
            again: Some(Duration::from_secs(5)),
            ..Refused::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the store takes too long: what was sent may be stored or not",
            )
        })
    }

    /// What no path is for.
    fn refuse<T>(&self, head: &Parts, peer: Peer, method: Option<&str>) -> Result<T, Refused> {
        self.access.may_ask(head, peer)?;
        let Some(method) = method else {
            return Err(Refused::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "expected GET, HEAD or POST",
            ));
        };
        Err(Refused::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing to {method} at this path"),
        ))
    }
}

/// An answer that the browser may keep, and asks about before it shows it again.
fn kept(head: &Parts, mut answer: Answer, bytes: &[u8]) -> Answer {
    let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", Digest::of_bytes(bytes).hex())) else {
        return answer;
    };
    let has_it = head.headers.get(IF_NONE_MATCH) == Some(&tag);
    if has_it {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = http_body_util::Empty::new().boxed_unsync();
    }
    let headers = answer.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// Reads a little of what is not wanted: a connection that is closed over it may lose the answer on its way.
async fn drain(mut body: Incoming) {
    let read = async {
        let mut read = 0;
        while read < DRAINED && !body.is_end_stream() {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    };
    let _ = timeout(DRAINING, read).await;
}
