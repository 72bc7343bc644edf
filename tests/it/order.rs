//! Steps ascend: one that comes twice or goes back is refused, on any rank, and leaves nobody waiting.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::{Engine, EngineError, OnFailure};
use grpo_metrics::gather::Threads;
use grpo_metrics::sink::Memory;

fn observe(engine: &mut Engine, reward: f64) {
    let rewards = [reward];
    let columns = Columns::new(Grouping::Sizes(&[1]), &rewards);
    engine.observe(&Batch::of(columns).unwrap()).unwrap();
}

#[test]
fn a_step_that_comes_twice_or_goes_back_is_refused_and_the_next_is_as_if_it_had_not_come() {
    let mut engine = Engine::builder().build().unwrap();
    observe(&mut engine, 1.0);
    engine.step(5).unwrap();
    for (again, said) in [
        (5, "step 5 has come twice, and is not counted"),
        (4, "step 4 comes after step 5, and is not counted"),
        (0, "step 0 comes after step 5, and is not counted"),
    ] {
        observe(&mut engine, 100.0);
        let error = engine.step(again).unwrap_err();
        assert!(matches!(error, EngineError::Order { last: 5, .. }));
        assert!(error.to_string().starts_with(said), "{error}");
    }
    observe(&mut engine, 3.0);
    let row = engine.step(9).unwrap().unwrap();
    assert_eq!(row.metrics.get("train/reward"), Some(3.0));
    assert!(row.text.is_empty(), "no rank has failed in it");
}

#[test]
fn a_rank_that_repeats_a_step_or_cannot_say_which_it_is_keeps_nobody_in_the_gather() {
    for policy in [OnFailure::Fail, OnFailure::GoOn] {
        for strayed in [0, 1] {
            for sits_out in [false, true] {
                let gathers = Threads::of(3, std::time::Duration::MAX);
                let stepped = std::thread::scope(|scope| {
                    let ranks = gathers.into_iter().enumerate().map(|(rank, gather)| {
                        scope.spawn(move || {
                            let builder = Engine::builder().gather(gather).policy(policy);
                            let mut engine = builder.build().unwrap();
                            let mut stepped = Vec::new();
                            for step in 1..=3 {
                                observe(&mut engine, rank as f64);
                                let strays = rank == strayed && step == 2;
                                if strays && sits_out {
                                    engine.sit_out("no number");
                                    continue;
                                }
                                stepped.push(engine.step(if strays { 1 } else { step }));
                            }
                            stepped
                        })
                    });
                    let ranks: Vec<_> = ranks.collect();
                    ranks
                        .into_iter()
                        .map(|rank| rank.join().unwrap())
                        .collect::<Vec<_>>()
                });
                let said = format!("{policy:?}, rank {strayed}, {sits_out}: {stepped:?}");
                if !sits_out {
                    assert!(
                        matches!(
                            stepped[strayed][1],
                            Err(EngineError::Order { step: 1, last: 1 })
                        ),
                        "{said}"
                    );
                }
                // Rank 0 has the rows; of the step in which another rank strayed, as its policy says.
                if strayed == 1 {
                    match (policy, &stepped[0][1]) {
                        (OnFailure::GoOn, Ok(Some(row))) => {
                            assert_eq!(row.metrics.get("train/reward"), Some(1.0), "{said}");
                        }
                        (OnFailure::Fail, Err(EngineError::Ranks { failures, .. })) => {
                            assert!(failures.contains_key(&1), "{said}");
                        }
                        _ => panic!("{said}"),
                    }
                }
                let last = stepped[0]
                    .last()
                    .unwrap()
                    .as_ref()
                    .unwrap()
                    .as_ref()
                    .unwrap();
                assert_eq!(
                    (last.step, last.metrics.get("train/reward")),
                    (3, Some(1.0)),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn a_training_that_goes_back_says_so_and_its_rows_are_marked() {
    let sink = Memory::default();
    let rows = sink.clone();
    let mut engine = Engine::builder()
        .logging_steps(2)
        .sink(sink)
        .build()
        .unwrap();
    for step in 1..=3 {
        observe(&mut engine, step as f64);
        engine.step(step).unwrap();
    }
    let cut = engine.rewind().expect("step 3 is left over");
    assert_eq!((cut.step, cut.metrics.get("train/reward")), (3, Some(3.0)));
    assert!(engine.rewind().is_none(), "nothing is left over now");
    for step in 1..=4 {
        observe(&mut engine, 10.0);
        engine.step(step).unwrap();
    }
    let said: Vec<_> = rows
        .rows()
        .iter()
        .map(|row| (row.step, row.again))
        .collect();
    assert_eq!(said, [(2, false), (3, false), (2, true), (4, false)]);
}
