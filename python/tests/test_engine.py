"""The engine through Python: the reference cases, options, sinks, stores, threads, forks and panics."""

from __future__ import annotations

import itertools
import json
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DATA, cases, steps_of

import grpo_metrics as gm
from grpo_metrics import _core

OPTIONS = ("kl_bias_correction", "is_ratio_cap", "steps_per_epoch", "num_generations", "num_epochs", "total_training_steps")
TOKEN_LEVEL = ("kl", "clip_ratio", "entropy", "diversity", "sampl", "pg_clipfrac", "returns", "values", "ref_logp", "advantages")


def differences(row, expected):
    """The keys that are not equal in METRICS.md's sense."""

    def equal(key):
        if key not in row or key not in expected:
            return False
        a, b = row[key], expected[key]
        r = 1e-6 if any(part in key for part in TOKEN_LEVEL) else 1e-12
        return abs(a - b) <= 1e-15 + r * max(abs(a), abs(b))

    return [(key, row.get(key), expected.get(key)) for key in {*row, *expected} if not equal(key)]


def options(case):
    return {name: case["options"][name] for name in case.get("options", {})}


def clip_range(records):
    reporting = [record for record in records if record.get("weighting")]
    ruling = min(reporting, key=lambda r: (r["rank"], -r.get("micro", 0)))["weighting"] if reporting else {}
    return ruling.get("clip_range_low", 0.2), ruling.get("clip_range_high", 0.2)


def columns(record):
    beside = {name: record[name] for name in ("scalars", "weighting", "rank", "micro") if name in record}
    return {**record["batch"], **beside}


def rows(steps, **engine_options):
    """Every row of a run, and the last one that was left over."""
    found = []
    with gm.Engine(**engine_options) as engine:
        for records in steps:
            engine.expect_clip_range(*clip_range(records))
            for record in records:
                engine.observe(**columns(record))
            row = engine.step(records[0]["step"])
            if row is not None:
                found.append(row)
    if not found or engine.last_row != found[-1]:
        found.append(engine.last_row)
    return found


def test_summarize_gives_every_maxent_vector():
    for case in cases("maxent.jsonl"):
        assert differences(gm.summarize(case["records"]), case["expected"]) == [], case["name"]
        assert set(gm.summarize(case["records"], mode="slim")) == set(case["slim"]), case["name"]


@pytest.mark.parametrize("dialect", [d for d in gm.DIALECTS if d in cases("layout.jsonl")[0]["expected"]])
def test_summarize_gives_every_layout_case(dialect):
    for case in cases("layout.jsonl"):
        row = gm.summarize(case["records"], dialect=dialect, **options(case))
        assert differences(row, case["expected"][dialect]) == [], case["name"]


@pytest.mark.parametrize("window", ["mean", "pooled"])
@pytest.mark.parametrize("dialect", ["maxent", "trl"])
def test_the_engine_gives_every_window_case(window, dialect):
    for case in cases("windows.jsonl"):
        row = rows(case["steps"], dialect=dialect, window=window, **options(case))[-1]
        assert differences(row, case["expected"][window][dialect]) == [], case["name"]


def as_arrays(record):
    """The columns of a record as a trainer holds them: NumPy arrays, token columns padded."""
    batch = dict(record["batch"])
    lengths = np.asarray(batch["completion_lengths"])
    width = int(lengths.max(initial=0)) + 3
    kinds = {"token_ids": np.int64, "loss_mask": bool}
    for name, column in record["batch"].items():
        if name in kinds or name in ("returns", "values") or (name.startswith("token_") or name.endswith("token_logps")):
            flat = np.asarray(column, dtype=kinds.get(name, np.float32))
            cells = np.zeros((len(lengths), width), dtype=flat.dtype)
            cells[np.arange(width) < lengths[:, None]] = flat
            batch[name] = cells
        elif isinstance(column, list) and None not in column and name not in ("prompts", "completions"):
            batch[name] = np.asarray(column)
    return {**record, "batch": batch}


