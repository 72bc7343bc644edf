//! The processes of an MPI job.

use std::time::Duration;

use mpi::environment::Universe;
use mpi::topology::Communicator;

use super::RanksError;
use crate::gather::Mpi;

/// MPI, from its start to its end.
pub struct World(Universe);

impl World {
    pub fn start(deadline: Duration) -> Result<(Self, Mpi), RanksError> {
        let (universe, gather) = Mpi::start(deadline).ok_or(RanksError::Started)?;
        Ok((Self(universe), gather))
    }

    pub fn abort(&self, exit_code: u8) {
        self.0.world().abort(exit_code.into());
    }
}
