"""What the crate has to say reaches Python's logging; what a step refuses says why in plain English."""

import logging
import re
import subprocess
import sys
import threading
import time

import grpo_metrics as gm
import numpy as np
import pytest

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


def warnings_of(caplog):
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "grpo_metrics"]


def test_a_health_flag_that_rises_is_one_warning_with_its_reason(caplog):
    engine = gm.Engine(extended=True)
    for step, reward in enumerate([0.5, float("nan"), float("nan"), 0.5], start=1):
        engine.observe(group_sizes=[2], rewards=[0.25, reward])
        engine.step(step)
    raised = [said for said in warnings_of(caplog) if "handed in" in said[1]]
    assert raised == [("WARNING", "step 2: 1 values that were handed in are NaN or infinite")]


def test_a_warning_goes_to_stderr_where_nobody_has_set_up_logging():
    program = "import grpo_metrics as gm; gm.summarize({'step': 7, 'batch': {'group_sizes': [1], 'rewards': [float('nan')]}}, extended=True)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "step 7: 1 values that were handed in are NaN or infinite" in done.stderr.splitlines()


def test_a_warning_of_a_thread_behind_is_told_by_the_next_call(caplog):
    refused = threading.Event()

    class Broken:
        def log_metrics(self, **_):
            refused.set()
            raise TypeError("no such table")  # which would be raised whenever it was asked

    engine = gm.Engine(store=Broken(), run="r")
    engine.step(1)
    assert refused.wait(60)
    while not any("no such table" in text for _, text in warnings_of(caplog)):
        engine.census()
    [receipt] = engine.finish()
    assert (receipt["accepted"], receipt["written"], receipt["dropped"]) == (1, 0, 1)


def test_a_store_that_is_broken_for_299_steps_is_told_of_at_once_rarely_and_when_it_works_again(tmp_path, caplog):
    broken, refused, taken = threading.Event(), threading.Event(), set()
    broken.set()

    class Store:
        def log_metrics(self, *, step, **_):
            if broken.is_set():
                refused.set()
                raise ConnectionError("the server is away")
            taken.add(step)

    engine = gm.Engine(store=Store(), run="r", journal=tmp_path / "journal")
    engine.step(1)
    assert refused.wait(60)
    until = time.monotonic() + 60
    while not warnings_of(caplog) and time.monotonic() < until:
        engine.census()
    [(_, first)] = warnings_of(caplog)
    assert "the server is away" in first and "1 row" in first
    for step in range(2, 300):
        engine.step(step)
    assert [text for _, text in warnings_of(caplog)] == [first]
    broken.clear()
    while len(taken) < 299 and time.monotonic() < until:
        engine.census()
        time.sleep(0.05)
    engine.census()
    said = [text for _, text in warnings_of(caplog)]
    assert said[0] == first and "takes rows again, after" in said[1] and len(said) == 2
    [receipt] = engine.finish()
    assert (receipt["accepted"], receipt["written"], receipt["pending"]) == (299, 299, 0)


DROPPED = """
import os, sys, time
import grpo_metrics as gm
engine = gm.Engine(store="runs.db", run="r", journal="journal")
for step in (1, 2**63 + 5):
    engine.step(step)
engine.log(2, {"later": 1.0})
until = time.monotonic() + 60
while not os.path.exists("journal/store/dropped") and time.monotonic() < until:
    time.sleep(0.02)
time.sleep(1)  # and the row behind it
os._exit(0)
"""


def test_what_a_process_dropped_and_could_not_tell_is_told_by_the_next_one_on_its_journal(tmp_path, caplog):
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""  # it died before its next call
    options = {"store": tmp_path / "runs.db", "run": "r", "journal": tmp_path / "journal", "resume": "allow"}
    engine = gm.Engine(**options)
    why = "store: expected a step up to 9223372036854775807, found 9223372036854775813"
    folder = str(tmp_path / "journal" / "store")
    assert engine.recovered == [{"journal": folder, "pending": 0, "torn_bytes": 0, "dropped": 1, "error": why}]
    [(_, said)] = warnings_of(caplog)
    assert said == f"journal {folder}: the process before dropped 1 rows for good: {why}"
    engine.finish()
    # It is told once; and what is told by a receipt is not told again.
    engine = gm.Engine(**options)
    assert engine.recovered == []
    engine.step(2**63 + 5)
    [receipt] = engine.finish()
    assert (receipt["dropped"], receipt["error"]) == (1, why)
    engine = gm.Engine(**options)
    assert engine.recovered == []
    engine.finish()


def test_a_handler_that_fails_or_calls_back_ends_no_step(caplog):
    class Handler(logging.Handler):
        def emit(self, record):
            engine.census()
            raise RuntimeError("a handler of its own mind")

    engine = gm.Engine(extended=True)
    logger, handler = logging.getLogger("grpo_metrics"), Handler()
    logger.addHandler(handler)
    try:
        engine.observe(group_sizes=[1], rewards=[float("nan")])
        assert engine.step(1) is not None
    finally:
        logger.removeHandler(handler)


