//! The names of verl's driver and actor metrics. Every mean is over the data itself; where verl averages the averages of
//! micro-batches, the line says so. `timing_s/*` and whatever else is reported under a name of its own stands beside them.

#[cfg(feature = "sqlite")]
use super::first::{First, first};
use super::{Line, Reduction, Take, line};
use crate::batch::scalars::Scalar;
use crate::summary::{RejectedNumbers, Summary, WeightNumbers};

pub(super) const TABLES: &[&[Line]] = &[
    CRITIC, LENGTHS, ACTOR, ROLLOUT, CORRECTION, REJECTION, STALENESS, THROUGHPUT,
];

/// What is looked at first, in order.
#[cfg(feature = "sqlite")]
pub(super) const FIRST: &[First] = &[
    first("critic/score/mean").higher(),
    first("critic/rewards/mean").higher(),
    first("critic/score/min"),
    first("critic/score/max"),
    first("actor/kl_loss"),
    first("actor/ppo_kl"),
    first("actor/pg_clipfrac"),
    first("actor/entropy"),
    first("response_length/mean"),
    first("response_length/clip_ratio"),
    first("actor/pg_loss").lower(),
    first("actor/grad_norm"),
];

#[rustfmt::skip] // a table: one key a line
const CRITIC: &[Line] = &[
    line("critic/score/mean", "reward", "mean reward of completions that were not broken off, before penalties: by `aborted`, or, in records without it, those that have tokens", Reduction::Mean, |s| Some(s.policy.scores?.mean)),
    line("critic/score/max", "reward", "largest of them", Reduction::Max, |s| Some(s.policy.scores?.max)),
    line("critic/score/min", "reward", "smallest of them", Reduction::Min, |s| Some(s.policy.scores?.min)),
    line("critic/rewards/mean", "reward", "mean reward of such completions less the KL penalty in it, where a coefficient is given; a token's k3 at most 10", Reduction::Mean, |s| Some(penalised(s)?.0)),
    line("critic/rewards/max", "reward", "largest of them", Reduction::Max, |s| Some(penalised(s)?.1)),
    line("critic/rewards/min", "reward", "smallest of them", Reduction::Min, |s| Some(penalised(s)?.2)),
    line("critic/advantages/mean", "1", "mean advantage per token; a completion's stands for each of its tokens where they have none of their own", Reduction::Mean, |s| Some(s.policy.advantages?.mean)),
    line("critic/advantages/max", "1", "largest advantage of any token", Reduction::Max, |s| Some(s.policy.advantages?.max)),
    line("critic/advantages/min", "1", "smallest advantage of any token", Reduction::Min, |s| Some(s.policy.advantages?.min)),
    line("critic/returns/mean", "reward", "mean return per token", Reduction::Mean, |s| Some(s.returns?.mean)),
    line("critic/returns/max", "reward", "largest return of any token", Reduction::Max, |s| Some(s.returns?.max)),
    line("critic/returns/min", "reward", "smallest return of any token", Reduction::Min, |s| Some(s.returns?.min)),
    line("critic/values/mean", "reward", "mean value estimate per token", Reduction::Mean, |s| Some(s.values?.mean)),
    line("critic/values/max", "reward", "largest value estimate of any token", Reduction::Max, |s| Some(s.values?.max)),
    line("critic/values/min", "reward", "smallest value estimate of any token", Reduction::Min, |s| Some(s.values?.min)),
    line("critic/vf_explained_var", "share", "1 - var(returns - values) / (var(returns) + 1e-5), sample variances over tokens", Reduction::Derived, |s| s.policy.explained_variance),
];

/// Mean, largest and smallest reward after the penalty; before it where there is none.
fn penalised(s: &Summary) -> Option<(f64, f64, f64)> {
    if let Some(rewards) = s.policy.penalised {
        return Some((rewards.mean, rewards.max, rewards.min));
    }
    let scores = s.policy.scores.filter(|_| !s.policy.is_penalised)?;
    Some((scores.mean, scores.max, scores.min))
}

