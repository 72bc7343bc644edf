//! The examples for users: each has its test at its end.
#![allow(dead_code, reason = "their `main` is that of a program of its own")]

#[path = "../../examples/merge_files.rs"]
mod merge_files;
#[path = "../../examples/own_gather.rs"]
mod own_gather;
#[path = "../../examples/own_sink.rs"]
mod own_sink;
#[path = "../../examples/ranks.rs"]
mod ranks;
#[cfg(feature = "sqlite")]
#[path = "../../examples/training_loop.rs"]
mod training_loop;
