//! How many values of each family were used, absent or no numbers.

use crate::shard::Shard;
use crate::shard::groups::Settled;
use crate::shard::tokens::TokenTotal;
use crate::stat::Census;

/// What each family has seen; completions of records without a component's column are absent from it.
pub(super) fn census(shard: &Shard, settled: &Settled, completions: u64) -> Vec<(String, Census)> {
    let whole = |mut census: Census| {
        census.absent(completions.saturating_sub(census.seen()));
        census
    };
    let tokens = &shard.tokens;
    let total = |total: &TokenTotal| total.census;
    let mut families = vec![("rewards".to_owned(), shard.rewards.census)];
    for (name, column) in &shard.components {
        families.push((format!("reward_components/{name}"), whole(column.census)));
    }
    let named = [
        ("advantages", whole(shard.advantages.census)),
        ("q", settled.q_entropy.census),
        ("weights", settled.weight_entropy.census),
        ("semantic_entropies", settled.semantic_entropy.census),
        ("advantage_scales", settled.advantage_scale.census),
        ("diversity", settled.diversity.census),
        ("token_entropies", total(&tokens.entropies)),
        ("kl", total(&tokens.k3)),
        ("clip", tokens.behaviour),
        ("sampling", total(&tokens.sampler.logp_difference.total)),
        ("token_advantages", total(&tokens.advantages.total)),
        ("returns", total(&tokens.returns.total)),
        ("values", total(&tokens.values.total)),
    ];
    families.extend(
        named
            .into_iter()
            .map(|(name, census)| (name.to_owned(), census)),
    );
    families
}