RECORDINGS = ["trl-2rank", "trl-4rank-split"]


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("dialect", gm.DIALECTS)
def test_a_recording_gives_the_same_bits_through_lists_and_through_padded_arrays(recording, dialect):
    steps = list(steps_of(recording).values())
    through_lists = rows(steps, dialect=dialect)
    assert len(through_lists) == len(steps)
    assert through_lists == rows([[as_arrays(r) for r in records] for records in steps], dialect=dialect)


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("window", ["mean", "pooled"])
def test_a_recording_gives_the_bits_of_the_command(command, recording, window):
    for dialect in gm.DIALECTS:
        replay = [*command, "replay", str(DATA / "recordings" / recording), "--dialect", dialect, "--every", "3"]
        said = subprocess.run([*replay, "--window", window, "--quiet", "--jsonl", "-"], check=True, capture_output=True, text=True)
        lines = [json.loads(line) for line in said.stdout.splitlines()]
        steps = list(steps_of(recording).values())
        assert [line["metrics"] for line in lines] == rows(steps, dialect=dialect, window=window, logging_steps=3)


def test_the_vectors_give_the_bits_of_the_command(command, tmp_path):
    for i, case in enumerate(cases("maxent.jsonl")):
        path = tmp_path / f"{i}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in case["records"]))
        said = subprocess.run([*command, "replay", str(path), "--quiet", "--jsonl", "-"], check=True, capture_output=True, text=True)
        [line] = [json.loads(line) for line in said.stdout.splitlines()]
        assert line["metrics"] == gm.summarize(case["records"]), case["name"]


SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


def test_merged_shards_are_the_whole_in_any_order():
    for records in list(steps_of("trl-4rank-split").values())[:3]:
        low, high = clip_range(records)
        shards = [gm.Shard.of(step=records[0]["step"], clip_range=(low, high), **columns(r)) for r in records]
        for order in (shards, shards[::-1]):
            whole = gm.Shard.of(step=records[0]["step"], clip_range=(low, high), **columns(records[0])) if order is shards else order[0]
            for shard in order[1:]:
                whole.merge(shard)
            assert whole.row(dialect="trl") == gm.summarize(records, dialect="trl")
        assert whole.ranks == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "less", "key"),
    [
        ({"dialect": "verl"}, {"dialect": "trl"}, "actor/kl_loss"),
        ({"dialect": "verl", "kl_penalty": 0.5, "kl_penalty_kind": "k2"}, {"dialect": "verl", "kl_penalty": 0.5}, "critic/rewards/mean"),
        ({"dialect": "maxent", "extended": True, "success": ("digits", 0.25)}, {"extended": True}, "train/pass@1"),
        ({"dialect": "verl", "extended": True, "is_ratio_cap": 2.0}, {"dialect": "verl"}, "pass@1"),
    ],
)
def test_a_shard_has_what_it_was_told_to_count_as_an_engine_has(given, less, key):
    records = list(steps_of("trl-2rank").values())[-1]
    whole, *others = [gm.Shard.of(step=r["step"], clip_range=clip_range(records), **given, **columns(r)) for r in records]
    for other in others:
        whole.merge(other)
    read = {"dialect": given["dialect"], "steps_per_epoch": 3, "kl_kind": "abs", "pass_k": (1, 3), "limits": {"kl": 0, "clipped": -1.0}}
    row = whole.row(**read)
    assert row == gm.summarize(records, **{**given, **read})
    assert row[key] != gm.summarize(records, **less).get(key)
    assert ("extended" in given) == any(name.endswith("health/kl") for name in row)


def test_a_shard_refuses_the_dialect_that_nobody_counted_for():
    rank = {"step": 1, **SMALL}
    shard = gm.Shard.of(rank=3, **rank)
    said = r"`dialect`: rank 3: expected a shard with what actor and critic report.* found one without: .*Shard\.of\(dialect=\"verl\""
    for again in (shard, gm.Shard.from_bytes(shard.to_bytes())):
        with pytest.raises(gm.OptionError, match=said):
            again.row(dialect="verl")
    assert shard.row(dialect="trl") and gm.Shard.of(extended=True, **rank).row(dialect="verl")
    for wrong in ({"dialect": "verll"}, {"kl_penalty_kind": "k4"}):
        with pytest.raises(gm.OptionError, match="expected .* found `"):
            gm.Shard.of(**rank, **wrong)


def test_a_shard_travels_as_bytes_and_as_a_pickle():
    [record] = [r for r in steps_of("trl-2rank")[1] if (r["rank"], r.get("micro", 0)) == (0, 0)]
    shard = gm.Shard.of(step=1, **columns(record))
    for again in (gm.Shard.from_bytes(shard.to_bytes()), pickle.loads(pickle.dumps(shard))):
        assert again.to_bytes() == shard.to_bytes() and again.row() == shard.row() and again.step == 1
    damaged = bytearray(shard.to_bytes())
    damaged[-1] ^= 1
    for data in (bytes(damaged), b"", shard.to_bytes()[:-1]):
        with pytest.raises(gm.WireError, match="expected"):
            gm.Shard.from_bytes(data)


