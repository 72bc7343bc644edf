//! The registry: every key of every dialect, whatever the data.

use std::collections::BTreeSet;

use grpo_metrics::batch::scalars::WindowFold;
use grpo_metrics::dialect::{Dialect, Line};
use grpo_metrics::engine::Engine;
use grpo_metrics::recording::Record;
use grpo_metrics::row::Metrics;
use grpo_metrics::shard::{Rejection, RejectionBounds, RejectionStatistic};
use serde_json::{Value, json};

/// A record of `rewards` in groups of `size`, every other column made from them; with every scalar and snapshot.
fn full(rewards: &[Value], size: usize) -> Value {
    let n = rewards.len();
    let tokens: Vec<&Value> = rewards
        .iter()
        .flat_map(|x| std::iter::repeat_n(x, 5))
        .collect();
    let shifted = |by: f64| -> Vec<Value> {
        let moved = |(i, x): (usize, &&Value)| match x.as_f64() {
            Some(x) => json!(-x.abs() - by * (1.0 + (i % 3) as f64)),
            None => (*x).clone(),
        };
        tokens.iter().enumerate().map(moved).collect()
    };
    let lengths: Vec<usize> = (0..n)
        .map(|i| if n % 2 == 1 { 5 } else { 4 + i % 2 * 2 })
        .collect();
    let groups = n / size;
    let ids: Vec<u32> = (0..5 * u32::try_from(n).unwrap()).map(|i| i % 7).collect();
    json!({"step": 3, "rank": 0, "world_size": 1,
        "batch": {
            "group_sizes": vec![size; groups], "rewards": rewards, "advantages": rewards,
            "reward_components": {"accuracy": rewards, "entropy_bonus": rewards},
            "q": vec![1.0 / size as f64; n], "weights": vec![1.0 / size as f64; n],
            "completion_lengths": lengths, "max_completion_length": 6, "prompt_lengths": vec![7; n], "max_prompt_length": 7,
            "terminated": vec![true; n], "tags": vec!["math"; n],
            "turns": vec![2; n], "tool_calls": vec![3; n], "tool_failures": vec![1; n], "aborted": vec![false; n],
            "errors": vec![false; n], "stop_conditions": vec!["stop"; n], "answers": vec!["42"; n],
            "token_logps": shifted(0.1), "old_token_logps": shifted(0.2), "ref_token_logps": shifted(0.3),
            "sampling_token_logps": shifted(0.25), "token_entropies": shifted(-0.5), "token_advantages": shifted(0.0),
            "returns": shifted(1.0), "values": shifted(1.5), "token_ids": ids, "weight_versions": ids,
            "semantic_entropies": vec![0.5; groups], "advantage_scales": vec![0.5; groups],
            "seed_alpha_effective": 0.5, "seed_max_possible_entropy": 0.5},
        "scalars": {"total_loss": 0.5, "policy_loss": 0.4, "kl_loss": 0.1, "weighted_kl_loss": 0.1, "clip_loss": 0.1,
            "learning_rate": 1e-6, "epoch": 1, "entropy_bonus_coef": 0.1, "grad_norm": 1, "entropy_bonus_reward_std": 1,
            "policy_entropy": 1, "vf_clipfrac": 0.1, "vllm_latency_ms": 9, "actor_dequeue_time": 1, "step_time_sec": 2,
            "ref_logp_mean": -1, "avg_completion_tokens": 5, "num_completion_tokens": 5, "num_input_tokens": 9,
            "tflops_per_step": 2, "model_params": 1e9, "weight_version": 6, "samples_kept": 3, "samples_dropped": 1},
        "weighting": {"tau": 0.3, "beta": 0.1, "tau_target_entropy": 0.5, "kl_target": 0.1, "kl_horizon": 10, "kl_step_size": 0.1,
            "tau_entropy_ema": 0.5, "prev_tau": 0.2, "prev_beta": 0.1, "weight_norm_denom": 0.4, "meta": {"enabled": true}}})
}

