//! What can come of a request but its result.

use std::time::Duration;

/// Why the gateway did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::store::evsys) enum Fault {
    /// It said so.
    #[error("status {status}: {text}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// It pointed elsewhere, where the key does not go.
    #[error(
        "status {status}: it points to {to}, where the key does not go: name the gateway's own address"
    )]
    Redirected { status: u16, to: String },
    /// It said nothing that can be understood; it may have done it nevertheless if the request was sent.
    #[error("{reason}")]
    Unanswered { sent: bool, reason: String },
}

impl Fault {
    /// Whether the same request may fare better later.
    pub(in crate::store::evsys) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => Self::is_passing(*status),
            // Somebody will put the way right.
            Self::Redirected { .. } | Self::Unanswered { .. } => true,
        }
    }

    /// Whether a status is a no for now: request time-out, too early, too many requests, or the server's own trouble.
    pub(in crate::store::evsys) fn is_passing(status: u16) -> bool {
        matches!(status, 408 | 425 | 429 | 500..)
    }

    /// Whether it may be that the server does not know an argument: a no for good, and not to the key, the run or the length.
    pub(in crate::store::evsys) fn may_be_of_an_argument(&self) -> bool {
        let of_others = [401, 403, 404, 413];
        match self {
            Self::Status { status, .. } => {
                (400..500).contains(status)
                    && !Self::is_passing(*status)
                    && !of_others.contains(status)
            }
            Self::Redirected { .. } | Self::Unanswered { .. } => false,
        }
    }

    /// Whether the request may have been carried out all the same.
    pub(in crate::store::evsys) fn maybe_done(&self) -> bool {
        match self {
            // A server that says it is unavailable has not begun.
            Self::Status { status, .. } => *status >= 500 && *status != 503,
            // `See Other`: the outcome is elsewhere, so there is one.
            Self::Redirected { status, .. } => *status == 303,
            Self::Unanswered { sent, .. } => *sent,
        }
    }
}

/// Whether a request may be made twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store::evsys) enum Again {
    /// Twice is as once.
    Always,
    /// Twice would be two records.
    IfNotDone,
}
