//! When a row goes out.

use std::str::FromStr;

use thiserror::Error;

/// What decides that a row goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every so many steps.
    #[default]
    Steps,
    /// Each step that begins a new epoch.
    Epoch,
    /// Never (what is left at the end goes out all the same, unless that is switched off).
    No,
}

/// A word that names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a logging strategy (steps; epoch, epochs; no, none, off), found `{found}`")]
pub struct StrategyError {
    /// The word, as it was given.
    pub found: String,
}

impl FromStr for Strategy {
    type Err = StrategyError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.trim().to_ascii_lowercase().as_str() {
            "steps" => Ok(Self::Steps),
            "epoch" | "epochs" => Ok(Self::Epoch),
            "no" | "none" | "off" => Ok(Self::No),
            _ => Err(StrategyError {
                found: word.to_owned(),
            }),
        }
    }
}

/// Decides at each step whether a row goes out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cadence {
    /// What is looked at: the step's number, or its epoch.
    pub strategy: Strategy,
    /// Steps between rows; 0 or less counts as 1.
    pub steps: i64,
    /// Whether step 0 has a row.
    pub first_step: bool,
    last_epoch: Option<f64>,
}

impl Cadence {
    /// A cadence that has seen no step.
    #[must_use]
    pub fn new(strategy: Strategy, steps: i64, first_step: bool) -> Self {
        Self {
            strategy,
            steps,
            first_step,
            last_epoch: None,
        }
    }

    /// Whether a first row over so many steps is over a whole window. Of epochs nobody knows how many steps they have.
    #[must_use]
    pub fn is_whole(&self, steps: u64) -> bool {
        self.strategy == Strategy::Steps && steps >= self.between()
    }

    fn between(&self) -> u64 {
        u64::try_from(self.steps).unwrap_or(1).max(1)
    }

    /// Whether `step`, which is in `epoch`, has a row.
    pub fn take(&mut self, step: u64, epoch: f64) -> bool {
        let before = self.last_epoch.replace(epoch);
        match self.strategy {
            Strategy::No => false,
            Strategy::Epoch => before.is_some_and(|before| epoch.floor() > before.floor()),
            Strategy::Steps if step == 0 => self.first_step,
            Strategy::Steps => step.is_multiple_of(self.between()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mut cadence: Cadence, steps: std::ops::Range<u64>, per_epoch: f64) -> Vec<u64> {
        steps
            .filter(|&step| cadence.take(step, step as f64 / per_epoch))
            .collect()
    }

    #[test]
    fn rows_go_out_every_so_many_steps_and_at_step_0_if_wanted() {
        assert_eq!(
            rows(Cadence::new(Strategy::Steps, 3, true), 0..8, 1.0),
            [0, 3, 6]
        );
        assert_eq!(
            rows(Cadence::new(Strategy::Steps, 3, false), 0..8, 1.0),
            [3, 6]
        );
        assert_eq!(
            rows(Cadence::new(Strategy::Steps, -2, true), 1..4, 1.0),
            [1, 2, 3]
        );
        assert_eq!(rows(Cadence::new(Strategy::No, 1, true), 0..4, 1.0), [0; 0]);
    }

    #[test]
    fn rows_by_epoch_go_out_where_the_whole_epoch_grows() {
        assert_eq!(
            rows(Cadence::new(Strategy::Epoch, 1, true), 0..8, 3.0),
            [3, 6]
        );
    }
}
