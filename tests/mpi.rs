//! Ranks as processes under `mpirun`: the rows of a plain replay, and an end in bounded time whatever a rank meets.
#![cfg(feature = "mpi")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::{Engine, OnFailure};
use grpo_metrics::gather::Mpi;
use mpi::collective::CommunicatorCollectives;
use mpi::topology::{Color, Communicator};
use serde_json::Value;

/// Far longer than any job here takes, even on a machine with other things to do.
const BOUND: Duration = Duration::from_secs(120);
const CASE: &str = "GRPO_METRICS_MPI_CASE";

/// Whether there is an `mpirun`; without one these tests have nothing to run on.
fn has_mpirun() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no mpirun");
    }
    found
}

fn mpirun(ranks: u32, program: &Path, arguments: &[&str], case: Option<&str>) -> Output {
    let begun = Instant::now();
    let mut command = Command::new("mpirun");
    command
        .args([
            "--oversubscribe",
            "--allow-run-as-root",
            "-n",
            &ranks.to_string(),
        ])
        .arg(program)
        .args(arguments);
    if let Some(case) = case {
        command.env(CASE, case);
    }
    let output = command.output().unwrap();
    assert!(begun.elapsed() < BOUND);
    output
}

fn command() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_grpo-metrics"))
}

/// The lines of a replay's rows without their timestamps.
fn rows(output: &Output) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| {
            let (_, rest) = line.split_once(",\"step\"").unwrap();
            rest.to_owned()
        })
        .collect()
}

fn plain(folder: &str) -> Vec<String> {
    let output = Command::new(command())
        .args(["replay", "--quiet", "--jsonl", "-", folder])
        .output()
        .unwrap();
    rows(&output)
}

fn gathered(ranks: u32, folder: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["replay", "--quiet", "--gather", "mpi", "--jsonl", "-"];
    arguments.extend(more);
    arguments.push(folder);
    mpirun(ranks, command(), &arguments, None)
}

#[test]
fn rows_under_mpi_are_those_of_a_plain_replay_to_the_last_byte() {
    if !has_mpirun() {
        return;
    }
    let (two, four) = (
        "tests/data/recordings/trl-2rank",
        "tests/data/recordings/trl-4rank-split",
    );
    for (folder, ranks) in [(two, 2), (four, 4), (four, 3), (two, 4)] {
        let expected = plain(folder);
        assert!(!expected.is_empty());
        assert_eq!(
            rows(&gathered(ranks, folder, &[])),
            expected,
            "{ranks} ranks"
        );
    }
}

/// A recording of three ranks; `batch` gives each rank's columns.
fn recording(batch: impl Fn(u32) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for rank in 0..3 {
        let mut lines = String::new();
        for step in 1..4 {
            let batch = batch(rank);
            writeln!(
                lines,
                r#"{{"step":{step},"rank":{rank},"world_size":3,"batch":{{{batch}}}}}"#
            )
            .unwrap();
        }
        fs::write(folder.path().join(format!("rank{rank}.jsonl")), lines).unwrap();
    }
    folder
}

#[test]
fn ranks_without_completions_or_with_components_of_their_own_change_nothing() {
    if !has_mpirun() {
        return;
    }
    let folder = recording(|rank| match rank {
        1 => r#""group_sizes":[],"rewards":[]"#.to_owned(),
        _ => format!(
            r#""group_sizes":[2],"rewards":[{rank},1.5],"reward_components":{{"of_{rank}":[1,0]}}"#
        ),
    });
    let folder = folder.path().to_str().unwrap();
    assert_eq!(rows(&gathered(3, folder, &[])), plain(folder));
}

#[test]
fn a_rank_whose_batch_is_invalid_is_named_and_the_policy_decides() {
    if !has_mpirun() {
        return;
    }
    let folder = recording(|rank| {
        let column = if rank == 2 { "[1]" } else { "[1,2]" };
        format!(r#""group_sizes":[2],"rewards":[{rank},1.0],"advantages":{column}"#)
    });
    let folder = folder.path().to_str().unwrap();
    let failed = gathered(3, folder, &[]);
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("error: step 1: rank 2: "), "{stderr}");
    assert!(
        stderr.contains("`advantages`: expected 2 values"),
        "{stderr}"
    );

    let went_on = gathered(3, folder, &["--policy", "go-on"]);
    let lines = rows(&went_on);
    assert_eq!(lines.len(), 3);
    let first: Value = serde_json::from_str(&format!("{{\"step\"{}", lines[0])).unwrap();
    assert_eq!(first["metrics"]["train/reward"], 0.75);
    let why = first["run"]["failed/step 1/rank 2"].as_str().unwrap();
    assert!(why.contains("`advantages`: expected 2 values"), "{why}");
}

