//! The names of `SkyRL`'s metrics that are numbers of ours. What its workers average over micro-batches stands here over all tokens.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, line};
use crate::batch::scalars::Scalar;

pub(super) const TABLES: &[&[Line]] = &[ROLLOUT, POLICY];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("reward/avg_raw_reward").higher(),
    first("generate/avg_num_tokens"),
    first("policy/policy_entropy"),
    first("policy/loss_metrics/clip_ratio"),
    first("policy/rollout_train_logprobs_abs_diff_mean"),
    first("policy/final_loss").lower(),
    first("policy/grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const ROLLOUT: &[Line] = &[
    line("reward/avg_raw_reward", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("generate/batch_num_seq", "completions", "completions of the step", Reduction::Sum, |s| Some(s.completions as f64)),
    line("generate/avg_num_tokens", "tokens", "mean completion length, a tool's output counted", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("generate/min_num_tokens", "tokens", "shortest completion", Reduction::Min, |s| Some(s.lengths?.min)),
    line("generate/max_num_tokens", "tokens", "longest completion", Reduction::Max, |s| Some(s.lengths?.max)),
];

#[rustfmt::skip] // a table: one key a line
const POLICY: &[Line] = &[
    line("policy/final_loss", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("policy/policy_loss", "nats", "policy loss as reported", Reduction::Declared, |s| s.scalar(Scalar::PolicyLoss)),
    line("policy/policy_entropy", "nats", "mean policy entropy per token (SkyRL averages micro-batches)", Reduction::Mean, |s| s.token_entropy),
    line("policy/loss_metrics/clip_ratio", "share", "tokens whose clipped term wins, of a loss that clips (SkyRL averages micro-batches)", Reduction::Share, |s| s.behaviour.policy_gradient.filter(|_| s.loss_type().clips())),
    line("policy/policy_lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("policy/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("policy/rollout_train_logprobs_abs_diff_mean", "nats", "mean distance of trainer's and sampler's log-probabilities", Reduction::Mean, |s| Some(s.sampler.logp_difference?.mean)),
    line("policy/rollout_train_logprobs_abs_diff_max", "nats", "largest such distance of any token", Reduction::Max, |s| Some(s.sampler.logp_difference?.max)),
];
