//! The extended metrics' numbers: distributions, uncertainty, splits.

pub use crate::family::completions::advantages::AdvantageNumbers;
use crate::family::completions::advantages::advantages;
pub use crate::family::completions::by_outcome::OutcomeNumbers;
use crate::family::completions::by_outcome::outcome_numbers;
pub use crate::family::completions::effective::EffectiveNumbers;
use crate::family::completions::effective::{ZERO_ADVANTAGE, effective_numbers};
pub use crate::family::completions::stop_conditions::ConditionNumbers;
use crate::family::completions::stop_conditions::condition_numbers;
use crate::family::completions::tags;
pub use crate::family::completions::tags::TagNumbers;
pub use crate::family::groups::attempts::Attempts;
use crate::family::groups::attempts::{all_succeed, attempts};
pub use crate::family::groups::best::BestNumbers;
use crate::family::groups::best::best_numbers;
pub use crate::family::groups::majority::MajorityNumbers;
use crate::family::groups::majority::majority_numbers;
pub use crate::family::groups::pass_rates::PassRates;
use crate::family::groups::pass_rates::pass_rates;
use crate::family::groups::{ExtendedTotals, PlainTotals, group_shares, group_std};
pub use crate::family::groups::{GroupShares, GroupStd};
use crate::family::moment::{Moment, moment, part, share};
use crate::family::quantiles::{near_quantiles, quantiles};
use crate::family::reading::Reading;
pub use crate::family::rewards::error::RewardError;
use crate::family::rewards::error::error;
use crate::family::tokens::sketches::Sketches;
use crate::kernel::exp::exp;
use crate::shard::Shard;
use crate::shard::extended::Extended;
use crate::stat::skewness;

/// What [`crate::shard::Detail::Extended`] adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtendedNumbers {
    /// How far the mean reward may be off; `None` for fewer than two groups.
    pub reward_error: Option<RewardError>,
    /// Third standardised moment, population form: the mean of ((r - mean) / population std)^3; `None` where rewards do
    /// not vary, or are retained as a sketch.
    pub reward_skewness: Option<f64>,
    /// Over groups: the population standard deviation of their rewards. `None` without a group all of whose rewards are
    /// there.
    pub group_std: Option<GroupStd>,
    /// Shares of groups by what their rewards are; `None` likewise.
    pub group_shares: Option<GroupShares>,
    /// Sum of squares between groups over the total sum of squares; `None` where the rewards do not vary.
    pub between_groups: Option<f64>,
    /// Pearson's correlation of reward and completion length, over completions; `None` where either does not vary.
    pub reward_length_pearson: Option<f64>,
    /// The same of their ranks, values that are equal sharing their mean rank.
    pub reward_length_spearman: Option<f64>,
    /// Pearson's correlation of each component with the total.
    pub components: Vec<(String, f64)>,
    /// The advantages of completions; `None` without a finite one.
    pub advantages: Option<AdvantageNumbers>,
    /// Share of groups all of whose completions are judged that succeed to the last.
    pub all_succeed: Option<f64>,
    /// For each k that some group is large enough for.
    pub attempts: Vec<Attempts>,
    /// Effective sample size of each group's weights over its size.
    pub effective_weights: Option<Moment>,
    /// The largest update weight, over completions of groups all of whose weights are finite; `None` without weights.
    pub largest_weight: Option<f64>,
    /// p05, p50, p95, p99 of completion lengths, exact.
    pub lengths: Option<[f64; 4]>,
    /// Share of a completion's 4-grams that it has had before.
    pub repeated: Option<Moment>,
    /// p01, p50, p99 of the ratio of current to behaviour policy, their logarithms within 1 %.
    pub ratios: Option<[f64; 3]>,
    /// p05, p50, p95 of token entropies, within 1 %.
    pub entropies: Option<[f64; 3]>,
    /// Share of tokens whose k3 to the reference is above the bound; those within 2 % of it may count on either side.
    pub high_divergence: Option<f64>,
    /// How far a completion's end can be compressed: its bytes over those of its compressed form.
    pub compression: Option<Moment>,
    /// Ascending, `other` last.
    pub tags: Vec<(String, TagNumbers)>,
    /// By why completions ended, ascending, `other` last.
    pub stop_conditions: Vec<(String, ConditionNumbers)>,
    /// Prompts by how often they are solved; `None` without a group all of whose completions are judged.
    pub pass_rates: Option<PassRates>,
    /// The correlation of rewards within a group ([`Clusters::intraclass`](crate::stat::Clusters::intraclass)).
    pub reward_intraclass: Option<f64>,
    /// For k = 2, 4, ... that some group is large enough for.
    pub best: Vec<BestNumbers>,
    /// What a group's completions answer most often; empty without answers.
    pub majority: MajorityNumbers,
    /// Completions that succeed; empty where none could be judged.
    pub succeeded: OutcomeNumbers,
    /// Completions that fail, likewise.
    pub failed: OutcomeNumbers,
    /// Share of the groups all of whose advantages are there that have one of 1e-8 or more in size.
    pub effective_groups: Option<f64>,
    /// Share of the advantages of completions that are at least 1e-8.
    pub positive_advantages: Option<f64>,
    /// How many tokens have a gradient; `None` without advantages of completions whose length is known, or of tokens.
    pub effective: Option<EffectiveNumbers>,
}

