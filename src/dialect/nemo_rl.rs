//! The names of NeMo-RL's training metrics that are numbers of ours. What it sums over micro-batches by a factor of its own stands
//! beside them where it is reported.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, line};
use crate::batch::scalars::Scalar;

pub(super) const TABLES: &[&[Line]] = &[ROLLOUT, STEP];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("train/reward").higher(),
    first("train/advantages/mean"),
    first("train/total_num_tokens"),
    first("train/loss").lower(),
    first("train/grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const ROLLOUT: &[Line] = &[
    line("train/reward", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("train/mean_prompt_length", "tokens", "mean prompt length", Reduction::Mean, |s| Some(s.prompt_lengths?.mean)),
    line("train/total_num_tokens", "tokens", "prompt and completion tokens of the step", Reduction::Sum, |s| s.total_tokens),
    line("train/advantages/mean", "1", "mean advantage per token; a completion's stands for each of its tokens where they have none of their own", Reduction::Mean, |s| Some(s.policy.advantages?.mean)),
    line("train/advantages/max", "1", "largest advantage of any token", Reduction::Max, |s| Some(s.policy.advantages?.max)),
    line("train/advantages/min", "1", "smallest advantage of any token", Reduction::Min, |s| Some(s.policy.advantages?.min)),
];

#[rustfmt::skip] // a table: one key a line
const STEP: &[Line] = &[
    line("train/loss", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("train/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("train/lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
];
