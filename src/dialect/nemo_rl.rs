//! The names of NeMo-RL's training metrics that are numbers of ours: of its errors of the sampler those that its loss and its driver
//! make of the log-probabilities from before the update, by k3, its default.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, line};
use crate::batch::scalars::Scalar;
use crate::summary::{OffPolicyNumbers, Summary};

pub(super) const TABLES: &[&[Line]] = &[ROLLOUT, SAMPLER, STEP];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("train/reward").higher(),
    first("train/advantages/mean"),
    first("train/total_num_tokens"),
    first("train/gen_kl_error"),
    first("train/token_mult_prob_error"),
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
const SAMPLER: &[Line] = &[
    line("train/token_mult_prob_error", "1", "mean over tokens of e^|d|, d old less sampler's log-probability", Reduction::Mean, |s| Some(apart(s)?.factor)),
    line("train/gen_kl_error", "nats", "mean of e^d - d - 1 per token (k3): KL of sampler to policy", Reduction::Mean, |s| Some(apart(s)?.k3)),
    line("train/policy_kl_error", "nats", "mean of e^-d + d - 1 per token: KL of policy to sampler", Reduction::Mean, |s| Some(apart(s)?.k3_back)),
    line("train/js_divergence_error", "nats", "mean over tokens of ln cosh(d/2): half the k3 of either to their mixture", Reduction::Mean, |s| Some(apart(s)?.mixture)),
    line("train/mean_seq_mult_prob_error", "1", "mean over completions of the mean e^|d| of their tokens", Reduction::Mean, |s| Some(apart(s)?.factor_by_completion.mean)),
    line("train/max_seq_mult_prob_error", "1", "largest of any completion", Reduction::Max, |s| Some(apart(s)?.factor_by_completion.max)),
    line("train/min_seq_mult_prob_error", "1", "smallest of any completion", Reduction::Min, |s| Some(apart(s)?.factor_by_completion.min)),
];

fn apart(s: &Summary) -> Option<OffPolicyNumbers> {
    s.policy.off_policy
}

#[rustfmt::skip] // a table: one key a line
const STEP: &[Line] = &[
    line("train/loss", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("train/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("train/lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
];
