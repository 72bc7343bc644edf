//! How steps become rows: the arguments of all verbs that make some.

use std::env;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::dialect::DialectArgs;
use super::keys::dialect_parser;
use crate::batch::scalars::{Fold, Scalar, WindowFold};
use crate::dialect::Dialect;
use crate::engine::{Engine, EngineBuilder};
use crate::row::cadence::{Schedule, Strategy};
use crate::row::filter::Mode;
use crate::row::run::RunMetadata;
use crate::row::window::Windowing;

/// Which rows there are, and what stands in them.
#[derive(Args, Clone, Debug)]
#[allow(missing_docs)] // each is documented for --help
pub struct RowArgs {
    /// Names of the metrics
    #[arg(long, value_name = "DIALECT", default_value = Dialect::default().name(), value_parser = dialect_parser())]
    pub dialect: Dialect,
    #[arg(
        long,
        help = "Keys to keep: full or slim [default: MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE, else full]"
    )]
    pub mode: Option<Mode>,
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
    pub window: Windowing,
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
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps_per_epoch: Option<f64>,
    /// Epoch, else: step / N
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub num_generations: Option<f64>,
    /// Epoch, else: step * N / total training steps
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        requires = "total_training_steps"
    )]
    pub num_epochs: Option<f64>,
    /// See --num-epochs
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        requires = "num_epochs"
    )]
    pub total_training_steps: Option<f64>,
    /// trl's kl without the ratio to the behaviour policy
    #[arg(long)]
    pub no_kl_bias_correction: bool,
    /// How a metric of your own folds, over ranks and windows: mean, min, max, sum, last, mean-by-tokens, mean-by-completions; may be
    /// given several times [default: mean]
    #[arg(long, value_name = "NAME=FOLD", value_parser = fold_of)]
    pub fold: Vec<(String, Fold, WindowFold)>,
    #[command(flatten)]
    pub dialects: DialectArgs,
}

impl EngineArgs {
    /// An engine without sinks that does what the arguments say.
    pub(super) fn builder(&self, rows: &RowArgs) -> EngineBuilder {
        let metadata = RunMetadata::default().resolve(|name| env::var(name).ok());
        let mut builder = Engine::builder()
            .dialect(rows.dialect)
            .window(rows.window)
            .logging_steps(rows.every)
            .logging_strategy(self.logging_strategy)
            .logging_first_step(!self.no_logging_first_step)
            .emit_partial(!self.no_emit_partial)
            .kl_bias_correction(!self.no_kl_bias_correction)
            .schedule(Schedule {
                steps_per_epoch: self.steps_per_epoch,
                num_generations: self.num_generations,
                num_epochs: self.num_epochs,
                total_training_steps: self.total_training_steps,
            })
            .metadata(metadata);
        if let Some(mode) = rows.mode {
            builder = builder.mode(mode);
        }
        for (name, fold, window) in &self.fold {
            builder = builder.fold(name, *fold, *window);
        }
        self.dialects.tell(builder)
    }
}

fn window_parser() -> impl TypedValueParser<Value = Windowing> {
    PossibleValuesParser::new(["mean", "pooled"]).map(|word| match word.as_str() {
        "pooled" => Windowing::Pooled,
        _ => Windowing::Mean,
    })
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
