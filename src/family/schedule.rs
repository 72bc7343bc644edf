//! The epoch of a step, where none is reported.

/// What the epoch of a step follows from where none is reported ([`Schedule::epoch`]). What is `None`, 0 or less is not
/// divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: Option<f64>,
    /// Completions of a prompt; the divisor where `steps_per_epoch` is not told.
    pub num_generations: Option<f64>,
    /// Epochs of the whole run; used together with `total_training_steps`.
    pub num_epochs: Option<f64>,
    /// Optimizer steps of the whole run.
    pub total_training_steps: Option<f64>,
}

impl Schedule {
    /// step/`steps_per_epoch`, else step/`num_generations`, else step * `num_epochs`/`total_training_steps`, else the
    /// step: the first whose divisor is positive.
    #[must_use]
    pub fn epoch(&self, step: u64) -> f64 {
        let step = step as f64;
        let positive = |x: Option<f64>| x.filter(|x| *x > 0.0);
        if let Some(steps) = positive(self.steps_per_epoch).or(positive(self.num_generations)) {
            return step / steps;
        }
        match (self.num_epochs, positive(self.total_training_steps)) {
            (Some(epochs), Some(total)) => step * epochs / total,
            _ => step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_follows_from_the_first_positive_divisor() {
        let schedule = Schedule {
            steps_per_epoch: Some(0.0),
            num_generations: None,
            num_epochs: Some(2.0),
            total_training_steps: Some(8.0),
        };
        assert_eq!(schedule.epoch(4), 1.0);
        assert_eq!(Schedule::default().epoch(4), 4.0);
        let generations = Schedule {
            num_generations: Some(8.0),
            ..schedule
        };
        assert_eq!(generations.epoch(4), 0.5);
    }
}
