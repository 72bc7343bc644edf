//! From the ranks to the root: one collective a step, whatever the ranks hold.
//!
//! A [`Gather`] moves bytes and knows nothing of what is in them; [`Part`] is what the engine sends through it. A rank that has
//! failed sends why instead of a shard, a rank that does not answer in time is named by the one that waited for it. So a
//! step ends on every rank.

mod alone;
#[cfg(feature = "mpi")]
mod mpi;
mod part;
mod threads;
mod tree;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
pub use alone::Alone;
pub use part::Part;
pub use threads::Threads;
pub use tree::TreeShape;

/// Why a rank is not heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It was waited for this long.
    Late(Duration),
    /// It has ended.
    Gone,
    /// It is at a later step.
    Ahead,
    /// It missed this step and those before it, so many in a row, and was no longer waited for.
    LeftOut {
        /// Steps in a row without it in time, this one among them.
        missed: u64,
    },
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(waited) => write!(f, "did not answer within {waited:?}"),
            Self::Gone => f.write_str("has ended"),
            Self::Ahead => f.write_str("had waited long enough and gone on to a later step"),
            Self::LeftOut { missed } => write!(
                f,
                "is left out until it is heard again: nothing of it came in time for {missed} steps"
            ),
        }
    }
}

/// What came of one rank that was to send its bytes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The rank that was to send.
    pub rank: u32,
    /// The ranks whose bytes `rank` has joined to its own; none where everyone sends to the root.
    pub behind: Range<u32>,
    /// What it sent, or why nothing of it is here.
    pub bytes: Result<Vec<u8>, Silence>,
}

impl Answer {
    /// The bytes of a rank that speaks for itself alone.
    #[must_use]
    pub fn of(rank: u32, bytes: Vec<u8>) -> Self {
        Self {
            rank,
            behind: 0..0,
            bytes: Ok(bytes),
        }
    }
}

/// A collective that brings the ranks' bytes to the root, rank 0.
///
/// `gather` is called once a step on every rank. `part` makes the bytes that this rank sends out of the answers it has
/// received itself. The simplest gather calls `part(Vec::new())` on every rank but the root, sends the bytes to the root
/// and returns there one [`Answer::of`] for each other rank. One that is a tree receives on the way too, and hands what
/// it has received to `part`, which joins it: the root's work then grows with the logarithm of the ranks. The root never
/// calls `part`: what it holds does not travel.
pub trait Gather: Send + fmt::Debug {
    /// This rank; 0 is the root.
    fn rank(&self) -> u32;

    /// How many ranks there are.
    fn world_size(&self) -> u32;

    /// Whether this rank is known to hold a copy of another's data: it is then not counted, as with
    /// [`EngineBuilder::replica`](crate::engine::EngineBuilder::replica).
    fn is_replica(&self) -> bool {
        false
    }

    /// The answers of the others at the root, in any order; `None` everywhere else.
    ///
    /// # Errors
    /// If this rank's bytes could not be handed on; the call ends in bounded time all the same.
    fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError>;
}

/// Why a rank's bytes have not been handed on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GatherError {
    /// The rank above this one did not take the part, so this one and those behind it are not heard.
    #[error("rank {rank}: rank {parent}, which was to take its part, {why}")]
    Parent {
        /// The rank that could not hand its part on: this one.
        rank: u32,
        /// The rank that was to take it.
        parent: u32,
        /// What became of the parent, such as "has ended".
        why: String,
    },
    /// The part is longer than one message may be. Nothing was sent.
    #[error("rank {rank}: expected a part of at most {most} bytes, found one of {found}")]
    Long {
        /// The rank whose part it is: this one.
        rank: u32,
        /// The most that one message holds, in bytes.
        most: usize,
        /// How long the part is, in bytes.
        found: usize,
    },
    /// For gathers outside of this crate.
    #[error("rank {rank}: {reason}")]
    Other {
        /// The rank whose bytes were not handed on.
        rank: u32,
        /// Why, in the gather's own words.
        reason: String,
    },
}
