//! Why there is no answer, for who looks at the page: never with a path of this machine.

use hyper::StatusCode;

use crate::reading::FindError;
use crate::sink::one_line;
use crate::store::StoreError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no answer of this name.
    #[error("expected one of {}, found `{}`", known.join(", "), one_line(found))]
    NoAnswer {
        /// What was asked for.
        found: String,
        /// What can be asked for.
        known: &'static [&'static str],
    },
    /// The store has no run of this name.
    #[error("expected a run of this store, found `{}`{}", one_line(run), hint(closest.as_deref()))]
    NoRun {
        /// What was asked for.
        run: String,
        /// The run whose name is most like it, if any is.
        closest: Option<String>,
    },
    /// Several runs have this name.
    #[error("expected the id of a run, found `{}`, the name of {}", one_line(run), ids.iter().map(|id| format!("`{}`", one_line(id))).collect::<Vec<_>>().join(", "))]
    Several {
        /// What was asked for.
        run: String,
        /// The ids of the runs of that name, the oldest first.
        ids: Vec<String>,
    },
    /// The query asks for what cannot be.
    #[error("{name}: expected {expected}, found {}", found.as_ref().map_or("nothing".to_owned(), |found| format!("`{}`", shortened(found))))]
    Query {
        /// The parameter.
        name: &'static str,
        /// What it should be, in words.
        expected: String,
        /// What it is; `None` where it is not there.
        found: Option<String>,
    },
    /// There is no store for now.
    #[error("the store is not there: it is shown again as soon as it is")]
    Missing,
    /// There is something else in the place of the store.
    #[error("expected a store of runs, found {0}")]
    NotAStore(String),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Unread(String),
    /// What was read could not be written as JSON.
    #[error("the answer could not be written: {0}")]
    Unwritten(String),
}

impl ReadError {
    /// The status of the answer that says so.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoAnswer { .. } | Self::NoRun { .. } | Self::Several { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::Query { .. } => StatusCode::BAD_REQUEST,
            Self::Missing | Self::NotAStore(_) | Self::Unread(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unwritten(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

fn hint(closest: Option<&str>) -> String {
    closest.map_or(String::new(), |name| {
        format!(" (did you mean `{}`?)", one_line(name))
    })
}

/// Its beginning, on one line.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    let begin: String = text.chars().take(SHOWN).collect();
    let more = if begin.len() < text.len() { "..." } else { "" };
    one_line(&begin) + more
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::Missing,
            StoreError::NotAStore { found, .. } => Self::NotAStore(found),
            StoreError::Newer { found, known, .. } => Self::NotAStore(format!(
                "one of schema version {found}, and this program knows {known}"
            )),
            // A run that was removed since it was found.
            StoreError::Unknown { what } => Self::Unread(format!("it has no {what} any more")),
            StoreError::Backend { act, source, .. } => {
                let why = source.downcast_ref::<rusqlite::Error>();
                let why = why.and_then(rusqlite::Error::sqlite_error);
                let why = why.map(|error| rusqlite::ffi::code_to_str(error.extended_code));
                tracing::debug!("could not {act}: {source}");
                Self::Unread(why.map_or(format!("could not {act}"), |why| {
                    format!("could not {act}: {why}")
                }))
            }
            StoreError::Unfit { act, reason, .. } => {
                Self::Unread(format!("could not {act}: {reason}"))
            }
            error @ StoreError::Damaged { .. } => Self::Unread(error.to_string()),
            // Of those that no reading meets, some have the path.
            error => {
                tracing::debug!("{error}");
                Self::Unread("the server's log has why".to_owned())
            }
        }
    }
}

impl From<FindError> for ReadError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            FindError::NoRun { run, closest, .. } => Self::NoRun { run, closest },
            FindError::Several { run, ids, .. } => Self::Several { run, ids },
        }
    }
}
