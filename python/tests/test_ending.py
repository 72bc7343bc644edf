"""How a run stands in the store once its training is over, however that came."""

import os
import signal
import subprocess
import sys
import textwrap

import grpo_metrics as gm
import pytest

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


def run_of(path, run="r"):
    return gm.Store(path, read_only=True).get_run(run)


def how(path, run="r"):
    stored = run_of(path, run)
    return stored["status"], stored.get("error_message")


def steps_of(path, run="r"):
    return sorted({m["step"] for m in gm.Store(path, read_only=True).get_metrics(run)})


class Cancelled(BaseException):
    pass


ENDINGS = [
    (None, ("completed", None)),
    (ValueError("no such reward"), ("failed", "ValueError: no such reward")),
    (AssertionError(), ("failed", "AssertionError")),
    (SystemExit(3), ("failed", "SystemExit: 3")),
    (SystemExit(0), ("completed", None)),
    (SystemExit(), ("completed", None)),
    (KeyboardInterrupt(), ("cancelled", "KeyboardInterrupt")),
    (Cancelled("enough"), ("cancelled", "Cancelled: enough")),
]


@pytest.mark.parametrize("journal", [False, True])
@pytest.mark.parametrize(("raised", "expected"), ENDINGS, ids=lambda x: repr(x))
def test_a_run_ends_as_what_left_the_with_block_and_that_goes_on_unchanged(tmp_path, raised, expected, journal):
    options = {"journal": tmp_path / "journal"} if journal else {}
    caught = None
    try:
        with gm.Engine(store=tmp_path / "runs.db", run="r", logging_steps=2, **options) as engine:
            for step in (1, 2, 3):
                engine.observe(**SMALL)
                engine.step(step)
            if raised is not None:
                raise raised
    except BaseException as error:  # noqa: BLE001 - the test is about all of them
        caught = error
    assert caught is raised
    assert how(tmp_path / "runs.db") == expected
    assert steps_of(tmp_path / "runs.db") == [2, 3]  # the steps left over are there, however it ended


def test_finish_says_how_a_run_ended_and_the_first_word_stands(tmp_path):
    for status, error in [("completed", None), ("failed", "out of memory"), ("cancelled", None)]:
        engine = gm.Engine(store=tmp_path / "runs.db", run=status)
        engine.step(1)
        receipts = engine.finish(status, error)
        assert engine.finish("completed" if status == "failed" else "failed") == receipts
        assert how(tmp_path / "runs.db", status) == (status, error)
    with pytest.raises(gm.OptionError, match="`status`: expected completed, failed or cancelled, found `running`"):
        gm.Engine().finish("running")


def test_a_run_that_failed_and_is_continued_runs_again_without_its_error(tmp_path):
    path = tmp_path / "runs.db"
    gm.Engine(store=path, run="r").finish("failed", "out of memory")
    engine = gm.Engine(store=path, run="r")
    assert how(path) == ("running", None)
    engine.finish()
    assert how(path) == ("completed", None)


def test_an_error_that_cannot_be_told_and_one_that_is_long_are_told_as_far_as_they_go(tmp_path):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    for run, error, told in [("mute", Mute(), "Mute"), ("long", ValueError("x" * 5000), "ValueError: " + "x" * 1000 + "...")]:
        with pytest.raises(type(error)), gm.Engine(store=tmp_path / "runs.db", run=run):
            raise error
        assert how(tmp_path / "runs.db", run) == ("failed", told)


@pytest.mark.parametrize("journal", [False, True])
def test_a_store_that_is_an_object_is_told_how_its_run_ended(tmp_path, journal):
    store = gm.Store(tmp_path / "runs.db")
    experiment = store.create_experiment("e")["id"]
    options = {"journal": tmp_path / "journal"} if journal else {}
    run = store.create_run(experiment, status="pending", error_message="what it died of before")["id"]
    with pytest.raises(ValueError), gm.Engine(store=store, run=run, **options) as engine:
        engine.observe(**SMALL)
        engine.step(1)
        raise ValueError("no such reward")
    assert how(store.path, run) == ("failed", "ValueError: no such reward")
    with gm.Engine(store=store, run=run) as engine:
        engine.step(2)
    assert how(store.path, run) == ("completed", None)


def test_a_sink_that_is_an_object_hears_how_the_run_ended_before_it_is_closed():
    heard = []

    class Sink:
        def write(self, row):
            heard.append(row["step"])

        def ended(self, status, error):
            heard.append((status, error))

        def close(self):
            heard.append("closed")

    with pytest.raises(ZeroDivisionError), gm.Engine(sinks=[Sink()]) as engine:
        engine.step(1)
        1 / 0
    assert heard == [1, ("failed", "ZeroDivisionError: division by zero"), "closed"]


def test_only_rank_0_opens_the_run_and_says_how_it_ended(tmp_path):
    class Rank:
        def __init__(self, rank):
            self.rank, self.world_size = rank, 2

        def gather(self, payload):
            return [payload, None] if self.rank == 0 else None

    options = {"store": tmp_path / "runs.db", "run": "r", "journal": tmp_path / "journal", "policy": "go_on"}
    root, other = (gm.Engine(gather=Rank(rank), **options) for rank in (0, 1))
    for engine in (root, other):
        engine.observe(**SMALL)
        engine.step(1)
    assert other.finish("completed") == []
    assert how(tmp_path / "runs.db")[0] == "running"
    [receipt] = root.finish("failed", "rank 1 died")
    assert (receipt["written"], how(tmp_path / "runs.db")) == (1, ("failed", "rank 1 died"))
