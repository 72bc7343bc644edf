//! What the completions are counted against beside the clip range. A shard remembers it.

use clap::Args;

use crate::cli::dialect::kind_parser;
use crate::engine::EngineBuilder;
use crate::shard::{KlKind, KlPenalty, Success};

/// What single keys of a dialect, and the extended metrics, are counted against.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "verl and extended metrics")]
#[allow(missing_docs)] // each is documented for --help
pub struct CountedArgs {
    /// Cap of the importance ratio to the sampler
    #[arg(
        long,
        value_name = "X",
        help_heading = "Engine",
        allow_negative_numbers = true
    )]
    pub is_ratio_cap: Option<f64>,
    /// Coefficient of the KL penalty that the training takes off its rewards, for verl's critic/rewards [default: no penalty]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub kl_penalty: Option<f64>,
    /// Estimator of that penalty
    #[arg(long, value_name = "KIND", default_value = "k1", value_parser = kind_parser(), requires = "kl_penalty")]
    pub kl_penalty_kind: KlKind,
    /// Reward component that says whether a completion succeeds, for pass@k [default: the total reward]
    #[arg(long, value_name = "NAME", requires = "extended")]
    pub success: Option<String>,
    /// A completion succeeds from this value on
    #[arg(
        long,
        value_name = "X",
        default_value = "1",
        allow_negative_numbers = true,
        requires = "extended"
    )]
    pub success_threshold: f64,
}

impl CountedArgs {
    /// The engine that is told so.
    pub(super) fn tell(&self, mut builder: EngineBuilder) -> EngineBuilder {
        if let Some(cap) = self.is_ratio_cap {
            builder = builder.ratio_cap(cap);
        }
        if let Some(coefficient) = self.kl_penalty {
            let kind = self.kl_penalty_kind;
            builder = builder.kl_penalty(KlPenalty { coefficient, kind });
        }
        builder.success(Success {
            component: self.success.clone(),
            threshold: self.success_threshold,
        })
    }
}
