//! The end of the corridor: a summary becomes a row, and the sinks get it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Engine;
use crate::metrics::{Metrics, Row};
use crate::run::RunMetadata;
use crate::shard::Retain;
use crate::sink::Sink;
use crate::summary::Summary;
use crate::window::Reduction;

impl Engine {
    /// A summary's row, filtered.
    pub(super) fn named(&mut self, mut summary: Summary) -> Metrics {
        summary.context.epoch = self.options.schedule.epoch(summary.step);
        (summary.context.previous_tau, summary.context.previous_beta) = self.previous;
        summary.context.kl_bias_correction = self.options.kl_bias_correction;
        summary.context.kl_kind = self.options.kl_kind;
        summary.context.penalised = self.options.kl_penalty.is_some();
        summary.context.devices = self.options.devices;
        summary.context.high_kl = self.options.high_kl;
        if summary.extended.is_some() {
            summary.context.health = self.health.judge(&summary);
        }
        let mut metrics = self.options.dialect.row(&summary);
        self.options.mode.apply(&mut metrics);
        metrics
    }

    /// The window's row goes out.
    pub(super) fn emit(&mut self, step: u64) -> Row {
        let metrics = match self.options.window {
            Reduction::Mean => self.averaged.take(self.options.dialect.of_last_step()),
            Reduction::Pooled => {
                let window = std::mem::take(&mut self.pooled);
                let mut summary = Summary::folded(&window, &self.options.folds);
                summary.step = step;
                self.named(summary)
            }
        };
        if let Some(last) = &self.last_step {
            self.previous = (last.tau, last.beta);
        }
        let metadata = self.options.metadata.as_ref().filter(|_| self.rows == 0);
        let mut text = metadata.map(RunMetadata::text).unwrap_or_default();
        if self.options.retain == Retain::Sketch && self.rows == 0 {
            let sketched = "sketch: quantiles of rewards are within 1 %";
            text.push(("run/retain".to_owned(), sketched.to_owned()));
        }
        text.append(&mut self.lost);
        let row = Row {
            step,
            timestamp: now(),
            metrics,
            text,
        };
        self.rows += 1;
        if let Err(error) = self.sinks.write(&row) {
            tracing::warn!(step, %error, "a sink could not take the row");
            self.sink_error = Some(error);
        }
        row
    }
}

/// Seconds since the Unix epoch; 0 on a machine whose clock stands before it.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
