//! Every optimizer step of a GRPO run as one dictionary of metrics.

pub mod batch;
pub mod cadence;
pub mod callback;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dialect;
pub mod engine;
pub mod filter;
pub mod gather;
pub mod group;
pub mod kernel;
pub mod metrics;
pub mod recording;
pub mod rename;
pub mod run;
pub mod samples;
pub mod scalars;
pub mod shard;
pub mod sink;
pub mod stat;
pub mod store;
pub mod summary;
pub mod table;
pub mod tokens;
pub mod window;
pub mod wire;
