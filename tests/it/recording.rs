//! Recordings read, written and refused.

use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{LossType, Meta, Scalar, Scalars, Weighting};
use grpo_metrics::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use grpo_metrics::batch::{Batch, Columns, Place, Values};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::recording::{Format, Record, Recorder, Recording, RecordingError};
use grpo_metrics::shard::Shard;
use half::{bf16, f16};
use ndarray::ArrayView2;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// The message, with files named by their names alone.
fn message(error: &RecordingError, dir: &Path) -> String {
    let inside = format!("{}/", dir.display());
    error
        .to_string()
        .replace(&inside, "")
        .replace(&dir.display().to_string(), "FOLDER")
}

/// Replays a folder as a caller is meant to: the steps that came through, and the error that ended it.
fn replay(dir: &Path) -> (Vec<u64>, Option<String>) {
    let recording = match Recording::open(&[dir]) {
        Ok(recording) => recording,
        Err(error) => return (vec![], Some(message(&error, dir))),
    };
    let mut whole = Vec::new();
    for step in recording.steps() {
        if let Some(error) = step.missing() {
            return (whole, Some(message(&error, dir)));
        }
        for record in step.records() {
            if let Err(error) = recording.load(record) {
                return (whole, Some(message(&error, dir)));
            }
        }
        whole.push(step.step);
    }
    let error = recording.pending_error();
    (whole, error.map(|error| message(error, dir)))
}

const GOOD: &str = r#"{"step": 1, "rank": 0, "world_size": 1, "batch": {"group_sizes": [2], "rewards": [0.5, 1]}}"#;

/// What a recording of `GOOD` and then this line ends in, where the step before it comes through.
fn second_line(line: &str) -> String {
    let dir = folder(&[("rank0.jsonl", &format!("{GOOD}\n{line}\n"))]);
    let (whole, error) = replay(dir.path());
    assert_eq!(whole, [1], "step 1 is whole");
    error.expect("the second line is at fault")
}

/// The same for a record of step 2 with this `batch`.
fn bad_batch(batch: &str) -> String {
    second_line(&format!(
        r#"{{"step": 2, "rank": 0, "world_size": 1, "batch": {batch}}}"#
    ))
}

/// The same for a record of step 2 with these members beside its batch.
fn bad_member(member: &str) -> String {
    second_line(&format!(
        r#"{{"step": 2, "rank": 0, "world_size": 1, "batch": {{"group_sizes": [1], "rewards": [1]}}, {member}}}"#
    ))
}

/// All records of a recording, in order.
fn load_all(path: &Path) -> Vec<Record> {
    let recording = Recording::open(&[path]).unwrap();
    assert!(recording.pending_error().is_none());
    let records = recording
        .steps()
        .flat_map(|step| step.records().copied().collect::<Vec<_>>());
    let records: Vec<_> = records.collect();
    records.iter().map(|r| recording.load(r).unwrap()).collect()
}

/// Numbers as `{:?}` prints them are equal if and only if their bits are, but for the payload of a NaN.
fn text(records: &[Record]) -> String {
    format!("{records:#?}")
}

fn convert(records: &[Record], format: Format) -> (TempDir, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(dir.path(), format).unwrap();
    for record in records {
        let batch = record.batch().unwrap();
        recorder
            .write(record.step, record.world_size, &batch)
            .unwrap();
    }
    let back = load_all(dir.path());
    (dir, back)
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/recordings")
        .join(name)
}

#[test]
fn the_committed_recordings_load_and_survive_both_formats() {
    for (name, ranks) in [("trl-2rank", 2), ("trl-4rank-split", 4)] {
        let recording = Recording::open(&[committed(name)]).unwrap();
        assert_eq!(recording.world_size(), ranks);
        assert!(recording.pending_error().is_none());
        let lines: usize = (0..ranks)
            .map(|rank| committed(name).join(format!("rank{rank}.jsonl")))
            .map(|file| fs::read_to_string(file).unwrap().lines().count())
            .sum();
        assert_eq!(
            recording.steps().map(|s| s.records().len()).sum::<usize>(),
            lines
        );
        assert!(recording.steps().all(|step| step.missing().is_none()));
        let records = load_all(&committed(name));
        for format in [Format::JsonLines, Format::Safetensors] {
            assert_eq!(text(&convert(&records, format).1), text(&records));
        }
    }
}

#[test]
fn every_record_of_the_vectors_is_one() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors/maxent.jsonl");
    let mut records = 0;
    for line in fs::read_to_string(vectors).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        for record in case["records"].as_array().unwrap() {
            Record::from_json(&record.to_string()).unwrap();
            records += 1;
        }
    }
    assert!(records > 0);
}

