//! From a shard to its row: what every row goes through, an engine's, a merge's and a shard's by itself.

use super::error::EngineError;
use super::options::{EngineOptions, OptionError};
use crate::dialect::{Dialect, Named};
use crate::row::Metrics;
use crate::row::filter::Mode;
use crate::row::health::Health;
use crate::shard::Shard;
use crate::summary::{Reading, Summary};

/// Reads a run's shards, step by step, and remembers what later rows are held against.
#[derive(Debug)]
pub(super) struct Reader {
    dialect: Dialect,
    mode: Mode,
    pub reading: Reading,
    health: Health,
    /// tau and beta at the last emitted step.
    previous: (Option<f64>, Option<f64>),
}

impl Reader {
    /// One that has read nothing.
    ///
    /// # Errors
    /// If an option's number makes no sense, or none says the mode and the environment names one that there is not.
    pub fn of(options: &EngineOptions) -> Result<Self, OptionError> {
        options.check()?;
        Ok(Self {
            dialect: options.dialect,
            mode: Mode::resolve(options.mode, |name| std::env::var(name).ok())?,
            reading: options.reading(),
            health: Health::new(options.limits),
            previous: (None, None),
        })
    }

    /// The numbers of a step, or of the window that ends with it.
    pub fn read(&self, shard: &Shard, step: u64) -> Summary {
        Summary::read(shard, step, &self.reading)
    }

    /// The row of a summary: judged by what was before, named and filtered.
    pub fn name(&mut self, mut summary: Summary) -> Named {
        (summary.course.previous_tau, summary.course.previous_beta) = self.previous;
        if summary.extended.is_some() {
            summary.course.health = self.health.judge(&summary);
        }
        let mut named = self.dialect.named(&summary);
        self.mode.apply(&mut named.metrics);
        named
    }

    /// A row goes out, of whose last step these are tau and beta.
    pub fn emitted(&mut self, tau: Option<f64>, beta: Option<f64>) {
        self.previous = (tau, beta);
    }
}

impl EngineOptions {
    /// The row of a shard as an engine with these options would give it that has seen nothing before; `step` where the shard has
    /// not been given one.
    ///
    /// # Errors
    /// If an option's number makes no sense, the environment names no mode, or the shard is of another step.
    pub fn row(&self, mut shard: Shard, step: Option<u64>) -> Result<Metrics, EngineError> {
        let step = step.or(shard.step()).unwrap_or_default();
        let mut reader = Reader::of(self)?;
        shard.close(step)?;
        let summary = reader.read(&shard, step);
        Ok(reader.name(summary).metrics)
    }
}
