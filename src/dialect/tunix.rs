//! The names and definitions of Tunix. Its texts (`prompts`, `completions`, `trajectory_ids`) go to the sample table.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, component, line};
use crate::batch::scalars::Scalar;
use crate::summary::Summary;

pub(super) const TABLES: &[&[Line]] = &[STEP, REWARDS, TOKENS, SAMPLER];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("score/mean").higher(),
    first("score/min"),
    first("score/max"),
    first("rewards/{name}").higher(),
    first("rewards/reward_kl_penalty"),
    first("pg_clipfrac"),
    first("loss/entropy"),
    first("completions/mean_length"),
    first("loss").lower(),
];

#[rustfmt::skip] // a table: one key a line
const STEP: &[Line] = &[
    line("loss", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("perplexity", "1", "e^loss", Reduction::Derived, |s| Some(s.scalar(Scalar::TotalLoss)?.exp())),
    line("learning_rate", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("step_time_sec", "s", "time of the step as reported", Reduction::Declared, |s| s.scalar(Scalar::StepTimeSec)),
    line("steps_per_sec", "1/s", "1 / step time", Reduction::Derived, |s| { let seconds = s.scalar(Scalar::StepTimeSec)?; (seconds != 0.0).then(|| 1.0 / seconds) }),
    line("tflops_per_step", "TFLOP", "as reported, else 6 * model parameters * completion tokens / 1e12", Reduction::Declared, tflops),
    line("vf_clipfrac", "share", "clipped value losses as reported", Reduction::Declared, |s| s.scalar(Scalar::VfClipfrac)),
    line("actor_dequeue_time", "s", "the actor's wait for data as reported", Reduction::Declared, |s| s.scalar(Scalar::ActorDequeueTime)),
];

/// Two floating-point operations a parameter and token forward, four backward.
fn tflops(s: &Summary) -> Option<f64> {
    let reported = s.scalar(Scalar::TflopsPerStep);
    reported.or_else(|| {
        let tokens = s
            .scalar(Scalar::NumCompletionTokens)
            .or(s.completion_tokens)?;
        Some(6.0 * s.scalar(Scalar::ModelParams)? * tokens / 1e12)
    })
}

#[rustfmt::skip] // a table: one key a line
const REWARDS: &[Line] = &[
    line("rewards/sum", "reward", "mean over completions of the sum of their components", Reduction::Mean, |s| s.component_sums),
    line("rewards/mean", "reward", "mean over completions of the mean of their components", Reduction::Mean, |s| s.component_means),
    line("rewards/min", "reward", "smallest value of any component", Reduction::Min, |s| Some(s.component_extremes?.0)),
    line("rewards/max", "reward", "largest value of any component", Reduction::Max, |s| Some(s.component_extremes?.1)),
    line("rewards/reward_kl_penalty", "nats", "mean over completions of their mean k3 to the reference", Reduction::Mean, |s| s.reference.k3_by_completion),
    component("rewards/{name}", "mean of the component where it applies; under `rewards/{name}_2` where the name is that of a key above", Reduction::Mean, |c| Some(c.mean)),
    line("score/mean", "reward", "mean reward before penalties", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("score/min", "reward", "smallest reward", Reduction::Min, |s| Some(s.rewards.as_ref()?.min())),
    line("score/max", "reward", "largest reward", Reduction::Max, |s| Some(s.rewards.as_ref()?.max())),
];

#[rustfmt::skip] // a table: one key a line
const TOKENS: &[Line] = &[
    line("advantages/mean", "1", "mean advantage over completions, or over the tokens of records with token advantages", Reduction::Mean, |s| Some(s.token_or_completion_advantages?.mean)),
    line("advantages/min", "1", "smallest of them", Reduction::Min, |s| Some(s.token_or_completion_advantages?.min)),
    line("advantages/max", "1", "largest of them", Reduction::Max, |s| Some(s.token_or_completion_advantages?.max)),
    line("returns/mean", "reward", "mean return per token", Reduction::Mean, |s| Some(s.returns?.mean)),
    line("returns/min", "reward", "smallest return of any token", Reduction::Min, |s| Some(s.returns?.min)),
    line("returns/max", "reward", "largest return of any token", Reduction::Max, |s| Some(s.returns?.max)),
    line("values/mean", "reward", "mean value estimate per token", Reduction::Mean, |s| Some(s.values?.mean)),
    line("values/min", "reward", "smallest value estimate of any token", Reduction::Min, |s| Some(s.values?.min)),
    line("values/max", "reward", "largest value estimate of any token", Reduction::Max, |s| Some(s.values?.max)),
    line("pg_clipfrac", "share", "tokens whose clipped term wins, by the sign of their own or their completion's advantage", Reduction::Share, |s| s.behaviour.policy_gradient),
    line("loss/entropy", "nats", "mean policy entropy per token", Reduction::Mean, |s| s.token_entropy),
    line("completions/mean_length", "tokens", "mean completion length", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("completions/min_length", "tokens", "shortest completion", Reduction::Min, |s| Some(s.lengths?.min)),
    line("completions/max_length", "tokens", "longest completion", Reduction::Max, |s| Some(s.lengths?.max)),
];

#[rustfmt::skip] // a table: one key a line
const SAMPLER: &[Line] = &[
    line("sampler_trainer/logp_diff_mean", "nats", "mean distance of trainer's and sampler's log-probabilities", Reduction::Mean, |s| Some(s.sampler.logp_difference?.mean)),
    line("sampler_trainer/logp_diff_max", "nats", "largest such distance of any token", Reduction::Max, |s| Some(s.sampler.logp_difference?.max)),
    line("sampler_trainer/prob_diff_mean", "1", "mean distance of trainer's and sampler's probabilities", Reduction::Mean, |s| Some(s.sampler.probability_difference?.mean)),
    line("sampler_trainer/prob_diff_max", "1", "largest such distance of any token", Reduction::Max, |s| Some(s.sampler.probability_difference?.max)),
    line("sampler_trainer/probs_pearson_corr", "1", "Pearson correlation of the two probabilities over tokens; undefined where either does not vary", Reduction::Derived, |s| s.sampler.correlation),
];