class Ranks:
    """A gather over threads: what every rank sends, in a list that rank 0 reads once all have."""

    def __init__(self, world_size):
        self.parts, self.barrier = [None] * world_size, threading.Barrier(world_size)

    def rank(self, rank):
        ranks = self

        class Rank:
            world_size = len(ranks.parts)

            def gather(self, payload):
                ranks.parts[rank] = payload
                ranks.barrier.wait(timeout=60)
                parts = list(ranks.parts)
                ranks.barrier.wait(timeout=60)
                return parts if rank == 0 else None

        Rank.rank = rank
        return Rank()


def test_ranks_that_gather_give_the_row_of_one_process_with_all_the_data():
    steps = list(steps_of("trl-4rank-split").values())[:3]
    ranks, found = Ranks(4), {}

    def work(rank):
        engine = gm.Engine(dialect="trl", gather=ranks.rank(rank), clip_range=clip_range(steps[0]))
        found[rank] = []
        for records in steps:
            for record in (r for r in records if r["rank"] == rank):
                engine.observe(**{**columns(record), "rank": None, "micro": None})
            found[rank].append(engine.step(records[0]["step"]))
        engine.finish()

    in_threads(4, work)
    assert found == {0: rows(steps, dialect="trl"), 1: [None] * 3, 2: [None] * 3, 3: [None] * 3}


@pytest.mark.parametrize("policy", ["fail", "go_on"])
def test_a_rank_whose_batch_is_refused_is_named_and_the_step_ends_everywhere(policy):
    ranks, said = Ranks(2), []

    def work(rank):
        engine = gm.Engine(gather=ranks.rank(rank), policy=policy)
        if rank == 1:
            with pytest.raises(gm.ColumnError):
                engine.observe(group_sizes=[2], rewards=[1.0])
        else:
            engine.observe(**SMALL)
        try:
            said.append((rank, engine.step(1) and "row"))
        except gm.StepError as error:
            said.append((rank, str(error)))
        engine.observe(**SMALL)
        row = engine.step(2)
        assert (row is None) == (rank == 1)

    in_threads(2, work)
    first = dict(said)
    assert first[1] is None
    if policy == "fail":
        assert "rank 1: `group_sizes`: expected sizes that add up" in first[0]
    else:
        assert first[0] == "row"


def test_a_gather_that_cannot_be_is_refused_and_one_that_fails_ends_the_step():
    with pytest.raises(gm.OptionError, match="`gather`: expected an object with `rank`"):
        gm.Engine(gather=object())

    class Broken:
        rank, world_size = 0, 2

        def gather(self, payload):
            raise ConnectionError("peer reset")

    engine = gm.Engine(gather=Broken())
    engine.observe(**SMALL)
    with pytest.raises(gm.StepError, match="step 1: rank 0: Broken: ConnectionError: peer reset"):
        engine.step(1)


def test_a_shard_refuses_what_is_not_its_own():
    shard = gm.Shard.of(step=1, **SMALL)
    with pytest.raises(gm.StepError, match="expected a shard of step 1, found one of step 2"):
        shard.merge(gm.Shard.of(step=2, rank=1, **SMALL))
    with pytest.raises(gm.StepError):
        shard.merge(shard)
    assert shard.completions == 2 and shard.step == 1


def test_summarize_refuses_the_records_of_two_steps():
    records = [{"step": step, "batch": SMALL, "rank": step} for step in (0, 1)]
    with pytest.raises(gm.StepError, match="found steps 0 and 1"):
        gm.summarize(records)
    with pytest.raises(gm.ColumnError, match="unknown field of a record `setp`; did you mean `step`"):
        gm.summarize([{"setp": 1, "batch": SMALL}])


def test_scalars_and_the_snapshot_may_come_at_the_end_of_a_step():
    with gm.Engine() as engine:
        engine.observe(**SMALL)
        row = engine.step(1, scalars={"total_loss": np.float32(0.5), "mine": 3, "epoch": None}, weighting={"beta": 0.1})
    assert (row["train/loss"], row["mine"], row["train/beta"]) == (0.5, 3.0, 0.1)


