//! What only who follows the run knows.

use super::Flag;

/// What only who follows the run from step to step knows; nothing, where nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// tau and beta at the last emitted step.
    pub previous_tau: Option<f64>,
    pub previous_beta: Option<f64>,
    /// Which flags of health are up, in the order of [`Flag::ALL`]; `None` where their numbers are not there.
    pub health: [Option<bool>; Flag::ALL.len()],
}
