//! Why a step has no row.

use std::collections::BTreeMap;

use thiserror::Error;

use super::options::OptionError;
use crate::batch::scalars::ClipRange;
use crate::gather::GatherError;
use crate::shard::{DetailError, MergeError, Thresholds};
use crate::summary::Summary;

/// Why a step has no row. The step's data is gone; the engine goes on with the next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Shards could not be joined: those of this step's ranks or micro-batches, or the step with those of its window.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A shard that was to be joined was counted without numbers that the rows have.
    #[error("{0}: count it with the `dialect` and `extended` of the engine")]
    Detail(#[from] DetailError),
    /// Of a shard that is read by itself: an engine has looked at its options before.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The step is not behind the one before it, and nobody has said that the training goes back.
    #[error(
        "step {step} {}, and is not counted: steps ascend (where the training goes back to a checkpoint, call `rewind` first)",
        if step == last { "has come twice".to_owned() } else { format!("comes after step {last}") }
    )]
    Order {
        /// The step that was to end.
        step: u64,
        /// The one that has ended last.
        last: u64,
    },
    /// Ranks failed or were not heard, and the engine's `policy` is to fail then
    /// ([`OnFailure::Fail`](crate::engine::OnFailure::Fail)).
    #[error("step {step}: {}", named(failures))]
    Ranks {
        /// The step that has no row.
        step: u64,
        /// The ranks that failed or were not heard, each with the reason.
        failures: BTreeMap<u32, String>,
    },
    /// The gather failed on this rank. On any but rank 0 its part was not handed on, and the step's row lacks it.
    #[error("step {step}: {source}")]
    Gather {
        /// The step that was gathered.
        step: u64,
        /// What the gather said.
        source: GatherError,
    },
    /// The process was forked from the one that made the engine, so it must not speak for that one's rank.
    #[error(
        "step {step}: process {owner} made the engine, and gathers its rank's steps: one that was forked from it makes another"
    )]
    Inherited {
        /// The step that was asked for.
        step: u64,
        /// The id of the process that made the engine.
        owner: u32,
    },
    /// Clipped tokens were counted against another range than the one that the step's snapshot has.
    #[error(
        "step {step}: tokens were counted against the clip range {counted}, but the controller's snapshot says {snapshot}: give the snapshot with the batches, or the range in the engine's options"
    )]
    ClipRange {
        /// The step that has no row.
        step: u64,
        /// The range that the tokens were counted against.
        counted: Box<ClipRange>,
        /// The range of the controller's snapshot.
        snapshot: Box<ClipRange>,
    },
}

/// What tokens were counted against must be what the step's snapshot says.
pub(super) fn check_range(
    summary: &Summary,
    counted: Option<Thresholds>,
) -> Result<(), EngineError> {
    let (
        Some(weighting),
        Some(Thresholds {
            clip_range: counted,
            ..
        }),
    ) = (&summary.weighting, counted)
    else {
        return Ok(());
    };
    let snapshot = weighting.clip_range();
    if snapshot == counted {
        return Ok(());
    }
    Err(EngineError::ClipRange {
        step: summary.step,
        counted: counted.into(),
        snapshot: snapshot.into(),
    })
}

/// The first few ranks with their reasons, and how many more there are.
fn named(failures: &BTreeMap<u32, String>) -> String {
    const NAMED: usize = 8;
    let named: Vec<String> = failures
        .iter()
        .take(NAMED)
        .map(|(rank, reason)| format!("rank {rank}: {reason}"))
        .collect();
    let more = match failures.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} ranks more"),
    };
    named.join("; ") + &more
}
