//! Every optimizer step of a GRPO run as one dictionary of metrics.

pub mod batch;
#[cfg(feature = "cli")]
pub mod cli;
pub mod group;
pub mod kernel;
pub mod metrics;
pub mod scalars;
pub mod sink;
pub mod store;
pub mod tokens;
