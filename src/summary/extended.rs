//! The extended metrics' numbers: distributions, uncertainty, splits.

pub use crate::family::completions::advantages::AdvantageNumbers;
use crate::family::completions::advantages::advantages;
use crate::family::completions::tags;
pub use crate::family::completions::tags::TagNumbers;
pub use crate::family::groups::attempts::Attempts;
use crate::family::groups::attempts::{all_succeed, attempts};
use crate::family::groups::{ExtendedTotals, group_shares, group_std};
pub use crate::family::groups::{GroupShares, GroupStd};
use crate::family::moment::{Moment, moment};
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
    /// Ascending, `other` last.
    pub tags: Vec<(String, TagNumbers)>,
}

impl ExtendedNumbers {
    pub(super) fn of(
        shard: &Shard,
        extended: &Extended,
        groups: &ExtendedTotals,
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