impl ExtendedNumbers {
    pub(super) fn of(
        shard: &Shard,
        extended: &Extended,
        (plain, groups): (&PlainTotals, &ExtendedTotals),
        reading: &Reading,
    ) -> Self {
        let rewards = &shard.rewards.moments;
        let mut numbers = Self {
            reward_error: error(&groups.rewards, rewards),
            reward_skewness: shard
                .rewards
                .order()
                .and_then(|order| skewness(order, rewards)),
            group_std: group_std(groups),
            group_shares: group_shares(groups),
            between_groups: groups.rewards.between(rewards),
            reward_length_pearson: extended.correlations.with_length.pearson(),
            reward_length_spearman: groups.measured.spearman(),
            components: extended
                .correlations
                .components
                .iter()
                .filter_map(|(name, pairs)| Some((name.clone(), pairs.pearson()?)))
                .collect(),
            advantages: advantages(&shard.advantages, &groups.advantages),
            all_succeed: all_succeed(&groups.attempts),
            attempts: attempts(&groups.attempts, reading),
            effective_weights: moment(&groups.effective_weights),
            largest_weight: groups.weights.range().map(|(_, max)| max),
            lengths: quantiles(&groups.measured.lengths(), [5, 50, 95, 99]),
            repeated: moment(&extended.repeated),
            compression: moment(&extended.compression),
            stop_conditions: condition_numbers(&extended.stop_conditions),
            pass_rates: pass_rates(&groups.attempts),
            reward_intraclass: groups.rewards.intraclass(rewards),
            best: best_numbers(&groups.best),
            majority: majority_numbers(&groups.majority),
            succeeded: outcome_numbers(&extended.by_outcome.succeeded),
            failed: outcome_numbers(&extended.by_outcome.failed),
            effective_groups: share(&plain.zero_advantage).map(|zero| 1.0 - zero),
            positive_advantages: part(
                groups.advantages.count_where(|a| a >= ZERO_ADVANTAGE),
                groups.advantages.len(),
            ),
            effective: effective_numbers(&extended.effective),
            tags: tags::numbers(&extended.tags, &groups.tags),
            high_divergence: extended
                .sketches
                .divergences
                .fraction_above(reading.high_kl),
            ..Self::default()
        };
        numbers.add_sketches(&extended.sketches);
        numbers
    }

    fn add_sketches(&mut self, sketches: &Sketches) {
        let log_ratios = near_quantiles(&sketches.log_ratios, [1, 50, 99]);
        // Clamped where they were taken in, so within the range of this exponential.
        self.ratios = log_ratios.map(|logs| logs.map(|log| exp(log).value()));
        self.entropies = near_quantiles(&sketches.entropies, [5, 50, 95]);
    }
}