def test_rows_go_out_every_logging_steps_and_the_left_over_ones_at_the_end():
    engine = gm.Engine(logging_steps=2)
    given = []
    for step in range(1, 6):
        engine.observe(group_sizes=[1], rewards=[float(step)])
        given.append(engine.step(step))
    assert [row and row["train/reward"] for row in given] == [None, 1.5, None, 3.5, None]
    engine.finish()
    assert engine.last_row["train/reward"] == 5.0
    with pytest.raises(gm.GrpoMetricsError, match="finished"):
        engine.observe(**SMALL)


def test_a_row_goes_out_when_the_caller_says_so_over_the_steps_since_the_last():
    engine = gm.Engine(logging_steps=2)
    given = []
    for step, goes_out in enumerate([False, False, True, False, True], start=1):
        engine.observe(group_sizes=[1], rewards=[float(step)])
        given.append(engine.step(step, goes_out=goes_out))
    assert [row and row["train/reward"] for row in given] == [None, None, 2.0, None, 4.5]


def test_numbers_computed_elsewhere_are_a_row_of_their_own_and_an_evaluations_lie_in_split_val(tmp_path):
    rows = []
    engine = gm.Engine(sinks=[SimpleNamespace(write=rows.append)], store=tmp_path / "runs.db", run="r", journal=False)
    engine.observe(**SMALL)
    assert engine.step(1, goes_out=False) is None
    engine.log(1, {"eval/reward": 9.0, "train/runtime": 2.0})
    assert [row["metrics"] for row in rows] == [{"eval/reward": 9.0, "train/runtime": 2.0}] and engine.last_row is None
    engine.finish()
    stored = {(m["split"], m["name"]): m["value"] for m in gm.Store(tmp_path / "runs.db").get_metrics("r")}
    assert (stored["val", "eval/reward"], stored["train", "train/runtime"], stored["train", "train/reward"]) == (9.0, 2.0, 0.5)
    with pytest.raises(gm.GrpoMetricsError, match="finished"):
        engine.log(2, {})


def test_a_store_that_is_an_object_gets_an_evaluations_numbers_in_split_val():
    calls = []
    store = SimpleNamespace(log_metrics=lambda **given: calls.append(given))
    engine = gm.Engine(store=store, run="r")
    engine.log(4, {"eval/reward": 9.0, "train/runtime": 2.0})
    engine.finish()
    by_split = {call["split"]: (call["run_id"], call["step"], call["metrics"]) for call in calls}
    assert by_split == {"val": ("r", 4, {"eval/reward": 9.0}), "train": ("r", 4, {"train/runtime": 2.0})}


def test_an_engine_knows_which_keys_are_its_own():
    engine, extended = gm.Engine(), gm.Engine(dialect="trl", extended=True)
    assert engine.computes("train/reward") and engine.computes("train/rewards/a/b/mean")
    assert not engine.computes("reward") and not engine.computes("train/pass@4") and not engine.computes("train/cispo_clip_ratio")
    assert extended.computes("reward") and extended.computes("pass@4") and not extended.computes("train/reward")


