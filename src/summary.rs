//! The finished numbers of a step or window, without names. What is undefined is `None`.

mod census;
mod course;
mod extended;
mod flag;
mod fold;

use crate::batch::scalars::{ImportanceLevel, LossType, RewardScale, Scalar, Scalars, Weighting};
use crate::family::completions::Completions;
pub use crate::family::completions::agents::AgentNumbers;
use crate::family::completions::agents::agent_numbers;
pub use crate::family::completions::lengths::LengthNumbers;
use crate::family::completions::lengths::length_numbers;
pub use crate::family::groups::diversity::DiversityNumbers;
use crate::family::groups::diversity::diversity;
pub use crate::family::moment::Moment;
use crate::family::moment::{moment, part, share};
pub use crate::family::policy::numbers::{KlNumbers, PolicyNumbers, RatioNumbers};
pub use crate::family::policy::off_policy::numbers::{
    CompletionNumbers, CompletionWeights, OffPolicyNumbers, WeightNumbers,
};
pub use crate::family::policy::outside::OutsideNumbers;
pub use crate::family::policy::rejection::numbers::{RejectedNumbers, RejectionNumbers};
pub use crate::family::policy::staleness::{StalenessNumbers, VersionNumbers};
pub use crate::family::reading::{DeclaredFolds, HIGH_KL, Reading};
pub use crate::family::rewards::distribution::{Distribution, QUANTILES};
use crate::family::rewards::distribution::{component_extremes, distributions};
pub use crate::family::schedule::Schedule;
pub use crate::family::tokens::behaviour::BehaviourNumbers;
use crate::family::tokens::behaviour::behaviour;
use crate::family::tokens::reference::reference;
pub use crate::family::tokens::reference::{BucketNumbers, ReferenceNumbers};
pub use crate::family::tokens::sampler::SamplerNumbers;
use crate::family::tokens::sampler::sampler;
pub use crate::family::tokens::token_totals::TokenNumbers;
use crate::family::tokens::token_totals::{either, token_numbers};
use crate::shard::Shard;
pub use crate::shard::{Detail, KlKind, Retain};
pub use crate::stat::Census;
pub use course::Course;
pub use extended::{
    AdvantageNumbers, Attempts, BestNumbers, ConditionNumbers, EffectiveNumbers, ExtendedNumbers,
    GroupShares, GroupStd, MajorityNumbers, OutcomeNumbers, PassRates, RewardError, TagNumbers,
};
pub use flag::Flag;

