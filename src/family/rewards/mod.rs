//! The total reward of each completion and its components.

pub mod column;
pub mod distribution;
