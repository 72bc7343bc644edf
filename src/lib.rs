//! Every optimizer step of a GRPO run as one dictionary of metrics.

pub mod metrics;

pub mod stat;
