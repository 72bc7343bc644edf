//! The arguments of `replay`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::options::{All, OptionArgs};
use crate::cli::store::{StoreArg, run_name};
use crate::cli::target::{jsonl_parser, resume_parser, sinks_help};
use crate::sink::Target;
use crate::store::Resume;

/// Compute the metrics of a recorded run and store them
///
/// Reads the recording step by step, computes one row of metrics for every emitted step, and writes it to a store, to JSON
/// lines, or to other sinks; with none of --store, --jsonl and --sink it is the store of the environment, or runs.db here. A
/// store is made if need be.
///
/// A replay that was stopped goes on when it is made again; one that is whole does nothing. Other options that change numbers make a
/// run of their own, beside the one that is there.
///
/// A fault in the recording ends the replay with exit code 2 and a message that names file, line, step, rank and field. The
/// rows that went out before it stay, and the run in the store is marked failed. NaN and infinities are no fault: they are left
/// out and counted, and the counts are shown at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
pub struct ReplayArgs {
    /// Folders of .jsonl and .safetensors files, or files; together one recording
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Accept steps that lack ranks
    #[arg(long)]
    pub allow_missing: bool,
    /// No summary, no notes, no warnings, no progress bar: only errors
    #[arg(long, short)]
    pub quiet: bool,

    #[command(flatten, next_help_heading = "Outputs")]
    pub store: StoreArg,
    /// Name of the run in the store [default: name of the folder, or of the
    /// file without its ending; of several PATHs, of the folder that they are all in]
    #[arg(long, value_name = "NAME", help_heading = "Outputs", value_parser = run_name)]
    pub run: Option<String>,
    /// What becomes of a run of that name that is there already: never goes on with it, allow does if there is one, must needs one
    /// [default: go on with it if it is of the same recording and options, else a new run beside it]
    #[arg(long, value_name = "WORD", help_heading = "Outputs", value_parser = resume_parser())]
    pub resume: Option<Resume>,
    /// Append the rows to this file as JSON lines; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Outputs", value_parser = jsonl_parser())]
    pub jsonl: Option<Target>,
    /// Write the rows to another kind of sink; may be given more than once
    #[arg(long = "sink", value_name = "KIND:PATH", help_heading = "Outputs")]
    #[arg(long_help = sinks_help("Write the rows to another kind of sink; may be given more than once:"))]
    pub sinks: Vec<Target>,

    /// Write each rank's shard of each step to DIR/step-N.rank-N.shard, for `merge`
    #[arg(long, value_name = "DIR", help_heading = "Outputs")]
    pub shards: Option<PathBuf>,

    #[command(flatten)]
    pub ranks: RankArgs,
    #[command(flatten)]
    pub options: OptionArgs<All>,
}

/// How the ranks' work comes together.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ranks")]
#[allow(missing_docs)] // each is documented for --help
pub struct RankArgs {
    /// Where the ranks are: in this process, or mpi: each rank of `mpirun -n N` reads its own records, rank 0 writes
    #[arg(long, default_value = "none", value_parser = gather_parser())]
    pub gather: Gathering,
    /// Seconds to wait for a rank's part of a step
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub deadline: f64,
}

/// Where the ranks of a replay are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    None,
    Mpi,
}

fn gather_parser() -> impl TypedValueParser<Value = Gathering> {
    PossibleValuesParser::new(["none", "mpi"]).map(|word| match word.as_str() {
        "mpi" => Gathering::Mpi,
        _ => Gathering::None,
    })
}

/// Seconds above 0 and up to a day, so that any clock can count to their end.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("expected seconds, found `{text}`"))?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        return Ok(seconds);
    }
    Err(format!(
        "expected seconds above 0 and up to 86400, found {seconds}"
    ))
}
