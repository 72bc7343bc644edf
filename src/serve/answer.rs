//! What is answered: a status, a kind, a body, and the headers that every answer has.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::json;

/// An answer on its way out.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Html,
    Script,
    Style,
    Json,
    Text,
    /// Events as they come: `text/event-stream`.
    Events,
    /// Prometheus' text format, version 0.0.4.
    Exposition,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Events => "text/event-stream",
            Self::Exposition => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// An answer with a body that is there.
pub fn answer(status: StatusCode, kind: Kind, body: impl Into<Bytes>) -> Answer {
    streamed(status, kind, Full::new(body.into()).boxed_unsync())
}

/// An answer whose body is still to come.
pub fn streamed(status: StatusCode, kind: Kind, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let constant: [(HeaderName, &'static str); 7] = [
        (CONTENT_TYPE, kind.as_str()),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        // No page of another address takes it for its own, not even as an image.
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in constant {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    // What is no page runs nothing, whatever somebody makes of it.
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

/// Why there is nothing else to answer, for people and programs: no path of this machine stands in it.
pub fn refusal(status: StatusCode, why: &str) -> Answer {
    answer(status, Kind::Json, json!({ "error": why }).to_string())
}

/// Why something is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub why: String,
    /// After which time to come again.
    pub again: Option<Duration>,
}

impl Refused {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
            again: None,
        }
    }

    /// Who is refused because it came too often.
    pub fn too_often(why: impl Into<String>, again: Duration) -> Self {
        Self {
            again: Some(again),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, why)
        }
    }
}

impl Refused {
    /// For who reads it in a browser, where a page was meant to be.
    pub fn in_words(self) -> Answer {
        let words = answer(self.status, Kind::Text, format!("{}\n", self.why));
        self.with_headers(words)
    }

    fn with_headers(&self, mut answer: Answer) -> Answer {
        let headers = answer.headers_mut();
        if let Some(again) = self.again {
            // In whole seconds, of which none would be at once.
            let seconds = again.as_secs_f64().ceil().max(1.0);
            if let Ok(seconds) = HeaderValue::from_str(&format!("{seconds}")) {
                headers.insert(RETRY_AFTER, seconds);
            }
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            }
            _ => {}
        }
        answer
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        refused.with_headers(refusal(refused.status, &refused.why))
    }
}
