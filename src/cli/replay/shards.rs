//! Each rank's shard of each step, as a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shard::{MergeError, Shard};
use crate::wire::{self, WireError};

/// Why a shard has no file.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    #[error("{}: cannot write it: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// A folder of shards, and those of the step that is not over.
pub(super) struct Shards {
    folder: PathBuf,
    of_ranks: BTreeMap<u32, Shard>,
}

impl Shards {
    /// A folder, made if need be.
    pub fn open(folder: &Path) -> Result<Self, ShardsError> {
        fs::create_dir_all(folder).map_err(|source| ShardsError::Write {
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            of_ranks: BTreeMap::new(),
        })
    }

    /// Takes in a record's shard.
    pub fn add(&mut self, rank: u32, shard: Shard) -> Result<(), ShardsError> {
        Ok(self.of_ranks.entry(rank).or_default().merge(shard)?)
    }

    /// Ends the step: a file a rank.
    pub fn write(&mut self, step: u64) -> Result<(), ShardsError> {
        for (rank, mut shard) in std::mem::take(&mut self.of_ranks) {
            shard.assign(step)?;
            let path = self.folder.join(format!("step-{step}.rank-{rank}.shard"));
            let bytes = wire::write(&shard)?;
            fs::write(&path, bytes).map_err(|source| ShardsError::Write { path, source })?;
        }
        Ok(())
    }
}
