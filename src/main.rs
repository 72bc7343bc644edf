//! The command `grpo-metrics`; its verbs live in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    grpo_metrics::cli::main()
}
