//! The extended metrics: the same in every dialect, under its prefix.

use super::{Line, Reduction, Take, line};
use crate::batch::scalars::{ImportanceLevel, Scalar};
use crate::summary::{BehaviourNumbers, Census, Flag, OutsideNumbers, Summary, WeightNumbers};

/// Without a prefix.
pub(super) const TABLES: &[&[Line]] = &[GROUPS, SPLITS, TOKENS, SAMPLER, HEALTH];

#[rustfmt::skip] // a table: one key a line
const GROUPS: &[Line] = &[
    line("reward_stderr", "reward", "standard error of the mean reward, clustered by group with G/(G-1) (Liang and Zeger, 1986)", Reduction::Derived, |s| Some(s.extended.as_ref()?.reward_error?.standard_error)),
    line("reward_ci95/low", "reward", "lower end of its 95 % interval, Student's t with G - 1 degrees of freedom", Reduction::Derived, |s| Some(s.extended.as_ref()?.reward_error?.interval.0)),
    line("reward_ci95/high", "reward", "upper end of its 95 % interval", Reduction::Derived, |s| Some(s.extended.as_ref()?.reward_error?.interval.1)),
    line("reward_skewness", "1", "mean of ((r - mean) / population std)^3", Reduction::Derived, |s| s.extended.as_ref()?.reward_skewness),
    line("reward_group_std/mean", "reward", "mean over groups of the population std of their rewards", Reduction::Mean, |s| Some(s.extended.as_ref()?.group_std?.mean)),
    line("reward_group_std/p05", "reward", "p05 over groups of it", Reduction::Quantile, |s| Some(s.extended.as_ref()?.group_std?.p05)),
    line("reward_group_std/p50", "reward", "p50 over groups of it", Reduction::Quantile, |s| Some(s.extended.as_ref()?.group_std?.p50)),
    line("reward_group_std/p95", "reward", "p95 over groups of it", Reduction::Quantile, |s| Some(s.extended.as_ref()?.group_std?.p95)),
    line("groups/all_max", "share", "groups all of whose rewards are the largest of the step", Reduction::Share, |s| Some(s.extended.as_ref()?.group_shares?.all_max)),
    line("groups/all_min", "share", "groups all of whose rewards are the smallest of the step", Reduction::Share, |s| Some(s.extended.as_ref()?.group_shares?.all_min)),
    line("groups/mixed", "share", "groups that are neither", Reduction::Share, |s| Some(s.extended.as_ref()?.group_shares?.mixed)),
    line("groups/reward_variance", "share", "sum of squares of rewards between groups over their total sum of squares", Reduction::Derived, |s| s.extended.as_ref()?.between_groups),
    line("groups/reward_icc", "1", "intraclass correlation of rewards: the share of their variance between groups, unbiased by the groups' sizes (analysis of variance; Donner, 1986); may be negative", Reduction::Derived, |s| s.extended.as_ref()?.reward_intraclass),
    line("groups/success_icc", "1", "the same of successes", Reduction::Derived, |s| s.extended.as_ref()?.pass_rates?.intraclass),
    line("groups/solved_none", "share", "groups none of whose completions succeeds", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.none)),
    line("groups/solved_some", "share", "groups of whose completions some succeed, not all", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.quarters.iter().sum())),
    line("groups/solved_all", "share", "groups all of whose completions succeed", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.all)),
    line("pass_rate/0-25", "share", "groups of which more than none and up to a quarter of the completions succeed", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.quarters[0])),
    line("pass_rate/25-50", "share", "groups of which more than a quarter and up to a half succeed", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.quarters[1])),
    line("pass_rate/50-75", "share", "groups of which more than a half and up to three quarters succeed", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.quarters[2])),
    line("pass_rate/75-100", "share", "groups of which more than three quarters succeed, not all", Reduction::Share, |s| Some(s.extended.as_ref()?.pass_rates?.quarters[3])),
    line("maj@all/pass", "share", "mean over groups of whether the answer that most of their completions give succeeds, of several such answers each as probably", Reduction::Mean, |s| s.extended.as_ref()?.majority.pass),
    line("maj@all/reward", "reward", "mean reward of that answer", Reduction::Mean, |s| s.extended.as_ref()?.majority.reward),
    line("maj@all/agreement", "share", "mean over groups of the share of their completions that give that answer", Reduction::Mean, |s| s.extended.as_ref()?.majority.agreeing),
    line("effective/group_frac", "share", "groups with an advantage of 1e-8 or more in size", Reduction::Share, |s| s.extended.as_ref()?.effective_groups),
    line("effective/tokens", "tokens", "counted tokens whose advantage, their own or their completion's, is 1e-8 or more in size", Reduction::Sum, |s| Some(s.extended.as_ref()?.effective?.tokens)),
    line("effective/token_frac", "share", "their share of the counted tokens that have an advantage", Reduction::Share, |s| Some(s.extended.as_ref()?.effective?.token_share)),
    line("effective/positive_mass", "1", "sum over counted tokens of the positive advantages, over all counted tokens that have an advantage", Reduction::Mean, |s| Some(s.extended.as_ref()?.effective?.positive)),
    line("effective/negative_mass", "1", "the same of the negative advantages' sizes", Reduction::Mean, |s| Some(s.extended.as_ref()?.effective?.negative)),
    line("reward_by_length/pearson", "1", "Pearson correlation of reward and completion length", Reduction::Derived, |s| s.extended.as_ref()?.reward_length_pearson),
    line("reward_by_length/spearman", "1", "rank correlation of reward and completion length, ties sharing their mean rank", Reduction::Derived, |s| s.extended.as_ref()?.reward_length_spearman),
    line("advantage/mean", "1", "mean advantage of completions", Reduction::Mean, |s| Some(s.extended.as_ref()?.advantages?.mean)),
    line("advantage/std", "1", "population std of them", Reduction::Std, |s| Some(s.extended.as_ref()?.advantages?.population_std)),
    line("advantage/min", "1", "smallest", Reduction::Min, |s| Some(s.extended.as_ref()?.advantages?.min)),
    line("advantage/max", "1", "largest", Reduction::Max, |s| Some(s.extended.as_ref()?.advantages?.max)),
    line("advantage/p05", "1", "p05 of them, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.advantages?.p05)),
    line("advantage/p25", "1", "p25 of them, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.advantages?.p25)),
    line("advantage/p50", "1", "p50 of them, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.advantages?.p50)),
    line("advantage/p75", "1", "p75 of them, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.advantages?.p75)),
    line("advantage/p95", "1", "p95 of them, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.advantages?.p95)),
    line("advantage/zero_frac", "share", "completions whose advantage is below 1e-8 in size", Reduction::Share, |s| Some(s.extended.as_ref()?.advantages?.zero)),
    line("advantage/positive_frac", "share", "completions whose advantage is at least 1e-8", Reduction::Share, |s| s.extended.as_ref()?.positive_advantages),
    line("weight/ess_mean", "share", "mean over groups of (sum of w)^2 / sum of w^2 / size (Kong, 1992)", Reduction::Mean, |s| Some(s.extended.as_ref()?.effective_weights?.mean)),
    line("weight/ess_min", "share", "smallest of any group", Reduction::Min, |s| Some(s.extended.as_ref()?.effective_weights?.min)),
    line("weight/max", "1", "largest update weight", Reduction::Max, |s| s.extended.as_ref()?.largest_weight),
];

#[rustfmt::skip] // a table: one key a line
const SPLITS: &[Line] = &[
    Line::of("rewards/{name}/corr_total", "1", "Pearson correlation of the component with the total reward", Reduction::Derived, Take::Correlation),
    Line::of("pass@{k}", "share", "mean over groups of at least k of 1 - C(n-c, k)/C(n, k) (Chen et al., 2021), for each `pass_k`", Reduction::Mean, Take::Attempts(|a| Some(a.pass))),
    Line::of("pass@{k}/ci95/low", "share", "lower end of its 95 % interval, by the spread of the groups' estimates (Wilson, 1927, with Student's t and a group more on either side)", Reduction::Derived, Take::Attempts(|a| Some(a.interval?.0))),
    Line::of("pass@{k}/ci95/high", "share", "upper end of it", Reduction::Derived, Take::Attempts(|a| Some(a.interval?.1))),
    Line::of("pass@{k}/groups_short", "groups", "groups of fewer than k, which it leaves out", Reduction::Sum, Take::Attempts(|a| Some(a.short as f64))),
    Line::of("best@{k}", "reward", "mean over groups of at least k, all of whose rewards are there, of the expected largest reward of k of their completions drawn without replacement, for k of 2, 4, 8 and so on", Reduction::Mean, Take::Best(|b| Some(b.best))),
    Line::of("worst@{k}", "reward", "the same of the smallest reward", Reduction::Mean, Take::Best(|b| Some(b.worst))),
    Line::of("stop_conditions/{condition}/frac", "share", "completions that ended for this reason, of those of which it is known", Reduction::Share, Take::Condition(|c| c.share)),
    Line::of("stop_conditions/{condition}/reward", "reward", "their mean reward", Reduction::Mean, Take::Condition(|c| c.reward)),
    Line::of("stop_conditions/{condition}/mean_length", "tokens", "their mean length", Reduction::Mean, Take::Condition(|c| c.mean_length)),
    Line::of("tags/{tag}/reward", "reward", "mean reward of the tag's completions", Reduction::Mean, Take::Tag(|t| t.reward)),
    Line::of("tags/{tag}/reward_std", "reward", "population std of them", Reduction::Std, Take::Tag(|t| t.population_std)),
    Line::of("tags/{tag}/reward_stderr", "reward", "standard error of the mean, clustered by group", Reduction::Derived, Take::Tag(|t| t.standard_error)),
    Line::of("tags/{tag}/pass@1", "share", "the tag's completions that succeed", Reduction::Share, Take::Tag(|t| t.pass)),
    Line::of("tags/{tag}/pass@1/ci95/low", "share", "lower end of its 95 % interval, by the spread of the groups' shares", Reduction::Derived, Take::Tag(|t| Some(t.pass_interval?.0))),
    Line::of("tags/{tag}/pass@1/ci95/high", "share", "upper end of it", Reduction::Derived, Take::Tag(|t| Some(t.pass_interval?.1))),
    Line::of("tags/{tag}/mean_length", "tokens", "mean length of the tag's completions", Reduction::Mean, Take::Tag(|t| t.mean_length)),
    Line::of("tags/{tag}/zero_std_frac", "share", "the tag's completions whose group's rewards do not vary", Reduction::Share, Take::Tag(|t| t.zero_std)),
];

#[rustfmt::skip] // a table: one key a line
const TOKENS: &[Line] = &[
    line("ratio/mean", "1", "mean ratio of current to behaviour policy per token", Reduction::Mean, |s| Some(extended(s)?.policy.ratio?.mean)),
    line("ratio/min", "1", "smallest ratio of any token", Reduction::Min, |s| Some(extended(s)?.policy.ratio?.min)),
    line("ratio/max", "1", "largest ratio of any token", Reduction::Max, |s| Some(extended(s)?.policy.ratio?.max)),
    line("ratio/p01", "1", "p01 over tokens, its logarithm within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.ratios?[0])),
    line("ratio/p50", "1", "p50 over tokens, its logarithm within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.ratios?[1])),
    line("ratio/p99", "1", "p99 over tokens, its logarithm within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.ratios?[2])),
    line("ratio/ess", "share", "mean(r)^2 / mean(r^2): effective sample size over tokens (Kong, 1992)", Reduction::Derived, |s| Some(extended(s)?.policy.ratio?.effective)),
    line("ratio/chi2", "1", "mean(r^2) - 1, the chi-square divergence", Reduction::Derived, |s| Some(extended(s)?.policy.ratio?.chi_square)),
    line("clip/low", "share", "tokens with a ratio below the clip range and a negative advantage, the token's own where it has one", Reduction::Share, |s| by_sign(s)?.policy_gradient_low),
    line("clip/high", "share", "tokens with a ratio above it and a positive advantage", Reduction::Share, |s| by_sign(s)?.policy_gradient_high),
    line("clip/outside", "share", "tokens with a ratio on either side of it, whatever the advantage", Reduction::Share, |s| by_token(s)?.outside),
    line("clip/dual", "share", "tokens with a negative advantage and a ratio above clip_ratio_c, else clip_delta, else 3", Reduction::Share, |s| by_token(s)?.beyond),
    line("kl_ref/k1", "nats", "mean over tokens of the log-ratio of current to reference policy", Reduction::Mean, |s| Some(extended(s)?.policy.reference?.k1)),
    line("kl_ref/k2", "nats", "mean over tokens of half the squared log-ratio of current to reference policy", Reduction::Mean, |s| Some(extended(s)?.policy.reference?.k2)),
    line("kl_ref/k3", "nats", "mean over tokens of e^-d + d - 1, d the log-ratio of current to reference policy (Schulman, 2020)", Reduction::Mean, |s| Some(extended(s)?.policy.reference?.k3)),
    line("kl_ref/high_frac", "share", "tokens whose k3 to the reference is above a bound, 0.1 nats unless told; values within 2 % of it may count on either side", Reduction::Share, |s| s.extended.as_ref()?.high_divergence),
    line("kl_old/k1", "nats", "mean over tokens of the log-ratio of behaviour to current policy", Reduction::Mean, |s| Some(extended(s)?.policy.behaviour?.k1)),
    line("kl_old/k2", "nats", "mean over tokens of half the squared log-ratio of behaviour to current policy", Reduction::Mean, |s| Some(extended(s)?.policy.behaviour?.k2)),
    line("kl_old/k3", "nats", "mean over tokens of e^-d + d - 1, d the log-ratio of behaviour to current policy (Schulman, 2020)", Reduction::Mean, |s| Some(extended(s)?.policy.behaviour?.k3)),
    line("token_entropy/p05", "nats", "p05 over tokens of the policy's entropy, within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.entropies?[0])),
    line("token_entropy/p50", "nats", "p50 over tokens of the policy's entropy, within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.entropies?[1])),
    line("token_entropy/p95", "nats", "p95 over tokens of the policy's entropy, within 1 %", Reduction::Quantile, |s| Some(s.extended.as_ref()?.entropies?[2])),
    line("length/p05", "tokens", "p05 of completion lengths, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.lengths?[0])),
    line("length/p50", "tokens", "p50 of completion lengths, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.lengths?[1])),
    line("length/p95", "tokens", "p95 of completion lengths, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.lengths?[2])),
    line("length/p99", "tokens", "p99 of completion lengths, exact", Reduction::Quantile, |s| Some(s.extended.as_ref()?.lengths?[3])),
    line("repeated_4grams/mean", "share", "mean over completions of the share of their 4-grams that they have had before", Reduction::Mean, |s| Some(s.extended.as_ref()?.repeated?.mean)),
    line("repeated_4grams/max", "share", "largest such share of any completion", Reduction::Max, |s| Some(s.extended.as_ref()?.repeated?.max)),
    line("end_compression/mean", "1", "mean over completions of the bytes of their end (256 tokens, or 1024 bytes of text) over those of its compressed form (DEFLATE, level 6)", Reduction::Mean, |s| Some(s.extended.as_ref()?.compression?.mean)),
    line("end_compression/max", "1", "largest such ratio of any completion", Reduction::Max, |s| Some(s.extended.as_ref()?.compression?.max)),
    line("success/mean_length", "tokens", "mean length of completions that succeed", Reduction::Mean, |s| s.extended.as_ref()?.succeeded.mean_length),
    line("success/entropy", "nats", "mean policy entropy per token of completions that succeed", Reduction::Mean, |s| s.extended.as_ref()?.succeeded.entropy),
    line("success/kl", "nats", "mean k3 of current to reference policy per token of completions that succeed", Reduction::Mean, |s| s.extended.as_ref()?.succeeded.k3),
    line("failure/mean_length", "tokens", "mean length of completions that fail", Reduction::Mean, |s| s.extended.as_ref()?.failed.mean_length),
    line("failure/entropy", "nats", "mean policy entropy per token of completions that fail", Reduction::Mean, |s| s.extended.as_ref()?.failed.entropy),
    line("failure/kl", "nats", "mean k3 of current to reference policy per token of completions that fail", Reduction::Mean, |s| s.extended.as_ref()?.failed.k3),
    line("turns/mean", "turns", "mean turns of a completion", Reduction::Mean, |s| Some(extended(s)?.agents.turns?.mean)),
    line("turns/min", "turns", "fewest turns of any completion", Reduction::Min, |s| Some(extended(s)?.agents.turns?.min)),
    line("turns/max", "turns", "most turns of any completion", Reduction::Max, |s| Some(extended(s)?.agents.turns?.max)),
    line("tool_calls/mean", "calls", "mean tool calls of a completion", Reduction::Mean, |s| Some(extended(s)?.agents.tool_calls?.mean)),
    line("tool_calls/min", "calls", "fewest tool calls of any completion", Reduction::Min, |s| Some(extended(s)?.agents.tool_calls?.min)),
    line("tool_calls/max", "calls", "most tool calls of any completion", Reduction::Max, |s| Some(extended(s)?.agents.tool_calls?.max)),
    line("tool_calls/failed_frac", "share", "tool calls that fail, over all of them; 0 of none", Reduction::Share, |s| extended(s)?.agents.failed_calls),
    line("aborted_frac", "share", "completions that were broken off", Reduction::Share, |s| extended(s)?.agents.aborted),
    line("error_frac", "share", "completions whose environment or reward failed", Reduction::Share, |s| extended(s)?.agents.errors),
    line("tokens_per_sec", "tokens/s", "completion tokens (as reported, else the sum of lengths) / step time", Reduction::Derived, tokens_per_second),
];

#[rustfmt::skip] // a table: one key a line
const SAMPLER: &[Line] = &[
    line("kl_sampler/k1", "nats", "mean over tokens of -d, d the log-ratio of behaviour policy to sampler: KL of sampler to behaviour policy", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.k1)),
    line("kl_sampler/k3", "nats", "mean over tokens of e^d - d - 1 (Schulman, 2020)", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.k3)),
    line("kl_sampler/k3_back", "nats", "mean over tokens of e^-d + d - 1: k3 of behaviour policy to sampler (NeMo-RL's policy_kl_error)", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.k3_back)),
    line("kl_sampler/js", "nats", "mean over tokens of ln cosh(d/2): half the k3 of either to their mixture (NeMo-RL's js_divergence_error)", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.mixture)),
    line("sampler/mult_prob_error", "1", "mean over tokens of e^|d| (NeMo-RL's token_mult_prob_error)", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.factor)),
    line("sampler/seq_mult_prob_error/mean", "1", "mean over completions of the mean e^|d| of their tokens", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.factor_by_completion.mean)),
    line("sampler/seq_mult_prob_error/min", "1", "smallest of any completion", Reduction::Min, |s| Some(extended(s)?.policy.off_policy?.factor_by_completion.min)),
    line("sampler/seq_mult_prob_error/max", "1", "largest of any completion", Reduction::Max, |s| Some(extended(s)?.policy.off_policy?.factor_by_completion.max)),
    line("sampler/ratio", "1", "mean over tokens of e^d, not capped", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.ratio)),
    line("sampler/chi2", "1", "mean over tokens of e^2d less 1, d within 20", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.chi_square)),
    line("sampler/seq_ratio", "1", "mean over completions of e^D, D the sum of their tokens' d, within 20", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.product)),
    line("sampler/seq_chi2", "1", "mean over completions of e^2D less 1", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.product_chi_square)),
    line("sampler/ess", "share", "mean(w)^2 / mean(w^2) over tokens, w = e^d at most is_ratio_cap (Kong, 1992); without a cap this and what follows to seq_geometric are not there", Reduction::Derived, |s| Some(weights(s)?.effective)),
    line("sampler/above", "share", "tokens with e^d above is_ratio_cap: what truncation changes", Reduction::Share, |s| Some(weights(s)?.above)),
    line("sampler/below", "share", "tokens with e^d below is_ratio_floor; with those above what a mask leaves out", Reduction::Share, |s| Some(weights(s)?.below)),
    line("sampler/seq_ess", "share", "the same as sampler/ess over completions, by e^D", Reduction::Derived, |s| Some(weights(s)?.effective_products)),
    line("sampler/seq_above", "share", "completions with e^D above the cap", Reduction::Share, |s| Some(weights(s)?.products_outside.0)),
    line("sampler/seq_below", "share", "completions with e^D below the floor", Reduction::Share, |s| Some(weights(s)?.products_outside.1)),
    line("sampler/seq_geometric_above", "share", "completions with e to the mean of d above the cap", Reduction::Share, |s| Some(weights(s)?.geometric_outside.0)),
    line("sampler/seq_geometric_below", "share", "completions with e to the mean of d below the floor", Reduction::Share, |s| Some(weights(s)?.geometric_outside.1)),
    line("sampler/ppl", "1", "mean over completions of the behaviour policy's perplexity, e^-(mean log-probability of its tokens)", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.perplexity)),
    line("sampler/sampler_ppl", "1", "the same of the sampler", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.sampler_perplexity)),
    line("sampler/log_ppl", "nats", "mean over completions of the behaviour policy's log-perplexity", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.log_perplexity)),
    line("sampler/sampler_log_ppl", "nats", "the same of the sampler", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.sampler_log_perplexity)),
    line("sampler/log_ppl_diff/mean", "nats", "mean over completions of the first less the second", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.difference.mean)),
    line("sampler/log_ppl_diff/abs", "nats", "mean over completions of its size", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.abs_difference)),
    line("sampler/log_ppl_diff/min", "nats", "smallest of any completion", Reduction::Min, |s| Some(extended(s)?.policy.off_policy?.difference.min)),
    line("sampler/log_ppl_diff/max", "nats", "largest of any completion", Reduction::Max, |s| Some(extended(s)?.policy.off_policy?.difference.max)),
    line("sampler/ppl_ratio", "1", "mean over completions of e to it", Reduction::Mean, |s| Some(extended(s)?.policy.off_policy?.perplexity_ratio)),
    line("staleness/newest", "versions", "newest version of the weights that a token was sampled with", Reduction::Max, |s| extended(s)?.policy.staleness.newest),
    line("staleness/versions/mean", "versions", "mean over completions of how many versions their tokens have", Reduction::Mean, |s| Some(extended(s)?.policy.staleness.distinct?.mean)),
    line("staleness/versions/max", "versions", "most of any completion", Reduction::Max, |s| Some(extended(s)?.policy.staleness.distinct?.max)),
    line("staleness/age/mean", "versions", "mean over tokens of the step's weight_version less the token's", Reduction::Mean, |s| Some(extended(s)?.policy.staleness.ages?.mean)),
    line("staleness/age/max", "versions", "largest of any token", Reduction::Max, |s| Some(extended(s)?.policy.staleness.ages?.max)),
    line("staleness/stale", "share", "tokens older than the step's weight_version", Reduction::Share, |s| extended(s)?.policy.staleness.stale),
    line("staleness/kept", "share", "samples_kept (else the step's completions) of those and samples_dropped", Reduction::Share, |s| extended(s)?.policy.staleness.kept),
];

