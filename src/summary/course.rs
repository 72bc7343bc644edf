//! What only who follows the run knows.

use super::Flag;

/// What only who follows the run from step to step knows; nothing, where nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// tau at the last emitted step; `None` before there is one, or where it reported none.
    pub previous_tau: Option<f64>,
    /// beta at the last emitted step, likewise.
    pub previous_beta: Option<f64>,
    /// Which flags of health are up, in the order of [`Flag::ALL`]; `None` where their numbers are not there.
    pub health: [Option<bool>; Flag::ALL.len()],
}