NOT_FINITE = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize(
    ("option", "refused", "taken"),
    [
        ("is_ratio_cap", (*NOT_FINITE, -1, 0), 1e300),
        ("kl_penalty", (*NOT_FINITE, -1), 0),
        ("clip_range", [pair for x in (*NOT_FINITE, -1) for pair in ((x, 0.2), (0.2, x))], (0, 1e300)),
        ("success", [(None, x) for x in NOT_FINITE], ("accuracy", -1)),
        ("devices", (math.nan, -1, 0, 1e300, 2**32), 1),
        ("steps_per_epoch", NOT_FINITE, 0),
        ("num_generations", NOT_FINITE, -1),
        ("num_epochs", NOT_FINITE, 1e300),
        ("total_training_steps", NOT_FINITE, 0),
        ("logging_steps", (math.nan, math.inf, 1e300, 2**63, 0, -1), 1),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_its_name_before_anything_is_stored(tmp_path, option, refused, taken):
    store = tmp_path / "runs.db"
    for number in refused:
        with pytest.raises(gm.OptionError, match=f"`{option}(_threshold)?`: expected "):
            gm.Engine(store=store, **{option: number})
        assert not store.exists()
    with gm.Engine(**{option: taken}) as engine:
        engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
        assert engine.step(1)["train/reward"] == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dialekt": "trl"}, "unknown option `dialekt`; did you mean `dialect`"),
        ({"dialect": "trll"}, "`dialect`: expected a dialect .* found `trll`"),
        ({"mode": "thin"}, "`mode`: expected a mode"),
        ({"window": "sum"}, "`window`: expected mean or pooled, found `sum`"),
        ({"logging_steps": "two"}, "`logging_steps`: expected a whole number, found `two`"),
        ({"clip_range": 0.2}, "`clip_range`: expected two numbers"),
        ({"folds": {"mine": ("average", "mean")}}, "`folds`: .* found `average`"),
        ({"sinks": [3]}, "`sinks`: expected paths of JSON lines, and sinks.* found 3"),
        ({"sinks": "rows.jsonl"}, "`sinks`: expected a list"),
        ({"store": object()}, "`run` is missing"),
        ({"metadata": {"git": "x"}}, "`metadata`: unknown name `git`"),
        ({"limits": {"clip": 1}}, "`limits`: unknown name `clip`; did you mean `clipped`"),
        ({"limits": {"kl": math.nan}}, "`limits.kl`: expected a number, found NaN"),
        ({"pass_k": [0, 1]}, "`pass_k`: expected whole numbers, each at least 1, found 0"),
        ({"success": object()}, "`success`: expected a reward component, or .* found <object"),
        ({"logging_steps": 2, "every": 2}, "`logging_steps`: expected it once"),
    ],
)
def test_an_option_that_cannot_be_is_an_error_that_says_so(given, message):
    with pytest.raises(gm.OptionError, match=message):
        gm.Engine(**given)


def test_what_flags_rise_at_and_what_counts_as_high_can_be_told_as_anywhere(command, tmp_path):
    records = list(steps_of("trl-2rank").values())[-1]
    told = {"dialect": "trl", "extended": True, "high_kl": 1e-4, "limits": {"kl": 1e-6, "entropy": 99, "entropy_steps": 1}}
    row, untold = gm.summarize(records, **told), gm.summarize(records, dialect="trl", extended=True)
    assert (untold["health/kl"], untold["health/entropy_collapse"]) == (0, 0) and row["kl_ref/high_frac"] > untold["kl_ref/high_frac"]
    assert (row["health/kl"], row["health/entropy_collapse"]) == (1, 1)
    path = tmp_path / "last.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    flags = ["--dialect=trl", "--extended", "--high-kl=1e-4", "--limit=kl=1e-6", "--limit=entropy=99", "--limit=entropy-steps=1"]
    said = subprocess.run([*command, "replay", str(path), *flags, "--quiet", "--jsonl", "-"], check=True, capture_output=True, text=True)
    assert json.loads(said.stdout)["metrics"] == row


def test_a_clip_range_is_what_tokens_are_counted_against_where_no_snapshot_says():
    batch = {**SMALL, "completion_lengths": [1, 1], "token_logps": [-1.0, -1.0], "ref_token_logps": [-1.0, -1.15]}
    ratios = [gm.summarize({"step": 1, "batch": batch}, clip_range=(x, x))["train/clip_ratio"] for x in (0.2, 0.1)]
    assert ratios == [0, 0.5]


@pytest.mark.parametrize(("started", "more", "warned"), [("4", {}, 1), ("1", {}, 0), ("4", {"gather": SimpleNamespace(rank=0, world_size=4)}, 0)])
def test_an_engine_with_a_store_that_takes_every_process_for_rank_0_says_so_once(monkeypatch, caplog, tmp_path, started, more, warned):
    monkeypatch.setenv("WORLD_SIZE", started)
    if more:
        more["gather"].gather = lambda payload: [payload]
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        gm.Engine(store=tmp_path / "runs.db", **more).finish()
    said = [message for message in caplog.messages if "WORLD_SIZE is 4" in message and "gather=TorchGather()" in message]
    assert len(said) == warned


CYCLIC: dict[str, object] = {}
CYCLIC["config"] = CYCLIC


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sinks": 5}, "`sinks`: expected a list of paths and sinks, found 5"),
        ({"config": CYCLIC}, "`config`: expected an object that JSON can hold: Circular reference"),
        ({"config": {(1, 2): 3}}, "`config`: expected an object that JSON can hold: keys must be"),
    ],
)
def test_what_python_itself_would_refuse_of_an_option_is_an_option_error(tmp_path, given, message):
    with pytest.raises(gm.OptionError, match=message):
        gm.Engine(store=tmp_path / "runs.db", **given)


