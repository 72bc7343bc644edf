//! Why a step has no row.

use std::collections::BTreeMap;

use thiserror::Error;

use super::options::OptionError;
use crate::batch::scalars::ClipRange;
use crate::gather::GatherError;
use crate::shard::{MergeError, Thresholds};
use crate::summary::Summary;

/// Why a step has no row. The step's data is gone; the engine goes on with the next.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Of a shard that is read by itself: an engine has looked at its options before.
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("step {step}: {}", named(failures))]
    Ranks {
        step: u64,
        /// The ranks that failed or were not heard, each with the reason.
        failures: BTreeMap<u32, String>,
    },
    #[error("step {step}: {source}")]
    Gather { step: u64, source: GatherError },
    #[error(
        "step {step}: process {owner} made the engine, and gathers its rank's steps: one that was forked from it makes another"
    )]
    Inherited { step: u64, owner: u32 },
    #[error(
        "step {step}: tokens were counted against the clip range {counted}, but the controller's snapshot says {snapshot}: give the snapshot with the batches, or the range in the engine's options"
    )]
    ClipRange {
        step: u64,
        counted: ClipRange,
        snapshot: ClipRange,
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
        counted,
        snapshot,
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
