//! What a trainer reports under names: other names of known scalars are taken for them, slips of the pen are in no row, and nothing of
//! it raises in a step.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Fold, Meta, Scalar, Weighting, WindowFold};
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::{Engine, EngineBuilder};
use grpo_metrics::row::Metrics;

/// The row of a step of two micro-batches, of which each reports these, and how many reports were kept out.
fn reported(builder: EngineBuilder, own: &[(&str, f64)]) -> (Metrics, u64) {
    let mut engine = builder.build().unwrap();
    for micro in [0.0, 1.0] {
        let mut columns = Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]);
        for (name, value) in own {
            columns.scalars.set(name, *value + micro);
        }
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
    }
    let row = engine.step(1).unwrap().unwrap().metrics;
    let kept_out = engine.census().get("kept_out");
    (row, kept_out.map_or(0, |census| census.absent))
}

fn of(dialect: Dialect) -> EngineBuilder {
    Engine::builder().dialect(dialect)
}

#[test]
fn another_name_of_a_scalar_is_the_scalar_to_the_bit_in_every_dialect() {
    for dialect in Dialect::ALL {
        for scalar in Scalar::ALL {
            for also in scalar.also() {
                let (expected, _) = reported(of(*dialect), &[(scalar.name(), 0.3)]);
                let (mut found, kept_out) = reported(of(*dialect), &[(also, 0.3)]);
                assert_eq!(kept_out, 0, "{dialect}: {also}");
                if expected == reported(of(*dialect), &[]).0 {
                    // The dialect has no key for it: it stands under its name, folded as the scalar it is.
                    let at = |row: &Metrics, key: &str| row.get(key);
                    let folded = if scalar.folds().0 == Fold::Mean {
                        0.8
                    } else {
                        1.3
                    };
                    let folded = if scalar.folds().0 == Fold::MeanByTokens {
                        0.8
                    } else {
                        folded
                    };
                    assert_eq!(at(&found, also), Some(folded), "{dialect}: {also}");
                    found = found
                        .iter()
                        .filter(|(key, _)| key != also)
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect();
                }
                assert_eq!(
                    format!("{found:?}"),
                    format!("{expected:?}"),
                    "{dialect}: {also}"
                );
            }
        }
    }
}

#[test]
fn of_two_names_of_a_scalar_its_own_counts_and_the_other_is_kept_out_and_counted() {
    for given in [
        [("loss", 9.0), ("total_loss", 0.5)],
        [("total_loss", 0.5), ("loss", 9.0)],
    ] {
        let (row, kept_out) = reported(of(Dialect::Trl), &given);
        assert_eq!((row.get("loss"), kept_out), (Some(1.0), 1));
    }
    let given = [("num_input_tokens_seen", 7.0), ("num_tokens", 3.0)];
    let (row, kept_out) = reported(of(Dialect::Trl), &given);
    assert_eq!((row.get("num_tokens"), kept_out), (Some(4.0), 1));
}

#[test]
fn a_name_one_slip_away_from_a_scalars_is_in_no_row_and_counted() {
    for dialect in Dialect::ALL {
        let given = [
            ("totl_loss", 1.0),
            ("leraning_rate", 2.0),
            ("Epoch", 3.0),
            ("mine", 4.0),
            ("a/totl_loss", 5.0),
        ];
        let (row, kept_out) = reported(of(*dialect), &given);
        let (bare, _) = reported(of(*dialect), &[("mine", 4.0), ("a/totl_loss", 5.0)]);
        assert_eq!(
            (format!("{row:?}"), kept_out),
            (format!("{bare:?}"), 3),
            "{dialect}"
        );
        assert_eq!(
            (row.get("mine"), row.get("a/totl_loss")),
            (Some(4.5), Some(5.5))
        );
    }
}

#[test]
fn a_metric_of_ones_own_may_be_called_nearly_as_a_scalar_where_it_is_declared() {
    let folds = [("rl_loss".to_owned(), (Fold::Max, WindowFold::Max))];
    let (row, kept_out) = reported(of(Dialect::Trl).folds(folds.into()), &[("rl_loss", 3.0)]);
    assert_eq!((row.get("rl_loss"), kept_out), (Some(4.0), 0));
}

#[test]
fn no_key_of_any_dialect_and_no_field_of_the_snapshot_is_nearly_a_scalars_name() {
    let fields = [Weighting::FIELDS, Meta::FIELDS].concat();
    let fields = fields
        .iter()
        .flat_map(|field| [&[field.name], field.also].concat());
    let keys = Dialect::ALL.iter().flat_map(|dialect| {
        let lines = dialect.lines().chain(dialect.extended_lines());
        lines.map(|line| line.key).collect::<Vec<_>>()
    });
    for name in fields.chain(keys) {
        assert_eq!(Scalar::meant_by(name), None, "{name}");
    }
}

#[test]
fn a_field_that_the_snapshot_has_not_is_counted_and_the_rest_of_it_stands() {
    let mut engine = of(Dialect::MaxEnt).build().unwrap();
    let mut columns = Columns::new(Grouping::Sizes(&[1]), &[1.0]);
    columns.weighting = Some(Weighting {
        beta: Some(0.25),
        strange: vec!["bata".to_owned(), "meta.enabeld".to_owned()],
        ..Weighting::default()
    });
    engine.observe(&Batch::of(columns).unwrap()).unwrap();
    let row = engine.step(1).unwrap().unwrap();
    assert_eq!(row.metrics.get("train/beta"), Some(0.25));
    assert_eq!(engine.census()["kept_out"].absent, 2);
}
