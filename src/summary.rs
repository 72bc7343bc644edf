//! The finished numbers of a step or window, without names. What is undefined is `None`.

mod census;
mod extended;
mod flag;
mod fold;
mod policy;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::scalars::{Fold, LossType, Scalar, Weighting, WindowFold};
use crate::shard::column::Column;
use crate::shard::groups::{Settled, Share, Spread};
use crate::shard::totals::{BUCKETS, Lengths, TokenRange, Tokens};
pub use crate::shard::{KlKind, Retain};
use crate::shard::{PARALLEL_FROM, Shard};
pub use crate::stat::Census;
use crate::stat::{Quantile, Statistic};
pub use extended::{
    AdvantageNumbers, Attempts, ExtendedNumbers, GroupShares, GroupStd, RewardError, TagNumbers,
};
pub use flag::Flag;
pub use policy::{PolicyNumbers, RatioNumbers};

/// The k3 to the reference, in nats, above which a token's KL counts as high, where nothing else is said.
pub const HIGH_KL: f64 = 0.1;

/// The quantiles that dialects name, in order.
pub const QUANTILES: [Quantile; 7] = [
    Quantile::P00,
    Quantile::P05,
    Quantile::P25,
    Quantile::P50,
    Quantile::P75,
    Quantile::P95,
    Quantile::P100,
];

/// A per-completion column: its values' count, moments and exact type-7 quantiles (at [`QUANTILES`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    pub census: Census,
    pub mean: f64,
    pub population_std: f64,
    /// Undefined for fewer than two values.
    pub sample_std: Option<f64>,
    pub quantiles: [f64; 7],
}

impl Distribution {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.quantiles[0]
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.quantiles[6]
    }
}

/// One number a group or completion: moments and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub mean: f64,
    pub population_std: f64,
    pub min: f64,
    pub max: f64,
}

/// Lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthNumbers {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// A token-level number: mean and extremes over tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenNumbers {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// A group's diversity, averaged over groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiversityNumbers {
    pub distinct_1: f64,
    pub distinct_2: f64,
    pub jaccard: f64,
}

/// Current policy against reference policy, over tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferenceNumbers {
    /// The k3 estimate per token; with the ratio of current to behaviour policy as weight; mean over completions of
    /// their own mean; sum over completions times the generation cap.
    pub k3: Option<f64>,
    pub k3_corrected: Option<f64>,
    pub k3_by_completion: Option<f64>,
    pub k3_by_cap: Option<f64>,
    /// Shares of tokens beyond the clip range.
    pub clipped_low: Option<f64>,
    pub clipped_high: Option<f64>,
    pub clipped: Option<f64>,
    /// 1 if every token (any token) is beyond that side.
    pub all_low: Option<f64>,
    pub any_high: Option<f64>,
    pub buckets: Vec<BucketNumbers>,
}

/// One length bucket that holds a completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketNumbers {
    pub label: &'static str,
    pub tokens: f64,
    /// Undefined without counted tokens.
    pub k3: Option<f64>,
}

/// Current policy against behaviour policy, over tokens of completions with an advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BehaviourNumbers {
    /// Shares of tokens clipped on each side given the advantage's sign, and on either.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub region: Option<f64>,
    /// Extremes over completions of their own shares.
    pub lowest_low: Option<f64>,
    pub highest_high: Option<f64>,
    /// By the token's own advantage where the record has token advantages.
    pub policy_gradient: Option<f64>,
}

/// Behaviour policy against the sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerNumbers {
    pub logp_difference: Option<TokenNumbers>,
    pub ratio: Option<TokenNumbers>,
    pub probability_difference: Option<TokenNumbers>,
    /// Pearson correlation of the two probabilities; undefined where either does not vary.
    pub correlation: Option<f64>,
}

/// What an engine knows beside its shards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Context {
    /// The epoch where none is reported.
    pub epoch: f64,
    /// tau and beta at the last emitted step.
    pub previous_tau: Option<f64>,
    pub previous_beta: Option<f64>,
    /// Whether trl's `kl` is weighted by the ratio of current to behaviour policy.
    pub kl_bias_correction: bool,
    /// The estimator of verl's `actor/kl_loss`.
    pub kl_kind: KlKind,
    /// Whether the trainer's rewards have a KL penalty taken off.
    pub penalised: bool,
    /// Devices that the step ran on, where known.
    pub devices: Option<u32>,
    /// The k3 to the reference, in nats, above which a token's KL counts as high.
    pub high_kl: f64,
    /// Which flags of health are up, in the order of [`Flag::ALL`]; `None` where their numbers are not there.
    pub health: [Option<bool>; Flag::ALL.len()],
}

