//! Other numbers that go by the same name: by another definition, or by another setting of the same one.

use crate::batch::scalars::ClipRange;
use crate::dialect::Take;
use crate::engine::EngineOptions;
use crate::shard::KlKind;
use crate::summary::Summary;

/// Another number than a key's own.
#[derive(Debug)]
pub struct Other {
    /// How it differs.
    pub said: &'static str,
    /// The keys that it may stand under, in any dialect, as the dialects' tables have them.
    pub keys: &'static [&'static str],
    /// How it is made.
    pub by: By,
}

/// How another number is made.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// It is this number of the summary.
    Definition(Take),
    /// It is the key's own, counted by another setting.
    Setting(Setting),
}

/// What the completions may have been counted by instead.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// How far from 1 a ratio counts as clipped, below and above.
    Clip(f64, f64),
    /// The cap of the ratio to the sampler.
    RatioCap(Option<f64>),
    /// The estimator of verl's KL.
    Kl(KlKind),
}

impl Setting {
    /// Changes what completions are counted by.
    pub fn apply(self, options: &mut EngineOptions, range: &mut Option<ClipRange>) {
        match self {
            Self::Clip(low, high) => {
                let told = range.or(options.clip_range).unwrap_or_default();
                *range = Some(ClipRange { low, high, ..told });
            }
            Self::RatioCap(cap) => options.is_ratio_cap = cap,
            Self::Kl(kind) => options.kl_kind = kind,
        }
    }
}

const REWARD_STD: &[&str] = &["reward_std", "train/reward_std", "train/rollout/reward_std"];
const COMPONENT_STD: &[&str] = &["rewards/{name}/std", "train/rewards/{name}/std"];
const ZERO_STD: &[&str] = &["frac_reward_zero_std", "train/frac_reward_zero_std"];
const KL: &[&str] = &["kl", "train/kl", "actor/kl_loss"];
const PPO_KL: &[&str] = &["actor/ppo_kl", "train/ppo_kl"];
const CUT_OFF: &[&str] = &[
    "completions/clipped_ratio",
    "response_length/clip_ratio",
    "train/rollout/truncated_rate",
    "train/truncated",
    "train/agg/effective/agent/is_truncated/mean",
];
const CLIPPED: &[&str] = &[
    "clip_ratio/low_mean",
    "clip_ratio/low_min",
    "clip_ratio/high_mean",
    "clip_ratio/high_max",
    "clip_ratio/region_mean",
    "train/clip_ratio/low_mean",
    "train/clip_ratio/low_min",
    "train/clip_ratio/high_mean",
    "train/clip_ratio/high_max",
    "train/clip_ratio/region_mean",
    "train/clip_ratio",
    "pg_clipfrac",
    "actor/pg_clipfrac",
    "train/ppo_clip_ratio",
    "policy/loss_metrics/clip_ratio",
];
const SAMPLER_RATIO: &[&str] = &[
    "sampling/importance_sampling_ratio/min",
    "sampling/importance_sampling_ratio/mean",
    "sampling/importance_sampling_ratio/max",
];
/// Of sampler to policy.
const SAMPLER_KL: &[&str] = &[
    "rollout_corr/kl",
    "rollout_corr/k3_kl",
    "train/vllm_kl",
    "train/gen_kl_error",
];
/// Of policy to sampler.
const BACK_KL: &[&str] = &["train/policy_kl_error"];
const LOGP_DIFFERENCE: &[&str] = &[
    "sampling/sampling_logp_difference/mean",
    "policy/rollout_train_logprobs_abs_diff_mean",
];
const LARGEST_LOGP_DIFFERENCE: &[&str] = &[
    "sampling/sampling_logp_difference/max",
    "policy/rollout_train_logprobs_abs_diff_max",
];
const TOKEN_ADVANTAGE: &[&str] = &["critic/advantages/mean", "train/advantages/mean"];

const fn of(
    said: &'static str,
    keys: &'static [&'static str],
    take: fn(&Summary) -> Option<f64>,
) -> Other {
    let by = By::Definition(Take::Number(take));
    Other { said, keys, by }
}

