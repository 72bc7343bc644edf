"""Samples: completions to read, in the store, in files, and as tables of loggers."""

from __future__ import annotations

import json
import logging
import math
import threading

import pytest

import grpo_metrics as gm


def observe(engine, step, n=8, text="an answer", **others):
    """Two groups of a step, whose rewards say which is which."""
    half = n // 2
    engine.observe(
        **{
            "group_sizes": [half, half],
            "rewards": [float(i % half) for i in range(n)],
            "reward_components": {"accuracy": [float(i) for i in range(n)]},
            "advantages": [i / 10 for i in range(n)],
            "completion_lengths": [i + 1 for i in range(n)],
            "prompts": [f"question {step}.{i // half}" for i in range(n)],
            "completions": [f"{text} {step}.{i}" for i in range(n)],
            **others,
        }
    )


def test_samples_of_every_so_many_steps_are_in_the_store_with_all_that_is_known_of_them(tmp_path):
    with gm.Engine(store=tmp_path / "runs.db", run="r") as engine:
        engine.samples(every=5, at_most=6)
        for step in range(1, 13):
            observe(engine, step)
            engine.step(step)
    samples = gm.open(tmp_path / "runs.db")["r"].samples()
    assert [sample["step"] for sample in samples] == [5] * 6 + [10] * 6
    sample = samples[5]  # the second of the second group
    assert (sample["kind"], sample["instruction"], sample["model_output"]) == ("train", "question 5.1", "an answer 5.5")
    assert (sample["reward"], sample["advantage"]) == (1.0, 0.5)
    told = sample["metadata"]
    assert (told["prompt_index"], told["completion_index"], told["reward_rank_desc"], told["group_size"]) == (1, 1, 3, 4)
    assert (told["length"], told["rewards"]) == (6, {"accuracy": 5.0})
    assert len(gm.open(tmp_path / "runs.db")["r"].samples(step=10)) == 6
    receipts = {receipt["sink"]: receipt for receipt in engine.finish()}
    assert receipts["samples to the store"]["written"] == 12


def test_samples_are_json_lines_in_a_file_with_long_texts_cut(tmp_path):
    path = tmp_path / "samples.jsonl"
    with gm.Engine() as engine:
        engine.samples(1, at_most=2, max_bytes=80, file=path)
        observe(engine, 1, text="ä" * 100, rewards=[math.nan] + [math.inf] * 7)
        engine.step(1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["completion"] for line in lines] == ["ä" * 8 + "..."] * 2  # 20 bytes of each, no letter cut in two
    assert list(lines[0])[:2] == ["step", "prompt_index"] and list(lines[0])[-2:] == ["reward/accuracy", "length"]
    assert (lines[0]["reward_total"], lines[1]["reward_total"]) == (None, "Infinity")
    assert (lines[0]["reward/accuracy"], lines[1]["length"]) == (0.0, 2)


def test_a_group_that_is_spread_over_micro_batches_is_ranked_as_one():
    tables = []

    class Shows:
        def samples(self, step, rows):
            tables.append((step, rows))

    with gm.Engine() as engine:
        engine.samples(1, to=[Shows()])
        for micro, reward in enumerate((1.0, 3.0, 2.0)):
            engine.observe(group_ids=[7], rewards=[reward], completions=[f"c{micro}"], prompts=["p"])
        engine.step(1)
    ((step, rows),) = tables
    assert step == 1 and [(row["completion"], row["reward_rank_desc"], row["group_size"]) for row in rows] == [
        ("c0", 3, 3),
        ("c1", 1, 3),
        ("c2", 2, 3),
    ]


def test_a_place_that_hangs_or_raises_holds_up_no_step_and_is_counted(caplog):
    hold, begun = threading.Event(), threading.Event()

    class Hangs:
        def samples(self, step, rows):
            begun.set()
            hold.wait(60)

    class Raises:
        def samples(self, step, rows):
            raise ValueError("no tables today")

    taken = []

    class Takes:
        def samples(self, step, rows):
            taken.extend(rows)

    engine = gm.Engine()
    engine.samples(1, to=[Hangs(), Raises(), Takes()])
    for step in range(1, 1001):
        observe(engine, step)
        assert engine.step(step) is not None  # none waits for the one that hangs
    assert begun.wait(60)
    hold.set()
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        hung, raised, took = engine.finish()[-3:]
    assert took["written"] == len(taken) == 8000 - took["dropped"]
    assert raised["dropped"] == 8000 and "no tables today" in raised["error"]
    # Of what hangs, the queue keeps so many, and the rest is counted.
    assert hung["accepted"] == 8000 == hung["written"] + hung["dropped"] + hung["pending"] and hung["dropped"] > 0