/// The finished numbers of a step or window.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The (last) step.
    pub step: u64,
    pub context: Context,
    pub completions: u64,
    pub rewards: Option<Distribution>,
    /// By name, ascending; components without a usable value are left out.
    pub components: Vec<(String, Distribution)>,
    pub advantages: Option<Moment>,
    /// Per completion over its components: mean of sums and of means, and the extremes over all values.
    pub component_sums: Option<f64>,
    pub component_means: Option<f64>,
    pub component_extremes: Option<(f64, f64)>,
    pub policy: PolicyNumbers,
    /// Where it was asked for.
    pub extended: Option<ExtendedNumbers>,
    pub prompt_lengths: Option<LengthNumbers>,
    /// Shares of completions, and of prompts, that reach their record's cap.
    pub at_cap: Option<f64>,
    pub prompts_at_cap: Option<f64>,
    /// Prompt and completion tokens of this step.
    pub total_tokens: Option<f64>,
    /// Share of non-empty groups whose advantages are all zero.
    pub zero_advantage_groups: Option<f64>,
    /// Share of completions whose group's rewards do not vary.
    pub zero_std_completions: Option<f64>,
    pub q_entropy: Option<Moment>,
    pub weight_entropy: Option<Moment>,
    pub weight_entropy_norm: Option<Moment>,
    pub advantage_entropy: Option<Moment>,
    pub semantic_entropy: Option<Moment>,
    pub advantage_scale: Option<Moment>,
    pub seed_alpha_effective: Option<f64>,
    pub seed_max_possible_entropy: Option<f64>,
    pub diversity: Option<DiversityNumbers>,
    /// The same, each group weighted by its size.
    pub diversity_by_size: Option<DiversityNumbers>,
    pub lengths: Option<LengthNumbers>,
    /// Over completions not clipped; `None` also where all are.
    pub terminated_lengths: Option<LengthNumbers>,
    pub clipped: Option<f64>,
    pub completion_tokens: Option<f64>,
    pub reference_logps: Option<f64>,
    pub token_entropy: Option<f64>,
    pub reference: ReferenceNumbers,
    pub behaviour: BehaviourNumbers,
    pub sampler: SamplerNumbers,
    pub token_advantages: Option<TokenNumbers>,
    /// Over the tokens of records with token advantages and the completions of all others.
    pub token_or_completion_advantages: Option<TokenNumbers>,
    pub returns: Option<TokenNumbers>,
    pub values: Option<TokenNumbers>,
    scalars: [Option<f64>; Scalar::COUNT],
    /// The users' own metrics by name.
    pub own: Vec<(String, f64)>,
    /// The controller's snapshot without its non-finite numbers.
    pub weighting: Option<Weighting>,
    /// What each family has seen, by name.
    pub census: Vec<(String, Census)>,
}

/// The folds of users' own metrics, by name; those not named fold by mean.
pub type DeclaredFolds = BTreeMap<String, (Fold, WindowFold)>;

impl From<&Shard> for Summary {
    fn from(shard: &Shard) -> Self {
        Self::folded(shard, &DeclaredFolds::new())
    }
}

