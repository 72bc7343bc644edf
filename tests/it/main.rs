//! The integration tests, one program: every program more is the crate linked once more. Beside it stand those that need a
//! process of their own: `allocations`, `answer_memory`, `forward_memory` and `wire_memory` count what the process asks of
//! the allocator, `evsys` installs the process's logger, `mpi` is started once per rank. `docs` writes files when asked to.

mod absent;
mod arguments;
mod audit;
mod callback;
mod census;
mod cli;
mod compare;
mod courses;
mod deleted;
mod deliver;
mod doctor;
mod durable;
mod exact;
mod examples;
mod export;
mod extended;
mod followed;
mod forward;
mod fuzz;
mod gather;
mod health;
mod ids;
mod joined;
mod keys;
mod layers;
mod layout;
mod limits;
mod manual;
mod merge;
mod merged;
mod names;
mod order;
mod own_gateway;
mod queued;
mod ratios;
mod recording;
mod report;
mod reported;
mod resume;
mod rotation;
mod runs;
mod samples;
mod schema;
mod serve;
mod serve_read;
mod shelf;
mod show;
mod shown;
mod sinks;
mod spelling;
mod stores;
mod tensorboard;
mod terminal;
mod tls;
mod trainer_agents;
mod trainer_files;
mod trl;
mod vectors;
mod verl;
mod wire;

#[path = "../faulty/mod.rs"]
mod faulty;
#[path = "../fuzzing/mod.rs"]
mod fuzzing;
#[path = "../gateway/mod.rs"]
mod gateway;

/// The command `grpo-metrics` as a program: the one that `GRPO_METRICS_COMMAND` names, as `.ci/wheel` does with the Python package's,
/// else the crate's own.
fn grpo_metrics() -> String {
    let named = std::env::var("GRPO_METRICS_COMMAND");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_grpo-metrics").to_owned())
}