/// The finished numbers of a step or window. `None` says that nothing was given that the number could be of.
///
/// A number over groups is over the non-empty groups all of whose completions have what it needs, finite, unless its field
/// says otherwise.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// The (last) step.
    pub step: u64,
    /// As reported, else by the schedule.
    pub epoch: f64,
    /// What only who follows the run from step to step knows; [`Summary::read`] leaves it empty.
    pub course: Course,
    /// How many completions there were, over all ranks, micro-batches and steps.
    pub completions: u64,
    /// The rewards of completions; `None` without a finite one.
    pub rewards: Option<Distribution>,
    /// By name, ascending; components without a usable value are left out.
    pub components: Vec<(String, Distribution)>,
    /// The advantages of completions; `None` without a finite one.
    pub advantages: Option<Moment>,
    /// Mean over completions of the sum of each one's reward components; `None` without components.
    pub component_sums: Option<f64>,
    /// Mean over completions of the mean of each one's reward components; `None` without components.
    pub component_means: Option<f64>,
    /// The smallest and the largest value of any reward component; `None` without components.
    pub component_extremes: Option<(f64, f64)>,
    /// What actor and critic report of themselves; empty where it was not asked for.
    pub policy: PolicyNumbers,
    /// The extended metrics; `None` where they were not asked for.
    pub extended: Option<ExtendedNumbers>,
    /// Completions as conversations: turns, tool calls, what came to nothing.
    pub agents: AgentNumbers,
    /// Prompt lengths, one a completion; `None` where none are known.
    pub prompt_lengths: Option<LengthNumbers>,
    /// Share of completions that are as long as their record's cap or longer, of those that have a cap and a
    /// length.
    pub at_cap: Option<f64>,
    /// Share of prompts that are as long as their record's cap or longer, of those that have both.
    pub prompts_at_cap: Option<f64>,
    /// Share of completions that reach their record's cap, or, where it has none, that did not end by themselves.
    pub cut_off: Option<f64>,
    /// Prompt and completion tokens, of completions of which both lengths are known; `None` without such.
    pub total_tokens: Option<f64>,
    /// Share of non-empty groups whose advantages are all below 1e-8 in size; `None` without advantages.
    pub zero_advantage_groups: Option<f64>,
    /// Share of completions whose group's rewards do not vary: of those rewards that are there, at least two.
    pub zero_std_completions: Option<f64>,
    /// Over groups: the entropy -sum of m ln m, m = max(q, 1e-12), in nats; `None` without q.
    pub q_entropy: Option<Moment>,
    /// Over groups: the entropy -sum of w ln max(w, 1e-12) of the update weights, in nats; `None` without weights.
    pub weight_entropy: Option<Moment>,
    /// Over groups: the entropy of the renormalised weights over ln(size), 0 for groups of one; `None` without weights.
    pub weight_entropy_norm: Option<Moment>,
    /// Over completions: the update weight less 1/size of its group; `None` without weights.
    pub advantage_entropy: Option<Moment>,
    /// Over groups: the semantic entropies as given, in nats, one a group, those of empty groups too; `None` where none are.
    pub semantic_entropy: Option<Moment>,
    /// Over groups: the advantage scales as given, likewise.
    pub advantage_scale: Option<Moment>,
    /// SEED-GRPO's alpha: the mean over steps and ranks of each one's last; `None` where none reports it.
    pub seed_alpha_effective: Option<f64>,
    /// The largest semantic entropy that there could be, in nats, likewise.
    pub seed_max_possible_entropy: Option<f64>,
    /// Mean over groups of how much their completions differ; `None` where no group could be measured.
    pub diversity: Option<DiversityNumbers>,
    /// The same, each group weighted by its size.
    pub diversity_by_size: Option<DiversityNumbers>,
    /// Lengths of completions; `None` where none are known.
    pub lengths: Option<LengthNumbers>,
    /// Over completions not clipped; `None` also where all are.
    pub terminated_lengths: Option<LengthNumbers>,
    /// Share of completions that were cut off: by `terminated`, or, without that column, those as long as their record's
    /// cap (without a cap none is). `None` where no record has `terminated` or lengths.
    pub clipped: Option<f64>,
    /// The sum of completion lengths, in tokens; `None` where no lengths are known.
    pub completion_tokens: Option<f64>,
    /// Mean over completions of each one's mean log-probability under the reference policy, in nats a token.
    pub reference_logps: Option<f64>,
    /// Mean entropy of the policy over counted tokens, in nats; `None` without token entropies.
    pub token_entropy: Option<f64>,
    /// The current policy against the reference policy, over counted tokens.
    pub reference: ReferenceNumbers,
    /// k3 to the reference per token, weighted by the ratio of current to behaviour policy where that is asked for.
    pub weighted_kl: Option<f64>,
    /// The current policy against the behaviour policy: what is clipped. Empty where no record has `old_token_logps`; of a step in
    /// which some have, the current policy stands for it in the others.
    pub behaviour: BehaviourNumbers,
    /// The behaviour policy against the sampler, over counted tokens.
    pub sampler: SamplerNumbers,
    /// Advantages over counted tokens, of records with token advantages; `None` without such.
    pub token_advantages: Option<TokenNumbers>,
    /// Over the tokens of records with token advantages and the completions of all others.
    pub token_or_completion_advantages: Option<TokenNumbers>,
    /// Returns over counted tokens, in units of reward; `None` where none are given.
    pub returns: Option<TokenNumbers>,
    /// What the critic expected, over counted tokens, in units of reward; `None` where none is given.
    pub values: Option<TokenNumbers>,
    /// The step's time on all devices together, in seconds; `None` where the time or their number is not known.
    pub device_seconds: Option<f64>,
    scalars: [Option<f64>; Scalar::COUNT],
    /// The users' own metrics by name.
    pub own: Vec<(String, f64)>,
    /// Names under which a known scalar was reported that are not its own, each with the scalar.
    pub taken: Vec<(String, Scalar)>,
    /// Names under which something was reported that is in no row: nearly a known scalar's ([`Scalar::meant_by`]) and not declared
    /// as the user's own, or another name of a scalar that was reported twice.
    pub strange: Vec<String>,
    /// The controller's snapshot without its non-finite numbers.
    pub weighting: Option<Weighting>,
    /// What each family has seen, by name.
    pub census: Vec<(String, Census)>,
}

