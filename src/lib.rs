//! Every optimizer step of a GRPO run as one dictionary of metrics.

pub mod batch;
pub mod cadence;
pub mod dialect;
pub mod filter;
pub mod group;
pub mod kernel;
pub mod metrics;
pub mod rename;
pub mod scalars;
pub mod shard;
pub mod stat;
pub mod summary;
pub mod tokens;
pub mod window;