@pytest.mark.parametrize("sides", [(float("nan"), -5), (float("nan"), 0.2), (0.2, -0.1), (0.2, float("inf"))], ids=str)
def test_a_clip_range_is_two_finite_numbers_from_0_up(sides):
    for taking in (
        lambda: gm.Engine(clip_range=sides),
        lambda: gm.Engine().expect_clip_range(*sides),
        lambda: gm.Shard.of(**SMALL, clip_range=sides),
        lambda: gm.summarize({"step": 1, "batch": SMALL}, clip_range=sides),
    ):
        with pytest.raises(gm.OptionError, match=r"`clip_range`: expected two finite numbers from 0 up, \(low, high\), found"):
            taking()
    gm.Engine(clip_range=(0, 0.28)).expect_clip_range(0.2, 5)


@pytest.mark.parametrize("step", [-1, 2**64, "two", 1.5], ids=repr)
def test_a_step_that_no_step_can_be_is_a_step_error_and_the_engine_goes_on(step):
    engine, shard = gm.Engine(), gm.Shard.of(**SMALL)
    engine.observe(**SMALL)
    for taking in (
        lambda: engine.step(step),
        lambda: engine.log(step, {"eval/reward": 1.0}),
        lambda: gm.Shard.of(**SMALL, step=step),
        lambda: shard.row(step=step),
    ):
        with pytest.raises(gm.StepError, match="`step`: expected a whole number from 0 to 18446744073709551615, found"):
            taking()
    assert engine.step(1)["train/reward"] == 0.5


def test_the_mode_comes_from_the_environment_unless_it_is_given(monkeypatch):
    monkeypatch.setenv("MAXENT_METRICS_MODE", "slim")
    assert "train/reward_p00" not in gm.summarize({"step": 1, "batch": SMALL})
    assert "train/reward_p00" in gm.summarize({"step": 1, "batch": SMALL}, mode="full")


def test_rows_reach_json_lines_the_store_and_objects_alike(tmp_path):
    class Sink:
        def __init__(self):
            self.rows, self.closed = [], 0

        def write(self, row):
            self.rows.append(row)

        def close(self):
            self.closed += 1

    sink = Sink()
    store, lines = tmp_path / "runs.db", tmp_path / "rows.jsonl"
    metadata = {"git_sha": "abc", "method_name": "grpo"}
    engine = gm.Engine(store=store, run="a", config={"lr": 1e-6}, sinks=[sink, str(lines)], metadata=metadata)
    for step in (1, 2):
        engine.observe(**SMALL)
        engine.step(step)
    receipts = engine.finish()
    assert [(r["accepted"], r["written"], r["dropped"], r["pending"], r["error"]) for r in receipts] == [(2, 2, 0, 0, None)] * 3
    assert engine.finish() == receipts and sink.closed == 1
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert written == sink.rows
    assert written[0]["run"]["run/git_sha"] == "abc" and "run" not in written[1]
    stored = gm.Store(store).get_metrics("a")
    assert {(m["step"], m["name"]): m["value"] for m in stored} == {
        (row["step"], name): value for row in written for name, value in row["metrics"].items()
    }
    assert gm.Store(store).get_run("a")["run_config"]["lr"] == 1e-6


def test_no_step_waits_for_a_sink_behind_a_journal(tmp_path):
    go_on, rows = threading.Event(), []

    class Slow:
        def write(self, row):
            go_on.wait(60)
            rows.append(row["step"])

    engine = gm.Engine(sinks=[Slow()], journal=tmp_path / "journal")
    for step in range(1, 4):  # returns although the sink hangs
        engine.observe(**SMALL)
        engine.step(step)
    assert rows == []
    go_on.set()
    [receipt] = engine.finish()
    assert rows == [1, 2, 3] and (receipt["accepted"], receipt["written"]) == (3, 3)


def test_a_sink_that_fails_stops_nothing_and_is_accounted_for(caplog, tmp_path):
    class Broken:
        def write(self, row):
            raise RuntimeError("disk full")

    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        engine = gm.Engine(sinks=[Broken(), tmp_path / "rows.jsonl"], journal=False)
        engine.observe(**SMALL)
        assert engine.step(1)["train/reward"] == 0.5
        receipts = engine.finish()
    assert [(r["written"], r["dropped"]) for r in receipts] == [(0, 1), (1, 0)]
    assert "disk full" in receipts[0]["error"] and "disk full" in caplog.text