impl From<&Shard> for Summary {
    fn from(shard: &Shard) -> Self {
        let step = fold::Reports::of(shard).last_step();
        Self::read(shard, step, &Reading::default())
    }
}

impl Summary {
    /// The numbers of a shard as those of a step, or of the window that ends with it. Spread groups are taken to be whole.
    #[must_use]
    pub fn read(shard: &Shard, step: u64, reading: &Reading) -> Self {
        let groups = shard.groups.totals();
        let plain = &groups.plain;
        let (rewards, components) = distributions(&shard.rewards, &shard.components);
        let reports = fold::Reports::of(shard);
        let seen = shard.completions.seen;
        let tokens = &shard.tokens;
        let (diversity, diversity_by_size) = diversity(&plain.diversity);
        let (weighting, snapshot_nonfinite) = reports.weighting();
        let level = weighting.as_ref().and_then(|w| w.importance_sampling_level);
        let level = level.unwrap_or_default();
        let lengths = &shard.completions.lengths;
        let loss_type = weighting.as_ref().and_then(|w| w.loss_type);
        let reference = reference(tokens, shard.completions.cap, lengths.max, level);
        // TRL's GMPO weighs its KL by no ratio, whatever its arguments say.
        let weighs = reading.kl_bias_correction && loss_type != Some(LossType::Gmpo);
        let scalars = reports.scalars();
        let own = reports.own(&reading.folds);
        let mut census = census::census(shard, plain, seen);
        census.push(("scalars".to_owned(), reports.census()));
        let snapshot = Census {
            nonfinite: snapshot_nonfinite,
            ..Census::default()
        };
        census.push(("weighting".to_owned(), snapshot));
        Self {
            step,
            epoch: scalars[Scalar::Epoch as usize].unwrap_or_else(|| reading.schedule.epoch(step)),
            course: Course::default(),
            completions: seen,
            rewards,
            component_extremes: component_extremes(&components),
            components,
            component_sums: shard.component_rows.mean_of_sums(),
            component_means: shard.component_rows.mean_of_means(),
            advantages: moment(&shard.advantages),
            policy: PolicyNumbers {
                staleness: staleness(shard, &reports, &scalars),
                ..policy(shard, reading.kl_kind)
            },
            extended: shard.extended.as_ref().zip(groups.extended.as_ref()).map(
                |(extended, groups)| ExtendedNumbers::of(shard, extended, (plain, groups), reading),
            ),
            agents: agent_numbers(&shard.completions.agents),
            prompt_lengths: length_numbers(&shard.completions.prompts),
            at_cap: part(shard.completions.at_cap, shard.completions.capped),
            cut_off: cut_off(&shard.completions),
            prompts_at_cap: part(
                shard.completions.prompts_at_cap,
                shard.completions.capped_prompts,
            ),
            total_tokens: (shard.completions.measured > 0)
                .then_some(shard.completions.total_tokens as f64),
            zero_advantage_groups: share(&plain.zero_advantage),
            zero_std_completions: share(&plain.zero_std),
            q_entropy: moment(&plain.q_entropy),
            weight_entropy: moment(&plain.weight_entropy),
            weight_entropy_norm: moment(&plain.weight_entropy_norm),
            advantage_entropy: moment(&plain.advantage_entropy),
            semantic_entropy: moment(&plain.semantic_entropy),
            advantage_scale: moment(&plain.advantage_scale),
            seed_alpha_effective: reports.mean_of_lasts(|r| r.seed_alpha_effective),
            seed_max_possible_entropy: reports.mean_of_lasts(|r| r.seed_max_possible_entropy),
            diversity,
            diversity_by_size,
            lengths: length_numbers(lengths),
            terminated_lengths: length_numbers(&shard.completions.terminated),
            clipped: part(shard.completions.clipped, shard.completions.judged),
            completion_tokens: (lengths.count > 0).then_some(lengths.sum as f64),
            reference_logps: tokens.reference_logps.mean(),
            token_entropy: tokens.entropies.mean(),
            weighted_kl: if weighs {
                reference.k3_corrected
            } else {
                reference.k3
            },
            reference,
            behaviour: if knows_old(shard) {
                behaviour(tokens, level)
            } else {
                BehaviourNumbers::default()
            },
            sampler: sampler(&tokens.sampler),
            token_advantages: token_numbers(&tokens.advantages),
            token_or_completion_advantages: either(
                &tokens.advantages,
                &shard.completion_advantages,
            ),
            returns: token_numbers(&tokens.returns),
            values: token_numbers(&tokens.values),
            device_seconds: scalars[Scalar::StepTimeSec as usize]
                .zip(reading.devices)
                .map(|(seconds, devices)| seconds * f64::from(devices)),
            scalars,
            own: own.metrics,
            taken: own.taken,
            strange: own.strange,
            weighting,
            census,
        }
    }

