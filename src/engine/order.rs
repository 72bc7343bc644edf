//! Steps ascend, unless somebody says that the training goes back.

use super::{Engine, EngineError};
use crate::row::Row;
use crate::row::window::MeanWindow;
use crate::shard::Shard;

impl Engine {
    /// Why a step cannot end now, if it is not behind the one before it.
    pub(super) fn out_of_order(&self, step: u64) -> Option<EngineError> {
        let last = self.ended.filter(|last| step <= *last)?;
        Some(EngineError::Order { step, last })
    }

    /// Ends a step of which this rank cannot even say which it is: it has no part in it, as after [`Engine::fail`], and where there are
    /// other ranks they do not wait for it. Alone, nothing happens.
    pub fn sit_out(&mut self, reason: impl Into<String>) {
        if self.gathers() {
            self.fail(reason);
            if let Err(error) = self.gathered(self.ended.unwrap_or_default()) {
                tracing::warn!(%error, "this rank sits a step out");
            }
        }
    }

    /// Says that the training goes back within this process: to a checkpoint, or to the beginning of another one. The next step may
    /// have any number; the steps left over go out as a last row before it, as at the end. Rows of steps that the engine had reached
    /// before are marked as such ([`Row::again`](crate::row::Row::again)).
    pub fn rewind(&mut self) -> Option<Row> {
        let row = self.emit_left_over();
        (self.averaged, self.pooled, self.steps) = (MeanWindow::default(), Shard::default(), 0);
        self.last_step = None;
        self.cadence = self.options.cadence();
        let reached = self.ended.take();
        self.resumed_after = self.resumed_after.max(reached);
        row
    }
}
