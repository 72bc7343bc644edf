//! What the builder is told beside options, and the engine that it builds.

use super::options::{EngineBuilder, EngineOptions, OptionError};
use super::{Engine, Reader};
use crate::batch::scalars::{Fold, WindowFold};
use crate::gather::{Alone, Gather};
use crate::sink::{Fanout, Sink};

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: EngineOptions::default(),
            sinks: Fanout::default(),
            gather: Box::new(Alone),
            replica: false,
        }
    }

    /// All options at once, in the place of what was told before.
    #[must_use]
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Declares how one metric of your own folds over ranks and micro-batches, and over a window; the other folds stay.
    #[must_use]
    pub fn fold(mut self, name: impl Into<String>, fold: Fold, window: WindowFold) -> Self {
        self.options.folds.insert(name.into(), (fold, window));
        self
    }

    /// Adds a sink; every row goes to all of them, and one that fails does not stop the others.
    ///
    /// Rows are the root's: the engine of any other rank drops the sink when it is built, neither written to nor closed.
    #[must_use]
    pub fn sink(mut self, sink: impl Sink + 'static) -> Self {
        self.sinks = self.sinks.with(sink);
        self
    }

    /// Adds the sink that `open` gives, which is called at the root alone: for what ranks share and one of them opens, such as a
    /// store's run, a file or a journal. The [gather](Self::gather) comes first: it says which rank this is.
    ///
    /// # Errors
    /// What `open` fails with.
    pub fn sink_at_root<S: Sink + 'static, E>(
        self,
        open: impl FnOnce() -> Result<S, E>,
    ) -> Result<Self, E> {
        Ok(if self.gather.rank() == 0 {
            self.sink(open()?)
        } else {
            self
        })
    }

    /// What brings the ranks' parts together; [`Alone`] by default. How long it waits for a rank is the gather's own option.
    #[must_use]
    pub fn gather(mut self, gather: impl Gather + 'static) -> Self {
        self.gather = Box::new(gather);
        self
    }

    /// Whether this rank holds a copy of what another rank has (of tensor, pipeline or context parallel ranks all but one). Whatever
    /// comes in at a replica is not counted: batches, joined shards, reported scalars. It takes part in the gather all the same, whichever
    /// that is, so that the others do not wait for it. Rank 0 may be a replica too, and has the rows even so.
    #[must_use]
    pub fn replica(mut self, is_one: bool) -> Self {
        self.replica = is_one;
        self
    }

    /// Whether the numbers that it was told make sense, as [`EngineBuilder::build`] would say: for a caller that opens sinks next.
    ///
    /// # Errors
    /// As [`EngineOptions::check`].
    pub fn check(&self) -> Result<(), OptionError> {
        self.options.check()
    }

    /// The engine.
    ///
    /// # Errors
    /// As [`EngineBuilder::check`], or if no mode was chosen and the environment names one that there is not.
    pub fn build(self) -> Result<Engine, OptionError> {
        let reader = Reader::of(&self.options)?;
        Ok(Engine::of(self, reader))
    }
}
