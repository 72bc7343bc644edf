//! A line that says how far the training is.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::{Artifacts, Callback, LoopState, Outcome};
use crate::batch::Batch;
use crate::row::Metrics;
use crate::sink::line_of;

/// Writes `step 12/100  reward 0.53  loss 0.01 ...` after every step: over itself on a terminal, a line each elsewhere.
pub struct Progress {
    out: Box<dyn Write + Send>,
    in_place: bool,
}

impl Progress {
    /// On standard error.
    #[must_use]
    pub fn new() -> Self {
        Self {
            out: Box::new(io::stderr()),
            in_place: io::stderr().is_terminal(),
        }
    }

    /// A line each on `out`.
    #[must_use]
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            in_place: false,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("in_place", &self.in_place)
            .finish_non_exhaustive()
    }
}

impl Callback for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn on_step_end(
        &mut self,
        state: &mut LoopState,
        step: u64,
        _batch: Option<&Batch<'_>>,
        metrics: &Metrics,
    ) -> Outcome {
        let of = state.num_steps.map(|n| format!("/{n}")).unwrap_or_default();
        let line = line_of(&format!("{step}{of}"), metrics);
        if self.in_place {
            // Back to the line's start; what a longer line left is cleared.
            write!(self.out, "\r{line}\x1b[K")?;
        } else {
            writeln!(self.out, "{line}")?;
        }
        Ok(self.out.flush()?)
    }

    fn on_train_end(&mut self, _state: &mut LoopState, _artifacts: &Artifacts) -> Outcome {
        if self.in_place {
            writeln!(self.out)?;
        }
        Ok(())
    }
}