#[rustfmt::skip] // a table: one key a line
const LENGTHS: &[Line] = &[
    line("response_length/mean", "tokens", "mean completion length", Reduction::Mean, |s| Some(s.lengths?.mean)),
    line("response_length/max", "tokens", "longest completion", Reduction::Max, |s| Some(s.lengths?.max)),
    line("response_length/min", "tokens", "shortest completion", Reduction::Min, |s| Some(s.lengths?.min)),
    line("response_length/clip_ratio", "share", "completions as long as their record's cap or longer", Reduction::Share, |s| s.at_cap),
    line("response_length_non_aborted/mean", "tokens", "mean length of completions that were not broken off: by `aborted`, or, in records without it, those that have tokens", Reduction::Mean, |s| Some(s.agents.kept_lengths?.mean)),
    line("response_length_non_aborted/max", "tokens", "longest of them", Reduction::Max, |s| Some(s.agents.kept_lengths?.max)),
    line("response_length_non_aborted/min", "tokens", "shortest of them", Reduction::Min, |s| Some(s.agents.kept_lengths?.min)),
    line("response_length_non_aborted/clip_ratio", "share", "those of them as long as their record's cap or longer", Reduction::Share, |s| s.agents.kept_at_cap),
    line("response/aborted_ratio", "share", "completions that were broken off: by `aborted`, or, in records without it, those of no tokens", Reduction::Share, |s| s.agents.broken_off),
    line("prompt_length/mean", "tokens", "mean prompt length", Reduction::Mean, |s| Some(s.prompt_lengths?.mean)),
    line("prompt_length/max", "tokens", "longest prompt", Reduction::Max, |s| Some(s.prompt_lengths?.max)),
    line("prompt_length/min", "tokens", "shortest prompt", Reduction::Min, |s| Some(s.prompt_lengths?.min)),
    line("prompt_length/clip_ratio", "share", "prompts as long as their record's cap or longer", Reduction::Share, |s| s.prompts_at_cap),
    line("num_turns/min", "turns", "fewest turns of any completion", Reduction::Min, |s| Some(s.agents.turns?.min)),
    line("num_turns/max", "turns", "most turns of any completion", Reduction::Max, |s| Some(s.agents.turns?.max)),
    line("num_turns/mean", "turns", "mean turns of a completion", Reduction::Mean, |s| Some(s.agents.turns?.mean)),
    line("tool_call_counts/min", "calls", "fewest tool calls of any completion", Reduction::Min, |s| Some(s.agents.tool_calls?.min)),
    line("tool_call_counts/max", "calls", "most tool calls of any completion", Reduction::Max, |s| Some(s.agents.tool_calls?.max)),
    line("tool_call_counts/mean", "calls", "mean tool calls of a completion", Reduction::Mean, |s| Some(s.agents.tool_calls?.mean)),
];

#[rustfmt::skip] // a table: one key a line
const ACTOR: &[Line] = &[
    line("actor/pg_clipfrac", "share", "tokens whose clipped loss exceeds the unclipped (verl averages micro-batches)", Reduction::Share, |s| s.policy.outside.clipped(s.loss_type(), s.behaviour.policy_gradient)),
    line("actor/pg_clipfrac_lower", "share", "tokens with a negative advantage whose ratio exceeds the dual clip (clip_ratio_c, 3; verl averages micro-batches)", Reduction::Share, |s| s.policy.outside.clipped_beyond(s.loss_type(), s.importance_level())),
    line("actor/ppo_kl", "nats", "mean of old less current log-probability per token, a token's within 20 on either side (verl averages micro-batches)", Reduction::Mean, |s| s.policy.ppo_kl),
    line("actor/entropy", "nats", "mean policy entropy per token (verl averages micro-batches)", Reduction::Mean, |s| s.token_entropy),
    line("actor/kl_loss", "nats", "mean KL of current to reference policy per token, by the estimator chosen, a token's k3 at most 10 (verl averages micro-batches)", Reduction::Mean, |s| s.policy.kl_loss),
    line("actor/grad_norm", "1", "gradient norm as reported", Reduction::Declared, |s| s.scalar(Scalar::GradNorm)),
    line("actor/lr", "1", "learning rate as reported", Reduction::Declared, |s| s.scalar(Scalar::LearningRate)).last_of_window(),
];

