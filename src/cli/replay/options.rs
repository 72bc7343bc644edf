//! The arguments of `replay`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::counted::CountedArgs;
use crate::cadence::{Schedule, Strategy};
use crate::cli::dialect::DialectArgs;
use crate::cli::keys::{dialect_parser, retain_parser};
use crate::dialect::Dialect;
use crate::engine::{Engine, EngineBuilder, Policy, Scope};
use crate::filter::Mode;
use crate::run::RunMetadata;
use crate::scalars::{Fold, Scalar, WindowFold};
use crate::shard::Retain;
use crate::window::Reduction;

/// Compute the metrics of a recorded run and store them
///
/// Reads the recording step by step, computes one row of metrics for every emitted step, and writes it to a store, to JSON
/// lines, or to both; with neither --store nor --jsonl it stores into runs.db in the current folder.
///
/// A fault in the recording ends the replay with exit code 2 and a message that names file, line, step, rank and field. The
/// rows that went out before it stay, and the run in the store is marked failed. NaN and infinities are no fault: they are left
/// out and counted, and the counts are shown at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::cli::EXIT_CODES)]
#[command(mut_arg("high_kl", |arg| arg.requires("extended")))]
#[command(mut_arg("limit", |arg| arg.requires("extended")))]
pub struct ReplayArgs {
    /// Folders of .jsonl and .safetensors files, or files; together one recording
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Names of the metrics
    #[arg(long, value_name = "DIALECT", default_value = Dialect::default().name(), value_parser = dialect_parser())]
    pub dialect: Dialect,
    #[arg(
        long,
        help = "Keys to keep: full or slim [default: MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE, else full]"
    )]
    #[allow(missing_docs)]
    pub mode: Option<Mode>,
    /// Also the extended metrics: distributions, uncertainty, splits by tag, health
    #[arg(long)]
    pub extended: bool,
    /// Emit a row every N steps
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub every: i64,
    /// How the steps between two rows become one
    #[arg(long, default_value = "mean", value_parser = window_parser())]
    pub window: Reduction,
    /// Whose data to use: all ranks', or rank 0's alone (other ranks' columns are then not read)
    #[arg(long, default_value = "global", value_parser = scope_parser())]
    pub scope: Scope,
    /// Accept steps that lack ranks
    #[arg(long)]
    pub allow_missing: bool,
    /// No summary, no notes, no warnings, no progress bar: only errors
    #[arg(long, short)]
    pub quiet: bool,

    /// Store the rows in this file, made if need be
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub store: Option<PathBuf>,
    /// Name of the run in the store; of an existing run, rows of the same steps are replaced [default: name of the folder, or of the
    /// file without its ending; of several PATHs, of the folder that they are all in]
    #[arg(long, value_name = "NAME", help_heading = "Outputs")]
    pub run: Option<String>,
    /// Append the rows to this file as JSON lines; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub jsonl: Option<PathBuf>,

    /// Write each rank's shard of each step to DIR/step-N.rank-N.shard, for `merge`
    #[arg(long, value_name = "DIR", help_heading = "Outputs")]
    pub shards: Option<PathBuf>,

    #[command(flatten)]
    pub ranks: RankArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub counted: CountedArgs,
    #[command(flatten)]
    pub dialects: DialectArgs,
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
    /// What becomes of a step in which a rank has failed or was not heard: fail, or go on without the rank
    #[arg(long, default_value = "fail", value_parser = policy_parser())]
    pub policy: Policy,
    /// How rewards are kept for their quantiles: exact, or sketch (within 1 %, in memory that does not grow)
    #[arg(long, default_value = "exact", value_parser = retain_parser())]
    pub retain: Retain,
}

/// Where the ranks of a replay are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    None,
    Mpi,
}

