//! `--key`, in every verb that has it.

use super::say::complain;
use crate::reading::{KeyError, Keys};
use crate::sink::one_line;

/// What stands before each pattern.
const OPTION: &str = "--key ";

/// The keys that are meant.
///
/// # Errors
/// If one is no pattern.
pub fn keys(globs: &[String]) -> Result<Keys, KeyError> {
    Keys::of(OPTION, globs)
}

/// Says which patterns match nothing.
pub fn complain_of(idle: &[String]) {
    for glob in idle {
        complain(&one_line(&format!("note: {glob}: no key matches")));
    }
}
