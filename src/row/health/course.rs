//! How a number goes over a run's last steps: along a line, or at once to somewhere else.

use std::collections::VecDeque;

use super::{Limits, short};
use crate::stat::{Change, shift, trend};

/// The last numbers of one key, so many at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    last: VecDeque<f64>,
}

/// What a course says once it is as long as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// From each step to the next.
    pub slope: Change,
    /// Of the last steps, a fifth of all, against those before them, beyond the slope.
    pub shift: Change,
    /// Where the line through them stands a course's length from now.
    pub ahead: f64,
    /// How many steps it is of, and how many of them are the last.
    pub steps: usize,
    pub recent: usize,
}

impl Course {
    /// Takes in the next step's; `None` before there are enough.
    pub fn tell(&mut self, next: f64, limits: &Limits) -> Option<Told> {
        let steps = usize::try_from(limits.course_steps).ok()?;
        if !next.is_finite() {
            return None;
        }
        self.last.push_back(next);
        while self.last.len() > steps {
            self.last.pop_front();
        }
        if self.last.len() < steps {
            return None;
        }
        let values = self.last.make_contiguous();
        let (recent, n) = (steps / 5, steps as f64);
        let slope = trend(values)?;
        let mean = values.iter().map(|x| x / n).sum::<f64>();
        Some(Told {
            slope,
            shift: shift(values, recent)?,
            ahead: mean + slope.size * ((n - 1.0) / 2.0 + n),
            steps,
            recent,
        })
    }
}

impl Told {
    /// Why a number that falls is warned of.
    pub fn falls(&self, what: &str) -> String {
        self.moves(what, "falls")
    }

    /// Why one is that falls towards its limit.
    pub fn falls_to(&self, what: &str, limit: f64) -> String {
        let Self { steps, .. } = self;
        format!("{}: {steps} more lead below {limit}", self.falls(what))
    }

    /// Why one is that rises towards its limit.
    pub fn rises_to(&self, what: &str, limit: f64) -> String {
        let Self { steps, .. } = self;
        format!(
            "{}: {steps} more lead above {limit}",
            self.moves(what, "rises")
        )
    }

    fn moves(&self, what: &str, how: &str) -> String {
        let Change { size, error } = self.slope;
        format!(
            "{what} {how} by {} a step over the last {} steps, {:.1} times its error",
            short(size.abs()),
            self.steps,
            (size / error).abs()
        )
    }

    /// Why a number that has moved at once is warned of.
    pub fn moved(&self, what: &str) -> String {
        let Change { size, error } = self.shift;
        format!(
            "{what} has left its course: by {} in the last {} of {} steps, {:.1} times its error",
            short(size),
            self.recent,
            self.steps,
            (size / error).abs()
        )
    }
}