#[test]
fn files_and_folders_mix_and_steps_come_in_order() {
    let dir = committed("trl-2rank");
    let whole = Recording::open(&[&dir]).unwrap();
    let files = Recording::open(&[dir.join("rank1.jsonl"), dir.join("rank0.jsonl")]).unwrap();
    let steps = |recording: &Recording| recording.steps().map(|s| s.step).collect::<Vec<_>>();
    assert_eq!(steps(&whole), steps(&files));
    assert!(steps(&whole).is_sorted());
    let step = files.steps().next().unwrap();
    let places: Vec<_> = step
        .records()
        .map(|r| (r.place.rank, r.place.micro))
        .collect();
    assert!(places.is_sorted() && places.len() > 1);
}

#[test]
fn empty_lines_a_byte_order_mark_and_carriage_returns_are_no_records() {
    let dir = folder(&[("a.jsonl", &format!("\u{feff}{GOOD}\r\n\n  \n"))]);
    assert_eq!(replay(dir.path()), (vec![1], None));
    assert_eq!(load_all(dir.path())[0].step, 1);
}

#[test]
fn the_snapshot_is_the_lowest_reporting_ranks_last() {
    let record = |rank, micro, rest: &str| {
        format!(
            r#"{{"step": 1, "rank": {rank}, "world_size": 3, "micro": {micro}, "batch": {{"group_sizes": [], "rewards": []}}{rest}}}"#
        )
    };
    let tau = |x| format!(r#", "weighting": {{"tau": {x}}}"#);
    let text = [
        record(2, 0, &tau(9.0)),
        record(1, 1, &tau(4.0)),
        record(1, 0, &tau(3.0)),
        record(1, 2, r#", "weighting": null"#),
        record(0, 0, ""),
    ];
    let dir = folder(&[("a.jsonl", &text.join("\n"))]);
    let recording = Recording::open(&[dir.path()]).unwrap();
    let step = recording.steps().next().unwrap();
    assert_eq!(step.weighting().unwrap().tau, Some(4.0));
}

#[test]
fn texts_are_the_non_finite_numbers_and_null_is_absent() {
    let record = Record::from_json(
        r#"{"step": 1, "rank": 0, "world_size": 1, "batch": {"group_ids": [18446744073709551615, 7.0],
            "rewards": ["NaN", -0.0], "reward_components": {"a": [null, "Infinity"], "b": null}, "advantages": null,
            "completion_lengths": [1, 1], "token_logps": ["-Infinity", 0.1], "loss_mask": [true, 0], "terminated": [1.0, false]},
            "scalars": {"total_loss": "NaN", "grad_norm": null, "mine": -3},
            "weighting": {"tau": "Infinity", "len_norm_ref": 1.0, "train_grpo_objective": 0, "loss_type": "dapo",
                          "meta": {"tau_projected": true, "enabled": false}}}"#,
    )
    .unwrap();
    let batch = record.batch().unwrap();
    let c = batch.columns();
    assert!(matches!(c.grouping, Grouping::Ids([u64::MAX, 7])));
    assert_eq!(
        format!("{:?}", c.rewards),
        format!("{:?}", Values::from(&[f64::NAN, -0.0]))
    );
    let absent = [true, false];
    let expected = Values::masked(&[0.0, f64::INFINITY], &absent);
    assert_eq!(
        format!("{:?}", c.reward_components[0].1),
        format!("{expected:?}")
    );
    assert_eq!(c.reward_components.len(), 1);
    assert!(c.advantages.is_none());
    assert!(matches!(
        c.token_logps,
        Some(TokenColumn::Ragged([f32::NEG_INFINITY, 0.1]))
    ));
    assert!(matches!(c.loss_mask, Some(TokenMask::Ragged([1, 0]))));
    assert_eq!(c.terminated, Some(&[true, false][..]));
    assert!(record.scalars.get(Scalar::TotalLoss).unwrap().is_nan());
    assert_eq!(record.scalars.get(Scalar::GradNorm), None);
    assert_eq!(record.scalars.own().collect::<Vec<_>>(), [("mine", -3.0)]);
    let weighting = record.weighting.as_ref().unwrap();
    assert_eq!(weighting.tau, Some(f64::INFINITY));
    assert_eq!(weighting.len_norm_ref, Some(true));
    assert_eq!(weighting.train_grpo_objective, Some(false));
    assert_eq!(weighting.loss_type, Some(LossType::Dapo));
    assert_eq!(weighting.meta.as_ref().unwrap().tau_projected, Some(1.0));
}

