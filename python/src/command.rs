//! The command `grpo-metrics`, in a Python process that is all its own: `grpo_metrics/__main__.py` prepares it.

use std::ffi::OsString;
use std::panic::catch_unwind;

use grpo_metrics::cli;
use pyo3::prelude::*;

/// The exit code of a program that has panicked, which has said why.
const PANICKED: u8 = 101;

/// Runs the command with these arguments, the first its own name; its exit code.
#[pyfunction]
pub fn _command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| catch_unwind(|| cli::run(arguments)).unwrap_or(PANICKED))
}