impl Summary {
    /// The numbers of a shard, users' own metrics folded as declared. Spread groups are taken to be whole.
    #[must_use]
    pub fn folded(shard: &Shard, declared: &DeclaredFolds) -> Self {
        let settled = shard.groups.settle();
        let (rewards, components) = distributions(shard);
        let reports = fold::Reports::of(shard);
        let step = reports.last_step();
        let seen = shard.completions.seen;
        let tokens = &shard.tokens;
        let (diversity, diversity_by_size) = diversity(&settled);
        let (weighting, snapshot_nonfinite) = reports.weighting();
        let lengths = &shard.completions.lengths;
        let mut census = census::census(shard, &settled, seen);
        census.push(("scalars".to_owned(), reports.census()));
        census.push((
            "weighting".to_owned(),
            Census {
                nonfinite: snapshot_nonfinite,
                ..Census::default()
            },
        ));
        Self {
            step,
            context: Context {
                epoch: step as f64,
                previous_tau: None,
                previous_beta: None,
                kl_bias_correction: true,
                kl_kind: KlKind::default(),
                penalised: false,
                devices: None,
                high_kl: HIGH_KL,
                health: [None; Flag::ALL.len()],
            },
            completions: seen,
            rewards,
            component_extremes: component_extremes(&components),
            components,
            component_sums: shard.component_rows.mean_of_sums(),
            component_means: shard.component_rows.mean_of_means(),
            advantages: moment(&shard.advantages),
            policy: shard
                .policy
                .as_ref()
                .map(|policy| {
                    PolicyNumbers::of(policy, &shard.tokens.sampler.probability_difference)
                })
                .unwrap_or_default(),
            extended: shard
                .extended
                .as_ref()
                .map(|extended| ExtendedNumbers::of(shard, extended)),
            prompt_lengths: length_numbers(&shard.completions.prompts),
            at_cap: part(shard.completions.at_cap, shard.completions.capped),
            prompts_at_cap: part(
                shard.completions.prompts_at_cap,
                shard.completions.capped_prompts,
            ),
            total_tokens: (shard.completions.prompts.count > 0)
                .then_some(shard.completions.total_tokens as f64),
            zero_advantage_groups: share(&settled.zero_advantage),
            zero_std_completions: share(&settled.zero_std),
            q_entropy: moment(&settled.q_entropy),
            weight_entropy: moment(&settled.weight_entropy),
            weight_entropy_norm: moment(&settled.weight_entropy_norm),
            advantage_entropy: moment(&settled.advantage_entropy),
            semantic_entropy: moment(&settled.semantic_entropy),
            advantage_scale: moment(&settled.advantage_scale),
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
            reference: reference(tokens, shard.completions.cap, lengths.max),
            behaviour: behaviour(tokens),
            sampler: sampler(tokens),
            token_advantages: token_numbers(&tokens.advantages),
            token_or_completion_advantages: either(
                &tokens.advantages,
                &shard.completion_advantages,
            ),
            returns: token_numbers(&tokens.returns),
            values: token_numbers(&tokens.values),
            scalars: reports.scalars(),
            own: reports.own(declared),
            weighting,
            census,
        }
    }

    /// A reported scalar, folded over ranks, micro-batches and steps as it declares.
    #[must_use]
    pub fn scalar(&self, scalar: Scalar) -> Option<f64> {
        self.scalars[scalar as usize]
    }

    /// The loss type of the snapshot, `bnpo` without one.
    #[must_use]
    pub fn loss_type(&self) -> LossType {
        self.weighting
            .as_ref()
            .and_then(|w| w.loss_type)
            .unwrap_or_default()
    }
}

/// Of the rewards, and of the components that have a usable value.
fn distributions(shard: &Shard) -> (Option<Distribution>, Vec<(String, Distribution)>) {
    let of = |(name, column): (&String, &Column)| Some((name.clone(), distribution(column)?));
    if shard.completions.seen < PARALLEL_FROM as u64 {
        return (
            distribution(&shard.rewards),
            shard.components.iter().filter_map(of).collect(),
        );
    }
    rayon::join(
        || distribution(&shard.rewards),
        || shard.components.par_iter().filter_map(of).collect(),
    )
}

fn distribution(column: &Column) -> Option<Distribution> {
    let mean = column.moments.mean()?;
    let quantiles = column.quantiles(&QUANTILES)?;
    Some(Distribution {
        census: column.census,
        mean,
        population_std: column.moments.population_std()?,
        sample_std: column.moments.sample_std(),
        quantiles: quantiles.try_into().ok()?,
    })
}

fn component_extremes(components: &[(String, Distribution)]) -> Option<(f64, f64)> {
    let ends = components
        .iter()
        .map(|(_, c)| (c.quantiles[0], c.quantiles[6]));
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn moment(spread: &Spread) -> Option<Moment> {
    let (min, max) = spread.extent.range()?;
    Some(Moment {
        mean: spread.moments.mean()?,
        population_std: spread.moments.population_std()?,
        min,
        max,
    })
}

fn share(share: &Share) -> Option<f64> {
    part(share.hits, share.census.used)
}

/// `None` of nothing.
fn part(hits: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| hits as f64 / of as f64)
}

fn length_numbers(lengths: &Lengths) -> Option<LengthNumbers> {
    Some(LengthNumbers {
        mean: lengths.mean()?,
        min: lengths.min?.into(),
        max: lengths.max?.into(),
    })
}

fn token_numbers(range: &TokenRange) -> Option<TokenNumbers> {
    let (min, max) = range.extent.range()?;
    Some(TokenNumbers {
        mean: range.total.mean()?,
        min,
        max,
    })
}