/// What the engine can be told beside.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
#[allow(missing_docs)] // each is documented for --help
pub struct EngineArgs {
    /// What decides that a row goes out: steps, epoch, no
    #[arg(long, value_name = "STRATEGY", default_value = "steps")]
    pub logging_strategy: Strategy,
    /// Emit no row at step 0
    #[arg(long)]
    pub no_logging_first_step: bool,
    /// Emit no row for the steps left over at the end
    #[arg(long)]
    pub no_emit_partial: bool,
    /// Epoch, where none is reported: step / N
    #[arg(long, value_name = "N")]
    pub steps_per_epoch: Option<f64>,
    /// Epoch, else: step / N
    #[arg(long, value_name = "N")]
    pub num_generations: Option<f64>,
    /// Epoch, else: step * N / total training steps
    #[arg(long, value_name = "N", requires = "total_training_steps")]
    pub num_epochs: Option<f64>,
    /// See --num-epochs
    #[arg(long, value_name = "N", requires = "num_epochs")]
    pub total_training_steps: Option<f64>,
    /// trl's kl without the ratio to the behaviour policy
    #[arg(long)]
    pub no_kl_bias_correction: bool,
    /// Cap of the importance ratio to the sampler
    #[arg(long, value_name = "X")]
    pub is_ratio_cap: Option<f64>,
    /// How a metric of your own folds, over ranks and windows: mean, min, max, sum, last, mean-by-tokens, mean-by-completions; may be
    /// given several times [default: mean]
    #[arg(long, value_name = "NAME=FOLD", value_parser = fold_of)]
    pub fold: Vec<(String, Fold, WindowFold)>,
}

impl EngineArgs {
    /// An engine without sinks that does what the arguments say.
    pub(super) fn builder(&self, args: &ReplayArgs) -> EngineBuilder {
        let metadata = RunMetadata::default().resolve(|name| std::env::var(name).ok());
        let mut builder = Engine::builder()
            .dialect(args.dialect)
            .window(args.window)
            .scope(args.scope)
            .policy(args.ranks.policy)
            .retain(args.ranks.retain)
            .logging_steps(args.every)
            .logging_strategy(self.logging_strategy)
            .logging_first_step(!self.no_logging_first_step)
            .emit_partial(!self.no_emit_partial)
            .kl_bias_correction(!self.no_kl_bias_correction)
            .extended(args.extended)
            .schedule(Schedule {
                steps_per_epoch: self.steps_per_epoch,
                num_generations: self.num_generations,
                num_epochs: self.num_epochs,
                total_training_steps: self.total_training_steps,
            })
            .metadata(metadata);
        if let Some(mode) = args.mode {
            builder = builder.mode(mode);
        }
        if let Some(cap) = self.is_ratio_cap {
            builder = builder.ratio_cap(cap);
        }
        for (name, fold, window) in &self.fold {
            builder = builder.fold(name, *fold, *window);
        }
        args.dialects.tell(args.counted.tell(builder))
    }
}

fn window_parser() -> impl TypedValueParser<Value = Reduction> {
    PossibleValuesParser::new(["mean", "pooled"]).map(|word| match word.as_str() {
        "pooled" => Reduction::Pooled,
        _ => Reduction::Mean,
    })
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(["global", "local"]).map(|word| match word.as_str() {
        "local" => Scope::Local,
        _ => Scope::Global,
    })
}

fn gather_parser() -> impl TypedValueParser<Value = Gathering> {
    PossibleValuesParser::new(["none", "mpi"]).map(|word| match word.as_str() {
        "mpi" => Gathering::Mpi,
        _ => Gathering::None,
    })
}

fn policy_parser() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(["fail", "go-on"]).map(|word| match word.as_str() {
        "go-on" => Policy::GoOn,
        _ => Policy::Fail,
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

/// `NAME=FOLD`; the name may have a `=` of its own.
fn fold_of(text: &str) -> Result<(String, Fold, WindowFold), String> {
    let Some((name, word)) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("expected NAME=FOLD, found `{text}`"));
    };
    if Scalar::of(name).is_some() {
        return Err(format!(
            "expected a metric of your own, found `{name}`, whose fold is given"
        ));
    }
    let (fold, window) = match word {
        "mean" => (Fold::Mean, WindowFold::Mean),
        "min" => (Fold::Min, WindowFold::Min),
        "max" => (Fold::Max, WindowFold::Max),
        "sum" => (Fold::Sum, WindowFold::Sum),
        "last" => (Fold::LowestRank, WindowFold::Last),
        "mean-by-tokens" => (Fold::MeanByTokens, WindowFold::Same),
        "mean-by-completions" => (Fold::MeanByCompletions, WindowFold::Same),
        _ => {
            return Err(format!(
                "expected mean, min, max, sum, last, mean-by-tokens or mean-by-completions, found `{word}`"
            ));
        }
    };
    Ok((name.to_owned(), fold, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_stands_behind_the_last_equals_sign() {
        let parsed = fold_of("a=b=sum").unwrap();
        assert_eq!(parsed, ("a=b".to_owned(), Fold::Sum, WindowFold::Sum));
        for (text, word) in [
            ("=sum", "NAME=FOLD"),
            ("a", "NAME=FOLD"),
            ("a=median", "`median`"),
            ("grad_norm=max", "whose fold is given"),
        ] {
            let error = fold_of(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
