//! A little of what `examples/fuzz.rs` does much of.
#![cfg(feature = "sqlite")]

/// Any seed will do, as long as a failure can be seen again.
const SEED: u64 = 20_260_131;

fn some(kind: &str, count: u64) {
    let became = crate::fuzzing::run(kind, count, SEED).unwrap();
    assert_eq!(became.values().sum::<u64>(), count);
    assert!(became.len() > 1, "{became:?}");
}

#[test]
fn changed_shards_are_refused_or_shards() {
    some("shards", 20_000);
}

#[test]
fn changed_recordings_are_refused_or_batches() {
    some("recordings", 10_000);
}

#[test]
fn changed_files_of_trainers_are_read_whole_or_refused_with_their_place() {
    some("trainers", 1_000);
}

#[test]
fn changed_journals_deliver_rows_that_were_written_and_none_twice() {
    some("journals", 150);
}

#[test]
fn changed_metrics_files_have_every_line_accounted_for() {
    some("metrics", 4_000);
}

#[cfg(feature = "evsys")]
#[test]
fn changed_answers_of_the_gateway_are_refused_or_read() {
    some("answers", 2_000);
}