def test_a_sink_that_calls_its_engine_is_told_not_to():
    class Caller:
        def write(self, row):
            self.engine.step(9)

    caller = Caller()
    engine = caller.engine = gm.Engine(sinks=[caller], journal=False)
    engine.observe(**SMALL)
    assert engine.step(1) is not None
    assert "in the middle of a call" in engine.finish()[0]["error"]


def test_what_a_recorder_wrote_replays_to_the_same_rows(tmp_path):
    steps = list(steps_of("trl-2rank").values())[:4]
    recorded = rows(steps, recorder=tmp_path / "records")
    again: dict[int, list] = {}
    for path in sorted((tmp_path / "records").glob("rank*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            again.setdefault(record["step"], []).append(record)
    assert rows([again[step] for step in sorted(again)]) == recorded


def test_a_panic_is_an_ordinary_error():
    with pytest.raises(gm.GrpoMetricsError, match="please report it: oh no"):
        _core._panic("oh no")
    assert issubclass(gm.GrpoMetricsError, Exception)


def large():
    n, t = 64, 512
    logps = np.random.default_rng(0).normal(-1, 0.3, (n, t)).astype(np.float32)
    return {
        "group_sizes": [8] * 8,
        "rewards": np.arange(n) / n,
        "completion_lengths": np.full(n, t),
        "token_logps": logps,
        "ref_token_logps": logps - np.float32(0.01),
        "token_ids": np.arange(n * t).reshape(n, t) % 97,
    }


def large_row():
    return gm.summarize({"step": 1, "batch": large()})


def in_child(queue):
    queue.put(large_row())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_the_same_and_does_not_hang():
    expected = large_row()  # by now the parent has threads, which its child will not have
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            row = large_row()
            grandchild = os.fork()
            if grandchild == 0:
                signal.alarm(60)
                os._exit(0 if large_row() == row else 1)
            _, ended = os.waitpid(grandchild, 0)
            os.write(write, json.dumps(row).encode())
            status = ended
        finally:
            os._exit(0 if status == 0 else 1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0 and json.loads(said) == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_of_either_kind_compute_the_same(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=in_child, args=(queue,))
    process.start()
    try:
        assert queue.get(timeout=120) == large_row()
    finally:
        process.join()


def in_threads(count, work):
    failed = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_eight_threads_observe_into_engines_of_their_own():
    expected = large_row()
    batch = large()

    def work(_):
        engine = gm.Engine()
        for step in range(1, 6):
            engine.observe(**batch)
            row = engine.step(step)
            assert {**row, "train/global_step": 1.0, "train/epoch": 1.0} == expected
        engine.finish()

    in_threads(8, work)


def test_two_threads_share_an_engine_whose_sink_is_an_object():
    seen = []

    class Sink:
        def write(self, row):
            seen.append(row["step"])

    engine = gm.Engine(sinks=[Sink()])
    steps, turn = itertools.count(), threading.Lock()

    def work(i):
        for j in range(50):
            engine.observe(group_sizes=[1], rewards=[float(i)])
            if j % 10 == 9:
                with turn:  # steps ascend
                    engine.step(next(steps))

    in_threads(2, work)
    engine.finish()
    # A step may follow the other thread's so closely that it has no completions; its row is written all the same.
    assert seen == [*range(10)]
    assert engine.census()["rewards"]["seen"] <= 100


def test_the_gil_is_free_while_a_step_is_computed():
    batch = large()
    batch["token_logps"] = np.tile(batch["token_logps"], (16, 8))
    batch |= {"group_sizes": [8] * 128, "rewards": np.zeros(1024), "completion_lengths": np.full(1024, 4096)}
    del batch["ref_token_logps"], batch["token_ids"]
    batch["old_token_logps"] = batch["ref_token_logps"] = batch["token_logps"]
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(None)
            done.wait(0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        before = len(ticks)
        gm.Shard.of(**batch)
        during = len(ticks) - before
    finally:
        sys.setswitchinterval(interval)
        done.set()
        ticker.join()
    assert during >= 2


def test_the_store_file_is_readable_as_sqlite(tmp_path):
    engine = gm.Engine(store=tmp_path / "runs.db", run="r")
    engine.observe(**SMALL)
    engine.step(1)
    engine.finish()
    with sqlite3.connect(tmp_path / "runs.db") as db:
        tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    assert "runs" in tables