fn weights(s: &Summary) -> Option<WeightNumbers> {
    extended(s)?.policy.off_policy?.weights
}

/// What is clipped by the sign of the advantage, by a loss that clips so.
fn by_sign(s: &Summary) -> Option<&BehaviourNumbers> {
    extended(s)
        .filter(|s| s.loss_type().clips())
        .map(|s| &s.behaviour)
}

/// What leaves the clip range where a ratio is a token's.
fn by_token(s: &Summary) -> Option<&OutsideNumbers> {
    let is_token = s.importance_level() == ImportanceLevel::Token;
    extended(s).filter(|_| is_token).map(|s| &s.policy.outside)
}

/// The summary, if the extended metrics were asked for.
fn extended(s: &Summary) -> Option<&Summary> {
    s.extended.is_some().then_some(s)
}

fn tokens_per_second(s: &Summary) -> Option<f64> {
    let tokens = s
        .scalar(Scalar::NumCompletionTokens)
        .or(s.completion_tokens)?;
    let seconds = s.scalar(Scalar::StepTimeSec).filter(|s| *s > 0.0)?;
    Some(tokens / seconds)
}

#[rustfmt::skip] // a table: one key a line
const HEALTH: &[Line] = &[
    line("health/entropy_collapse", "0/1", "mean token entropy has been below its limits for several steps (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::EntropyCollapse)),
    line("health/reward_saturation", "0/1", "too many groups succeed to the last completion (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::RewardSaturation)),
    line("health/zero_std", "0/1", "too many completions are in groups of equal rewards (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::ZeroStd)),
    line("health/clipping", "0/1", "too many tokens are clipped (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::Clipping)),
    line("health/kl", "0/1", "KL to the reference (k2, else the reported kl_loss) above its limit (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::Kl)),
    line("health/length_at_cap", "0/1", "too many completions reach the length cap, or, without one, did not end by themselves (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::LengthAtCap)),
    line("health/sampler_drift", "0/1", "trainer's and sampler's log-probabilities or probabilities too far apart (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::SamplerDrift)),
    line("health/nonfinite", "0/1", "some value handed in was NaN or infinite (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::NonFinite)),
    line("health/reward_trend", "0/1", "the mean reward falls over many steps (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::RewardTrend)),
    line("health/reward_shift", "0/1", "the mean reward has left its course, up or down (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::RewardShift)),
    line("health/entropy_trend", "0/1", "the entropy falls towards its limit over many steps (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::EntropyTrend)),
    line("health/entropy_shift", "0/1", "the entropy has left its course, up or down (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::EntropyShift)),
    line("health/kl_trend", "0/1", "the KL to the reference rises towards its limit over many steps (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::KlTrend)),
    line("health/kl_shift", "0/1", "the KL to the reference has left its course, up or down (averaged window: share of steps)", Reduction::Last, |s| flag(s, Flag::KlShift)),
    Line::of("health/kept_out", "values", "numbers of your own that bear the name of another key of the row, or nearly that of a known scalar: not in it", Reduction::Sum, Take::KeptOut),
    Line::of("health/{family}/used", "values", "values of the family that were used", Reduction::Sum, Take::Family(|census| given(census, census.used))),
    Line::of("health/{family}/absent", "values", "places of the family without a value", Reduction::Sum, Take::Family(|census| given(census, census.absent))),
    Line::of("health/{family}/nonfinite", "values", "values of the family that were NaN or infinite", Reduction::Sum, Take::Family(|census| given(census, census.nonfinite))),
];

/// Whether a line is a flag of health, which rises.
#[cfg(feature = "sqlite")]
pub(super) fn is_flag(line: &Line) -> bool {
    let mut flags = HEALTH.iter().filter(|flag| flag.unit == "0/1");
    flags.any(|flag| line.key.ends_with(flag.key))
}

/// A family of which nothing was given has no counts.
fn given(census: &Census, count: u64) -> Option<f64> {
    (census.used > 0 || census.nonfinite > 0).then_some(count as f64)
}

fn flag(s: &Summary, flag: Flag) -> Option<f64> {
    s.course.health[flag as usize].map(|up| f64::from(u8::from(up)))
}