#[rustfmt::skip] // a table: one key a line
const ROLLOUT: &[Line] = &[
    line("training/rollout_probs_diff_mean", "1", "mean distance of actor's and rollout's probabilities per token", Reduction::Mean, |s| Some(s.sampler.probability_difference?.mean)),
    line("training/rollout_probs_diff_max", "1", "largest such distance of any token", Reduction::Max, |s| Some(s.sampler.probability_difference?.max)),
    line("training/rollout_probs_diff_std", "1", "sample standard deviation of that distance over tokens", Reduction::Std, |s| s.policy.probability_difference_std),
    line("training/rollout_actor_probs_pearson_corr", "1", "Pearson correlation of the two probabilities over tokens; undefined where either does not vary", Reduction::Derived, |s| s.sampler.correlation),
];

#[rustfmt::skip] // a table: one key a line
const CORRECTION: &[Line] = &[
    line("rollout_corr/training_ppl", "1", "mean over completions of e^-(mean log-probability of its tokens under the old policy)", Reduction::Mean, |s| Some(s.policy.off_policy?.perplexity)),
    line("rollout_corr/training_log_ppl", "nats", "mean over completions of its logarithm", Reduction::Mean, |s| Some(s.policy.off_policy?.log_perplexity)),
    line("rollout_corr/kl", "nats", "mean of rollout's less old log-probability per token (k1)", Reduction::Mean, |s| Some(s.policy.off_policy?.k1)),
    line("rollout_corr/k3_kl", "nats", "mean of e^d - d - 1 per token, d old less rollout's log-probability (k3)", Reduction::Mean, |s| Some(s.policy.off_policy?.k3)),
    line("rollout_corr/rollout_ppl", "1", "mean over completions of e^-(mean log-probability of its tokens under the rollout's policy)", Reduction::Mean, |s| Some(s.policy.off_policy?.sampler_perplexity)),
    line("rollout_corr/rollout_log_ppl", "nats", "mean over completions of its logarithm", Reduction::Mean, |s| Some(s.policy.off_policy?.sampler_log_perplexity)),
    line("rollout_corr/log_ppl_diff", "nats", "mean over completions of the two logarithms' difference, old less rollout", Reduction::Mean, |s| Some(s.policy.off_policy?.difference.mean)),
    line("rollout_corr/log_ppl_abs_diff", "nats", "mean over completions of its size", Reduction::Mean, |s| Some(s.policy.off_policy?.abs_difference)),
    line("rollout_corr/log_ppl_diff_max", "nats", "largest such difference of any completion", Reduction::Max, |s| Some(s.policy.off_policy?.difference.max)),
    line("rollout_corr/log_ppl_diff_min", "nats", "smallest such difference of any completion", Reduction::Min, |s| Some(s.policy.off_policy?.difference.min)),
    line("rollout_corr/ppl_ratio", "1", "mean over completions of e to the difference", Reduction::Mean, |s| Some(s.policy.off_policy?.perplexity_ratio)),
    line("rollout_corr/chi2_token", "1", "mean of e^2d less 1 per token, d within 20", Reduction::Mean, |s| Some(s.policy.off_policy?.chi_square)),
    line("rollout_corr/chi2_seq", "1", "mean over completions of e^2D less 1, D the sum of its d, within 20", Reduction::Mean, |s| Some(s.policy.off_policy?.product_chi_square)),
    line("rollout_corr/rollout_is_mean", "1", "mean weight per token: e^d, at most the cap (is_ratio_cap; without one none of these keys is there)", Reduction::Mean, |s| Some(weights(s)?.mean)),
    line("rollout_corr/rollout_is_std", "1", "population std of the weights over tokens", Reduction::Std, |s| Some(weights(s)?.population_std)),
    line("rollout_corr/rollout_is_min", "1", "smallest weight of any token", Reduction::Min, |s| Some(weights(s)?.min)),
    line("rollout_corr/rollout_is_max", "1", "largest weight of any token", Reduction::Max, |s| Some(weights(s)?.max)),
    line("rollout_corr/rollout_is_eff_sample_size", "share", "mean(w)^2 / mean(w^2) over tokens (Kong, 1992)", Reduction::Derived, |s| Some(weights(s)?.effective)),
    line("rollout_corr/rollout_is_ratio_fraction_high", "share", "tokens with e^d above the cap", Reduction::Share, |s| Some(weights(s)?.above)),
    line("rollout_corr/rollout_is_ratio_fraction_low", "share", "tokens with e^d below the floor (is_ratio_floor, else 1 / cap)", Reduction::Share, |s| Some(weights(s)?.below)),
    line("rollout_corr/rollout_is_seq_mean", "1", "mean over completions of the mean weight of their tokens", Reduction::Mean, |s| Some(weights(s)?.by_completion.mean)),
    line("rollout_corr/rollout_is_seq_std", "1", "sample std of it over completions", Reduction::Std, |s| weights(s)?.by_completion.sample_std),
    line("rollout_corr/rollout_is_seq_max", "1", "largest of any completion", Reduction::Max, |s| Some(weights(s)?.by_completion.max)),
    line("rollout_corr/rollout_is_seq_min", "1", "smallest of any completion", Reduction::Min, |s| Some(weights(s)?.by_completion.min)),
    line("rollout_corr/rollout_is_seq_max_deviation", "1", "largest distance from 1 of any completion", Reduction::Max, |s| Some(weights(s)?.by_completion.deviation())),
    line("rollout_corr/rollout_is_seq_fraction_high", "share", "completions whose tokens' mean e^d is above the cap", Reduction::Share, |s| Some(weights(s)?.means_outside.0)),
    line("rollout_corr/rollout_is_seq_fraction_low", "share", "completions whose tokens' mean e^d is below the floor", Reduction::Share, |s| Some(weights(s)?.means_outside.1)),
];

