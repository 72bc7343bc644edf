//! Ratios of current to behaviour policy: how finely their quantiles tell them apart, and when there are any.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::row::Metrics;

/// The row of completions of 50 tokens, by their current and old log-probabilities, each micro-batch some of them.
fn row(dialect: Dialect, current: &[f32], old: Option<&[f32]>, completions: usize) -> Metrics {
    let mut engine = Engine::builder()
        .dialect(dialect)
        .extended(true)
        .build()
        .unwrap();
    for start in (0..current.len()).step_by(50 * completions) {
        let end = current.len().min(start + 50 * completions);
        let n = (end - start) / 50;
        let (rewards, lengths, sizes) = (vec![1.0; n], vec![50; n], vec![1; n]);
        let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
        columns.completion_lengths = Some(&lengths);
        columns.token_logps = Some((&current[start..end]).into());
        columns.old_token_logps = old.map(|old| (&old[start..end]).into());
        columns.advantages = Some((&rewards).into());
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
    }
    engine.step(1).unwrap().unwrap().metrics
}

/// Log-probabilities whose log-ratios are nearly normal, of that deviation.
#[allow(clippy::cast_possible_truncation)] // singles are what trainers have
fn moved(deviation: f64) -> (Vec<f32>, Vec<f32>) {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let old: Vec<f32> = (0..20_000).map(|_| (-4.0 * uniform()) as f32).collect();
    let current = old.iter().map(|old| {
        // Twelve uniform numbers have a variance of 1.
        let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        (f64::from(*old) + deviation * normal) as f32
    });
    (current.collect(), old)
}

#[test]
fn the_logarithm_of_a_ratios_quantile_is_within_one_percent() {
    for deviation in [1e-5, 0.003, 0.2, 3.0] {
        let (current, old) = moved(deviation);
        let whole = row(Dialect::Trl, &current, Some(&old), 400);
        let mut logs: Vec<f64> = current
            .iter()
            .zip(&old)
            .map(|(c, o)| f64::from(*c) - f64::from(*o))
            .collect();
        logs.sort_by(f64::total_cmp);
        for (key, share) in [("ratio/p01", 0.01), ("ratio/p50", 0.5), ("ratio/p99", 0.99)] {
            let place = share * (logs.len() - 1) as f64;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let (low, high) = (logs[place as usize], logs[place.ceil() as usize]);
            let found = whole.get(key).unwrap().ln();
            let slack = 0.01 * low.abs().max(high.abs()) + 1e-15;
            assert!(
                low - slack <= found && found <= high + slack,
                "{key} of {deviation}: the logarithm is {found:e}, expected {low:e} to {high:e}"
            );
        }
        // Neither does it show how the tokens were dealt out.
        let dealt = row(Dialect::Trl, &current, Some(&old), 7);
        assert_eq!(format!("{whole:?}"), format!("{dealt:?}"));
    }
}

#[test]
fn without_old_log_probabilities_there_is_no_ratio_and_no_kl_to_the_old_policy() {
    let (current, old) = moved(0.1);
    let of_old = |key: &str| key.starts_with("ratio/") || key.starts_with("kl_old/");
    for dialect in Dialect::ALL {
        let given = row(*dialect, &current, Some(&old), 7);
        let absent = row(*dialect, &current, None, 7);
        let keys = |row: &Metrics| -> Vec<String> {
            let keys = row.iter().map(|(key, _)| key);
            let bare = keys.map(|key| key.strip_prefix("train/").unwrap_or(key));
            bare.filter(|key| of_old(key)).map(str::to_owned).collect()
        };
        assert_eq!(keys(&given).len(), 11, "{dialect}");
        assert_eq!(keys(&absent), [""; 0], "{dialect}");
    }
}
