//! The command: one file a verb.

pub mod show;
