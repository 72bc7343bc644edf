//! The names and definitions of TRL's `GRPOTrainer` (checked against version 1.16).

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, component, line};
use crate::batch::scalars::{LossType, RewardScale, Scalar};
use crate::summary::{BehaviourNumbers, LengthNumbers, Summary};

pub(super) const TABLES: &[&[Line]] = &[STEP, REWARDS, POLICY];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("reward").higher(),
    first("reward_std"),
    first("frac_reward_zero_std"),
    first("rewards/{name}/mean").higher(),
    first("kl"),
    first("clip_ratio/region_mean"),
    first("entropy"),
    first("completions/mean_length"),
    first("completions/clipped_ratio"),
    first("loss").lower(),
    first("grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const STEP: &[Line] = &[
    line("loss", "nats", "loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("learning_rate", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
    line("num_tokens", "tokens", "prompt and completion tokens seen so far", Reduction::Declared, |s| s.scalar(Scalar::NumInputTokens)).last_of_window(),
    line("completions/mean_length", "tokens", "mean completion length", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("completions/min_length", "tokens", "shortest completion", Reduction::Min, |s| Some(s.lengths?.min)),
    line("completions/max_length", "tokens", "longest completion", Reduction::Max, |s| Some(s.lengths?.max)),
    line("completions/clipped_ratio", "share", "completions that did not end by themselves", Reduction::Share, |s| s.clipped.filter(|_| knows_ends(s))),
    line("completions/mean_terminated_length", "tokens", "mean length of completions that ended by themselves; 0 if none did", Reduction::Mean, |s| {
        terminated(s, |l| l.mean)
    }),
    line("completions/min_terminated_length", "tokens", "shortest of them; 0 if there are none", Reduction::Min, |s| {
        terminated(s, |l| l.min)
    }),
    line("completions/max_terminated_length", "tokens", "longest of them; 0 if there are none", Reduction::Max, |s| {
        terminated(s, |l| l.max)
    }),
    line("tools/call_frequency", "calls", "mean tool calls of a completion", Reduction::Mean, |s| Some(s.agents.tool_calls?.mean)),
    line("tools/failure_frequency", "share", "tool calls that fail, over all of them; 0 of none", Reduction::Share, |s| s.agents.failed_calls),
];

#[rustfmt::skip] // a table: one key a line
const REWARDS: &[Line] = &[
    component("rewards/{name}/mean", "mean of the component where it applies", Reduction::Mean, |c| Some(c.mean)),
    component("rewards/{name}/std", "sample standard deviation of the component", Reduction::Std, |c| c.sample_std),
    line("reward", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("reward_std", "reward", "sample standard deviation of rewards", Reduction::Std, |s| s.rewards.as_ref()?.sample_std),
    line("frac_reward_zero_std", "share", "completions whose group's rewards (the step's, by batch) have a sample std within 1e-8 of 0", Reduction::Share, zero_std),
];

#[rustfmt::skip] // a table: one key a line
const POLICY: &[Line] = &[
    line("kl", "nats", "k3 to the reference per token, weighted by the ratio to the behaviour policy (kl_bias_correction)", Reduction::Mean, |s| s.weighted_kl),
    line("entropy", "nats", "mean policy entropy per token", Reduction::Mean, |s| s.token_entropy),
    line("clip_ratio/low_mean", "share", "tokens (by sequence: completions) with a ratio below 1 - eps_low and a negative advantage", Reduction::Share, |s| clipping(s)?.low),
    line("clip_ratio/low_min", "share", "lowest such share of any completion", Reduction::Min, |s| clipping(s)?.lowest_low),
    line("clip_ratio/high_mean", "share", "tokens (by sequence: completions) with a ratio above 1 + eps_high and a positive advantage", Reduction::Share, |s| clipping(s)?.high),
    line("clip_ratio/high_max", "share", "highest such share of any completion", Reduction::Max, |s| clipping(s)?.highest_high),
    line("clip_ratio/region_mean", "share", "tokens (by sequence: completions) clipped on either side", Reduction::Share, |s| clipping(s)?.region),
    line("cispo_clip_ratio", "share", "under the loss cispo: tokens (by sequence: completions) with a ratio above eps_high itself, where TRL caps it, and a positive advantage", Reduction::Share, |s| s.behaviour.capped.filter(|_| s.loss_type() == LossType::Cispo)),
    line("sampling/sampling_logp_difference/mean", "nats", "mean distance of trainer's and sampler's log-probabilities", Reduction::Mean, |s| Some(s.sampler.logp_difference?.mean)),
    line("sampling/sampling_logp_difference/max", "nats", "largest distance of any token", Reduction::Max, |s| Some(s.sampler.logp_difference?.max)),
    line("sampling/importance_sampling_ratio/min", "1", "smallest ratio of trainer's to sampler's probability, capped (is_ratio_cap)", Reduction::Min, |s| Some(s.sampler.ratio?.min)),
    line("sampling/importance_sampling_ratio/mean", "1", "mean ratio over tokens, capped", Reduction::Mean, |s| Some(s.sampler.ratio?.mean)),
    line("sampling/importance_sampling_ratio/max", "1", "largest ratio of any token, capped", Reduction::Max, |s| Some(s.sampler.ratio?.max)),
    line("epoch", "epochs", "epoch as reported", Reduction::Declared, |s| s.scalar(Scalar::Epoch)).last_of_window(),
    line("step_time", "s", "time of the step as reported", Reduction::Declared, |s| s.scalar(Scalar::StepTimeSec)),
];

/// Whether something says how completions ended: `terminated`, or a cap that their lengths are held against.
fn knows_ends(s: &Summary) -> bool {
    s.cut_off.is_some()
}

/// Of the completions that ended by themselves; 0 if none did.
fn terminated(s: &Summary, take: fn(LengthNumbers) -> f64) -> Option<f64> {
    let known = s.lengths.filter(|_| knows_ends(s));
    known.map(|_| s.terminated_lengths.map_or(0.0, take))
}

/// Nothing where the loss has no clip range.
fn clipping(s: &Summary) -> Option<&BehaviourNumbers> {
    s.loss_type().clips().then_some(&s.behaviour)
}

/// TRL looks at the deviation that it divides advantages by.
fn zero_std(s: &Summary) -> Option<f64> {
    match s.reward_scale() {
        RewardScale::Group | RewardScale::None => s.zero_std_completions,
        RewardScale::Batch => Some(f64::from(u8::from(s.rewards.as_ref()?.has_zero_std()))),
        RewardScale::Other => None,
    }
}
