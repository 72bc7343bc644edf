//! The names of prime-rl's metrics that are numbers of ours, over all environments (`agg`) and of the agent that an environment with one
//! has: its keys carry the agent's name, which is `agent` there.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, line};
use crate::batch::scalars::Scalar;

pub(super) const TABLES: &[&[Line]] = &[ROLLOUT, TRAINER];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("train/agg/effective/agent/reward/mean").higher(),
    first("train/agg/effective/agent/is_truncated/mean"),
    first("entropy/all/mean"),
    first("optim/grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const ROLLOUT: &[Line] = &[
    line("train/agg/effective/agent/reward/mean", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("train/agg/effective/agent/reward/max", "reward", "largest reward", Reduction::Max, |s| Some(s.rewards.as_ref()?.max())),
    line("train/agg/effective/agent/reward/min", "reward", "smallest reward", Reduction::Min, |s| Some(s.rewards.as_ref()?.min())),
    line("train/agg/effective/agent/is_truncated/mean", "share", "completions that did not end by themselves", Reduction::Share, |s| s.clipped.filter(|_| s.cut_off.is_some())),
    line("train/agg/effective/agent/num_turns/mean", "turns", "mean turns of a completion", Reduction::Mean, |s| Some(s.agents.turns?.mean)),
    line("train/agg/effective/agent/num_turns/max", "turns", "most turns of any completion", Reduction::Max, |s| Some(s.agents.turns?.max)),
    line("train/agg/effective/agent/num_turns/min", "turns", "fewest turns of any completion", Reduction::Min, |s| Some(s.agents.turns?.min)),
];

#[rustfmt::skip] // a table: one key a line
const TRAINER: &[Line] = &[
    line("loss/mean", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("entropy/all/mean", "nats", "mean policy entropy per token", Reduction::Mean, |s| s.token_entropy),
    line("optim/lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("optim/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("time/step", "s", "time of the step as reported", Reduction::Declared, |s| s.scalar(Scalar::StepTimeSec)),
];
