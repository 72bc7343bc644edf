//! The names of `OpenRLHF`'s metrics that are numbers of ours.

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
    line("train/policy_loss", "nats", "policy loss as reported", Reduction::Declared, |s| s.scalar(Scalar::PolicyLoss)),
    line("train/ppo_clip_ratio", "share", "tokens whose clipped term wins, by the sign of their own or their completion's advantage", Reduction::Share, |s| s.behaviour.policy_gradient),
    line("train/actor_lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("train/actor_grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
];
