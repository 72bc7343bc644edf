//! How many values of each family were used, absent or no numbers.

use crate::family::groups::PlainTotals;
use crate::family::tokens::token_totals::TokenTotal;
use crate::shard::Shard;
use crate::stat::Census;

/// What each family has seen; completions of records without a component's column are absent from it.
pub(super) fn census(
    shard: &Shard,
    groups: &PlainTotals,
    completions: u64,
) -> Vec<(String, Census)> {
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
        ("q", groups.q_entropy.census),
        ("weights", groups.weight_entropy.census),
        ("semantic_entropies", groups.semantic_entropy.census),
        ("advantage_scales", groups.advantage_scale.census),
        ("diversity", groups.diversity.census),
        ("token_logps", tokens.logps.current),
        ("old_token_logps", tokens.logps.old),
        ("ref_token_logps", tokens.logps.reference),
        ("sampling_token_logps", tokens.logps.sampling),
        ("token_entropies", total(&tokens.entropies)),
        ("kl", total(&tokens.k3)),
        ("clip", tokens.behaviour),
        ("sampling", total(&tokens.sampler.logp_difference.total)),
        ("token_advantages", total(&tokens.advantages.total)),
        ("returns", total(&tokens.returns.total)),
        ("values", total(&tokens.values.total)),
    ];
    // Where no penalty is given there is no such family.
    let penalised = shard.policy.as_ref().map(|policy| policy.penalised.census);
    let penalised = penalised.filter(|census| census.seen() > 0);
    let penalised = penalised.map(|census| ("penalised_rewards", census));
    families.extend(
        named
            .into_iter()
            .chain(penalised)
            .map(|(name, census)| (name.to_owned(), census)),
    );
    families
}

#[cfg(test)]
mod tests {
    use crate::batch::group::Grouping;
    use crate::batch::{Batch, Columns, Place, Values};
    use crate::shard::{Detail, KlKind, KlPenalty, Shard, Thresholds};
    use crate::stat::Census;
    use crate::summary::Summary;

    fn penalised(shard: &Shard) -> Option<Census> {
        let mut families = Summary::from(shard).census.into_iter();
        let found = families.find(|(name, _)| name == "penalised_rewards");
        found.map(|(_, census)| census)
    }

    #[test]
    fn rewards_that_no_penalty_can_be_taken_off_are_counted_as_absent() {
        let (rewards, absent) = ([1.0, f64::NAN, 0.0], [false, false, true]);
        let (old, reference) = ([-1.0, -1.0, -1.0], [-1.5, -1.5, -1.5]);
        let values = Values::masked(&rewards, &absent);
        let mut columns = Columns::new(Grouping::Sizes(&[3]), values);
        columns.completion_lengths = Some(&[1, 1, 1]);
        columns.old_token_logps = Some((&old).into());
        columns.ref_token_logps = Some((&reference).into());
        let whole = Batch::of(columns).expect("the columns fit");
        let bare = Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]);
        let bare = Batch::of(bare).expect("the columns fit");

        let counted = |batch: &Batch<'_>, micro, kl_penalty| {
            let thresholds = Thresholds {
                detail: Detail::Policy,
                kl_penalty,
                ..Thresholds::default()
            };
            Shard::counted(batch, Place { rank: 0, micro }, &thresholds)
        };
        let penalty = Some(KlPenalty {
            coefficient: 0.5,
            kind: KlKind::K1,
        });
        let mut shard = counted(&whole, 0, penalty);
        shard
            .merge(counted(&bare, 1, penalty))
            .expect("counted alike");
        let expected = Census {
            used: 1,
            absent: 3,
            nonfinite: 1,
        };
        assert_eq!(penalised(&shard), Some(expected));
        assert_eq!(penalised(&counted(&whole, 0, None)), None);
    }
}