/// Runs `case` on this many ranks, each of them this very test program.
fn ranks_of(case: &str, ranks: u32) -> Output {
    let program = std::env::current_exe().unwrap();
    let arguments = [
        "--exact",
        "one_rank_of_a_case",
        "--nocapture",
        "--test-threads=1",
    ];
    mpirun(ranks, &program, &arguments, Some(case))
}

#[test]
fn a_rank_that_answers_after_the_deadline_is_named_and_heard_again_in_the_next_step() {
    if !has_mpirun() {
        return;
    }
    let output = ranks_of("late", 4);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Rank 2 is late, and rank 3 is heard through it. In the second step all four are there again.
    assert!(
        stdout.contains("row 1: reward 0.5, without ranks 2 3"),
        "{stdout}"
    );
    assert!(
        stdout.contains("row 2: reward 15, without ranks\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("rank 2 in step 1: step 1: rank 2: rank 0, which was to take its part, "),
        "{stdout}"
    );
}

#[test]
fn a_rank_that_missed_three_steps_costs_no_deadline_until_it_is_heard_again() {
    if !has_mpirun() {
        return;
    }
    let output = ranks_of("silent", 4);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for rank in [0, 3] {
        let free = format!("rank {rank}: steps 4 to 10 cost no deadline\n");
        assert!(stdout.contains(&free), "{stdout}");
    }
    assert!(
        stdout.contains("row 10: reward 0.5, without ranks 2 3\n"),
        "{stdout}"
    );
    // Rank 2 is heard as it comes back; rank 3, which has left it out, then or a step later.
    assert!(
        stdout.contains("row 11: reward 1, without ranks 3\n")
            || stdout.contains("row 11: reward 1.5, without ranks\n"),
        "{stdout}"
    );
    for row in 12..=13 {
        let whole = format!("row {row}: reward 1.5, without ranks\n");
        assert!(stdout.contains(&whole), "{stdout}");
    }
}

#[test]
fn a_rank_that_dies_before_the_gather_ends_the_job_and_is_named() {
    if !has_mpirun() {
        return;
    }
    let output = ranks_of("dies", 4);
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    // Open MPI ends the job and says which process of it has ended.
    assert!(text.contains(",1],2]"), "{text}");
}

/// What each process of a case does; nothing when run as a test.
#[test]
fn one_rank_of_a_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    let deadline = Duration::from_secs(3);
    let (universe, gather) = Mpi::start(deadline).unwrap();
    let world = universe.world();
    let rank = world.rank();
    let mut engine = Engine::builder()
        .policy(OnFailure::GoOn)
        .gather(gather)
        .build()
        .unwrap();
    world.barrier();
    let mut step = |step: u32, own: f64| {
        let rewards = [own];
        let columns = Columns::new(Grouping::Sizes(&[1]), &rewards);
        engine.observe(&Batch::of(columns).unwrap()).unwrap();
        match engine.step(step.into()) {
            Ok(Some(row)) => {
                let reward = row.metrics.get("train/reward").unwrap();
                let lost = row.text.iter().fold(String::new(), |all, (key, _)| {
                    all + " " + key.rsplit_once(' ').unwrap().1
                });
                println!("row {step}: reward {reward}, without ranks{lost}");
            }
            Ok(None) => {}
            Err(error) => println!("rank {rank} in step {step}: {error}"),
        }
    };
    let own = f64::from(rank);
    if case == "silent" {
        // Rank 2 comes to its first ten steps when the others have done theirs. Those keep together, as a training's ranks do:
        // one that ran ahead would wait for its parent while that one waits for rank 2, and as long.
        let together = world
            .split_by_color(Color::with_value(i32::from(rank == 2)))
            .unwrap();
        if rank == 2 {
            world.barrier();
        }
        let mut keeping_together = |at| {
            step(at, own);
            together.barrier();
        };
        (1..=3).for_each(&mut keeping_together);
        let begun = Instant::now();
        (4..=10).for_each(&mut keeping_together);
        if begun.elapsed() < deadline {
            println!("rank {rank}: steps 4 to 10 cost no deadline");
        }
        if rank != 2 {
            world.barrier();
            // What rank 2 says first is there before the next step begins, and it waits long enough to be heard in it.
            thread::sleep(deadline / 3);
        }
        for at in 11..=13 {
            step(at, own);
            world.barrier();
        }
        return;
    }
    for at in 1..=2_u32 {
        if at == 1 && rank == 2 {
            match case.as_str() {
                "dies" => std::process::exit(3),
                _ => thread::sleep(Duration::from_secs(8)),
            }
        }
        step(at, own * if at == 1 { 1.0 } else { 10.0 });
        world.barrier();
    }
}
