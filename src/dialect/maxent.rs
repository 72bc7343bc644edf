//! The dictionary of MaxEnt-GRPO, keyed `train/` (METRICS.md).

mod controller;

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, bucket, component, line};
use crate::batch::scalars::{LossType, Scalar};
use crate::summary::{Distribution, DiversityNumbers, Summary};
use controller::{CONTROLLER, META, controller, flag};

pub(super) const TABLES: &[&[Line]] = &[
    OPTIMIZER,
    COMPLETIONS,
    REWARDS,
    WEIGHTS,
    CONTROLLER,
    META,
    POLICY,
];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("train/reward").higher(),
    first("train/reward_std"),
    first("train/frac_reward_zero_std"),
    first("train/rewards/{name}/mean").higher(),
    first("train/kl"),
    first("train/clip_ratio"),
    first("train/policy_entropy"),
    first("train/completions/mean_length_sampled"),
    first("train/completions/clipped_frac"),
    first("train/loss").lower(),
    first("train/grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const OPTIMIZER: &[Line] = &[
    line("train/loss", "nats", "total loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("train/loss/total", "nats", "total loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("train/objective/minimize", "nats", "total loss as reported", Reduction::Declared, |s| s.scalar(Scalar::TotalLoss)),
    line("train/objective/maximize", "nats", "minus the total loss", Reduction::Derived, |s| Some(-s.scalar(Scalar::TotalLoss)?)),
    line("train/learning_rate", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)),
    line("train/epoch", "epochs", "epoch as reported, else from the engine's schedule", Reduction::Last, |s| Some(s.epoch)).last_of_window(),
    line("train/global_step", "steps", "the step", Reduction::Last, |s| Some(s.step as f64)).last_of_window(),
    line("train/num_tokens", "tokens", "prompt and completion tokens seen so far", Reduction::Declared, |s| s.scalar(Scalar::NumInputTokens)).last_of_window(),
    line("train/avg_completion_tokens", "tokens", "as reported, else the mean completion length", Reduction::Mean, |s| {
        s.scalar(Scalar::AvgCompletionTokens).or(s.lengths.map(|l| l.mean))
    }),
    line("train/ref_logp_mean", "nats", "as reported, else the mean over completions of the reference's mean log-probability", Reduction::Mean, |s| {
        s.scalar(Scalar::RefLogpMean).or(s.reference_logps)
    }),
    line("train/beta", "1", "KL coefficient", Reduction::Last, |s| s.weighting.as_ref()?.beta),
    line("train/tau", "1", "weight temperature", Reduction::Last, |s| s.weighting.as_ref()?.tau),
    line("train/kl_coeff", "1", "KL coefficient", Reduction::Last, |s| s.weighting.as_ref()?.beta),
    line("train/grpo_objective", "0/1", "1 when training on the plain GRPO objective", Reduction::Last, |s| {
        controller(s, |w| flag(w.train_grpo_objective))
    }),
    line("train/kl_per_completion_token", "nats/token", "max(0, KL loss / completion tokens)", Reduction::Derived, |s| {
        per_completion_token(s, Scalar::KlLoss)
    }),
    line("train/loss_per_completion_token", "nats/token", "max(0, total loss / completion tokens)", Reduction::Derived, |s| {
        per_completion_token(s, Scalar::TotalLoss)
    }),
    line("train/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("train/vllm_latency_ms", "ms", "generation latency as reported", Reduction::Declared, |s| s.scalar(Scalar::VllmLatencyMs)),
    line("train/policy_entropy", "nats", "as reported, else the mean policy entropy per token", Reduction::Mean, |s| {
        s.scalar(Scalar::PolicyEntropy).or(s.token_entropy)
    }),
    line("train/entropy_bonus_coef", "1", "coefficient of the entropy bonus", Reduction::Declared, |s| s.scalar(Scalar::EntropyBonusCoef)),
    line("train/entropy_bonus_reward_std", "reward", "std of the entropy bonus as reported", Reduction::Declared, |s| s.scalar(Scalar::EntropyBonusRewardStd)),
    line("train/loss/policy", "nats", "policy loss as reported", Reduction::Declared, |s| s.scalar(Scalar::PolicyLoss)),
    line("train/loss/kl", "nats", "KL loss as reported", Reduction::Declared, |s| s.scalar(Scalar::KlLoss)),
    line("train/loss/weighted_kl", "nats", "weighted KL loss as reported", Reduction::Declared, |s| s.scalar(Scalar::WeightedKlLoss)),
    line("train/loss/clip", "nats", "clip loss as reported", Reduction::Declared, |s| s.scalar(Scalar::ClipLoss)),
];

#[rustfmt::skip] // a table: one key a line
const COMPLETIONS: &[Line] = &[
    line("train/completions/mean_length_sampled", "tokens", "mean length of all completions", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("train/completions/min_length_sampled", "tokens", "shortest of all completions", Reduction::Min, |s| Some(s.lengths?.min)),
    line("train/completions/max_length_sampled", "tokens", "longest of all completions", Reduction::Max, |s| Some(s.lengths?.max)),
    line("train/completions/clipped_frac", "share", "completions that were cut off", Reduction::Share, |s| s.clipped),
    line("train/completions/mean_length_terminated", "tokens", "mean length of those not cut off; 0 if there are none", Reduction::Mean, |s| {
        s.lengths.map(|_| s.terminated_lengths.map_or(0.0, |l| l.mean))
    }),
    line("train/completions/min_length_terminated", "tokens", "shortest of those not cut off; 0 if there are none", Reduction::Min, |s| {
        s.lengths.map(|_| s.terminated_lengths.map_or(0.0, |l| l.min))
    }),
    line("train/completions/max_length_terminated", "tokens", "longest of those not cut off; 0 if there are none", Reduction::Max, |s| {
        s.lengths.map(|_| s.terminated_lengths.map_or(0.0, |l| l.max))
    }),
    line("train/completions/diversity/distinct_1", "share", "distinct tokens of a group over its tokens, mean over groups", Reduction::Mean, |s| {
        diversity(s.diversity, |d| d.distinct_1)
    }),
    line("train/completions/diversity/distinct_2", "share", "distinct token pairs of a group over its pairs, mean over groups", Reduction::Mean, |s| {
        diversity(s.diversity, |d| d.distinct_2)
    }),
    line("train/completions/diversity/jaccard", "share", "mean Jaccard distance of a group's completions, mean over groups", Reduction::Mean, |s| {
        diversity(s.diversity, |d| d.jaccard)
    }),
    line("train/completions/diversity/distinct_1_micro", "share", "distinct_1, groups weighted by size", Reduction::Mean, |s| {
        diversity(s.diversity_by_size, |d| d.distinct_1)
    }),
    line("train/completions/diversity/distinct_2_micro", "share", "distinct_2, groups weighted by size", Reduction::Mean, |s| {
        diversity(s.diversity_by_size, |d| d.distinct_2)
    }),
    line("train/completions/diversity/jaccard_micro", "share", "jaccard, groups weighted by size", Reduction::Mean, |s| {
        diversity(s.diversity_by_size, |d| d.jaccard)
    }),
];

#[rustfmt::skip] // a table: one key a line
const REWARDS: &[Line] = &[
    line("train/reward", "reward", "mean reward", Reduction::Mean, |s| Some(s.rewards.as_ref()?.mean)),
    line("train/reward_std", "reward", "population standard deviation of rewards", Reduction::Std, |s| Some(s.rewards.as_ref()?.population_std)),
    line("train/frac_reward_zero_std", "share", "non-empty groups whose advantages are all below 1e-8 in size", Reduction::Share, |s| s.zero_advantage_groups),
    line("train/q_entropy_mean", "nats", "mean over groups of the entropy of q", Reduction::Mean, |s| Some(s.q_entropy?.mean)),
    line("train/q_entropy_std", "nats", "population std over groups", Reduction::Std, |s| Some(s.q_entropy?.population_std)),
    line("train/q_entropy_min", "nats", "smallest of any group", Reduction::Min, |s| Some(s.q_entropy?.min)),
    line("train/q_entropy_max", "nats", "largest of any group", Reduction::Max, |s| Some(s.q_entropy?.max)),
    line("train/seed_grpo/semantic_entropy_mean", "nats", "mean over groups of the semantic entropy; 0 if not given", Reduction::Mean, |s| {
        Some(s.semantic_entropy.map_or(0.0, |m| m.mean))
    }),
    line("train/seed_grpo/semantic_entropy_std", "nats", "population std over groups; 0 if not given", Reduction::Std, |s| {
        Some(s.semantic_entropy.map_or(0.0, |m| m.population_std))
    }),
    line("train/seed_grpo/semantic_entropy_min", "nats", "smallest of any group; 0 if not given", Reduction::Min, |s| {
        Some(s.semantic_entropy.map_or(0.0, |m| m.min))
    }),
    line("train/seed_grpo/semantic_entropy_max", "nats", "largest of any group; 0 if not given", Reduction::Max, |s| {
        Some(s.semantic_entropy.map_or(0.0, |m| m.max))
    }),
    line("train/seed_grpo/advantage_scale_mean", "1", "mean over groups of the advantage scale; 0 if not given", Reduction::Mean, |s| {
        Some(s.advantage_scale.map_or(0.0, |m| m.mean))
    }),
    line("train/seed_grpo/advantage_scale_min", "1", "smallest of any group; 1 if not given", Reduction::Min, |s| {
        Some(s.advantage_scale.map_or(1.0, |m| m.min))
    }),
    line("train/seed_grpo/advantage_scale_max", "1", "largest of any group; 1 if not given", Reduction::Max, |s| {
        Some(s.advantage_scale.map_or(1.0, |m| m.max))
    }),
    line("train/seed_grpo/alpha_effective", "1", "mean over the ranks that report one; 0 if none does", Reduction::Mean, |s| {
        Some(s.seed_alpha_effective.unwrap_or(0.0))
    }),
    line("train/seed_grpo/max_possible_entropy", "nats", "mean over the ranks that report one; 0 if none does", Reduction::Mean, |s| {
        Some(s.seed_max_possible_entropy.unwrap_or(0.0))
    }),
    line("train/reward_p00", "reward", "smallest reward", Reduction::Quantile, |s| reward_quantile(s, 0)),
    line("train/reward_p05", "reward", "5 % quantile of rewards (type 7)", Reduction::Quantile, |s| reward_quantile(s, 1)),
    line("train/reward_p25", "reward", "25 % quantile of rewards", Reduction::Quantile, |s| reward_quantile(s, 2)),
    line("train/reward_p50", "reward", "median reward", Reduction::Quantile, |s| reward_quantile(s, 3)),
    line("train/reward_p75", "reward", "75 % quantile of rewards", Reduction::Quantile, |s| reward_quantile(s, 4)),
    line("train/reward_p95", "reward", "95 % quantile of rewards", Reduction::Quantile, |s| reward_quantile(s, 5)),
    line("train/reward_p100", "reward", "largest reward", Reduction::Quantile, |s| reward_quantile(s, 6)),
    component("train/rewards/{name}/mean", "mean of the component where it applies", Reduction::Mean, |c| Some(c.mean)),
    component("train/rewards/{name}/std", "population standard deviation of the component", Reduction::Std, |c| Some(c.population_std)),
    component("train/rewards/{name}/p00", "smallest value", Reduction::Quantile, |c| Some(c.quantiles[0])),
    component("train/rewards/{name}/p05", "5 % quantile", Reduction::Quantile, |c| Some(c.quantiles[1])),
    component("train/rewards/{name}/p25", "25 % quantile", Reduction::Quantile, |c| Some(c.quantiles[2])),
    component("train/rewards/{name}/p50", "median", Reduction::Quantile, |c| Some(c.quantiles[3])),
    component("train/rewards/{name}/p75", "75 % quantile", Reduction::Quantile, |c| Some(c.quantiles[4])),
    component("train/rewards/{name}/p95", "95 % quantile", Reduction::Quantile, |c| Some(c.quantiles[5])),
    component("train/rewards/{name}/p100", "largest value", Reduction::Quantile, |c| Some(c.quantiles[6])),
    line("train/reward_without_entropy_bonus", "reward", "mean reward less the mean entropy bonus", Reduction::Derived, |s| {
        bonus(s, |reward, bonus| reward - bonus)
    }),
    line("train/reward_with_entropy_bonus", "reward", "mean reward", Reduction::Mean, |s| bonus(s, |reward, _| reward)),
    line("train/entropy_bonus_mean", "reward", "mean of the component entropy_bonus", Reduction::Mean, |s| bonus(s, |_, bonus| bonus)),
    line("train/entropy_bonus_frac_of_base", "share", "entropy bonus over max(|reward without it|, 1e-8)", Reduction::Derived, |s| {
        bonus(s, |reward, bonus| bonus / (reward - bonus).abs().max(1e-8))
    }),
    line("train/entropy_bonus_frac_of_total", "share", "entropy bonus over max(|reward|, 1e-8)", Reduction::Derived, |s| {
        bonus(s, |reward, bonus| bonus / reward.abs().max(1e-8))
    }),
];

#[rustfmt::skip] // a table: one key a line
const WEIGHTS: &[Line] = &[
    line("train/weight_entropy", "nats", "mean over groups of the entropy of the update weights; 0 under the GRPO objective", Reduction::Mean, weight_entropy),
    line("train/weight_entropy_norm", "1", "mean over groups of the weights' entropy over ln(size)", Reduction::Mean, |s| Some(s.weight_entropy_norm?.mean)),
    line("train/weight_entropy_min", "nats", "smallest of any group; 0 under the GRPO objective", Reduction::Min, |s| {
        unless_grpo(s, s.weight_entropy.map(|m| m.min))
    }),
    line("train/weight_entropy_max", "nats", "largest of any group; 0 under the GRPO objective", Reduction::Max, |s| {
        unless_grpo(s, s.weight_entropy.map(|m| m.max))
    }),
    line("train/advantage_entropy_mean", "1", "mean over completions of weight - 1/size; 0 under the GRPO objective", Reduction::Mean, |s| {
        unless_grpo(s, s.advantage_entropy.map(|m| m.mean))
    }),
    line("train/advantage_entropy_std", "1", "population std of the same; 0 under the GRPO objective", Reduction::Std, |s| {
        unless_grpo(s, s.advantage_entropy.map(|m| m.population_std))
    }),
    line("train/weight_entropy_ema", "nats", "the controller's moving average of the weight entropy", Reduction::Last, |s| {
        s.weighting.as_ref()?.tau_entropy_ema
    }),
];

#[rustfmt::skip] // a table: one key a line
const POLICY: &[Line] = &[
    line("train/clip_ratio", "share", "tokens whose ratio to the reference leaves the clip range; 0 if not given", Reduction::Share, |s| Some(region(s))),
    line("train/clip_ratio/low_mean", "share", "tokens below the range; 0 if not given", Reduction::Share, |s| Some(s.reference.clipped_low.unwrap_or(0.0))),
    line("train/clip_ratio/low_min", "0/1", "1 if every token is below; 0 if not given", Reduction::Min, |s| Some(s.reference.all_low.unwrap_or(0.0))),
    line("train/clip_ratio/high_mean", "share", "tokens above the range; 0 if not given", Reduction::Share, |s| Some(s.reference.clipped_high.unwrap_or(0.0))),
    line("train/clip_ratio/high_max", "0/1", "1 if any token is above; 0 if not given", Reduction::Max, |s| Some(s.reference.any_high.unwrap_or(0.0))),
    line("train/clip_ratio/region_mean", "share", "as train/clip_ratio", Reduction::Share, |s| Some(region(s))),
    line("train/kl", "nats", "k3 to the reference policy, normalised as the loss type says; else the KL loss", Reduction::Mean, kl),
    bucket("train/kl_per_token_bucket/{bucket}", "nats", "k3 per token of completions of that length in tokens", Reduction::Mean, |b| b.k3),
    bucket("train/kl_per_token_bucket_tokens/{bucket}", "tokens", "their counted tokens", Reduction::Sum, |b| Some(b.tokens)),
];

fn per_completion_token(s: &Summary, loss: Scalar) -> Option<f64> {
    let tokens = s
        .scalar(Scalar::NumCompletionTokens)
        .or(s.completion_tokens)?;
    let loss = s.scalar(loss)?;
    (tokens > 0.0).then(|| (loss / tokens).max(0.0))
}

fn reward_quantile(s: &Summary, at: usize) -> Option<f64> {
    Some(s.rewards.as_ref()?.quantiles[at])
}

/// Of the mean reward and the mean of the component named `entropy_bonus`.
fn bonus(s: &Summary, take: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let component: &Distribution = s
        .components
        .iter()
        .find(|(name, _)| name == "entropy_bonus")
        .map(|(_, c)| c)?;
    Some(take(s.rewards.as_ref()?.mean, component.mean))
}

fn diversity(
    numbers: Option<DiversityNumbers>,
    take: impl Fn(DiversityNumbers) -> f64,
) -> Option<f64> {
    numbers.map(take)
}

/// Under the plain GRPO objective the weights' entropies are 0 by definition.
fn unless_grpo(s: &Summary, number: Option<f64>) -> Option<f64> {
    let grpo = s
        .weighting
        .as_ref()
        .and_then(|w| w.train_grpo_objective)
        .unwrap_or(false);
    if grpo { Some(0.0) } else { number }
}

fn weight_entropy(s: &Summary) -> Option<f64> {
    unless_grpo(s, s.weight_entropy.map(|m| m.mean))
}

fn kl(s: &Summary) -> Option<f64> {
    let measured = match s.loss_type() {
        LossType::Grpo => s.reference.k3_by_completion,
        LossType::DrGrpo => s.reference.k3_by_cap,
        _ => s.reference.k3,
    };
    measured.or(s.scalar(Scalar::KlLoss))
}

fn region(s: &Summary) -> f64 {
    s.reference.clipped.unwrap_or(0.0)
}
