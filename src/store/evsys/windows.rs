//! Rows over windows of steps, for a gateway that knows numbers alone.

use super::super::record::Split;
use super::super::{Logged, Store, StoreError};
use super::EvSys;
use super::rows::{Of, can_be_counted};
use crate::row::{Metrics, Row};

/// The number beside a row's own that says how many steps it is over, where that is more than one or the row was cut short.
const STEPS: &str = "row/steps";

impl EvSys {
    /// Writes the rows but those that were cut short while the server has one of their step that is over more steps.
    pub(super) fn send_windows(
        &mut self,
        run_id: &str,
        rows: &[Row],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let mut logged = Logged::default();
        for row in rows {
            if row.cut && self.steps_of(run_id, row.step, split)? > row.steps as f64 {
                logged.surpassed += 1;
                continue;
            }
            can_be_counted(row.step)?;
            let of = Of {
                step: row.step,
                time: Some(row.timestamp),
                split,
            };
            self.log_step(run_id, of, &counted(row), &mut logged)?;
        }
        Ok(logged)
    }

    /// How many steps the row of `step` is over that the server has; 0 where nobody said.
    fn steps_of(&self, run_id: &str, step: u64, split: Split) -> Result<f64, StoreError> {
        let known = self.get_metrics(run_id, Some(STEPS), Some(split))?;
        let stands = known.iter().find(|metric| metric.step == step);
        Ok(stands.map_or(0.0, |metric| metric.value))
    }
}

/// The count, and then the row's numbers: the last of a call speaks for the others when the server is asked what it has, and the
/// count is the same in many rows.
fn counted(row: &Row) -> Metrics {
    let mut metrics = Metrics::with_capacity(row.metrics.len() + 1);
    if row.steps > 1 || row.cut {
        metrics.push(STEPS, row.steps as f64);
    }
    for (name, value) in row.metrics.iter() {
        metrics.push(name.to_owned(), value);
    }
    metrics
}
