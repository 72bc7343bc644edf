//! Why a request is not done, as the client hears it: without a path of this machine.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use rusqlite::ErrorCode;

use crate::serve::answer::{Answer, refusal};
use crate::store::StoreError;

/// Seconds after which it is worth asking again.
const AGAIN: u32 = 1;

/// Why a request is not done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("expected {{\"op\": NAME, \"args\": {{...}}}}, found {found}")]
    Body { found: String },
    #[error("expected an operation, found `{op}`; {closest}")]
    UnknownOp { op: String, closest: String },
    #[error("`{op}` is not there yet: this gateway keeps no data sets and no benchmarks")]
    NotThere { op: String },
    #[error("{op}: `{arg}`: expected {expected}, found {found}")]
    Arg {
        op: &'static str,
        arg: String,
        expected: &'static str,
        found: String,
    },
    #[error("expected {what}, found no such record")]
    NoSuch { what: String },
    #[error("the record cannot be stored: {reason}")]
    Unfit { reason: String },
    #[error("more is waiting to be stored than there is room for; ask again in {AGAIN} s")]
    Behind,
    #[error("more is being read than there are hands for; ask again in {AGAIN} s")]
    Busy,
    #[error("the disk of the store is full: nothing of this was stored")]
    Full,
    #[error(
        "another program is writing to the store and does not make way: nothing of this was stored"
    )]
    Locked,
    #[error("the store cannot be written now: nothing of this was stored")]
    Unwritable,
    #[error("the store cannot be read now")]
    Unreadable,
    #[error("stored, but not known to be on the disk")]
    Unsynced,
    #[error("the gateway is ending: nothing of this was stored")]
    Ended,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body { .. } | Self::UnknownOp { .. } | Self::Arg { .. } | Self::Unfit { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::NotThere { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::NoSuch { .. } => StatusCode::NOT_FOUND,
            Self::Behind | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Locked | Self::Unwritable | Self::Unreadable | Self::Ended => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unsynced => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether it is the store's trouble, and nothing that the request could do better.
    pub fn is_of_the_store(&self) -> bool {
        self.status().is_server_error() && !matches!(self, Self::NotThere { .. })
    }

    pub fn answer(self) -> Answer {
        let status = self.status();
        let mut answer = refusal(status, &self.to_string());
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = answer.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN));
        }
        answer
    }

    /// Of a store that could not be read.
    pub fn reading(error: &StoreError) -> Self {
        tracing::warn!("a question to the gateway has no answer: {error}");
        Self::Unreadable
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown { what } => Self::NoSuch { what },
            StoreError::Unfit { reason, .. } => Self::Unfit { reason },
            StoreError::Backend { ref source, .. } => {
                tracing::warn!("the gateway could not write: {error}");
                let code = source.downcast_ref::<rusqlite::Error>();
                match code.and_then(rusqlite::Error::sqlite_error_code) {
                    Some(ErrorCode::DiskFull) => Self::Full,
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
                    _ => Self::Unwritable,
                }
            }
            error @ (StoreError::Step { .. } | StoreError::Damaged { .. }) => Self::Unfit {
                reason: error.to_string(),
            },
            error => {
                tracing::warn!("the gateway could not write: {error}");
                Self::Unwritable
            }
        }
    }
}
