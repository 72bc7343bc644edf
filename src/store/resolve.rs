//! Which store a training writes to.

use std::path::Path;

use super::{Store, StoreError};

/// The store to write to: `explicit`; else the embedded one at `embedded` if `EVSYS_OFFLINE` says so (1, true, yes, on); else the
/// `EvSys` gateway if there is an `EVSYS_API_KEY`; else the embedded one.
///
/// What the gateway refuses for good goes to a file beside the embedded store: `runs.db` has `runs.dead-letters.jsonl`.
///
/// # Errors
/// If the store cannot be opened, or this program was built without it: rows never go elsewhere than they were meant to.
pub fn resolve_store(
    explicit: Option<Box<dyn Store>>,
    environment: impl Fn(&str) -> Option<String>,
    embedded: impl AsRef<Path>,
) -> Result<Box<dyn Store>, StoreError> {
    if let Some(store) = explicit {
        return Ok(store);
    }
    let set = |name| environment(name).filter(|value| !value.trim().is_empty());
    let offline = set("EVSYS_OFFLINE").is_some_and(|word| is_yes(&word));
    if !offline && set("EVSYS_API_KEY").is_some() {
        gateway(environment, embedded.as_ref())
    } else {
        local(embedded.as_ref())
    }
}

fn is_yes(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    ["1", "true", "yes", "on"].contains(&word.as_str())
}

#[cfg(feature = "evsys")]
fn gateway(
    environment: impl Fn(&str) -> Option<String>,
    embedded: &Path,
) -> Result<Box<dyn Store>, StoreError> {
    let store = super::EvSys::from_env(environment)?;
    let dead_letters = embedded.with_extension("dead-letters.jsonl");
    Ok(Box::new(store.dead_letters(dead_letters)))
}

#[cfg(not(feature = "evsys"))]
fn gateway(_: impl Fn(&str) -> Option<String>, _: &Path) -> Result<Box<dyn Store>, StoreError> {
    Err(StoreError::NotBuilt {
        wanted: "EVSYS_API_KEY is set",
        feature: "evsys",
    })
}

#[cfg(feature = "sqlite")]
fn local(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(super::Sqlite::open(path)?))
}

#[cfg(not(feature = "sqlite"))]
fn local(_: &Path) -> Result<Box<dyn Store>, StoreError> {
    Err(StoreError::NotBuilt {
        wanted: "the embedded store is meant",
        feature: "sqlite",
    })
}
