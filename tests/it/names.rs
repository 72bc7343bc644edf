//! Names that fall together: no two numbers share a key, none vanishes unsaid, and nothing of it raises in a step.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Fold, Scalar, Scalars, WindowFold};
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::row::{Metrics, Row};

fn engine(dialect: Dialect) -> Engine {
    let builder = Engine::builder().dialect(dialect).extended(true);
    builder.logging_steps(2).build().expect("no mode is named")
}

/// The row over two steps, each of `components` over four completions.
fn row_of(dialect: Dialect, components: &[(&str, [f64; 4])], own: &[(&str, f64)]) -> (Row, Engine) {
    let mut engine = engine(dialect);
    let mut row = None;
    for step in 1..=2 {
        let mut columns = Columns::new(Grouping::Sizes(&[2, 2]), &[0.0, 1.0, 0.5, 1.0]);
        columns.reward_components = components
            .iter()
            .map(|(name, values)| ((*name).into(), values.into()))
            .collect();
        for (name, value) in own {
            columns.scalars.set(name, *value);
        }
        let batch = Batch::of(columns).expect("the columns fit");
        engine.observe(&batch).expect("one rank");
        row = engine.step(step).expect("one rank").or(row);
    }
    (row.expect("a row at step 2"), engine)
}

fn once(metrics: &Metrics) {
    let mut keys: Vec<&str> = metrics.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all, "a key is there twice");
}

#[test]
fn a_number_named_like_a_computed_key_is_kept_out_and_counted() {
    let (row, engine) = row_of(Dialect::Trl, &[], &[("reward", 9.0), ("mine", 3.0)]);
    assert_eq!(row.metrics.get("reward"), Some(0.625));
    assert_eq!(row.metrics.get("mine"), Some(3.0));
    assert_eq!(row.metrics.get("health/kept_out"), Some(1.0));
    assert_eq!(engine.census()["kept_out"].absent, 2, "one a step");
    let (row, engine) = row_of(Dialect::Trl, &[], &[("mine", 3.0)]);
    assert_eq!(row.metrics.get("health/kept_out"), Some(0.0));
    assert!(!engine.census().contains_key("kept_out"));
}

#[test]
fn components_that_come_to_one_key_have_a_key_each() {
    let (a, b) = ([0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]);
    let (row, _) = row_of(Dialect::Tunix, &[("a", a), ("a/corr_total", b)], &[]);
    once(&row.metrics);
    assert_eq!(row.metrics.get("rewards/a"), Some(0.5));
    // The component's mean came first, the correlation of `a` with the total later.
    assert_eq!(row.metrics.get("rewards/a/corr_total"), Some(0.75));
    let correlation = row.metrics.get("rewards/a/corr_total_2");
    // Pearson of (0, 1, 0, 1) with (0, 1, 0.5, 1): 0.375 / sqrt(1 * 0.6875).
    assert!((correlation.expect("it has a key") - 0.904_534_033_733_291).abs() < 1e-12);
}

#[test]
fn a_component_named_like_a_key_of_tunix_has_a_key_of_its_own() {
    let (row, _) = row_of(
        Dialect::Tunix,
        &[("sum", [1.0, 1.0, 1.0, 0.0]), ("x", [1.0; 4])],
        &[],
    );
    once(&row.metrics);
    assert_eq!(
        row.metrics.get("rewards/sum"),
        Some(1.75),
        "of the components"
    );
    assert_eq!(row.metrics.get("rewards/sum_2"), Some(0.75));
}

#[test]
fn two_reward_functions_of_one_name_are_both_in_the_row() {
    let (a, b) = ([0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]);
    let named = [("f", a), ("f", b), ("f_2", [0.0; 4])];
    for dialect in Dialect::ALL {
        let (row, _) = row_of(*dialect, &named, &[]);
        once(&row.metrics);
    }
    let (row, _) = row_of(Dialect::MaxEnt, &named, &[]);
    assert_eq!(row.metrics.get("train/rewards/f/mean"), Some(0.5));
    assert_eq!(row.metrics.get("train/rewards/f_2/mean"), Some(0.0));
    assert_eq!(row.metrics.get("train/rewards/f_3/mean"), Some(0.75));
}

#[test]
fn a_total_of_tokens_needs_prompt_and_completion_lengths() {
    let row = |lengths: Option<&[u32]>| {
        let mut engine = Engine::builder()
            .dialect(Dialect::Verl)
            .devices(2)
            .build()
            .expect("no mode is named");
        let mut columns = Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]);
        columns.prompt_lengths = Some(&[7, 7]);
        columns.completion_lengths = lengths;
        columns.scalars = Scalars::default().with(Scalar::StepTimeSec, 2.0);
        let batch = Batch::of(columns).expect("the columns fit");
        engine.observe(&batch).expect("one rank");
        engine.step(1).expect("one rank").expect("a row").metrics
    };
    let none = row(None);
    assert_eq!(none.get("prompt_length/mean"), Some(7.0));
    assert_eq!(none.get("perf/total_num_tokens"), None);
    assert_eq!(none.get("perf/throughput"), None);
    let some = row(Some(&[3, 5]));
    assert_eq!(some.get("perf/total_num_tokens"), Some(22.0));
    assert_eq!(some.get("perf/throughput"), Some(5.5));
}

#[test]
fn cumulative_and_last_step_values_are_the_last_of_an_averaged_window() {
    for (dialect, tokens, epoch) in [
        (Dialect::Trl, "num_tokens", "epoch"),
        (Dialect::MaxEnt, "train/num_tokens", "train/epoch"),
    ] {
        let builder = Engine::builder().dialect(dialect).logging_steps(3);
        let builder = builder.fold("seen", Fold::Sum, WindowFold::Last);
        let builder = builder.fold("worst", Fold::Max, WindowFold::Max);
        let mut engine = builder.build().expect("no mode is named");
        let mut row = None;
        for step in 1..=3_u32 {
            let mut scalars = Scalars::default()
                .with(Scalar::NumInputTokens, 113.0 * f64::from(step))
                .with(Scalar::Epoch, 0.0078 * f64::from(step))
                .with(Scalar::TotalLoss, f64::from(step));
            scalars.set("seen", f64::from(step));
            scalars.set("worst", f64::from(4 - step));
            scalars.set("mine", f64::from(step));
            engine.report(scalars, None);
            row = engine.step(step.into()).expect("one rank");
        }
        let metrics = row.expect("a row every three").metrics;
        assert_eq!(metrics.get(tokens), Some(339.0));
        assert_eq!(metrics.get(epoch), Some(0.0078 * 3.0));
        assert_eq!(metrics.get("seen"), Some(3.0));
        assert_eq!(metrics.get("worst"), Some(3.0));
        assert_eq!(metrics.get("mine"), Some(2.0));
    }
}