    /// The numbers of a step in which nothing was seen but these scalars.
    #[must_use]
    pub(crate) fn of_scalars(scalars: Scalars) -> Self {
        let mut shard = Shard::default();
        shard.report(0, scalars, None);
        Self::read(&shard, 0, &Reading::default())
    }

    /// A reported scalar, folded over ranks, micro-batches and steps as it declares.
    #[must_use]
    pub fn scalar(&self, scalar: Scalar) -> Option<f64> {
        self.scalars[scalar as usize]
    }

    /// The loss type of the snapshot, `bnpo` without one.
    #[must_use]
    pub fn loss_type(&self) -> LossType {
        self.snapshot(|w| w.loss_type)
    }

    /// What a ratio of the policies is of: a token, where the snapshot does not say.
    #[must_use]
    pub fn importance_level(&self) -> ImportanceLevel {
        self.snapshot(|w| w.importance_sampling_level)
    }

    /// What advantages are scaled by: by the group's deviation, where the snapshot does not say.
    #[must_use]
    pub fn reward_scale(&self) -> RewardScale {
        self.snapshot(|w| w.scale_rewards)
    }

    /// The snapshot's word, or its default.
    fn snapshot<T: Default>(&self, word: fn(&Weighting) -> Option<T>) -> T {
        self.weighting.as_ref().and_then(word).unwrap_or_default()
    }
}

/// Whether some token has a log-probability under the behaviour policy. Without, nothing says how far apart the policies are, nor that
/// they are the same.
fn knows_old(shard: &Shard) -> bool {
    let old = shard.tokens.logps.old;
    old.used + old.nonfinite > 0
}

/// What actor and critic report of themselves, where it was asked for.
/// Where policy numbers are asked for.
fn staleness(
    shard: &Shard,
    reports: &fold::Reports<'_>,
    scalars: &[Option<f64>; Scalar::COUNT],
) -> StalenessNumbers {
    let Some(policy) = &shard.policy else {
        return StalenessNumbers::default();
    };
    let scalar = |scalar: Scalar| scalars[scalar as usize];
    let kept = scalar(Scalar::SamplesDropped).and_then(|dropped| {
        let kept = scalar(Scalar::SamplesKept).unwrap_or(shard.completions.seen as f64);
        (kept + dropped > 0.0).then_some(kept / (kept + dropped))
    });
    let version = |step| reports.of_step(step, Scalar::WeightVersion);
    StalenessNumbers::of(policy.staleness.as_deref(), version, kept)
}

fn policy(shard: &Shard, kl_kind: KlKind) -> PolicyNumbers {
    let Some(policy) = &shard.policy else {
        return PolicyNumbers::default();
    };
    let probabilities = &shard.tokens.sampler.probability_difference;
    let numbers = PolicyNumbers::of(policy, probabilities, kl_kind);
    if knows_old(shard) {
        return numbers;
    }
    PolicyNumbers {
        ppo_kl: None,
        outside: OutsideNumbers::default(),
        ..numbers
    }
}

fn cut_off(completions: &Completions) -> Option<f64> {
    let cut = completions.at_cap.saturating_add(completions.uncapped_cut);
    part(cut, completions.capped.saturating_add(completions.uncapped))
}
