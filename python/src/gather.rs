//! A Python object as a gather.

use std::fmt;

use grpo_metrics::gather::{Answer, Gather, GatherError, Part, Silence};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::column::kind_of;
use crate::error;
use crate::interruption::Noted;

/// Hands every rank's bytes to an object's `gather(payload) -> list[bytes | str | None] | None`: one a rank at rank 0, where a
/// text is why a rank is not heard and `None` stands for one that has ended; `None` everywhere else.
pub struct PythonGather {
    object: Py<PyAny>,
    kind: String,
    rank: u32,
    world_size: u32,
}

impl PythonGather {
    /// # Errors
    /// If the object has no `rank`, `world_size` or `gather`.
    pub fn over(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let kind = kind_of(object);
        let refuse = |_| {
            error::option(format!(
                "`gather`: expected an object with `rank`, `world_size` and `gather(payload)`, found {kind}"
            ))
        };
        let number = |name| {
            object
                .getattr(name)
                .and_then(|number| number.extract::<u32>())
                .noted()
        };
        let rank = number("rank").map_err(refuse)?;
        let world_size = number("world_size").map_err(refuse)?;
        object.getattr("gather").noted().map_err(refuse)?;
        if rank >= world_size {
            return Err(error::option(format!(
                "`gather`: expected a rank less than the {world_size} of `world_size`, found {rank}"
            )));
        }
        Ok(Self {
            object: object.clone().unbind(),
            kind,
            rank,
            world_size,
        })
    }

    fn call(&self, payload: &[u8]) -> PyResult<Option<Vec<Answer>>> {
        Python::attach(|py| {
            let payload = PyBytes::new(py, payload);
            let gathered = self.object.bind(py).call_method1("gather", (payload,))?;
            if self.rank != 0 {
                return Ok(None);
            }
            let parts: Vec<Option<Said>> = gathered.extract()?;
            if parts.len() != self.world_size as usize {
                return Err(error::step(format!(
                    "expected the bytes of {} ranks, found those of {}",
                    self.world_size,
                    parts.len()
                )));
            }
            let others = (0..).zip(parts).skip(1);
            Ok(Some(
                others.map(|(rank, part)| answer(rank, part)).collect(),
            ))
        })
    }
}

/// What a rank has said, or why it is not heard.
#[derive(FromPyObject)]
enum Said {
    Reason(String),
    Bytes(Vec<u8>),
}

fn answer(rank: u32, part: Option<Said>) -> Answer {
    match part {
        Some(Said::Bytes(bytes)) => Answer::of(rank, bytes),
        Some(Said::Reason(why)) => {
            let failed = Part::failed(rank, why).write();
            Answer::of(rank, failed.unwrap_or_default())
        }
        None => Answer {
            rank,
            behind: 0..0,
            bytes: Err(Silence::Gone),
        },
    }
}

impl fmt::Debug for PythonGather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonGather").field(&self.kind).finish()
    }
}

impl Gather for PythonGather {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn world_size(&self) -> u32 {
        self.world_size
    }

    fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        // What the root holds does not travel.
        let payload = match self.rank {
            0 => Vec::new(),
            _ => part(Vec::new()),
        };
        self.call(&payload)
            .noted()
            .map_err(|error| GatherError::Other {
                rank: self.rank,
                reason: format!("{}: {error}", self.kind),
            })
    }
}