fn weights(s: &Summary) -> Option<WeightNumbers> {
    s.policy.off_policy?.weights
}

/// Those of completions come first, as `_seq_mean` ends in `_mean` too.
#[rustfmt::skip] // a table: one key a line
const REJECTION: &[Line] = &[
    line("rollout_corr/rollout_rs_masked_fraction", "share", "tokens that a statistic of `rollout_rs` leaves out (without that option none of these keys is there)", Reduction::Share, |s| Some(s.policy.rejection.as_ref()?.masked)),
    line("rollout_corr/rollout_rs_seq_masked_fraction", "share", "completions with such a token", Reduction::Share, |s| Some(s.policy.rejection.as_ref()?.touched)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_masked_fraction", "share", "completions with a token that this statistic leaves out", Reduction::Share, |r| Some(r.touched)),
    rejected("rollout_corr/rollout_rs_{statistic}_masked_fraction", "share", "tokens that this statistic leaves out", Reduction::Share, |r| Some(r.masked)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_mean", "nats", "mean over completions of the statistic (of a token's: of its mean over their tokens)", Reduction::Mean, |r| Some(r.each_mean)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_std", "nats", "sample std of it over completions", Reduction::Std, |r| r.each_std),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_max", "nats", "largest of any completion", Reduction::Max, |r| Some(r.each_max)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_min", "nats", "smallest of any completion", Reduction::Min, |r| Some(r.each_min)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_max_deviation", "nats", "largest size of any completion's", Reduction::Max, |r| Some(r.deviation())),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_fraction_high", "share", "completions of which it is above the bounds", Reduction::Share, |r| Some(r.each_above)),
    rejected("rollout_corr/rollout_rs_{statistic}_seq_fraction_low", "share", "completions of which it is below the bounds (of k1 alone)", Reduction::Share, |r| r.each_below),
    rejected("rollout_corr/rollout_rs_{statistic}_mean", "nats", "mean of the statistic over tokens; a completion's stands for each of its tokens", Reduction::Mean, |r| Some(r.mean)),
    rejected("rollout_corr/rollout_rs_{statistic}_std", "nats", "population std over tokens of the statistic, taken within its bounds", Reduction::Std, |r| Some(r.population_std)),
    rejected("rollout_corr/rollout_rs_{statistic}_max", "nats", "largest of any token or completion", Reduction::Max, |r| Some(r.max)),
    rejected("rollout_corr/rollout_rs_{statistic}_min", "nats", "smallest of any token or completion", Reduction::Min, |r| Some(r.min)),
    rejected("rollout_corr/rollout_rs_{statistic}_fraction_high", "share", "tokens (of a completion's statistic: completions) above its bounds", Reduction::Share, |r| Some(r.above)),
    rejected("rollout_corr/rollout_rs_{statistic}_fraction_low", "share", "tokens (of a completion's statistic: completions) below its bounds; 0 where there is no lower one", Reduction::Share, |r| Some(r.below)),
];

/// A line for every statistic that tokens or completions are rejected by.
const fn rejected(
    key: &'static str,
    unit: &'static str,
    meaning: &'static str,
    reduction: Reduction,
    take: fn(&RejectedNumbers) -> Option<f64>,
) -> Line {
    Line::of(key, unit, meaning, reduction, Take::Rejected(take))
}

#[rustfmt::skip] // a table: one key a line
const STALENESS: &[Line] = &[
    line("training/off_policy/trajectory_spans/mean", "versions", "mean over completions of versions of the weights from a completion's oldest to its newest token, both counted", Reduction::Mean, |s| Some(s.policy.staleness.spans?.mean)),
    line("training/off_policy/trajectory_spans/max", "versions", "largest of any completion: versions of the weights from a completion's oldest to its newest token, both counted", Reduction::Max, |s| Some(s.policy.staleness.spans?.max)),
    line("training/off_policy/trajectory_spans/min", "versions", "smallest of any completion: versions of the weights from a completion's oldest to its newest token, both counted", Reduction::Min, |s| Some(s.policy.staleness.spans?.min)),
    line("training/off_policy/trajectory_staleness/mean", "versions", "mean over completions of the step's weight_version less that of a completion's newest token", Reduction::Mean, |s| Some(s.policy.staleness.least?.mean)),
    line("training/off_policy/trajectory_staleness/max", "versions", "largest of any completion: the step's weight_version less that of a completion's newest token", Reduction::Max, |s| Some(s.policy.staleness.least?.max)),
    line("training/off_policy/trajectory_staleness/min", "versions", "smallest of any completion: the step's weight_version less that of a completion's newest token", Reduction::Min, |s| Some(s.policy.staleness.least?.min)),
    line("training/off_policy/trajectory_staleness_worst/mean", "versions", "mean over completions of the step's weight_version less that of a completion's oldest token", Reduction::Mean, |s| Some(s.policy.staleness.most?.mean)),
    line("training/off_policy/trajectory_staleness_worst/max", "versions", "largest of any completion: the step's weight_version less that of a completion's oldest token", Reduction::Max, |s| Some(s.policy.staleness.most?.max)),
    line("training/off_policy/trajectory_staleness_worst/min", "versions", "smallest of any completion: the step's weight_version less that of a completion's oldest token", Reduction::Min, |s| Some(s.policy.staleness.most?.min)),
];

#[rustfmt::skip] // a table: one key a line
const THROUGHPUT: &[Line] = &[
    line("perf/total_num_tokens", "tokens", "prompt and completion tokens of the step", Reduction::Sum, |s| s.total_tokens),
    line("perf/time_per_step", "s", "time of the step as reported", Reduction::Declared, |s| s.scalar(Scalar::StepTimeSec)),
    line("perf/throughput", "tokens/s", "tokens / (time * devices), where the number of devices is known", Reduction::Derived, throughput),
];

fn throughput(s: &Summary) -> Option<f64> {
    let device_seconds = s.device_seconds?;
    (device_seconds > 0.0).then_some(s.total_tokens? / device_seconds)
}
