//! The thread that brings the journal to the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::after;
use super::journal::{self, Extent};
use super::shared::{Shared, wait};
use crate::row::Row;

/// Brings the journal to the disk every `interval`, while there are rows in it that are not delivered.
pub(super) fn sync_every(interval: Duration, dir: &Path, shared: &Shared<Row>) {
    let mut synced = None;
    let mut state = shared.lock();
    loop {
        let until = after(interval);
        while Instant::now() < until && !state.ended && state.deadline.is_none() {
            state = wait(&shared.progress, state, Some(until));
        }
        if state.ended || state.deadline.is_some() {
            return;
        }
        let extent = state.extent;
        if state.pending() == 0 || synced == Some(extent) {
            continue;
        }
        let since = synced.map_or(0, |extent: Extent| extent.segment);
        let segments: Vec<u64> = state
            .segments
            .iter()
            .copied()
            .filter(|first| *first >= since)
            .collect();
        drop(state);
        let outcome = segments
            .into_iter()
            .try_for_each(|first| journal::sync(dir, first));
        state = shared.lock();
        match outcome {
            Ok(()) => synced = Some(extent),
            Err(error) => {
                let error = journal::io_error("flush", dir)(error).to_string();
                tracing::warn!("{error}");
                state.error = Some(error);
            }
        }
    }
}
