//! Ranks that fail, die, tarry or hold something of their own: each step ends on all of them, and says who was missing.

use std::thread;
use std::time::{Duration, Instant};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::Scalars;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::{Engine, EngineError, OnFailure};
use grpo_metrics::gather::{Answer, Gather, GatherError, Threads, TreeShape};
use grpo_metrics::row::Row;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Far longer than any step here takes, far shorter than for ever.
const BOUND: Duration = Duration::from_secs(60);
const PATIENT: Duration = Duration::from_secs(20);
const HASTY: Duration = Duration::from_millis(300);

type Stepped = Result<Option<Row>, EngineError>;

/// Every rank in a thread of its own, with an engine; what `rank` returns, by rank.
fn ranks<T: Send>(
    gathers: Vec<impl Gather + 'static>,
    policy: OnFailure,
    rank: impl Fn(u32, Engine) -> T + Sync,
) -> Vec<T> {
    let begun = Instant::now();
    let rank = &rank;
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = gathers
            .into_iter()
            .map(|gather| {
                scope.spawn(move || {
                    let number = gather.rank();
                    rank(
                        number,
                        Engine::builder()
                            .gather(gather)
                            .policy(policy)
                            .build()
                            .unwrap(),
                    )
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(begun.elapsed() < BOUND);
    ended
}

fn observe(engine: &mut Engine, rewards: &[f64], component: &str) {
    let sizes = [u32::try_from(rewards.len()).unwrap()];
    let mut columns = Columns::new(Grouping::Sizes(&sizes), rewards);
    columns.reward_components = vec![(component.to_owned().into(), rewards.into())];
    engine.observe(&Batch::of(columns).unwrap()).unwrap();
}

/// The one row there is.
fn row(stepped: Vec<Stepped>) -> Row {
    let mut stepped = stepped.into_iter();
    let row = stepped.next().unwrap().unwrap().expect("a row at the root");
    assert!(stepped.all(|other| matches!(other, Ok(None))));
    row
}

fn failures(stepped: &Stepped) -> Vec<(u32, String)> {
    match stepped {
        Err(EngineError::Ranks { failures, .. }) => failures.clone().into_iter().collect(),
        other => panic!("expected an error that names ranks, found {other:?}"),
    }
}

#[test]
fn a_rank_without_completions_adds_nothing_and_stops_nobody() {
    let row = row(ranks(
        Threads::of(4, PATIENT),
        OnFailure::Fail,
        |rank, mut engine| {
            match rank {
                // One that observes an empty batch, and one that observes nothing at all.
                1 => observe(&mut engine, &[], "a"),
                2 => {}
                _ => observe(&mut engine, &[f64::from(rank), 1.0], "a"),
            }
            engine.step(1)
        },
    ));
    assert_eq!(
        row.metrics.get("train/reward"),
        Some((0.0 + 1.0 + 3.0 + 1.0) / 4.0)
    );
}

#[test]
fn a_component_of_one_rank_stands_in_the_row_over_its_own_completions() {
    let row = row(ranks(
        Threads::of(3, Duration::MAX),
        OnFailure::Fail,
        |rank, mut engine| {
            let own = if rank == 2 { "only/here" } else { "a" };
            observe(&mut engine, &[f64::from(rank)], own);
            engine.step(1)
        },
    ));
    assert_eq!(
        row.metrics.get("train/rewards/only/here/mean"),
        Some(2.0),
        "{:?}",
        row.metrics
    );
}

#[test]
fn a_rank_whose_batch_is_refused_is_named_with_the_reason() {
    let failing = |rank: u32, engine: &mut Engine| {
        observe(engine, &[f64::from(rank)], "a");
        if rank == 3 {
            // The same micro-batch twice.
            let columns = Columns::new(Grouping::Sizes(&[1]), &[9.0]);
            let twice = Batch::of(columns).unwrap().at(3, 0);
            assert!(engine.observe(&twice).is_err());
        }
        if rank == 2 {
            engine.fail("expected 4 rewards, found 3");
        }
    };
    let stepped = ranks(
        Threads::of(4, PATIENT),
        OnFailure::Fail,
        |rank, mut engine| {
            failing(rank, &mut engine);
            let first = engine.step(1);
            observe(&mut engine, &[1.0], "a");
            (first, engine.step(2))
        },
    );
    let named = failures(&stepped[0].0);
    assert_eq!(named[0], (2, "expected 4 rewards, found 3".to_owned()));
    assert_eq!(named[1].0, 3);
    assert!(
        named[1].1.contains("rank 3, micro-batch 0 is there twice"),
        "{named:?}"
    );
    let text = stepped[0].0.as_ref().unwrap_err().to_string();
    assert!(
        text.starts_with("step 1: rank 2: expected 4 rewards, found 3; rank 3: "),
        "{text}"
    );
    // The failure is over with its step.
    let second = stepped[0].1.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(second.metrics.get("train/reward"), Some(1.0));

    let row = row(ranks(
        Threads::of(4, PATIENT),
        OnFailure::GoOn,
        |rank, mut engine| {
            failing(rank, &mut engine);
            engine.step(1)
        },
    ));
    assert_eq!(row.metrics.get("train/reward"), Some(0.5));
    assert_eq!(
        row.text[0],
        (
            "failed/step 1/rank 2".to_owned(),
            "expected 4 rewards, found 3".to_owned()
        )
    );
    assert_eq!(row.text[1].0, "failed/step 1/rank 3");
}

#[test]
fn a_rank_that_dies_before_the_gather_is_named_and_so_are_those_behind_it() {
    for policy in [OnFailure::Fail, OnFailure::GoOn] {
        let stepped = ranks(Threads::of(8, PATIENT), policy, |rank, mut engine| {
            observe(&mut engine, &[f64::from(rank)], "a");
            (rank != 4).then(|| engine.step(1))
        });
        let root = stepped[0].as_ref().unwrap();
        match policy {
            OnFailure::Fail => {
                let named = failures(root);
                assert_eq!(named[0], (4, "has ended".to_owned()));
                assert_eq!(
                    named[1],
                    (
                        5,
                        "was to be heard through rank 4, which has ended".to_owned()
                    )
                );
                assert_eq!(named.len(), 4);
            }
            OnFailure::GoOn => {
                let row = root.as_ref().unwrap().as_ref().unwrap();
                assert_eq!(row.metrics.get("train/reward"), Some(6.0 / 4.0));
                assert_eq!(row.text.len(), 4);
            }
        }
    }
}

#[test]
fn a_rank_that_panics_has_ended() {
    let stepped = ranks(
        Threads::of(2, PATIENT),
        OnFailure::Fail,
        |rank, mut engine| {
            if rank == 1 {
                let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let _engine = engine;
                    std::panic::resume_unwind(Box::new("the environment is gone"));
                }));
                assert!(crash.is_err());
                return None;
            }
            Some(engine.step(1))
        },
    );
    assert_eq!(
        failures(stepped[0].as_ref().unwrap()),
        [(1, "has ended".to_owned())]
    );
}

#[test]
fn a_rank_that_answers_after_the_deadline_is_named_and_its_answer_is_not_taken_for_the_next_step() {
    for shape in [TreeShape::Binomial, TreeShape::Flat] {
        let gathers = Threads::of(3, HASTY)
            .into_iter()
            .map(|g| g.shape(shape))
            .collect();
        let late = std::sync::Barrier::new(2);
        let stepped = ranks(gathers, OnFailure::GoOn, |rank, mut engine| {
            observe(&mut engine, &[f64::from(rank)], "a");
            if rank == 2 {
                // Not before the root has given it up.
                late.wait();
            }
            let first = engine.step(1);
            if rank == 0 {
                late.wait();
            }
            observe(&mut engine, &[10.0 * f64::from(rank)], "a");
            (first, engine.step(2))
        });
        let (first, second) = &stepped[0];
        let first = first.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(first.metrics.get("train/reward"), Some(0.5));
        assert_eq!(first.text[0].0, "failed/step 1/rank 2");
        assert!(
            first.text[0].1.starts_with("did not answer within "),
            "{:?}",
            first.text
        );
        let second = second.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(second.metrics.get("train/reward"), Some(10.0));
        assert_eq!(second.text, []);
    }
}

#[test]
fn a_rank_that_missed_three_steps_costs_no_deadline_and_is_in_the_row_of_the_step_it_comes_back_in()
{
    const DEADLINE: Duration = Duration::from_secs(1);
    const SILENT: u64 = 13;
    for shape in [TreeShape::Binomial, TreeShape::Flat] {
        let gathers = Threads::of(4, DEADLINE)
            .into_iter()
            .map(|g| g.shape(shape))
            .collect();
        let back = std::sync::Barrier::new(2);
        let ended = ranks(gathers, OnFailure::GoOn, |rank, mut engine| {
            let mut step = |step: u64| {
                observe(&mut engine, &[f64::from(rank)], "a");
                engine.step(step).unwrap()
            };
            if rank != 0 {
                if rank == 2 {
                    back.wait();
                }
                for at in 1..=SILENT + 2 {
                    step(at);
                }
                return (Vec::new(), Duration::ZERO);
            }
            let mut rows: Vec<_> = (1..=3).map(&mut step).collect();
            let begun = Instant::now();
            rows.extend((4..=SILENT).map(&mut step));
            let took = begun.elapsed();
            back.wait();
            // It has missed steps to send first, which it is heard by.
            thread::sleep(DEADLINE / 10);
            rows.extend((SILENT + 1..=SILENT + 2).map(step));
            (rows, took)
        });
        let (rows, took) = &ended[0];
        assert!(*took < 3 * DEADLINE, "ten steps took {took:?}");
        for row in rows.iter().flatten() {
            let key = format!("failed/step {}/rank 2", row.step);
            let why = row.text.iter().find(|(name, _)| *name == key);
            let why = why.map_or("", |(_, why)| why);
            match row.step {
                ..=3 => assert!(why.starts_with("did not answer within "), "{row:?}"),
                4..=SILENT => assert!(why.starts_with("is left out until "), "{row:?}"),
                _ => {
                    assert_eq!(row.text, []);
                    assert_eq!(row.metrics.get("train/reward"), Some(1.5));
                }
            }
        }
        assert_eq!(rows.len() as u64, SILENT + 2);
    }
}

#[test]
fn ranks_that_count_against_other_clip_ranges_are_refused_whatever_the_policy() {
    use grpo_metrics::batch::scalars::ClipRange;
    let stepped = ranks(
        Threads::of(4, PATIENT),
        OnFailure::GoOn,
        |rank, mut engine| {
            if rank == 3 {
                engine.expect_clip_range(ClipRange::new(0.1, 0.3));
            }
            let rewards = [1.0];
            let mut columns = Columns::new(Grouping::Sizes(&[1]), &rewards);
            columns.completion_lengths = Some(&[2]);
            columns.token_logps = Some((&[-1.0_f32, -2.0][..]).into());
            engine.observe(&Batch::of(columns).unwrap()).unwrap();
            engine.step(1)
        },
    );
    let error = stepped[0].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("rank 3 counted its tokens against"),
        "{error}"
    );
    assert!(stepped[1..].iter().all(Result::is_ok));
}

