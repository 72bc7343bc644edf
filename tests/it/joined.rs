//! What comes in as shards is as if it had been observed; and what ranks hold twice is counted once.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Scalar, Scalars};
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::{Engine, EngineBuilder, EngineError, OnFailure};
use grpo_metrics::gather::{Part, Threads, TreeShape};
use grpo_metrics::row::Row;
use grpo_metrics::row::window::Windowing;
use grpo_metrics::shard::Shard;
use grpo_metrics::sink::Memory;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// A rank's completions of one step: rewards, two a group, and a scalar.
#[derive(Clone, Debug)]
struct Held {
    rewards: Vec<f64>,
    loss: f64,
}

impl Held {
    /// Hands the record to `take`. Groups go on in the next rank.
    fn record<T>(&self, rank: u32, take: impl FnOnce(Batch<'_>) -> T) -> T {
        let ids: Vec<u64> = (0..self.rewards.len() as u64)
            .map(|i| u64::from(rank) + i / 2)
            .collect();
        let lengths: Vec<u32> = (1..).take(self.rewards.len()).collect();
        let total: u32 = lengths.iter().sum();
        let logps: Vec<f32> = (0..total).map(|i| -0.01 * (i % 7) as f32).collect();
        let old: Vec<f32> = logps.iter().map(|x| x - 0.3).collect();
        let mut columns = Columns::new(Grouping::Ids(&ids), &self.rewards);
        columns.advantages = Some((&self.rewards).into());
        columns.completion_lengths = Some(&lengths);
        columns.token_logps = Some((&logps).into());
        columns.old_token_logps = Some((&old).into());
        columns.scalars = Scalars::default()
            .with(Scalar::TotalLoss, self.loss)
            .with(Scalar::TflopsPerStep, 2.5);
        take(Batch::of(columns).unwrap().at(rank, 0))
    }
}

fn held() -> impl Strategy<Value = Held> {
    let reward = prop_oneof![-2.0..2.0_f64, Just(1e300), Just(-0.0), Just(f64::NAN)];
    (prop::collection::vec(reward, 0..6), -1.0..1.0_f64)
        .prop_map(|(rewards, loss)| Held { rewards, loss })
}

fn some(ranks: u32) -> Vec<Held> {
    let of = |rank: u32| Held {
        rewards: (0..4).map(|i| f64::from((rank + i) % 3)).collect(),
        loss: f64::from(rank),
    };
    (0..ranks).map(of).collect()
}

fn bits(row: &Row) -> Vec<(String, u64)> {
    let numbers = row.metrics.iter();
    numbers
        .map(|(key, x)| (key.to_owned(), x.to_bits()))
        .collect()
}

fn alone(all: &[Held], builder: EngineBuilder) -> Row {
    let mut engine = builder.build().unwrap();
    for (rank, held) in (0..).zip(all) {
        held.record(rank, |batch| engine.observe(&batch)).unwrap();
    }
    engine.step(1).unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/joined.txt"))),
        ..ProptestConfig::default()
    })]

    /// Each of the ranks that hold something has copies, here and there among the ranks; also rank 0 may be one.
    #[test]
    fn copies_that_are_declared_never_show_in_the_row(
        all in prop::collection::vec(held(), 1..4),
        copies in prop::collection::vec(0..3_u32, 1..6),
        turn in 0..8_usize,
    ) {
        let counted = (0..).zip(&all).map(|(rank, _)| (rank, false));
        let copied = copies.iter().map(|copy| (copy % u32::try_from(all.len()).unwrap(), true));
        let mut roles: Vec<(u32, bool)> = counted.chain(copied).collect();
        let world_size = roles.len();
        roles.rotate_left(turn % world_size);
        for shape in [TreeShape::Binomial, TreeShape::Flat] {
            let gathers = Threads::of(u32::try_from(world_size).unwrap(), Duration::from_secs(20));
            let rows: Vec<Option<Row>> = thread::scope(|scope| {
                let ranks: Vec<_> = gathers.into_iter().zip(&roles).map(|(gather, &(role, is_copy))| {
                    let held = &all[role as usize];
                    scope.spawn(move || {
                        let builder = Engine::builder().extended(true).gather(gather.shape(shape));
                        let mut engine = builder.replica(is_copy).build().unwrap();
                        held.record(role, |batch| engine.observe(&batch)).unwrap();
                        if is_copy {
                            engine.report(Scalars::default().with(Scalar::GradNorm, 9.0), None);
                            engine.fail("the batch of a copy");
                        }
                        engine.step(1).unwrap()
                    })
                }).collect();
                ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
            });
            let expected = alone(&all, Engine::builder().extended(true));
            prop_assert_eq!(bits(rows[0].as_ref().unwrap()), bits(&expected));
            prop_assert!(rows[1..].iter().all(Option::is_none));
        }
    }

    #[test]
    fn what_is_joined_is_in_windows_sinks_and_flags_as_if_it_had_been_observed(
        steps in prop::collection::vec(prop::collection::vec(held(), 1..4), 1..6),
        every in 1..4_i64,
    ) {
        for window in [Windowing::Mean, Windowing::Pooled] {
            let rows = |joins: bool| {
                let sink = Memory::default();
                let builder = Engine::builder().extended(true).window(window).logging_steps(every);
                let mut engine = builder.sink(sink.clone()).build().unwrap();
                for (step, all) in (1..).zip(&steps) {
                    let mut whole = Shard::default();
                    for (rank, held) in (0..).zip(all) {
                        held.record(rank, |batch| {
                            if joins {
                                whole.merge(engine.shard_of(&batch)).unwrap();
                            } else {
                                engine.observe(&batch).unwrap();
                            }
                        });
                    }
                    engine.join(whole).unwrap();
                    engine.step(step).unwrap();
                }
                drop(engine.finish());
                let rows = sink.rows();
                rows.iter().map(|row| (row.step, row.steps, row.text.clone(), bits(row))).collect::<Vec<_>>()
            };
            prop_assert_eq!(rows(true), rows(false));
        }
    }
}