def test_more_warnings_than_there_is_room_for_are_counted_and_stop_nothing():
    program = """
import grpo_metrics as gm, sys
class Broken:
    def write(self, row): raise RuntimeError("no")
engine = gm.Engine(sinks=[Broken() for _ in range(1500)])
engine.step(1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    # Each sink's first error, at exit each sink's receipt, and one that says so; there is room for 1024 at once, and how they come together is the threads'.
    lines = done.stderr.splitlines()
    kept_out = re.findall(r"^(\d+) more warnings came at once and are not shown$", done.stderr, re.MULTILINE)
    assert kept_out
    assert len(lines) - len(kept_out) + sum(map(int, kept_out)) == 1500 + 1500 + 1


TOKENS = {"group_sizes": [2], "rewards": [0.0, 1.0], "completion_lengths": [1, 1], "advantages": [1.0, -1.0]}
LOGPS = np.zeros(2, np.float32)


class Rank:
    """One rank of two: the other's part is what it sent before."""

    def __init__(self, rank, parts, world_size=2):
        self.rank, self.world_size, self.parts = rank, world_size, parts

    def gather(self, payload):
        if self.rank != 0:
            self.parts.append(payload)
            return None
        return [payload, *self.parts]


def of_ranks(own, other, *, options=({}, {})):
    parts = []
    second = gm.Engine(gather=Rank(1, parts), **options[1])
    second.observe(**other)
    second.step(1)
    first = gm.Engine(gather=Rank(0, parts), **options[0])
    first.observe(**own)
    return first.step(1)


def snapshot_of_another_range():
    engine = gm.Engine()
    engine.observe(**TOKENS, token_logps=LOGPS, old_token_logps=LOGPS)
    engine.step(1, weighting={"clip_range_low": 0.1, "clip_range_high": 0.28})


def ranks_with_different_ranges():
    tokens = {**TOKENS, "token_logps": LOGPS, "old_token_logps": LOGPS}
    of_ranks(tokens, tokens, options=({"clip_range": (0.2, 0.2)}, {"clip_range": (0.1, 0.28)}))


def ranks_with_different_penalties():
    tokens = {**TOKENS, "token_logps": LOGPS, "old_token_logps": LOGPS}
    of_ranks(tokens, tokens, options=({"kl_penalty": 0.1, "success": ("accuracy", 0.5)}, {"is_ratio_cap": 2.0}))


def ranks_that_keep_their_rewards_differently():
    of_ranks(SMALL, SMALL, options=({}, {"retain": "sketch"}))


def the_same_micro_batch_twice():
    engine = gm.Engine()
    for _ in range(2):
        engine.observe(**SMALL, rank=0, micro=0)


def ranks_counted_for_different_dialects():
    of_ranks(SMALL, SMALL, options=({"dialect": "verl"}, {}))


def a_gather_that_fails():
    class Broken(Rank):
        def gather(self, payload):
            raise ConnectionError("peer reset")

    engine = gm.Engine(gather=Broken(0, []))
    engine.step(1)


def a_rank_that_failed():
    parts = []
    second = gm.Engine(gather=Rank(1, parts))
    second.fail("out of memory")
    second.step(1)
    gm.Engine(gather=Rank(0, parts)).step(1)


def bytes_of_another_program():
    gm.Engine(gather=Rank(0, [b"something else"])).step(1)


CAUSES = {
    snapshot_of_another_range: "step 1: tokens were counted against the clip range (0.2, 0.2), but the controller's snapshot says (0.1, 0.28): "
    "give the snapshot with the batches, or the range in the engine's options",
    ranks_with_different_ranges: "rank 1 counted its tokens against the clip range (0.1, 0.28), rank 0 against the clip range (0.2, 0.2): "
    "give every rank the same options and the same clip range (in the options, or a weighting snapshot on each rank)",
    ranks_with_different_penalties: "rank 1 counted its tokens against the cap 2 of the sampler's ratio and the KL penalty none and a total "
    "reward of 1 as success, rank 0 against the cap none of the sampler's ratio and the KL penalty 0.1 times k1 and a reward `accuracy` "
    "of 0.5 as success: give every rank the same options and the same clip range (in the options, or a weighting snapshot on each rank)",
    ranks_that_keep_their_rewards_differently: "rank 0 retains its rewards as exact values, rank 1 as sketched values: give every rank the same `retain`",
    the_same_micro_batch_twice: "step 0: rank 0, micro-batch 0 is there twice",
    ranks_counted_for_different_dialects: "rank 1 counted its tokens against a row with what every dialect names, rank 0 against a row with what "
    "actor and critic report, which the dialect verl names: give every rank the same options and the same clip range (in the options, or a "
    "weighting snapshot on each rank)",
    a_gather_that_fails: "step 1: rank 0: Broken: ConnectionError: peer reset",
    a_rank_that_failed: "step 1: rank 1: out of memory",
    bytes_of_another_program: "step 1: rank 1: sent what cannot be read: expected a message that begins with `grpo-prt`, found `somethin`",
}


@pytest.mark.parametrize(("cause", "text"), CAUSES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_what_a_step_refuses_is_said_in_plain_english(cause, text):
    with pytest.raises(gm.StepError) as refused:
        cause()
    assert str(refused.value) == text
