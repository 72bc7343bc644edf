//! The row that a made-up record comes to: how the command finds out what keys stand on.

use tracing::subscriber::{NoSubscriber, with_default};

use crate::dialect::Dialect;
use crate::engine::Engine;
use crate::recording::Record;
use crate::row::Metrics;

/// The row of a step that has this record alone; nothing is said of its health, which nobody has.
pub(super) fn probed(record: &Record, dialect: Dialect, extended: bool) -> Metrics {
    with_default(NoSubscriber::default(), || {
        let built = Engine::builder()
            .dialect(dialect)
            .extended(extended)
            .build();
        let mut engine = built.ok()?;
        engine.observe(&record.batch().ok()?).ok()?;
        Some(engine.step(record.step).ok()??.metrics)
    })
    .unwrap_or_default()
}