#[test]
fn ranks_whose_shards_are_missing_fail_the_step_or_are_named_in_its_row() {
    let all = some(3);
    let part = |engine: &mut Engine| {
        let mut shard = all[0].record(0, |batch| engine.shard_of(&batch));
        let other = all[2].record(2, |batch| engine.shard_of(&batch));
        shard.merge(other).unwrap();
        Part {
            shard,
            failures: BTreeMap::from([(1, "has died".to_owned())]),
            conflict: None,
        }
    };
    let mut strict = Engine::builder().build().unwrap();
    let given = part(&mut strict);
    strict.join_part(given).unwrap();
    assert_eq!(
        strict.step(1).unwrap_err().to_string(),
        "step 1: rank 1: has died"
    );
    // The failure is over with its step.
    all[0].record(0, |batch| strict.observe(&batch)).unwrap();
    assert!(strict.step(2).is_ok());

    let mut going_on = Engine::builder().policy(OnFailure::GoOn).build().unwrap();
    let given = part(&mut going_on);
    going_on.join_part(given).unwrap();
    let row = going_on.step(1).unwrap().unwrap();
    assert_eq!(
        row.text,
        [("failed/step 1/rank 1".to_owned(), "has died".to_owned())]
    );
    let mut without = Engine::builder().build().unwrap();
    for rank in [0, 2] {
        let observed = all[rank as usize].record(rank, |batch| without.observe(&batch));
        observed.unwrap();
    }
    assert_eq!(bits(&row), bits(&without.step(1).unwrap().unwrap()));
}

#[test]
fn a_shard_in_less_detail_than_the_rows_need_is_refused_and_the_rest_of_the_step_stands() {
    let all = some(2);
    let plain = all[1].record(1, |batch| Shard::of(&batch));
    let mut engine = Engine::builder().extended(true).build().unwrap();
    all[0].record(0, |batch| engine.observe(&batch)).unwrap();
    let refused = engine.join(plain).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rank 1: expected a shard with the extended metrics, found one without: count it with the `dialect` and `extended` of the engine"
    );
    let row = engine.step(1).unwrap().unwrap();
    assert_eq!(
        bits(&row),
        bits(&alone(&all[..1], Engine::builder().extended(true)))
    );
}

#[test]
fn a_record_that_is_observed_after_a_join_is_the_ranks_next_one() {
    let all = some(1);
    let mut engine = Engine::builder().build().unwrap();
    let shard = all[0].record(0, |batch| engine.shard_of(&batch));
    engine.join(shard).unwrap();
    let batch = Batch::of(Columns::new(Grouping::Sizes(&[1]), &[1.0])).unwrap();
    engine.observe(&batch).unwrap();
    assert!(engine.step(1).is_ok());
}

#[test]
fn a_shard_of_another_step_fails_its_rank_and_the_others_do_not_wait_for_it() {
    let stepped: Vec<Result<Option<Row>, EngineError>> = thread::scope(|scope| {
        let ranks: Vec<_> = Threads::of(3, Duration::from_secs(20))
            .into_iter()
            .zip(some(3))
            .enumerate()
            .map(|(rank, (gather, held))| {
                scope.spawn(move || {
                    let mut engine = Engine::builder().gather(gather).build().unwrap();
                    let rank = u32::try_from(rank).unwrap();
                    let mut shard = held.record(rank, |batch| engine.shard_of(&batch));
                    shard.assign(if rank == 2 { 7 } else { 1 }).unwrap();
                    engine.join(shard).unwrap();
                    engine.step(1)
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let said: Vec<String> = stepped
        .iter()
        .map(|stepped| {
            stepped
                .as_ref()
                .map_or_else(ToString::to_string, |_| "-".into())
        })
        .collect();
    let why = "expected a shard of step 1, found one of step 7";
    assert_eq!(
        said,
        [format!("step 1: rank 2: {why}"), "-".into(), why.into()]
    );
}
