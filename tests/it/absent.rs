//! What was never handed in is not in the row: no 0 and no 1 stands for it, but in the dialect `maxent`, whose dictionary is fixed.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::row::Metrics;

const LENGTHS: &[u32] = &[1, 1, 1, 1];
const ADVANTAGES: &[f64] = &[1.0, -1.0, 1.0, -1.0];
const LOGPS: &[f32] = &[-0.5, -1.0, -0.25, -2.0];

fn row(dialect: Dialect, extended: bool, fill: impl FnOnce(&mut Columns<'static>)) -> Metrics {
    let builder = Engine::builder().dialect(dialect).extended(extended);
    let mut engine = builder.build().unwrap();
    let mut columns = Columns::new(Grouping::Sizes(&[2, 2]), &[0.25, 0.75, 0.5, 0.25]);
    fill(&mut columns);
    engine.observe(&Batch::of(columns).unwrap()).unwrap();
    engine.step(1).unwrap().unwrap().metrics
}

fn keys(row: &Metrics) -> Vec<&str> {
    row.iter().map(|(key, _)| key).collect()
}

#[test]
fn of_rewards_alone_there_are_numbers_of_rewards_alone() {
    for (dialect, expected) in [
        (
            Dialect::Trl,
            &["reward", "reward_std", "frac_reward_zero_std"][..],
        ),
        (Dialect::Tunix, &["score/mean", "score/min", "score/max"]),
        (
            Dialect::Verl,
            &[
                "critic/score/mean",
                "critic/score/max",
                "critic/score/min",
                "critic/rewards/mean",
                "critic/rewards/max",
                "critic/rewards/min",
            ],
        ),
        (
            Dialect::OpenRlhf,
            &[
                "train/rollout/reward_mean",
                "train/rollout/reward_std",
                "train/rollout/num_samples",
                "train/reward",
            ],
        ),
        (Dialect::NemoRl, &["train/reward"]),
        (
            Dialect::SkyRl,
            &["reward/avg_raw_reward", "generate/batch_num_seq"],
        ),
        (
            Dialect::PrimeRl,
            &[
                "train/agg/effective/agent/reward/mean",
                "train/agg/effective/agent/reward/max",
                "train/agg/effective/agent/reward/min",
            ],
        ),
    ] {
        assert_eq!(keys(&row(dialect, false, |_| {})), expected, "{dialect}");
        let extended = row(dialect, true, |_| {});
        let more = keys(&extended).split_off(expected.len());
        let of_rewards = |key: &&str| {
            let rooms = [
                "reward_",
                "groups/",
                "pass@",
                "pass_rate/",
                "best@",
                "worst@",
                "health/rewards/",
            ];
            let flags = [
                "health/reward_saturation",
                "health/zero_std",
                "health/nonfinite",
                "health/kept_out",
            ];
            rooms.iter().any(|room| key.starts_with(room)) || flags.contains(key)
        };
        let others: Vec<_> = more.iter().filter(|key| !of_rewards(key)).collect();
        assert!(
            others.is_empty() && more.len() > 20,
            "{dialect}: {others:?} of {more:?}"
        );
    }
}

#[test]
fn lengths_alone_do_not_say_how_completions_ended() {
    let ends = |row: &Metrics| {
        keys(row)
            .into_iter()
            .filter(|key| key.contains("clip") || key.contains("terminated"))
            .count()
    };
    for dialect in &Dialect::ALL[1..] {
        let row = row(*dialect, true, |columns| {
            columns.completion_lengths = Some(LENGTHS);
        });
        assert_eq!(ends(&row), 0, "{dialect}: {row:?}");
    }
    for by_cap in [true, false] {
        let row = row(Dialect::Trl, true, |columns| {
            columns.completion_lengths = Some(LENGTHS);
            if by_cap {
                columns.max_completion_length = Some(2);
            } else {
                columns.terminated = Some(&[true; 4]);
            }
        });
        assert_eq!(ends(&row), 4, "{row:?}");
        assert_eq!(row.get("completions/clipped_ratio"), Some(0.0));
    }
}

#[test]
fn without_the_behaviour_policy_nothing_is_said_of_what_is_clipped() {
    let row = |dialect, old: Option<&'static [f32]>| {
        row(dialect, true, |columns| {
            columns.completion_lengths = Some(LENGTHS);
            columns.advantages = Some(ADVANTAGES.into());
            columns.token_logps = Some(LOGPS.into());
            columns.old_token_logps = old.map(Into::into);
        })
    };
    for dialect in [Dialect::Trl, Dialect::Tunix, Dialect::Verl] {
        let of_ratios = |row: &Metrics| -> usize {
            let words = [
                "clip_ratio/",
                "clipfrac",
                "ppo_kl",
                "health/clipping",
                "ratio/",
                "kl_old",
            ];
            keys(row)
                .iter()
                .filter(|key| words.iter().any(|word| key.contains(word)))
                .count()
        };
        assert_eq!(of_ratios(&row(dialect, None)), 0, "{dialect}");
        let on_policy = row(dialect, Some(LOGPS));
        assert!(of_ratios(&on_policy) > 11, "{dialect}");
        let clipped = ["clip_ratio/region_mean", "pg_clipfrac", "actor/pg_clipfrac"];
        let clipped = clipped.iter().find_map(|key| on_policy.get(key));
        assert_eq!(clipped, Some(0.0), "{dialect}: handed in, it is 0");
    }
}
