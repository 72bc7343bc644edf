//! Flags of health: each looks at the number that it is named for, and at nothing that hides it.

use grpo_metrics::engine::Engine;
use grpo_metrics::recording::Record;
use grpo_metrics::row::health::Limits;
use serde_json::{Value, json};

/// A flag of one step whose record has this batch and these scalars.
fn flag(name: &str, batch: &Value, scalars: &Value) -> Option<f64> {
    let record = json!({"step": 1, "rank": 0, "world_size": 1, "batch": batch, "scalars": scalars});
    let record = Record::from_json(&record.to_string()).expect("a record");
    let mut engine = Engine::builder()
        .extended(true)
        .build()
        .expect("no mode is named");
    let batch = record.batch().expect("the columns fit");
    engine.observe(&batch).expect("one rank");
    let row = engine.step(1).expect("one rank").expect("a row");
    row.metrics.get(&format!("train/health/{name}"))
}

fn rewarded(rewards: &[f64]) -> Option<f64> {
    let sizes = vec![4; rewards.len() / 4];
    let batch = json!({"group_sizes": sizes, "rewards": rewards});
    flag("reward_saturation", &batch, &json!({}))
}

#[test]
fn rewards_are_saturated_where_every_group_succeeds_and_not_where_every_group_fails() {
    assert_eq!(rewarded(&[1.0; 8]), Some(1.0));
    assert_eq!(rewarded(&[0.0; 8]), Some(0.0));
}

#[test]
fn one_reward_a_little_above_the_others_does_not_hide_saturation() {
    let mut rewards = [1.0; 8];
    rewards[3] = 1.01;
    assert_eq!(rewarded(&rewards), Some(1.0));
}

#[test]
fn completions_that_did_not_end_by_themselves_are_cut_off_where_no_cap_is_given() {
    let of = |more: Value| {
        let mut batch = json!({"group_sizes": [4], "rewards": [1, 0, 1, 0], "completion_lengths": [9, 9, 9, 3]});
        let batch_of = batch.as_object_mut().expect("an object");
        batch_of.extend(more.as_object().expect("an object").clone());
        flag("length_at_cap", &batch, &json!({}))
    };
    assert_eq!(
        of(json!({"terminated": [false, false, false, true]})),
        Some(1.0)
    );
    assert_eq!(
        of(json!({"terminated": [true, true, true, true]})),
        Some(0.0)
    );
    assert_eq!(of(json!({"max_completion_length": 9})), Some(1.0));
    assert_eq!(of(json!({})), None, "nobody knows");
}

#[test]
fn one_token_of_twenty_thousand_does_not_raise_the_flag_of_kl() {
    let current = vec![-1.0; 20_000];
    let mut reference = current.clone();
    // k3 of this token is e^11: 3.0 nats a token over all; k2 is 60.5: 0.003 nats.
    reference[7] = 10.0;
    let batch = |reference: &[f64]| {
        json!({"group_sizes": [1], "rewards": [1], "completion_lengths": [20_000],
            "token_logps": current, "ref_token_logps": reference})
    };
    assert_eq!(flag("kl", &batch(&reference), &json!({})), Some(0.0));
    let drifted = vec![-1.7; 20_000];
    assert_eq!(
        flag("kl", &batch(&drifted), &json!({})),
        Some(1.0),
        "k2 is 0.245"
    );
}

#[test]
fn a_reported_kl_loss_is_judged_where_no_tokens_say_more() {
    let batch = json!({"group_sizes": [1], "rewards": [1]});
    assert_eq!(flag("kl", &batch, &json!({"kl_loss": 0.21})), Some(1.0));
    assert_eq!(flag("kl", &batch, &json!({"kl_loss": 0.19})), Some(0.0));
    assert_eq!(flag("kl", &batch, &json!({})), None);
}

#[test]
fn sampler_and_trainer_drift_apart_in_their_logs_or_in_their_probabilities() {
    let of = |old: f64, sampling: f64| {
        let batch = json!({"group_sizes": [1], "rewards": [1], "completion_lengths": [1],
            "token_logps": [old], "old_token_logps": [old], "sampling_token_logps": [sampling]});
        flag("sampler_drift", &batch, &json!({}))
    };
    assert_eq!(
        of(-4.0, -4.03),
        Some(1.0),
        "0.03 nats, 0.0005 in probability"
    );
    assert_eq!(
        of(-0.01, -0.025),
        Some(1.0),
        "0.015 nats, 0.0147 in probability"
    );
    assert_eq!(
        of(-1.0, -1.019),
        Some(0.0),
        "0.019 nats, 0.0069 in probability"
    );
}

#[test]
fn the_limits_are_those_of_docs_metrics() {
    let docs = include_str!("../../docs/METRICS.md");
    for (name, limit, _) in Limits::default().numbers() {
        let said = format!("| `{name}` | {limit} |");
        assert!(
            docs.contains(&said),
            "docs/METRICS.md does not say `{said}`"
        );
    }
}