def test_samples_without_texts_or_of_a_refused_step_are_none(tmp_path):
    path = tmp_path / "samples.jsonl"
    with gm.Engine() as engine:
        engine.samples(1, file=path)
        engine.observe(group_sizes=[1], rewards=[1.0])
        engine.step(1)
        engine.step(2)
        with pytest.raises(gm.ColumnError):
            observe(engine, 3, completions=["too few"])
        engine.step(3)
    assert path.read_text() == ""


def test_steps_in_strides_have_their_samples(tmp_path):
    path = tmp_path / "samples.jsonl"
    with gm.Engine() as engine:
        engine.samples(20, at_most=1, file=path)
        for step in range(10, 110, 10):
            observe(engine, step)
            engine.step(step)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [20, 40, 60, 80, 100]


def test_what_cannot_be_is_an_error_at_once(tmp_path):
    engine = gm.Engine()
    for wrong in ({}, {"store": True}, {"every": 0, "file": tmp_path / "x"}, {"at_most": 0}, {"to": [object()]}, {"to": [json]}):
        with pytest.raises(gm.OptionError):
            engine.samples(**wrong)
    with pytest.raises(gm.SinkError, match="nowhere"):
        engine.samples(file=tmp_path / "nowhere" / "x")
    engine.samples(file=tmp_path / "x")
    with pytest.raises(gm.OptionError, match="once"):
        engine.samples(file=tmp_path / "x")
    engine.finish()
    with pytest.raises(gm.GrpoMetricsError, match="finished"):
        engine.samples(file=tmp_path / "x")


def test_a_store_that_is_an_object_has_the_samples(tmp_path):
    store = gm.Store(tmp_path / "runs.db")
    store.open_run("r")
    with gm.Engine(store=store, run="r") as engine:
        engine.samples(1, at_most=3)
        observe(engine, 1)
        engine.step(1)
    assert [sample["model_output"] for sample in store.list_predictions("r", "train")] == [f"an answer 1.{i}" for i in range(3)]


def test_a_rank_that_has_no_rows_has_no_samples(tmp_path):
    class Other:
        rank, world_size = 1, 2

        def gather(self, shard):
            return None

    with gm.Engine(gather=Other()) as engine:
        engine.samples(1, file=tmp_path / "x")
        assert not (tmp_path / "x").exists()


def test_wandb_has_a_table_of_its_own(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    run = wandb.init(project="grpo", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    with gm.Engine(sinks=[gm.LoggerSink(run)]) as engine:
        engine.samples(2, at_most=3, to=[run])
        for step in range(1, 5):
            observe(engine, step, rewards=[math.nan] + [1.0] * 7)
            engine.step(step)
    folder = run.dir
    run.finish()
    tables = sorted((tmp_path).rglob("*.table.json"), key=lambda path: path.name)
    assert len(tables) == 2, list(tmp_path.rglob("*"))
    told = json.loads(tables[0].read_text())
    assert told["columns"][:2] == ["step", "prompt_index"] and len(told["data"]) == 3
    assert told["data"][0][told["columns"].index("completion")].startswith("an answer") and folder
    assert all(receipt["dropped"] == 0 for receipt in engine.finish())


def test_trackio_has_a_table_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    pytest.importorskip("pandas")
    seen = []
    run = trackio.init(project="grpo", name="r", embed=False)
    log = run.log
    monkeypatch.setattr(run, "log", lambda metrics, step=None: (seen.append((step, metrics)), log(metrics, step=step)))
    with gm.Engine() as engine:
        engine.samples(2, at_most=3, to=[run])
        for step in range(1, 5):
            observe(engine, step)
            engine.step(step)
    trackio.finish()
    assert [step for step, _ in seen] == [2, 4]
    assert all(isinstance(metrics["grpo_metrics/samples"], trackio.Table) for _, metrics in seen)
    assert all(receipt["dropped"] == 0 for receipt in engine.finish()), engine.finish()
