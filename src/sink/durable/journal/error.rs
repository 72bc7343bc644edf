//! What can be wrong with a journal.

use std::io;

/// What can be wrong with a journal. It is told in the name of the sink that keeps one, `durable`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk, or the system, refused.
    #[error("durable: could not {act} the journal {dir}: {source}")]
    Io {
        /// What was tried, as a verb: `make`, `lock`, `write to`, ...
        act: &'static str,
        /// The journal's folder.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its path is empty, which would be the current folder.
    #[error("durable: expected the folder of a journal, found an empty path")]
    Nowhere,
    /// Another engine is using it, in this process or another.
    #[error(
        "durable: expected the journal {dir} for this process alone, found it in use by process {owner}"
    )]
    InUse {
        /// The journal's folder.
        dir: String,
        /// The id of the process that has the lock, as far as its lock file says.
        owner: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{path}: expected a journal of version {known} or older, found version {found}: a newer grpo-metrics wrote it"
    )]
    Newer {
        /// The part of the journal that was looked at: a file in its folder.
        path: String,
        /// The version that its header has.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// Entries do not read as they were written; they are dropped.
    #[error(
        "durable: expected whole entries in the journal {dir}, found {rows} that are damaged or gone"
    )]
    Damaged {
        /// The journal's folder; empty for a queue in memory.
        dir: String,
        /// How many rows are lost by it.
        rows: u64,
    },
}
