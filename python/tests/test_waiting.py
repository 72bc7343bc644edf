"""No step waits for a store, and no row is lost on the way to it."""

import subprocess
import sys
import threading
import time

import grpo_metrics as gm
import pytest

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


def train(engine, steps):
    for step in steps:
        engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
        engine.step(step)


def rewards_of(path, run="r"):
    store = gm.Store(path, read_only=True)
    return {m["step"]: m["value"] for m in store.get_metrics(run, "train/reward")}


def test_no_step_waits_for_a_plain_store_whose_file_is_held(tmp_path):
    engine = gm.Engine(store=tmp_path / "runs.db", run="r")
    # Locks of files are between processes. No writer gets on until this one is told to let go.
    program = f"import sqlite3; db = sqlite3.connect({str(tmp_path / 'runs.db')!r}, isolation_level=None)"
    program += "; db.execute('BEGIN EXCLUSIVE'); print('held', flush=True); input(); db.execute('ROLLBACK')"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        train(engine, range(1, 51))
        assert gm.Store(tmp_path / "runs.db", read_only=True).get_metrics("r") == []
        other.communicate("let go\n")
    [receipt] = engine.finish()
    assert (receipt["sink"], receipt["accepted"], receipt["written"], receipt["error"]) == ("store", 50, 50, None)
    assert rewards_of(tmp_path / "runs.db") == {step: step / 2 for step in range(1, 51)}


def test_no_step_waits_for_a_store_that_is_an_object_and_hangs():
    go_on, rows = threading.Event(), []

    class Slow:
        def log_metrics(self, *, run_id, step, metrics, split):
            assert go_on.wait(60)
            rows.append(step)

    engine = gm.Engine(store=Slow(), run="r")
    train(engine, [1, 2, 3])  # returns although the store hangs
    assert rows == []
    go_on.set()
    [receipt] = engine.finish()
    assert rows == [1, 2, 3] and (receipt["accepted"], receipt["written"]) == (3, 3)


def test_a_sink_behind_a_journal_that_asks_for_the_last_row_does_not_hold_up_the_end(tmp_path):
    class Asks:
        def write(self, row):
            time.sleep(0.2)  # so that the end waits for it
            seen.append((row["step"], engine.last_row is not None, engine.recovered))

    seen = []
    engine = gm.Engine(sinks=[Asks()], journal=tmp_path / "journal", logging_steps=2)
    train(engine, [1, 2, 3])
    since = time.monotonic()
    [receipt] = engine.finish()
    assert time.monotonic() - since < 8  # its patience is 10 s
    assert (receipt["written"], receipt["pending"], receipt["error"]) == (2, 0, None)
    assert seen == [(2, True, []), (3, True, [])]


def test_a_second_thread_that_finishes_waits_for_the_first_and_hears_the_same(tmp_path):
    class Slow:
        def write(self, row):
            begun.set()
            time.sleep(0.5)

    begun, heard = threading.Event(), []
    engine = gm.Engine(sinks=[Slow()], journal=tmp_path / "journal")
    train(engine, [1])
    assert begun.wait(60)
    first = threading.Thread(target=lambda: heard.append(engine.finish()))
    first.start()
    heard.append(engine.finish())
    first.join()
    assert heard[0] == heard[1] and heard[0][0]["written"] == 1


@pytest.mark.parametrize("kind", ["path", "object", "journal"])
def test_a_row_that_a_resume_cut_short_leaves_the_one_over_more_steps(tmp_path, kind):
    path = tmp_path / "runs.db"

    def engine():
        if kind == "object":
            store = gm.Store(path)
            store.open_run("r", resume="allow")
            return gm.Engine(store=store, run="r", logging_steps=3)
        options = {"journal": tmp_path / "journal"} if kind == "journal" else {}
        return gm.Engine(store=path, run="r", resume="allow", logging_steps=3, **options)

    with engine() as first:
        train(first, range(1, 15))
    assert rewards_of(path) == {3: 1.0, 6: 2.5, 9: 4.0, 12: 5.5, 14: 6.75}
    with engine() as again:  # from the checkpoint of step 10, with other data
        for step in range(11, 17):
            again.observe(group_sizes=[1], rewards=[100.0 + step])
            again.step(step)
    # 12 stays as it was, over 10 to 12; 15 is new; 14 was the first life's last, and 16 is the second's.
    assert rewards_of(path) == {3: 1.0, 6: 2.5, 9: 4.0, 12: 5.5, 14: 6.75, 15: 114.0, 16: 116.0}
    with engine() as whole:  # from step 9: whole windows replace what stands, whatever it is over
        for step in range(10, 13):
            whole.observe(group_sizes=[1], rewards=[200.0 + step])
            whole.step(step)
    assert rewards_of(path)[12] == 211.0
