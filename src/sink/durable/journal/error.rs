//! What can be wrong with a journal.

use std::io;

/// What can be wrong with a journal. It is told in the name of the sink that keeps one, `durable`.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk, or the system, refused.
    #[error("durable: could not {act} the journal {dir}: {source}")]
    Io {
        act: &'static str,
        dir: String,
        source: io::Error,
    },
    /// Its path is empty, which would be the current folder.
    #[error("durable: expected the folder of a journal, found an empty path")]
    Nowhere,
    /// Another engine is using it, in this process or another.
    #[error(
        "durable: expected the journal {dir} for this process alone, found it in use by process {owner}"
    )]
    InUse { dir: String, owner: String },
    /// A newer version of this program wrote it.
    #[error(
        "{path}: expected a journal of version {known} or older, found version {found}: a newer grpo-metrics wrote it"
    )]
    Newer {
        path: String,
        found: u32,
        known: u32,
    },
    /// Entries do not read as they were written; they are dropped.
    #[error(
        "durable: expected whole entries in the journal {dir}, found {rows} that are damaged or gone"
    )]
    Damaged { dir: String, rows: u64 },
}
