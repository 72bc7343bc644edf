//! The names of `OpenRLHF`'s metrics that are numbers of ours, under `train/`, as its loggers write them: the rollout's statistics,
//! and what its actor has, which it weighs by samples or tokens.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, line};
use crate::batch::scalars::Scalar;

pub(super) const TABLES: &[&[Line]] = &[ROLLOUT, ACTOR];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("train/rollout/reward_mean").higher(),
    first("train/rollout/reward_std"),
    first("train/ppo_clip_ratio"),
    first("train/ppo_kl"),
    first("train/vllm_kl"),
    first("train/entropy_loss"),
    first("train/rollout/response_length_mean"),
    first("train/rollout/truncated_rate"),
    first("train/policy_loss").lower(),
    first("train/actor_grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const ROLLOUT: &[Line] = &[
    line("train/rollout/reward_mean", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("train/rollout/reward_std", "reward", "sample standard deviation of rewards; 0 of a single one", Reduction::Std, |s| Some(s.rewards.as_ref()?.sample_std.unwrap_or(0.0))),
    line("train/rollout/response_length_mean", "tokens", "mean completion length", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("train/rollout/truncated_rate", "share", "completions that did not end by themselves", Reduction::Share, |s| s.clipped.filter(|_| s.cut_off.is_some())),
    line("train/rollout/num_samples", "completions", "completions of the step", Reduction::Sum, |s| Some(s.completions as f64)),
];

#[rustfmt::skip] // a table: one key a line
const ACTOR: &[Line] = &[
    line("train/reward", "reward", "mean reward of the completions that are trained on", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("train/response_length", "tokens", "their mean length", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("train/truncated", "share", "those that did not end by themselves", Reduction::Share, |s| s.clipped.filter(|_| s.cut_off.is_some())),
    line("train/ppo_kl", "nats", "mean of old less current log-probability per token", Reduction::Mean, |s| Some(s.policy.behaviour?.k1)),
    line("train/vllm_kl", "nats", "mean of sampler's less old log-probability per token", Reduction::Mean, |s| Some(s.policy.off_policy?.k1)),
    line("train/entropy_loss", "nats", "mean policy entropy per token", Reduction::Mean, |s| s.token_entropy),
    line("train/policy_loss", "nats", "policy loss as reported", Reduction::Declared, |s| s.scalar(Scalar::PolicyLoss)),
    line("train/ppo_clip_ratio", "share", "tokens whose clipped term wins, by the sign of their own or their completion's advantage", Reduction::Share, |s| s.behaviour.policy_gradient),
    line("train/actor_lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("train/actor_grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
];
