//! One rank, nothing to gather.

use super::{Answer, Gather, GatherError};

/// The gather of a process that is the only rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Gather for Alone {
    fn rank(&self) -> u32 {
        0
    }

    fn world_size(&self) -> u32 {
        1
    }

    fn gather(
        &mut self,
        _part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        Ok(Some(Vec::new()))
    }
}
