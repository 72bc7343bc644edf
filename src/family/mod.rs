//! What a step's numbers stand on, family by family: each with its state, how two states merge, and the numbers it comes to.

pub mod completions;
pub mod groups;
pub mod marked_values;
pub mod moment;
pub mod number_totals;
pub mod per_completion;
pub mod policy;
pub mod quantiles;
pub mod reading;
pub mod rewards;
pub mod schedule;
pub mod thresholds;
pub mod tokens;

/// Takes `theirs` into `mine`, either of which may not have been read.
pub fn join<T>(mine: &mut Option<T>, theirs: Option<T>, merge: impl FnOnce(&mut T, T)) {
    match (mine, theirs) {
        (_, None) => {}
        (Some(mine), Some(theirs)) => merge(mine, theirs),
        (mine @ None, theirs) => *mine = theirs,
    }
}