const fn set(said: &'static str, keys: &'static [&'static str], setting: Setting) -> Other {
    let by = By::Setting(setting);
    Other { said, keys, by }
}

/// All that are known, the likeliest first.
#[rustfmt::skip] // a table: one a line
pub static OTHERS: &[Other] = &[
    of("population deviation", REWARD_STD, |s| Some(s.rewards.as_ref()?.population_std)),
    of("sample deviation", REWARD_STD, |s| s.rewards.as_ref()?.sample_std),
    Other { said: "population deviation", keys: COMPONENT_STD, by: By::Definition(Take::Component(|c| Some(c.population_std))) },
    Other { said: "sample deviation", keys: COMPONENT_STD, by: By::Definition(Take::Component(|c| c.sample_std)) },
    of("mean of the groups' population deviations", REWARD_STD, |s| Some(s.extended.as_ref()?.group_std.as_ref()?.mean)),
    of("share of groups without an advantage", ZERO_STD, |s| s.zero_advantage_groups),
    of("share of completions whose group's rewards do not vary", ZERO_STD, |s| s.zero_std_completions),
    of("k3", KL, |s| s.reference.k3),
    of("k3, a token's weighted by the ratio to the behaviour policy", KL, |s| s.reference.k3_corrected),
    of("k1", KL, |s| Some(s.policy.reference?.k1)),
    of("k2", KL, |s| Some(s.policy.reference?.k2)),
    of("k3, a token's at most 10", KL, clamped),
    of("mean over completions of each one's k3", KL, |s| s.reference.k3_by_completion),
    of("k3 over completions times the generation cap", KL, |s| s.reference.k3_by_cap),
    of("k3 to the behaviour policy", KL, |s| Some(s.policy.behaviour?.k3)),
    of("k1 to the behaviour policy", KL, |s| Some(s.policy.behaviour?.k1)),
    set("the difference's size", &["actor/kl_loss"], Setting::Kl(KlKind::Abs)),
    of("k1 without a clamp", PPO_KL, |s| Some(s.policy.behaviour?.k1)),
    of("k1, a token's within 20", PPO_KL, |s| s.policy.ppo_kl),
    of("k2", PPO_KL, |s| Some(s.policy.behaviour?.k2)),
    of("k3", PPO_KL, |s| Some(s.policy.behaviour?.k3)),
    of("k1", SAMPLER_KL, |s| Some(s.policy.off_policy?.k1)),
    of("k3", SAMPLER_KL, |s| Some(s.policy.off_policy?.k3)),
    of("k3 of policy to sampler", SAMPLER_KL, |s| Some(s.policy.off_policy?.k3_back)),
    of("k1", BACK_KL, |s| Some(-s.policy.off_policy?.k1)),
    of("k3 of sampler to policy", BACK_KL, |s| Some(s.policy.off_policy?.k3)),
    of("differences of probabilities", LOGP_DIFFERENCE, |s| Some(s.sampler.probability_difference?.mean)),
    of("differences of probabilities", LARGEST_LOGP_DIFFERENCE, |s| Some(s.sampler.probability_difference?.max)),
    of("mean over completions of their advantages", TOKEN_ADVANTAGE, |s| Some(s.advantages?.mean)),
    of("share of completions that did not end by themselves", CUT_OFF, |s| s.clipped),
    of("share of completions as long as the cap", CUT_OFF, |s| s.at_cap),
    set("a clip range of 0.1", CLIPPED, Setting::Clip(0.1, 0.1)),
    set("a clip range of 0.2", CLIPPED, Setting::Clip(0.2, 0.2)),
    set("a clip range of 0.3", CLIPPED, Setting::Clip(0.3, 0.3)),
    set("a clip range of 0.2 below, 0.28 above", CLIPPED, Setting::Clip(0.2, 0.28)),
    set("ratios without a cap", SAMPLER_RATIO, Setting::RatioCap(None)),
    set("ratios capped at 1", SAMPLER_RATIO, Setting::RatioCap(Some(1.0))),
    set("ratios capped at 2", SAMPLER_RATIO, Setting::RatioCap(Some(2.0))),
    set("ratios capped at 3", SAMPLER_RATIO, Setting::RatioCap(Some(3.0))),
    set("ratios capped at 5", SAMPLER_RATIO, Setting::RatioCap(Some(5.0))),
    set("ratios capped at 10", SAMPLER_RATIO, Setting::RatioCap(Some(10.0))),
];

/// Of verl's actor, whatever estimator the options say: what is read here is read by the default, k3.
fn clamped(s: &Summary) -> Option<f64> {
    s.policy.kl_loss
}
