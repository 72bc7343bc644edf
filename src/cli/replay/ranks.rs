//! Which of a recording's ranks this process plays.

#[cfg(feature = "mpi")]
#[path = "ranks/mpi.rs"]
mod world;
#[cfg(not(feature = "mpi"))]
#[path = "ranks/without.rs"]
mod world;

use std::time::Duration;

use super::ReplayArgs;
use super::options::Gathering;
use crate::engine::{Engine, EngineBuilder};
use crate::gather::Gather;
use crate::recording::RecordRef;
use world::World;

/// Why there are no other ranks.
#[derive(Debug, thiserror::Error)]
#[allow(
    dead_code,
    reason = "with `mpi` and without it, other things can go wrong"
)]
pub enum RanksError {
    #[error("built without `mpi`: build with `--features mpi` for `--gather mpi`")]
    Without,
    #[error("expected to start MPI, found it started")]
    Started,
}

/// This process among those that replay together.
pub(super) struct Ranks {
    rank: u32,
    world_size: u32,
    world: Option<World>,
}

impl Ranks {
    /// This process, and an engine's builder that gathers from the others.
    pub fn of(args: &ReplayArgs) -> Result<(Self, EngineBuilder), RanksError> {
        let builder = Engine::builder().options(args.options.options.clone());
        if args.ranks.gather == Gathering::None {
            let alone = Self {
                rank: 0,
                world_size: 1,
                world: None,
            };
            return Ok((alone, builder));
        }
        let (world, gather) = World::start(Duration::from_secs_f64(args.ranks.deadline))?;
        let ranks = Self {
            rank: gather.rank(),
            world_size: gather.world_size(),
            world: Some(world),
        };
        Ok((ranks, builder.gather(gather)))
    }

    /// Whether the rows are here.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Whether there are other processes, which wait for this one.
    pub fn are_elsewhere(&self) -> bool {
        self.world_size > 1
    }

    /// The records that this process reads: its own rank's, and those of ranks that have no process of their own.
    pub fn own<'a>(
        &self,
        records: Vec<&'a RecordRef>,
    ) -> impl Iterator<Item = &'a RecordRef> + use<'a> {
        let (rank, world_size) = (self.rank, self.world_size);
        records
            .into_iter()
            .filter(move |record| record.place.rank % world_size == rank)
    }

    /// Ends all processes, who would else wait for this one.
    pub fn abort(&self, exit_code: u8) {
        if let Some(world) = self.world.as_ref().filter(|_| self.are_elsewhere()) {
            world.abort(exit_code);
        }
    }
}