/// Tokens' and completions' values as one sample.
fn either(tokens: &TokenRange, completions: &Spread) -> Option<TokenNumbers> {
    let mut extent = tokens.extent;
    extent.merge(&completions.extent);
    let mut sum = tokens.total.sum.clone();
    sum.merge(completions.moments.sum());
    let (min, max) = extent.range()?;
    Some(TokenNumbers {
        mean: sum.finish() / (tokens.total.census.used + completions.census.used) as f64,
        min,
        max,
    })
}

fn diversity(settled: &Settled) -> (Option<DiversityNumbers>, Option<DiversityNumbers>) {
    let totals = &settled.diversity;
    let numbers = |sums: &[crate::stat::ExactSum; 3], count: u64| {
        (count > 0).then(|| {
            let [distinct_1, distinct_2, jaccard] =
                [0, 1, 2].map(|i: usize| sums[i].finish() / count as f64);
            DiversityNumbers {
                distinct_1,
                distinct_2,
                jaccard,
            }
        })
    };
    (
        numbers(&totals.plain, totals.census.used),
        numbers(&totals.by_size, totals.completions),
    )
}

fn reference(tokens: &Tokens, cap: Option<u32>, longest: Option<u32>) -> ReferenceNumbers {
    let used = tokens.k3.census.used;
    let of_tokens = |hits: u64| (used > 0).then(|| hits as f64 / used as f64);
    let length = cap.or(longest).map_or(0.0, f64::from);
    let budget = tokens.kl_completions as f64 * length;
    let buckets = BUCKETS
        .iter()
        .zip(&tokens.buckets)
        .filter(|(_, bucket)| bucket.completions > 0)
        .map(|((_, label), bucket)| BucketNumbers {
            label,
            tokens: bucket.tokens as f64,
            k3: (bucket.tokens > 0).then(|| bucket.k3.finish() / bucket.tokens as f64),
        })
        .collect();
    ReferenceNumbers {
        k3: tokens.k3.mean(),
        k3_corrected: tokens.k3_corrected.mean(),
        k3_by_completion: tokens.k3_means.mean(),
        k3_by_cap: (used > 0 && budget > 0.0).then(|| tokens.k3.sum.finish() / budget),
        clipped_low: of_tokens(tokens.reference_low),
        clipped_high: of_tokens(tokens.reference_high),
        clipped: of_tokens(tokens.reference_low.saturating_add(tokens.reference_high)),
        all_low: (used > 0).then(|| f64::from(u8::from(tokens.reference_low == used))),
        any_high: (used > 0).then(|| f64::from(u8::from(tokens.reference_high > 0))),
        buckets,
    }
}

fn behaviour(tokens: &Tokens) -> BehaviourNumbers {
    let of =
        |hits: u64, census: &Census| (census.used > 0).then(|| hits as f64 / census.used as f64);
    let (low, high) = (tokens.behaviour_low, tokens.behaviour_high);
    BehaviourNumbers {
        low: of(low, &tokens.behaviour),
        high: of(high, &tokens.behaviour),
        region: of(low.saturating_add(high), &tokens.behaviour),
        lowest_low: tokens.low_shares.range().map(|(min, _)| min),
        highest_high: tokens.high_shares.range().map(|(_, max)| max),
        policy_gradient: of(tokens.policy_gradient_clipped, &tokens.policy_gradient),
    }
}

fn sampler(tokens: &Tokens) -> SamplerNumbers {
    let s = &tokens.sampler;
    SamplerNumbers {
        logp_difference: token_numbers(&s.logp_difference),
        ratio: token_numbers(&s.ratio),
        probability_difference: token_numbers(&s.probability_difference),
        correlation: correlation(tokens),
    }
}

/// Pearson's r from sums: (n sum(pq) - sum(p) sum(q)) / sqrt((n sum(pp) - sum(p)^2) (n sum(qq) - sum(q)^2)).
fn correlation(tokens: &Tokens) -> Option<f64> {
    let s = &tokens.sampler;
    let varies = |range: &TokenRange| range.extent.range().is_some_and(|(min, max)| min < max);
    if !varies(&s.old) || !varies(&s.sampling) {
        return None;
    }
    let n = s.old.total.census.used as f64;
    let (p, q) = (
        s.old.total.sum.finish() / n,
        s.sampling.total.sum.finish() / n,
    );
    let covariance = s.products.finish() / n - p * q;
    let variances =
        (s.old_squares.finish() / n - p * p) * (s.sampling_squares.finish() / n - q * q);
    (variances > 0.0).then(|| (covariance / variances.sqrt()).clamp(-1.0, 1.0))
}