/// As a trainer's own collective would do it: nothing is joined on the way.
#[derive(Debug)]
struct Plain(Threads);

impl Gather for Plain {
    fn rank(&self) -> u32 {
        self.0.rank()
    }

    fn world_size(&self) -> u32 {
        self.0.world_size()
    }

    fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        let answers = self.0.gather(&mut |none| {
            assert_eq!(none, []);
            part(Vec::new())
        })?;
        Ok(answers.map(|answers| {
            answers
                .into_iter()
                .map(|answer| Answer::of(answer.rank, answer.bytes.unwrap()))
                .collect()
        }))
    }
}

#[test]
fn bytes_that_cannot_be_read_are_their_rank_s_failure() {
    /// Rank 1's bytes arrive changed.
    #[derive(Debug)]
    struct Noisy(Threads);
    impl Gather for Noisy {
        fn rank(&self) -> u32 {
            self.0.rank()
        }
        fn world_size(&self) -> u32 {
            self.0.world_size()
        }
        fn gather(
            &mut self,
            part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
        ) -> Result<Option<Vec<Answer>>, GatherError> {
            self.0.gather(&mut |answers| {
                let mut bytes = part(answers);
                *bytes.last_mut().unwrap() ^= 1;
                bytes
            })
        }
    }
    let gathers = Threads::of(2, PATIENT).into_iter().map(Noisy).collect();
    let stepped = ranks(gathers, OnFailure::Fail, |_, mut engine| engine.step(1));
    let named = failures(&stepped[0]);
    assert_eq!(named[0].0, 1);
    assert!(
        named[0]
            .1
            .contains("sent what cannot be read: expected a body with checksum"),
        "{named:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/gather.txt"))),
        ..ProptestConfig::default()
    })]

    /// Completions of one group, spread over the ranks. Tree, star, plain gather, numbering and arrival never show.
    #[test]
    fn tree_shape_arrival_order_and_rank_numbering_never_show_in_the_row(
        world_size in 1..9_u32,
        rewards in prop::collection::vec(prop_oneof![-2.0..2.0_f64, Just(1e300), Just(-0.0), Just(f64::NAN)], 1..30),
        turn in 0..9_u32,
        delays in prop::collection::vec(0..3_u64, 9),
    ) {
        let own_of = |rank: u32| -> (Vec<u32>, Vec<f64>) {
            let mine = (0_u32..).zip(&rewards).filter(|(i, _)| i % world_size == rank);
            mine.map(|(i, reward)| (i, *reward)).unzip()
        };
        let step = |rank: u32, engine: &mut Engine| {
            let (index, own) = own_of(rank);
            let ids: Vec<u64> = index.iter().map(|i| u64::from(i / 4)).collect();
            let mut columns = Columns::new(Grouping::Ids(&ids), &own);
            columns.completion_index = Some(&index);
            columns.advantages = Some((&own).into());
            columns.weights = Some((&own).into());
            columns.scalars = Scalars::default();
            columns.scalars.set("mine", 0.5);
            engine.observe(&Batch::of(columns).unwrap()).unwrap();
        };
        let bits = |row: Row| -> Vec<(String, u64)> {
            row.metrics.iter().map(|(key, value)| (key.to_owned(), value.to_bits())).collect()
        };
        let mut alone = Engine::builder().build().unwrap();
        for rank in 0..world_size {
            let (index, own) = own_of(rank);
            let ids: Vec<u64> = index.iter().map(|i| u64::from(i / 4)).collect();
            let mut columns = Columns::new(Grouping::Ids(&ids), &own);
            columns.completion_index = Some(&index);
            columns.advantages = Some((&own).into());
            columns.weights = Some((&own).into());
            columns.scalars.set("mine", 0.5);
            alone.observe(&Batch::of(columns).unwrap().at(rank, 0)).unwrap();
        }
        let expected = bits(alone.step(5).unwrap().unwrap());

        let late = |rank: u32| thread::sleep(Duration::from_millis(delays[rank as usize]));
        for shape in [TreeShape::Binomial, TreeShape::Flat] {
            let gathers = Threads::of(world_size, PATIENT).into_iter().map(|g| g.shape(shape)).collect();
            let gathered = ranks(gathers, OnFailure::Fail, |rank, mut engine| {
                step((rank + turn) % world_size, &mut engine);
                late(rank);
                engine.step(5)
            });
            prop_assert_eq!(&bits(row(gathered)), &expected);
        }
        let flat = Threads::of(world_size, PATIENT).into_iter().map(|g| Plain(g.shape(TreeShape::Flat))).collect();
        let gathered = ranks(flat, OnFailure::Fail, |rank, mut engine| {
            step(rank, &mut engine);
            engine.step(5)
        });
        prop_assert_eq!(&bits(row(gathered)), &expected);
    }
}

#[test]
fn every_rank_has_one_way_to_the_root_and_no_more_than_log2_children() {
    for world_size in [1_u32, 2, 3, 7, 8, 1000, 1024, 100_000] {
        let mut heard = vec![0_u32; world_size as usize];
        for rank in 0..world_size {
            let children = TreeShape::Binomial.children(rank, world_size);
            assert!(1 << children.len() <= world_size.next_power_of_two());
            for (child, behind) in children {
                assert_eq!(TreeShape::Binomial.parent(child), Some(rank));
                if rank == 0 {
                    heard[child as usize] += 1;
                    behind.for_each(|other| heard[other as usize] += 1);
                }
            }
        }
        assert!(heard[1..].iter().all(|&times| times == 1));
    }
}