/// The same with texts that are long enough to be compressed, where it had token ids.
fn texts(mut record: Value) -> Value {
    let batch = record["batch"].as_object_mut().unwrap();
    batch.remove("token_ids");
    let n = batch["rewards"].as_array().unwrap().len();
    batch.insert(
        "completions".to_owned(),
        json!(vec!["again ".repeat(99); n]),
    );
    record
}

/// Flags that take many steps to say something.
fn is_over_steps(line: &Line) -> bool {
    let ends = ["_trend", "_shift"];
    line.key.contains("health/") && ends.iter().any(|end| line.key.ends_with(end))
}

fn numbers(rewards: &[f64]) -> Vec<Value> {
    rewards.iter().map(|x| json!(x)).collect()
}

/// Samples of every kind that has tripped a metric somewhere.
fn samples() -> Vec<(&'static str, Value)> {
    let nan = || json!("NaN");
    vec![
        (
            "full",
            full(&numbers(&[1.0, 0.25, 0.5, 2.0, 0.0, 1.5, 1.0, 0.75]), 4),
        ),
        ("texts", texts(full(&numbers(&[1.0, 0.5]), 2))),
        (
            "empty",
            json!({"step": 3, "rank": 0, "world_size": 1, "batch": {"group_sizes": [], "rewards": []}}),
        ),
        ("empty columns", full(&[], 1)),
        ("single", full(&numbers(&[0.7]), 1)),
        ("constant", full(&numbers(&[0.1; 6]), 3)),
        ("zero", full(&numbers(&[0.0; 6]), 3)),
        (
            "signed",
            full(&numbers(&[-1.0, 1.0, -0.0, 0.0, -3.5, 2.5]), 2),
        ),
        (
            "some not finite",
            full(&[json!(1.0), nan(), json!("Infinity"), json!(0.5)], 2),
        ),
        (
            "none finite",
            full(&[nan(), json!("-Infinity"), nan(), nan()], 2),
        ),
        (
            "rewards alone",
            json!({"step": 3, "rank": 0, "world_size": 1, "batch": {"group_sizes": [2], "rewards": [1.0, 2.0]}}),
        ),
    ]
}

fn row(dialect: Dialect, sample: &Value) -> Metrics {
    let by = |bounds: Rejection, (_, statistic)| bounds.by(statistic, RejectionBounds::up_to(1.5));
    let rejected = RejectionStatistic::ALL
        .into_iter()
        .fold(Rejection::default(), by);
    let mut engine = Engine::builder()
        .dialect(dialect)
        .extended(true)
        .devices(8)
        .kl_penalty(0.1)
        .is_ratio_cap(2.0)
        .rollout_rs(rejected)
        .build()
        .unwrap();
    let record = Record::from_json(&sample.to_string()).unwrap();
    engine.observe(&record.batch().unwrap()).unwrap();
    engine.step(3).unwrap().unwrap().metrics
}

/// Every key, the extended metrics among them.
fn lines(dialect: Dialect) -> impl Iterator<Item = &'static Line> {
    dialect.lines().chain(dialect.extended_lines())
}

/// Whether a line's key, of which one part may stand for a name, is that of a row's entry.
fn names(line: &str, key: &str) -> bool {
    match (line.find('{'), line.find('}')) {
        (Some(open), Some(close)) => key
            .strip_prefix(&line[..open])
            .and_then(|rest| rest.strip_suffix(&line[close + 1..]))
            .is_some_and(|name| !name.is_empty()),
        _ => line == key,
    }
}

#[test]
fn every_key_is_there_once_with_its_meaning_unit_and_reduction() {
    for dialect in Dialect::ALL {
        let mut keys = BTreeSet::new();
        for line in lines(*dialect) {
            assert!(
                keys.insert(line.key),
                "{dialect} {} is there twice",
                line.key
            );
            assert!(
                !line.meaning.is_empty() && !line.unit.is_empty(),
                "{dialect} {}",
                line.key
            );
            assert!(!line.reduction.label().is_empty());
        }
        assert!(keys.len() > 100, "{dialect} has {} keys", keys.len());
    }
}

