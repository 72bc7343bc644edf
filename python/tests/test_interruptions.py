"""Ctrl-C, an exit, a generator's end: whoever raised them wants them, wherever in a call of ours that was."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

import grpo_metrics as gm

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}
INTERRUPTIONS = [KeyboardInterrupt, SystemExit, GeneratorExit]


class Sink:
    """Keeps the steps it was handed, and is interrupted once where it is told to be."""

    def __init__(self, at=None, raised=None):
        self.at, self.raised, self.rows = at, raised, []

    def reach(self, place):
        if place == self.at:
            self.at = None
            raise self.raised

    def write(self, row):
        self.reach(("write", row["step"]))
        self.rows.append(row["step"])

    def flush(self):
        self.reach("flush")

    def ended(self, status, error):
        self.reach("ended")

    def close(self):
        self.reach("close")


def settled(receipt):
    """How many rows were taken, and of them are written and dropped; none may be gone."""
    assert receipt["accepted"] == receipt["written"] + receipt["dropped"] + receipt["pending"]
    return receipt["accepted"], receipt["written"], receipt["dropped"]


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_an_interruption_in_a_sink_passes_on_unchanged_and_its_row_is_accounted_for(kind):
    raised = kind("enough")
    interrupted, beside = Sink(("write", 2), raised), Sink()
    engine = gm.Engine(sinks=[interrupted, beside], journal=False)
    for step in (1, 2, 3):
        engine.observe(**SMALL)
        if step != 2:
            engine.step(step)
            continue
        with pytest.raises(kind) as caught:
            engine.step(step)
        assert caught.value is raised
        assert engine.last_row["train/reward"] == 0.5
    first, second = engine.finish()
    assert (interrupted.rows, settled(first)) == ([1, 3], (3, 2, 1)) and kind.__name__ in first["error"]
    assert (beside.rows, settled(second), second["error"]) == ([1, 2, 3], (3, 3, 0), None)


def test_ctrl_c_in_a_sink_passes_on_and_the_engine_goes_on():
    class Interrupted(Sink):
        def write(self, row):
            if row["step"] % 2:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)  # the handler runs within this call
            super().write(row)

    sink, heard = Interrupted(), 0
    engine = gm.Engine(sinks=[sink], journal=False)
    for step in range(26):
        engine.observe(**SMALL)
        try:
            engine.step(step)
        except KeyboardInterrupt:
            heard += 1
    [receipt] = engine.finish()
    assert (heard, settled(receipt), sink.rows) == (13, (26, 13, 13), list(range(0, 26, 2)))


@pytest.mark.parametrize("kind", INTERRUPTIONS)
@pytest.mark.parametrize("at", ["flush", "ended", "close"])
def test_an_interruption_at_the_end_passes_on_and_the_receipts_can_still_be_had(at, kind):
    raised, beside = kind("enough"), Sink()
    engine = gm.Engine(sinks=[Sink(at, raised), beside], journal=False)
    engine.observe(**SMALL)
    engine.step(1)
    with pytest.raises(kind) as caught:
        engine.finish()
    assert caught.value is raised
    assert [settled(receipt) for receipt in engine.finish()] == [(1, 1, 0)] * 2


def test_an_interruption_at_the_end_of_a_with_block_passes_on():
    raised = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught, gm.Engine(sinks=[Sink("close", raised)], journal=False) as engine:
        engine.step(1)
    assert caught.value is raised


def test_an_interruption_of_a_call_within_a_sink_is_that_calls_own():
    class Calling(Sink):
        def write(self, row):
            with pytest.raises(KeyboardInterrupt):
                inner.step(row["step"])
            super().write(row)

    inner = gm.Engine(sinks=[Sink(("write", 1), KeyboardInterrupt())], journal=False)
    outer = gm.Engine(sinks=[Calling()], journal=False)
    outer.step(1)
    assert settled(outer.finish()[0]) == (1, 1, 0) and settled(inner.finish()[0]) == (1, 0, 1)


class Cell:
    """No number yet."""

    def __init__(self, raised):
        self.raised = raised

    def __float__(self):
        raise self.raised

    __index__ = __float__


class Column:
    """A column of another library, whose conversion takes its time."""

    def __init__(self, raised):
        self.raised = raised

    def __array__(self, dtype=None, copy=None):
        raise self.raised


CONVERSIONS = {
    "a column": lambda engine, raised: engine.observe(group_sizes=[2], rewards=Column(raised)),
    "a column of whole numbers": lambda engine, raised: engine.observe(group_sizes=Column(raised), rewards=[0.0, 1.0]),
    "a column of tokens": lambda engine, raised: engine.observe(**SMALL, completion_lengths=[1, 1], token_logps=Column(raised)),
    "a cell": lambda engine, raised: engine.observe(group_sizes=[2], rewards=[0.0, Cell(raised)]),
    "a limit": lambda engine, raised: engine.observe(**SMALL, max_completion_length=Cell(raised)),
    "a scalar": lambda engine, raised: engine.step(1, scalars={"total_loss": Cell(raised)}),
    "the snapshot": lambda engine, raised: engine.step(1, weighting={"tau": Cell(raised)}),
    "the step": lambda engine, raised: engine.step(Cell(raised)),
    "a shard": lambda engine, raised: gm.Shard.of(group_sizes=[2], rewards=Column(raised)),
    "a record": lambda engine, raised: gm.summarize({"step": 1, "batch": {"group_sizes": [2], "rewards": Column(raised)}}),
    "an option": lambda engine, raised: gm.Engine(logging_steps=Cell(raised)),
}


@pytest.mark.parametrize("kind", INTERRUPTIONS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_an_interruption_in_a_conversion_passes_on_unchanged_and_nothing_of_the_batch_is_taken(conversion, kind):
    engine, raised = gm.Engine(), kind("enough")
    with pytest.raises(kind) as caught:
        CONVERSIONS[conversion](engine, raised)
    assert caught.value is raised
    engine.observe(group_sizes=[2], rewards=np.array([0.0, 1.0]))
    assert engine.step(2)["train/reward"] == 0.5
    assert engine.census()["rewards"]["seen"] == 2


def test_an_ordinary_error_in_a_conversion_is_ours_as_before():
    for conversion in ("a column", "a cell"):
        with pytest.raises(gm.ColumnError):
            CONVERSIONS[conversion](gm.Engine(), RuntimeError("no memory"))


def test_an_interruption_in_a_gather_passes_on_unchanged():
    class Gather:
        rank, world_size = 0, 2

        def gather(self, payload):
            raise raised

    raised = KeyboardInterrupt()
    engine = gm.Engine(gather=Gather())
    engine.observe(**SMALL)
    with pytest.raises(KeyboardInterrupt) as caught:
        engine.step(1)
    assert caught.value is raised


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_in_the_delivery_thread_an_interruption_is_a_failed_attempt_and_the_row_goes_out_at_the_next(tmp_path, kind):
    sink = Sink(("write", 2), kind("enough"))
    engine = gm.Engine(sinks=[sink], journal=tmp_path / "journal")
    for step in (1, 2, 3):
        engine.observe(**SMALL)
        engine.step(step)
    [receipt] = engine.finish()
    assert (settled(receipt), sink.rows) == ((3, 3, 0), [1, 2, 3])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child_an_interruption_in_a_sink_passes_on_as_well():
    child = os.fork()
    if child == 0:
        status, raised = 1, SystemExit("enough")
        try:
            signal.alarm(60)
            engine = gm.Engine(sinks=[Sink(("write", 1), raised)], journal=False)
            engine.step(1)
        except SystemExit as caught:
            status = 0 if caught is raised else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_an_engine_that_is_let_go_of_passes_ctrl_c_in_its_sink_on():
    sink = Sink()
    engine = gm.Engine(sinks=[Sink(("write", 1), KeyboardInterrupt()), sink], logging_steps=2, journal=False)
    engine.step(1)
    with pytest.raises(KeyboardInterrupt):
        del engine
        time.sleep(0.01)  # it comes at the next instruction
    assert sink.rows == [1]
