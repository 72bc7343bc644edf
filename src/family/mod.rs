//! What a step's numbers stand on, family by family: each with its state, how two states merge, and the numbers it comes to.

pub mod completions;
pub mod groups;
pub mod marked_values;
pub mod moment;
pub mod number_totals;
pub mod per_completion;
pub mod policy;
pub mod rewards;
pub mod thresholds;
pub mod tokens;