#[test]
fn what_an_averaged_window_has_of_a_key_is_declared_with_the_key() {
    let last = |dialect: Dialect| -> Vec<&str> {
        let lines = lines(dialect).filter(|line| line.window == WindowFold::Last);
        let keys: Vec<&str> = lines.map(|line| line.key).collect();
        for key in &keys {
            assert_eq!(
                dialect.window_fold(key),
                Some(WindowFold::Last),
                "{dialect} {key}"
            );
        }
        keys
    };
    assert_eq!(
        last(Dialect::MaxEnt),
        ["train/epoch", "train/global_step", "train/num_tokens"]
    );
    assert_eq!(last(Dialect::Trl), ["learning_rate", "num_tokens", "epoch"]);
    assert_eq!(last(Dialect::Tunix), ["learning_rate"]);
    assert_eq!(last(Dialect::Verl), ["actor/lr"]);
    assert_eq!(last(Dialect::OpenRlhf), ["train/actor_lr"]);
    assert_eq!(last(Dialect::NemoRl), ["train/lr"]);
    assert_eq!(last(Dialect::SkyRl), ["policy/policy_lr"]);
    assert_eq!(last(Dialect::PrimeRl), ["optim/lr"]);
    let others = Dialect::ALL.iter().flat_map(|dialect| lines(*dialect));
    let folds: BTreeSet<&str> = others.map(|line| line.window.label()).collect();
    assert_eq!(folds, BTreeSet::from(["last", "mean"]));
}

#[test]
fn every_value_of_every_sample_is_finite_and_under_a_key_of_the_registry() {
    for (name, sample) in samples() {
        for dialect in Dialect::ALL {
            let mut seen = BTreeSet::new();
            for (key, value) in row(*dialect, &sample).iter() {
                assert!(value.is_finite(), "{dialect}, {name}: {key} = {value}");
                assert!(
                    seen.insert(key.to_owned()),
                    "{dialect}, {name}: {key} is there twice"
                );
                let known = lines(*dialect).any(|line| names(line.key, key));
                assert!(known, "{dialect}, {name}: {key} is in no table");
            }
        }
    }
}

/// The keys for which the reference has a value: of a dialect's own, and of the extended metrics.
fn references(dialect: Dialect) -> (BTreeSet<String>, BTreeSet<String>) {
    let read = |file: &str| -> Vec<Value> {
        let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let keys = |expected: &Value| -> Vec<String> {
        let expected = expected.as_object().unwrap();
        expected.keys().cloned().collect()
    };
    let mut own: Vec<Value> = read("layout.jsonl")
        .iter()
        .map(|case| case["expected"][dialect.name()].clone())
        .collect();
    if dialect == Dialect::MaxEnt {
        own.extend(
            read("maxent.jsonl")
                .iter()
                .map(|case| case["expected"].clone()),
        );
    }
    let extended = read("extended.jsonl");
    let extended = extended.iter().map(|case| &case["expected"]);
    (
        own.iter().flat_map(keys).collect(),
        extended.flat_map(keys).collect(),
    )
}

#[test]
fn every_key_has_a_value_of_the_reference_to_be_held_against() {
    let mut missing = Vec::new();
    for dialect in Dialect::ALL {
        let (own, extended) = references(*dialect);
        for line in dialect.lines() {
            if !own.iter().any(|key| names(line.key, key)) {
                missing.push(format!("{dialect} {}", line.key));
            }
        }
        for line in dialect.extended_lines() {
            let bare = line.key.strip_prefix("train/").unwrap_or(line.key);
            if !is_over_steps(line) && !extended.iter().any(|key| names(bare, key)) {
                missing.push(format!("{dialect} extended {}", line.key));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_key_of_the_registry_has_a_value_where_everything_is_given() {
    let mut missing = Vec::new();
    for dialect in Dialect::ALL {
        let mut capping = samples()[0].1.clone();
        capping["weighting"]["loss_type"] = json!("cispo");
        let [first, second] = [0, 1].map(|nth| row(*dialect, &samples()[nth].1));
        let rows = [first, second, row(*dialect, &capping)];
        for line in lines(*dialect).filter(|line| !is_over_steps(line)) {
            let mut keys = rows.iter().flat_map(Metrics::iter);
            if !keys.any(|(key, _)| names(line.key, key)) {
                missing.push(format!("{dialect} {}", line.key));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