#[test]
fn a_group_that_texts_name_is_one_over_ranks_and_stays_one_in_a_recording_that_is_written() {
    let line = |rank: u32, ids: &str| {
        format!(
            r#"{{"step": 1, "rank": {rank}, "world_size": 2, "batch": {{"group_ids": {ids}, "rewards": [{rank}, 1]}}}}"#
        )
    };
    let row = |shards: Vec<Shard>| {
        let mut whole = Shard::default();
        for shard in shards {
            whole.merge(shard).unwrap();
        }
        let mut engine = Engine::builder().dialect(Dialect::Trl).build().unwrap();
        engine.join(whole).unwrap();
        engine.step(1).unwrap().unwrap().metrics
    };
    let shards = |ids: [&str; 2]| -> Vec<Shard> {
        let records = ids.iter().enumerate().map(|(rank, ids)| {
            Record::from_json(&line(u32::try_from(rank).unwrap(), ids)).unwrap()
        });
        records
            .map(|record| Shard::of(&record.batch().unwrap()))
            .collect()
    };
    let texts = [r#"["a", "\u00fc"]"#, r#"["\u00fc", "a"]"#];
    assert_eq!(row(shards(texts)), row(shards(["[7, 8]", "[8, 7]"])));
    assert_ne!(row(shards(texts)), row(shards(["[7, 8]", "[9, 10]"])));

    let written = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(written.path(), Format::JsonLines).unwrap();
    let read: Vec<Record> = (0..2)
        .map(|rank| Record::from_json(&line(rank, texts[rank as usize])).unwrap())
        .collect();
    for record in &read {
        recorder.write(1, 2, &record.batch().unwrap()).unwrap();
    }
    let again = Recording::open(&[written.path()]).unwrap();
    let step = again.steps().next().unwrap();
    let again: Vec<Record> = step.records().map(|at| again.load(at).unwrap()).collect();
    assert_eq!(again, read);
}

#[test]
fn broken_json_is_named_by_file_line_and_what_was_read_of_it() {
    insta::assert_snapshot!(second_line(r#"{"step": 2, "rank": 0, "world_size": 1, "batch": {"group_si"#), @"rank0.jsonl, line 2, step 2, rank 0: broken JSON: EOF while parsing a string at column 59");
    insta::assert_snapshot!(second_line("garbage"), @"rank0.jsonl, line 2: broken JSON: expected value at column 1");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [NaN]}"#), @r#"rank0.jsonl, line 2, step 2, rank 0: broken JSON: expected value at column 83 (a non-finite number is the text "NaN", "Infinity" or "-Infinity")"#);
    insta::assert_snapshot!(second_line(&format!("{} {GOOD}", GOOD.replace("1,", "2,"))), @"rank0.jsonl, line 2, step 2, rank 0: broken JSON: trailing characters at column 93");
    insta::assert_snapshot!(second_line("[1, 2]"), @"rank0.jsonl, line 2: `record`: expected an object, found an array");
}

#[test]
fn missing_members_are_named() {
    insta::assert_snapshot!(second_line(r#"{"rank": 0, "world_size": 1, "batch": {}}"#), @"rank0.jsonl, line 2, rank 0: `step` is missing");
    insta::assert_snapshot!(second_line(r#"{"step": 2, "world_size": 1, "batch": {}}"#), @"rank0.jsonl, line 2, step 2: `rank` is missing");
    insta::assert_snapshot!(second_line(r#"{"step": 2, "rank": 0, "batch": {}}"#), @"rank0.jsonl, line 2, step 2, rank 0: `world_size` is missing");
    insta::assert_snapshot!(second_line(r#"{"step": 2, "rank": 0, "world_size": 1}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `batch` is missing");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `rewards` is missing in `batch`");
}

#[test]
fn unknown_fields_are_named_with_the_closest_known_one() {
    insta::assert_snapshot!(bad_member(r#""weigthing": {}"#), @"rank0.jsonl, line 2, step 2, rank 0: unknown field `weigthing`; the closest known one is `weighting`");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "reward": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: unknown field `reward` in `batch`; the closest known one is `rewards`");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "logps": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: unknown field `logps` in `batch`; the closest known one is `token_logps`");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "zzz": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: unknown field `zzz` in `batch`; no known one is close to it");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "padding_mask": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: unknown field `padding_mask` in `batch`; the closest known one is `loss_mask`");
    insta::assert_snapshot!(bad_member(r#""weighting": {"taus": 1}"#), @"rank0.jsonl, line 2, step 2, rank 0: unknown field `taus` in `weighting`; the closest known one is `tau`");
    insta::assert_snapshot!(bad_member(r#""weighting": {"meta": {"use_hesian": true}}"#), @"rank0.jsonl, line 2, step 2, rank 0: unknown field `use_hesian` in `weighting.meta`; the closest known one is `use_hessian`");
}

#[test]
fn what_is_given_twice_is_refused() {
    insta::assert_snapshot!(bad_member(r#""step": 3"#), @"rank0.jsonl, line 2, step 2, rank 0: `step` is given twice");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "rewards": [2]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `rewards` is given twice in `batch`");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "reward_components": {"a": [1], "a": [2]}}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `a` is given twice in `reward_components`");
    insta::assert_snapshot!(bad_member(r#""scalars": {"x": null, "x": 1}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `x` is given twice in `scalars`");
}

#[test]
fn cells_of_a_wrong_type_are_named_by_field_and_index() {
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [2], "rewards": [1, "one"]}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `rewards[1]`: expected a number, "NaN", "Infinity" or "-Infinity", or null, found the text "one""#);
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": 1}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `rewards`: expected an array, or null, found 1");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [[1]]}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `rewards[0]`: expected a number, "NaN", "Infinity" or "-Infinity", or null, found an array"#);
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1.5], "rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `group_sizes[0]`: expected a whole number from 0 to 4294967295, found 1.5");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [-1], "rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `group_sizes[0]`: expected a whole number from 0 to 4294967295, found -1");
    insta::assert_snapshot!(bad_batch(r#"{"group_ids": [18446744073709551616], "rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `group_ids[0]`: expected a whole number from 0 to 18446744073709551615, or a text, found 1.8446744073709552e19");
    insta::assert_snapshot!(bad_batch(r#"{"group_ids": ["7", "7", 7], "rewards": [1, 0, 1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `group_ids[2]`: expected a text as before it, found a number");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "completion_lengths": [2], "token_logps": [-1, null]}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `token_logps[1]`: expected a number, "NaN", "Infinity" or "-Infinity", found null"#);
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "completion_lengths": [2], "loss_mask": [0, 2]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `loss_mask[1]`: expected true, false, 0 or 1, found 2");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "terminated": ["yes"]}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `terminated[0]`: expected true, false, 0 or 1, found the text "yes""#);
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "prompts": [{"role": "user"}]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `prompts[0]`: expected a text, found an object");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "reward_components": {"a b": [true]}}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `reward_components.a b[0]`: expected a number, "NaN", "Infinity" or "-Infinity", or null, found true"#);
    insta::assert_snapshot!(bad_batch("[]"), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `batch`: expected an object, found an array");
    insta::assert_snapshot!(bad_member(r#""scalars": {"total_loss": true}"#), @r#"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `scalars.total_loss`: expected a number, "NaN", "Infinity" or "-Infinity", or null, found true"#);
    insta::assert_snapshot!(bad_member(r#""weighting": {"tau": false}"#), @r#"rank0.jsonl, line 2, step 2, rank 0: `weighting.tau`: expected a number, "NaN", "Infinity" or "-Infinity", or null, found false"#);
    insta::assert_snapshot!(bad_member(r#""weighting": {"meta": {"enabled": 2}}"#), @"rank0.jsonl, line 2, step 2, rank 0: `weighting.meta.enabled`: expected true, false, 0 or 1, or null, found 2");
    insta::assert_snapshot!(bad_member(r#""micro": -1"#), @"rank0.jsonl, line 2, step 2, rank 0: `micro`: expected a whole number from 0 to 4294967295, or null, found -1");
}

#[test]
fn columns_that_do_not_fit_are_named() {
    insta::assert_snapshot!(bad_batch(r#"{"rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: expected `group_sizes` or `group_ids`, found neither");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "group_ids": [1], "rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: expected `group_sizes` or `group_ids`, found both");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [2], "rewards": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `group_sizes`: expected sizes that add up to the 1 completions of `rewards`, found a sum of 2");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "advantages": [1, 2]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `advantages`: expected 1 values (one for each of the completions), found 2");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [2], "rewards": [1, 2], "tool_calls": [3, 0], "tool_failures": [3, 1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `tool_failures[1]`: expected at most 0, as many as `tool_calls` has there, found 1");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [2], "rewards": [1, 2], "q": [0.5, null]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `q`: expected a value for every completion or no `q` at all, found none for completion 1");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "token_ids": [1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `token_ids` needs `completion_lengths`, which is missing");
    insta::assert_snapshot!(bad_batch(r#"{"group_sizes": [1], "rewards": [1], "completion_lengths": [2], "token_logps": [-1]}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `token_logps`: expected 2 cells (the sum of `completion_lengths`), found 1");
}

#[test]
fn records_that_contradict_each_other_are_named_both() {
    insta::assert_snapshot!(second_line(r#"{"step": 2, "rank": 1, "world_size": 1, "batch": {}}"#), @"rank0.jsonl, line 2, step 2, rank 1, micro-batch 0: `rank`: expected less than the `world_size` of 1, found 1");
    insta::assert_snapshot!(second_line(r#"{"step": 2, "rank": 0, "world_size": 2, "batch": {}}"#), @"rank0.jsonl, line 2, step 2, rank 0, micro-batch 0: `world_size`: expected 1 as in rank0.jsonl, line 1, found 2");
    let second = GOOD.replace("\"step\": 1", "\"step\": 2");
    let dir = folder(&[
        ("a.jsonl", &format!("{GOOD}\n{second}")),
        ("b.jsonl", &second),
    ]);
    let (whole, error) = replay(dir.path());
    assert_eq!(whole, [1]);
    insta::assert_snapshot!(error.unwrap(), @"b.jsonl, line 1, step 2, rank 0, micro-batch 0: a second record of this step, rank and micro-batch; the first is in a.jsonl, line 2");
}

/// Step `step` of `rank` of two, micro-batch `micro`.
fn of_two(step: u64, rank: u32, micro: u32) -> String {
    format!(
        r#"{{"step": {step}, "rank": {rank}, "world_size": 2, "micro": {micro}, "batch": {{"group_sizes": [1], "rewards": [1]}}}}"#
    )
}

#[test]
fn a_line_of_unknown_step_stops_the_replay_where_a_record_is_missing() {
    let rank = |rank| (1..=3).flat_map(move |step| [of_two(step, rank, 0), of_two(step, rank, 1)]);
    let first: Vec<_> = rank(0).collect();
    let mut second: Vec<_> = rank(1).collect();
    second[3] = "#".to_owned(); // step 2, micro-batch 1
    let dir = folder(&[
        ("rank0.jsonl", &first.join("\n")),
        ("rank1.jsonl", &second.join("\n")),
    ]);
    let (whole, error) = replay(dir.path());
    assert_eq!(whole, [1]);
    insta::assert_snapshot!(error.unwrap(), @"rank1.jsonl, line 4: broken JSON: expected value at column 1");
    // Where nothing is missing, everything comes through before the error does.
    second[3] = format!("#\n{}", of_two(2, 1, 1));
    fs::write(dir.path().join("rank1.jsonl"), second.join("\n")).unwrap();
    let (whole, error) = replay(dir.path());
    assert_eq!(whole, [1, 2, 3]);
    assert!(error.unwrap().starts_with("rank1.jsonl, line 4:"));
}

#[test]
fn missing_ranks_are_named() {
    let dir = folder(&[(
        "a.jsonl",
        &[of_two(1, 0, 0), of_two(1, 1, 0), of_two(2, 1, 0)].join("\n"),
    )]);
    let (whole, error) = replay(dir.path());
    assert_eq!(whole, [1]);
    insta::assert_snapshot!(error.unwrap(), @"a.jsonl, step 2: expected records of all 2 ranks, found none of rank 0");
    let many = of_two(1, 5, 0).replace("\"world_size\": 2", "\"world_size\": 4294967295");
    let dir = folder(&[("a.jsonl", &many)]);
    insta::assert_snapshot!(replay(dir.path()).1.unwrap(), @"a.jsonl, step 1: expected records of all 4294967295 ranks, found none of rank 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, ...");
}

#[test]
fn nothing_to_read_is_an_error() {
    let dir = folder(&[("notes.txt", "nothing"), ("empty.jsonl", "\n")]);
    insta::assert_snapshot!(replay(dir.path()).1.unwrap(), @"FOLDER: expected records, found none (a recording's files end in .jsonl or .safetensors)");
    let error = Recording::open(&[dir.path().join("absent")]).unwrap_err();
    insta::assert_snapshot!(message(&error, dir.path()), @"absent: expected a file of records or a folder of .jsonl and .safetensors files, found nothing by this name");
}

/// A tensor file of these tensors `(name, dtype, shape, bytes)` and this `record`.
fn tensor_file(path: &Path, record: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (
            *name,
            TensorView::new(*dtype, shape.to_vec(), data).unwrap(),
        )
    });
    let metadata = [("record".to_owned(), record.to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    fs::write(path, bytes).unwrap();
}

const REST: &str =
    r#"{"step": 3, "rank": 0, "world_size": 1, "batch": {"group_sizes": [2], "rewards": [1, 2]}}"#;

fn bad_tensor(record: &str, name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    tensor_file(
        &dir.path().join("a.safetensors"),
        record,
        &[(name, dtype, shape, data.to_vec())],
    );
    replay(dir.path()).1.expect("the tensor is at fault")
}

#[test]
fn tensors_of_a_wrong_dtype_shape_or_name_are_named() {
    let zeros = [0; 64];
    let bad =
        |name, dtype, shape: &[usize], bytes| bad_tensor(REST, name, dtype, shape, &zeros[..bytes]);
    insta::assert_snapshot!(bad("token_logps", Dtype::F64, &[2], 16), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `token_logps`: expected dtype F32, BF16 or F16, found F64");
    insta::assert_snapshot!(bad("advantages", Dtype::I64, &[2], 16), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `advantages`: expected dtype F64 or F32, found I64");
    insta::assert_snapshot!(bad("advantages", Dtype::F32, &[2, 1], 8), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `advantages`: expected shape of one dimension, found [2, 1]");
    insta::assert_snapshot!(bad("completion_lengths", Dtype::F32, &[2], 8), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `completion_lengths`: expected dtype I64, I32, U64 or U32, found F32");
    insta::assert_snapshot!(bad("token_logps", Dtype::F32, &[1, 2, 1], 8), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `token_logps`: expected shape [tokens] or [completions, t], found [1, 2, 1]");
    insta::assert_snapshot!(bad("padding_mask", Dtype::U8, &[2], 2), @"a.safetensors, step 3, rank 0, micro-batch 0: tensor `padding_mask`: expected shape [completions, t], found [2]");
    insta::assert_snapshot!(bad("token_logp", Dtype::F32, &[2], 8), @"a.safetensors, step 3, rank 0, micro-batch 0: unknown tensor `token_logp`; the closest known one is `token_logps`");
    insta::assert_snapshot!(bad("prompts", Dtype::U8, &[2], 2), @"a.safetensors, step 3, rank 0, micro-batch 0: `prompts` cannot be a tensor; expected it in the JSON under the metadata key `record`");
    insta::assert_snapshot!(bad("rewards", Dtype::F64, &[2], 16), @"a.safetensors, step 3, rank 0, micro-batch 0: `rewards` is given both as a tensor and in the JSON under the metadata key `record`");
    insta::assert_snapshot!(bad("token_logps", Dtype::F32, &[2], 8), @"a.safetensors, step 3, rank 0, micro-batch 0: `token_logps` needs `completion_lengths`, which is missing");
    insta::assert_snapshot!(bad_tensor(REST, "completion_lengths", Dtype::I32, &[2], &[1, 0, 0, 0, 255, 255, 255, 255]), @"a.safetensors, step 3, rank 0, micro-batch 0: `completion_lengths[1]`: expected a whole number from 0 that fits into 32 bits, found -1");
    insta::assert_snapshot!(bad_tensor(REST, "terminated", Dtype::U8, &[2], &[1, 2]), @"a.safetensors, step 3, rank 0, micro-batch 0: `terminated[1]`: expected 0 or 1, found 2");
    insta::assert_snapshot!(bad_tensor("{\"step\": 1, ", "rewards", Dtype::F64, &[1], &[0; 8]), @"a.safetensors, step 1: broken JSON: EOF while parsing a value at column 12");
}

#[test]
fn a_torn_tensor_file_is_named_with_what_its_header_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    tensor_file(
        &path,
        REST,
        &[("advantages", Dtype::F64, &[2], vec![0; 16])],
    );
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let torn = replay(dir.path()).1.unwrap();
    assert!(
        torn.starts_with("a.safetensors, step 3, rank 0, micro-batch 0: not a whole"),
        "{torn}"
    );
    for len in [0, 7, 8, 40] {
        fs::write(&path, &bytes[..len]).unwrap();
        let torn = replay(dir.path()).1.unwrap();
        assert!(
            torn.starts_with("a.safetensors: not a whole safetensors file"),
            "{torn}"
        );
    }
}

#[test]
fn padded_and_half_precision_tensors_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let halves: Vec<u8> = [0.5, 1.5, 9.0, 9.0, 9.0, -2.5f32]
        .iter()
        .flat_map(|x| f16::from_f32(*x).to_le_bytes())
        .collect();
    let brains: Vec<u8> = [0.5, 1.5, -2.5f32]
        .iter()
        .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
        .collect();
    let ids: Vec<u8> = [7i64, 8, 9].iter().flat_map(|x| x.to_le_bytes()).collect();
    let singles: Vec<u8> = [f32::NAN, 0.1]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    tensor_file(
        &dir.path().join("a.safetensors"),
        REST,
        &[
            ("padding_mask", Dtype::BOOL, &[2, 3], vec![1, 1, 0, 0, 0, 1]),
            ("token_logps", Dtype::F16, &[2, 3], halves),
            ("old_token_logps", Dtype::BF16, &[3], brains),
            ("token_ids", Dtype::I64, &[3], ids),
            ("reward_components.née", Dtype::F32, &[2], singles),
        ],
    );
    let records = load_all(dir.path());
    // Written down again, the padding is gone.
    let (_dir, back) = convert(&records, Format::JsonLines);
    let batch = back[0].batch().unwrap();
    let c = batch.columns();
    assert_eq!(c.completion_lengths, Some(&[2, 1][..]));
    assert!(matches!(
        c.token_logps,
        Some(TokenColumn::Ragged([0.5, 1.5, -2.5]))
    ));
    assert!(matches!(
        c.old_token_logps,
        Some(TokenColumn::Ragged([0.5, 1.5, -2.5]))
    ));
    assert!(matches!(c.token_ids, Some(TokenIds::Ragged([7, 8, 9]))));
    assert_eq!(c.reward_components[0].0, "née");
    let expected = [f64::NAN, f64::from(0.1f32)];
    let expected = Values::from(&expected);
    assert_eq!(
        format!("{:?}", c.reward_components[0].1),
        format!("{expected:?}")
    );
}

#[test]
fn padded_columns_are_written_without_their_padding() {
    let (rewards, sizes, lengths) = ([1.0, 2.0], [2], [1, 2]);
    let (cells, marks, ids) = ([0.1, 9.0, 0.2, 0.3f32], [1, 9, 0, 1u8], [5, 0, 6, 7u32]);
    let brains = [0.5, 9.0, 1.5, 2.5f32].map(bf16::from_f32);
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
    columns.completion_lengths = Some(&lengths);
    columns.token_logps = Some(ArrayView2::from_shape((2, 2), &cells).unwrap().into());
    columns.values = Some(TokenColumn::PaddedBf16(
        ArrayView2::from_shape((2, 2), &brains).unwrap(),
    ));
    columns.loss_mask = Some(TokenMask::Padded(
        ArrayView2::from_shape((2, 2), &marks).unwrap(),
    ));
    columns.token_ids = Some(TokenIds::Padded(
        ArrayView2::from_shape((2, 2), &ids).unwrap(),
    ));
    let batch = Batch::of(columns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [
        ("json", Format::JsonLines),
        ("tensors", Format::Safetensors),
    ] {
        let dir = dir.path().join(name);
        let mut recorder = Recorder::create(&dir, format).unwrap();
        // Without a place: rank 0, and micro-batches in the order in which they come.
        for step in [1, 1, 2] {
            recorder.write(step, 1, &batch).unwrap();
        }
        let records = load_all(&dir);
        let places: Vec<_> = records.iter().map(|r| (r.step, r.rank, r.micro)).collect();
        assert_eq!(places, [(1, 0, 0), (1, 0, 1), (2, 0, 0)]);
        let batch = records[0].batch().unwrap();
        let c = batch.columns();
        assert!(matches!(
            c.token_logps,
            Some(TokenColumn::Ragged([0.1, 0.2, 0.3]))
        ));
        assert!(matches!(
            c.values,
            Some(TokenColumn::Ragged([0.5, 1.5, 2.5]))
        ));
        assert!(matches!(c.loss_mask, Some(TokenMask::Ragged([1, 0, 1]))));
        assert!(matches!(c.token_ids, Some(TokenIds::Ragged([5, 6, 7]))));
    }
}

#[test]
fn a_torn_last_line_is_cut_off_and_a_whole_one_completed() {
    let line = |step: u32| GOOD.replace("\"step\": 1", &format!("\"step\": {step}"));
    for (left, steps) in [
        (format!("{}\n{}", line(1), &line(2)[..30]), vec![1, 9]),
        (format!("{}\n{}", line(1), line(2)), vec![1, 2, 9]),
        (line(1)[..1].to_owned(), vec![9]),
        (format!("{}\n", line(1)), vec![1, 9]),
    ] {
        let dir = folder(&[("rank0.jsonl", &left)]);
        let mut recorder = Recorder::create(dir.path(), Format::JsonLines).unwrap();
        let record = Record::from_json(&line(9)).unwrap();
        recorder.write(9, 1, &record.batch().unwrap()).unwrap();
        assert_eq!(replay(dir.path()), (steps, None));
    }
}

#[test]
fn a_rank_outside_the_world_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(dir.path(), Format::JsonLines).unwrap();
    let record = Record::from_json(GOOD).unwrap();
    let batch = record.batch().unwrap().at(3, 0);
    let error = recorder.write(1, 2, &batch).unwrap_err();
    insta::assert_snapshot!(message(&error, dir.path()), @"rank3.jsonl, step 1, rank 3, micro-batch 0: `rank`: expected less than the `world_size` of 2, found 3");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Singles whose shortest decimal a reader of doubles might round to a neighbour; found by walking over all of them.
#[test]
fn every_single_of_a_long_walk_reads_back_to_its_bits() {
    let cells: Vec<f32> = (0..40_000u32)
        .map(|i| f32::from_bits(i.wrapping_mul(107_377)))
        .collect();
    // 7.038531e-26 is the classic one: its shortest decimal, read as a double and rounded, is the next single.
    let cells: Vec<f32> = cells
        .into_iter()
        .chain([7.038_531e-26, f32::MIN_POSITIVE, 1e-45, -0.0])
        .collect();
    let (rewards, sizes, lengths) = ([1.0], [1], [u32::try_from(cells.len()).unwrap()]);
    let mut columns = Columns::new(Grouping::Sizes(&sizes), &rewards);
    columns.completion_lengths = Some(&lengths);
    columns.token_logps = Some((&cells).into());
    let record = Record::of(1, 1, Place::default(), &Batch::of(columns).unwrap());
    let (_dir, back) = convert(std::slice::from_ref(&record), Format::JsonLines);
    assert!(text(&back) == text(std::slice::from_ref(&record)));
}

/// Values, and where they are absent.
type Marked = (Vec<f64>, Vec<bool>);

/// A double of any kind.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324]),
        2 => -3.0..3.0,
    ]
}

fn maybe_column(n: usize) -> impl Strategy<Value = Marked> {
    (
        prop::collection::vec(double(), n),
        prop::collection::vec(any::<bool>(), n),
        any::<bool>(),
    )
        .prop_map(|(values, absent, whole)| (values, if whole { vec![] } else { absent }))
}

/// Everything that a record borrows.
#[derive(Clone, Debug)]
struct Owned {
    ids: Vec<u64>,
    by_ids: bool,
    rewards: Marked,
    components: Vec<(String, Marked)>,
    advantages: Option<Marked>,
    q: Option<Vec<f64>>,
    lengths: Vec<u32>,
    cap: Option<u32>,
    terminated: Option<Vec<bool>>,
    logps: Option<Vec<f32>>,
    mask: Option<Vec<u8>>,
    token_ids: Option<Vec<u32>>,
    prompts: Option<Vec<String>>,
    seed: Option<f64>,
    scalars: Vec<(String, f64)>,
    weighting: Option<(Option<f64>, Option<bool>, bool)>,
}

fn owned() -> impl Strategy<Value = Owned> {
    let lengths = prop::collection::vec(0..5u32, 0..6);
    lengths.prop_flat_map(|lengths| {
        let n = lengths.len();
        let tokens = lengths.iter().sum::<u32>() as usize;
        let columns = (
            prop::collection::vec(any::<u64>(), n),
            any::<bool>(),
            maybe_column(n),
            prop::collection::vec(("\\PC{0,6}", maybe_column(n)), 0..3),
            prop::option::of(maybe_column(n)),
            prop::option::of(prop::collection::vec(double(), n)),
            prop::option::of(any::<u32>()),
            prop::option::of(prop::collection::vec(any::<bool>(), n)),
        );
        let others = (
            prop::option::of(prop::collection::vec(any::<f32>(), tokens)),
            prop::option::of(prop::collection::vec(0..2u8, tokens)),
            prop::option::of(prop::collection::vec(any::<u32>(), tokens)),
            prop::option::of(prop::collection::vec(any::<String>(), n)),
            prop::option::of(double()),
            prop::collection::vec(
                (
                    prop_oneof![Just("total_loss".to_owned()), any::<String>()],
                    double(),
                ),
                0..3,
            ),
            prop::option::of((
                prop::option::of(double()),
                any::<Option<bool>>(),
                any::<bool>(),
            )),
        );
        (columns, others).prop_map(move |(columns, others)| {
            let (ids, by_ids, rewards, mut components, advantages, q, cap, terminated) = columns;
            let (logps, mask, token_ids, prompts, seed, scalars, weighting) = others;
            components.sort_by(|a, b| a.0.cmp(&b.0));
            components.dedup_by(|a, b| a.0 == b.0);
            let lengths = lengths.clone();
            Owned {
                ids,
                by_ids,
                rewards,
                components,
                advantages,
                q,
                lengths,
                cap,
                terminated,
                logps,
                mask,
                token_ids,
                prompts,
                seed,
                scalars,
                weighting,
            }
        })
    })
}

fn record_of(owned: &Owned, step: u64, rank: u32, micro: u32) -> Record {
    let sizes = [u32::try_from(owned.ids.len()).unwrap()];
    let grouping = if owned.by_ids {
        Grouping::Ids(&owned.ids)
    } else {
        Grouping::Sizes(&sizes)
    };
    let mut scalars = Scalars::default();
    for (name, x) in &owned.scalars {
        scalars.set(name, *x);
    }
    let weighting = owned.weighting.map(|(tau, flag, meta)| Weighting {
        tau,
        len_norm_ref: flag,
        loss_type: flag.map(|_| LossType::DrGrpo),
        meta: meta.then(|| Meta {
            last_loss: tau,
            enabled: flag,
            ..Meta::default()
        }),
        ..Weighting::default()
    });
    let mut columns = Columns::new(grouping, Values::masked(&owned.rewards.0, &owned.rewards.1));
    columns.reward_components = owned
        .components
        .iter()
        .map(|(name, (x, absent))| (name.into(), Values::masked(x, absent)))
        .collect();
    columns.advantages = owned
        .advantages
        .as_ref()
        .map(|(x, absent)| Values::masked(x, absent));
    columns.q = owned.q.as_ref().map(Values::from);
    columns.completion_lengths = Some(&owned.lengths);
    columns.max_completion_length = owned.cap;
    columns.terminated = owned.terminated.as_deref();
    columns.token_logps = owned.logps.as_ref().map(TokenColumn::from);
    columns.loss_mask = owned.mask.as_deref().map(TokenMask::Ragged);
    columns.token_ids = owned.token_ids.as_deref().map(TokenIds::Ragged);
    columns.prompts = owned.prompts.as_deref();
    columns.seed_alpha_effective = owned.seed;
    columns.scalars = scalars;
    columns.weighting = weighting;
    let batch = Batch::of(columns).unwrap().at(rank, micro);
    Record::of(step, rank + 1, batch.place().unwrap(), &batch)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/recording.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read_back_to_the_last_bit(owned in owned(), step: u64, rank in 0..3u32, micro: u32) {
        let record = record_of(&owned, step, rank, micro);
        for format in [Format::JsonLines, Format::Safetensors] {
            let (_dir, back) = convert(std::slice::from_ref(&record), format);
            prop_assert_eq!(text(&back), text(std::slice::from_ref(&record)));
        }
    }

    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic(at in 0..600usize, byte: u8, tensors: bool) {
        let record = Record::from_json(GOOD).unwrap();
        let format = if tensors { Format::Safetensors } else { Format::JsonLines };
        let (dir, _) = convert(&[record], format);
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        fs::write(&file, bytes).unwrap();
        let _ = replay(dir.path());
    }
}
