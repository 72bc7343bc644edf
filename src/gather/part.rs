//! What a rank has to say of a step.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::shard::{MergeError, Shard};
use crate::wire::{self, Kind, WireError};

/// What some ranks together have to say of a step: what their shards come to, and which ranks' are missing.
///
/// Parts merge in any order and always can: what goes wrong on the way is in the part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What the ranks' shards come to. Empty where no rank had one.
    pub shard: Shard,
    /// The ranks that `shard` knows nothing of, each with the reason.
    pub failures: BTreeMap<u32, String>,
    /// The first refusal to join two ranks' shards; `shard` then lacks one of them.
    pub conflict: Option<MergeError>,
}

impl Part {
    /// The part of a rank that has a shard, be it an empty one.
    #[must_use]
    pub fn of(shard: Shard) -> Self {
        Self {
            shard,
            ..Self::default()
        }
    }

    /// The part of a rank that has none.
    #[must_use]
    pub fn failed(rank: u32, reason: impl Into<String>) -> Self {
        Self {
            failures: BTreeMap::from([(rank, reason.into())]),
            ..Self::default()
        }
    }

    /// Takes in all that `other` has to say.
    pub fn merge(&mut self, mut other: Self) {
        self.failures.append(&mut other.failures);
        let refused = self.shard.merge(other.shard).err();
        self.conflict = self.conflict.take().or(other.conflict).or(refused);
    }

    /// This part and all that has been answered to it, read and merged pair by pair on all cores.
    #[must_use]
    pub fn join(self, answers: Vec<Answer>) -> Self {
        answers
            .into_par_iter()
            .map(Self::answered)
            .chain(rayon::iter::once(self))
            .reduce(Self::default, |mut left, right| {
                left.merge(right);
                left
            })
    }

    /// The part as bytes.
    ///
    /// # Errors
    /// As [`wire::write()`].
    pub fn write(&self) -> Result<Vec<u8>, WireError> {
        wire::seal(Kind::Part, self)
    }

    /// The part as bytes, or, if it cannot be written, the part of a rank that has failed for that reason.
    #[must_use]
    pub(crate) fn write_or_say_why(self, rank: u32) -> Vec<u8> {
        self.write()
            .or_else(|error| Self::failed(rank, error.to_string()).write())
            .unwrap_or_default()
    }

    /// The part that [`Part::write`] made these bytes of.
    ///
    /// # Errors
    /// As [`wire::read`].
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        wire::open(Kind::Part, bytes)
    }

    /// What was answered, or who is missing because of what.
    fn answered(answer: Answer) -> Self {
        let reason = match answer.bytes {
            Ok(bytes) => match Self::read(&bytes) {
                Ok(part) => return part,
                Err(error) => format!("sent what cannot be read: {error}"),
            },
            Err(silence) => silence.to_string(),
        };
        let rank = answer.rank;
        let behind = answer.behind.map(|other| {
            (
                other,
                format!("was to be heard through rank {rank}, which {reason}"),
            )
        });
        Self {
            failures: behind.chain([(rank, reason.clone())]).collect(),
            ..Self::default()
        }
    }
}
