//! Why keys cannot be read or changed.

use std::fmt::Write as _;
use std::io;

use crate::sink::one_line;

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file is there, and cannot be read.
    #[error("{path}: the keys cannot be read: {source}")]
    Read {
        /// The file of keys.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file says something else.
    #[error("{path}: expected a list of keys as `serve key new` writes it, found {found}")]
    Damaged {
        /// The file of keys.
        path: String,
        /// What is wrong with it.
        found: String,
    },
    /// The file cannot be written.
    #[error("{path}: the keys cannot be written: {source}")]
    Write {
        /// The file of keys.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A key's name says who has it.
    #[error("expected a name of 1 to 100 characters in one line, found {found}")]
    Name {
        /// What was given.
        found: String,
    },
    /// There is a key of that name.
    #[error("there is a key `{name}` already: `serve key rm {name}` revokes it")]
    Taken {
        /// The name.
        name: String,
    },
    /// There is no key of that name.
    #[error("there is no key `{name}`{}", listed(.names))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// Without random bits no key can be made.
    #[error("the system gives no random bits, of which a key is made")]
    NoRandomness,
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return ": there is none at all".to_owned();
    }
    let mut text = "; there are ".to_owned();
    for (nth, name) in names.iter().take(10).enumerate() {
        let comma = if nth == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}`{}`", one_line(name));
    }
    if names.len() > 10 {
        let _ = write!(text, " and {} more", names.len() - 10);
    }
    text
}
