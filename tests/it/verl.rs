//! verl's estimators against verl's own functions, where log-probabilities are far apart.
//!
//! The numbers are those of `kl_penalty`, `compute_policy_loss` and `agg_loss` in verl's `core_algos.py` and of
//! `apply_kl_penalty` in its `ray_trainer.py`, at commit 1dda039 of August 2026: taken out of their files and run with
//! `PyTorch` 2.15 on the tokens below in double precision, rewards on each completion's last token, a coefficient of 0.5.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::row::Metrics;
use grpo_metrics::shard::KlKind;

/// One completion after the other: current, old and reference log-probabilities.
struct Tokens {
    lengths: Vec<u32>,
    columns: [Vec<f32>; 3],
    mask: Vec<u8>,
    rewards: Vec<f64>,
}

impl Tokens {
    fn far_apart() -> Self {
        Self {
            lengths: vec![6, 6],
            columns: [
                vec![
                    -30.0, -1.0, -0.25, -2.5, -0.125, 0.0, -0.5, -45.0, -3.75, -1.5, -0.0625, -7.0,
                ],
                vec![
                    -1.0, -1.25, -24.0, -2.5, -0.125, 0.0, -70.0, -0.5, -3.5, -1.75, -0.0625, -7.5,
                ],
                vec![
                    -0.5, -1.5, -0.25, -14.0, -0.125, 0.0, -55.0, -1.0, -0.5, -5.25, -0.0625, -7.25,
                ],
            ],
            mask: vec![1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1],
            rewards: vec![2.0, -1.0],
        }
    }

    fn row(&self, kind: KlKind, dialect: Dialect) -> Metrics {
        let [current, old, reference] = &self.columns;
        let sizes = [u32::try_from(self.rewards.len()).unwrap()];
        let advantages: Vec<f64> = self.rewards.iter().map(|r| r.signum()).collect();
        let mut columns = Columns::new(Grouping::Sizes(&sizes), &self.rewards);
        columns.completion_lengths = Some(&self.lengths);
        columns.token_logps = Some(current.into());
        columns.old_token_logps = Some(old.into());
        columns.ref_token_logps = Some(reference.into());
        columns.loss_mask = Some(grpo_metrics::batch::tokens::TokenMask::Ragged(&self.mask));
        columns.advantages = Some((&advantages).into());
        let mut engine = Engine::builder()
            .dialect(dialect)
            .extended(true)
            .kl_kind(kind)
            .kl_penalty(0.5)
            .kl_penalty_kind(kind)
            .build()
            .unwrap();
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
        engine.step(1).unwrap().unwrap().metrics
    }
}

#[track_caller]
fn close(row: &Metrics, key: &str, expected: f64) {
    let found = row.get(key);
    // verl's mean over a mask divides by the tokens and 1e-8.
    let near = |x: f64| (x - expected).abs() <= 1e-8 * expected.abs();
    assert!(
        found.is_some_and(near),
        "{key} = {found:?}, verl has {expected}"
    );
}

#[test]
fn each_estimator_is_clamped_where_verl_clamps_it_and_nowhere_else() {
    let tokens = Tokens::far_apart();
    for (kind, kl_loss, [mean, max, min]) in [
        (KlKind::K1, -0.568_181_818_181_818_2, [7.1875, 8.25, 6.125]),
        (
            KlKind::Abs,
            13.386_363_636_363_637,
            [-14.0625, -12.125, -16.0],
        ),
        (
            KlKind::K2,
            269.713_068_181_818_2,
            [-117.398_437_5, -62.640_625, -172.156_25],
        ),
        (
            KlKind::K3,
            4.809_895_380_785_459,
            [
                -10.212_068_878_398_558,
                -8.088_761_026_885_766,
                -12.335_376_729_911_347,
            ],
        ),
    ] {
        let row = tokens.row(kind, Dialect::Verl);
        close(&row, "actor/kl_loss", kl_loss);
        close(&row, "critic/rewards/mean", mean);
        close(&row, "critic/rewards/max", max);
        close(&row, "critic/rewards/min", min);
        close(&row, "actor/ppo_kl", -0.068_181_818_119_834_7);
        close(&row, "actor/pg_clipfrac", 0.363_636_363_305_785_1);
    }
}

#[test]
fn a_log_probability_of_minus_30_against_minus_1_is_a_k3_of_10_for_verl() {
    let tokens = Tokens {
        lengths: vec![2],
        columns: [vec![-30.0, -1.0], vec![-30.0, -1.0], vec![-1.0, -1.0]],
        mask: vec![1, 1],
        rewards: vec![1.0],
    };
    let row = tokens.row(KlKind::K3, Dialect::Verl);
    close(&row, "actor/kl_loss", 5.0);
    close(&row, "critic/rewards/mean", -4.0);
    // The other dialects and the extended metrics have the estimator as it is defined.
    let unclamped = (29.0_f64.exp() - 29.0 - 1.0) / 2.0;
    close(&row, "kl_ref/k3", unclamped);
    close(&tokens.row(KlKind::K3, Dialect::Trl), "kl", unclamped);
}

#[test]
fn the_lowest_log_probability_there_is_moves_ppo_kl_by_20_alone() {
    let tokens = Tokens {
        lengths: vec![4],
        columns: [
            vec![f32::MIN, -1.0, -1.0, -1.0],
            vec![-1.0, -1.0, -1.0, -1.5],
            vec![-1.0, -1.0, -1.0, -1.0],
        ],
        mask: vec![1; 4],
        rewards: vec![1.0],
    };
    let row = tokens.row(KlKind::K3, Dialect::Verl);
    close(&row, "actor/ppo_kl", (20.0 - 0.5) / 4.0);
    close(&row, "actor/kl_loss", 2.5);
    close(&row, "kl_old/k1", (f64::from(f32::MAX) - 1.0 - 0.5) / 4.0);
}

#[test]
fn rewards_after_the_penalty_are_those_that_the_trainer_has_where_it_has_them() {
    let tokens = Tokens::far_apart();
    let [current, old, reference] = &tokens.columns;
    let row = |penalised: Option<&[f64]>, coefficient| {
        let mut columns = Columns::new(Grouping::Sizes(&[2]), &tokens.rewards);
        columns.completion_lengths = Some(&tokens.lengths);
        columns.token_logps = Some(current.into());
        columns.old_token_logps = Some(old.into());
        columns.ref_token_logps = Some(reference.into());
        columns.penalised_rewards = penalised.map(Into::into);
        let mut engine = Engine::builder().dialect(Dialect::Verl);
        if let Some(coefficient) = coefficient {
            engine = engine.kl_penalty(coefficient);
        }
        let mut engine = engine.build().unwrap();
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
        engine.step(1).unwrap().unwrap().metrics
    };
    for coefficient in [None, Some(0.5)] {
        let given = row(Some(&[1.5, -3.0]), coefficient);
        close(&given, "critic/score/mean", 0.5);
        close(&given, "critic/rewards/mean", -0.75);
        close(&given, "critic/rewards/max", 1.5);
        close(&given, "critic/rewards/min", -3.0);
        let without = row(None, coefficient);
        assert_ne!(without.get("critic/rewards/min"), Some(-3.0));
    }
    // One that is no number is left out.
    let given = row(Some(&[1.5, f64::NAN]), None);
    close(&given, "critic/rewards/mean", 1.5);
}
