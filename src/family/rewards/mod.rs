//! The total reward of each completion and its components.

pub mod column;
pub mod components;
pub mod correlations;
pub mod distribution;
pub mod error;

/// From so many completions on, their columns are worth handing to other threads; waking one takes tens of microseconds.
pub const PARALLEL_FROM: usize = 8192;
