"""Forked children (a DataLoader's workers, say) beside the process that opened the engine: they cost it no row, no run and no journal."""

import json
import logging
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import grpo_metrics as gm
import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


@pytest.fixture(autouse=True)
def _heard(caplog):
    with caplog.at_level(logging.WARNING, logger="grpo_metrics"):
        yield


def train(engine, steps):
    for step in steps:
        engine.observe(**SMALL)
        engine.step(step)


def forked(body):
    """Runs `body` in a forked child that ends as `os._exit` does: how it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            status = body() or 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def lines_of(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def steps_of(path, run="r"):
    return sorted({m["step"] for m in gm.Store(path, read_only=True).get_metrics(run)})


def status_of(path, run="r"):
    return gm.Store(path, read_only=True).get_run(run)["status"]


class Kept:
    """A sink that is an object, and writes where its children would as well."""

    def __init__(self, path):
        self.path = path

    def write(self, row):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": row["step"]}) + "\n")


OUTPUTS = {
    "jsonl": lambda folder: {"sinks": [folder / "rows.jsonl"]},
    "object": lambda folder: {"sinks": [Kept(folder / "rows.jsonl")]},
    "store": lambda folder: {"store": folder / "runs.db", "run": "r"},
}


@pytest.mark.parametrize("journal", [False, True], ids=["plain", "journal"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_forked_child_that_steps_costs_its_parent_no_row_and_adds_none(tmp_path, caplog, output, journal):
    options = OUTPUTS[output](tmp_path) | ({"journal": tmp_path / "journal"} if journal else {})
    engine = gm.Engine(**options)
    train(engine, range(100))
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                train(engine, range(10_000, 10_300))
                engine.log(10_300, {"eval/own": 1.0})
                nothing = (engine.step(10_301), engine.last_row, engine.census(), engine.computes("train/reward"))
                told = [record.message for record in caplog.records if "forked" in record.message]
                status = 0 if nothing == (None, None, {}, False) and len(told) == 1 else 2
            finally:
                os._exit(status)
        children.append(child)
    train(engine, range(100, 400))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    train(engine, range(400, 500))
    [receipt] = engine.finish()
    assert [receipt[name] for name in ("accepted", "written", "dropped", "pending")] == [500, 500, 0, 0], receipt
    found = steps_of(tmp_path / "runs.db") if output == "store" else lines_of(tmp_path / "rows.jsonl")
    assert found == list(range(500))
    assert not [record for record in caplog.records if "forked" in record.message]  # nobody is forked here


def test_a_forked_child_neither_gathers_nor_records_in_its_parents_place(tmp_path):
    class Ranks:
        rank, world_size = 0, 2

        def gather(self, payload):
            with (tmp_path / "gathered").open("a") as file:
                file.write("x")
            return [payload, None]

    engine = gm.Engine(gather=Ranks(), policy="go_on", recorder=tmp_path / "records")
    train(engine, [1])

    def child():
        train(engine, range(2, 50))

    assert forked(child) == 0
    train(engine, [2])
    engine.finish()
    assert (tmp_path / "gathered").read_text() == "xx"
    recorded = [line for file in (tmp_path / "records").rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(json.loads(line)["step"] for line in recorded) == [1, 2]


@pytest.mark.parametrize("options", ["", ", journal='journal'"], ids=["plain", "journal"])
@pytest.mark.parametrize("leave", ["sys.exit(0)", "sys.exit(3)", "raise ValueError('own')", "pass", "engine.finish()", "del engine"])
def test_a_child_that_leaves_its_parents_block_ends_at_once_and_ends_nothing(tmp_path, leave, options):
    """A program of its own, as a child that leaves the block goes on with the program: to the end of the interpreter, here."""
    body = f"""
        import os, sys, time
        import grpo_metrics as gm
        os.chdir({str(tmp_path)!r})
        child = None
        try:
            with gm.Engine(store='runs.db', run='r', sinks=['rows.jsonl']{options}) as engine:
                for step in range(20):
                    engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
                    engine.step(step)
                child = os.fork()
                if child == 0:
                    engine.step(20)
                    {leave}
                else:
                    since = time.monotonic()
                    os.waitpid(child, 0)
                    took = time.monotonic() - since
                    print(took < 10, gm.Store('runs.db', read_only=True).get_run('r')['status'])
                    engine.step(20)
        finally:
            if child == 0:
                engine = None
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(body)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True running\n"), done.stderr
    assert status_of(tmp_path / "runs.db") == "completed"
    assert steps_of(tmp_path / "runs.db") == list(range(21)) == lines_of(tmp_path / "rows.jsonl")


def test_a_process_of_multiprocessing_that_leaves_the_block_ends_nothing(tmp_path):
    options = {"store": tmp_path / "runs.db", "run": "r", "journal": tmp_path / "journal"}
    with gm.Engine(**options) as engine:
        train(engine, range(5))

        def work():
            with engine:
                train(engine, range(100, 110))

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        assert status_of(tmp_path / "runs.db") == "running"
        train(engine, range(5, 10))
    assert (status_of(tmp_path / "runs.db"), steps_of(tmp_path / "runs.db")) == ("completed", list(range(10)))


def orphaned(tmp_path, body):
    """Runs a program that is killed while workers of its own live on: what it said, and the workers' ids."""
    text = f"""
        import multiprocessing, os, signal, sys, time
        import grpo_metrics as gm
        os.chdir({str(tmp_path)!r})
        class Refuses:
            def write(self, row):
                raise OSError("not today")
        def work(engine, told):
            engine.step(10_000)  # as a reward function might
            told.set()
            time.sleep(600)
        context = multiprocessing.get_context("fork")
        def workers(engine):
            for _ in range(2):
                told = context.Event()
                worker = context.Process(target=work, args=(engine, told), daemon=True)
                worker.start()
                told.wait(30)
                print(worker.pid, flush=True)
    """
    program = textwrap.dedent(text) + textwrap.dedent(body)
    # Workers that live on keep the pipe open: what was said is read up to the last line.
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        workers = [int(process.stdout.readline()) for _ in range(2)] if ready else []
        process.wait(60)
        process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    for worker in workers:
        os.kill(worker, 0)  # lives
    return workers


def test_after_a_kill_the_next_engine_opens_at_once_though_the_workers_of_the_last_live_on(tmp_path):
    workers = orphaned(
        tmp_path,
        """
        engine = gm.Engine(sinks=[Refuses()], journal="journal")
        for step in range(50):
            engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
            engine.step(step)
        workers(engine)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    try:
        taken = Kept(tmp_path / "rows.jsonl")
        engine = gm.Engine(sinks=[taken], journal=tmp_path / "journal")
        train(engine, [50])
        [receipt] = engine.finish()
        assert (receipt["accepted"], receipt["written"]) == (51, 51)
        assert lines_of(taken.path) == list(range(51))
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)


def opens(folder):
    """Whether another program may use the journal, and what it is told if not."""
    program = f"import grpo_metrics as gm; gm.Engine(sinks=[{str(folder.parent / 'other.jsonl')!r}], journal={str(folder)!r}).finish()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return done.stderr.rstrip().rpartition("\n")[2] if done.returncode else None


def test_a_journal_in_use_is_refused_to_children_others_and_its_own_process_which_keeps_it(tmp_path):
    folder, used = tmp_path / "journal", f"in use by process {os.getpid()}$"
    options = {"sinks": [tmp_path / "rows.jsonl"], "journal": folder}
    (by_another_name := tmp_path / "link").symlink_to(folder)
    engine = gm.Engine(**options)
    train(engine, [1])
    for _ in range(2):
        # Whoever is refused must not take the lock away by that: closing a file lets go of its process's locks on it.
        with pytest.raises(gm.SinkError, match=used):
            gm.Engine(**options)
        with pytest.raises(gm.SinkError, match=used):
            gm.Engine(**options | {"journal": by_another_name})

        def child():
            with pytest.raises(gm.SinkError, match=used):
                gm.Engine(**options)

        assert forked(child) == 0
        assert f"in use by process {os.getpid()}" in opens(folder)
    train(engine, [2])
    assert engine.finish()[0]["written"] == 2
    assert opens(folder) is None
    gm.Engine(**options).finish()


def test_a_child_opens_what_its_parent_has_let_go_of_and_then_has_it_alone(tmp_path):
    options = {"sinks": [tmp_path / "rows.jsonl"], "journal": tmp_path / "journal"}
    train(engine := gm.Engine(**options), [1])
    engine.finish()

    def child():
        nonlocal engine
        own = gm.Engine(**options)
        train(own, [2])
        engine = None
        assert f"in use by process {os.getpid()}" in opens(tmp_path / "journal")
        assert own.finish()[0]["written"] == 1

    assert forked(child) == 0
    assert lines_of(tmp_path / "rows.jsonl") == [1, 2]


def test_a_copy_of_the_folder_made_by_the_training_itself_gives_the_journal_to_nobody_else_for_long(tmp_path):
    folder = tmp_path / "journal"
    engine = gm.Engine(sinks=[tmp_path / "rows.jsonl"], journal=folder)
    train(engine, [1])
    for lock in folder.rglob("lock"):
        lock.read_bytes()  # as a checkpoint's copy does
    train(engine, [2])
    deadline = time.monotonic() + 30
    while len(lines_of(tmp_path / "rows.jsonl")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "in use by process" in opens(folder)
    assert engine.finish()[0]["written"] == 2


def test_an_embedded_store_is_the_one_of_the_process_that_opened_it(tmp_path):
    store = gm.Store(tmp_path / "runs.db")
    store.open_run("r")

    def child():
        nonlocal store
        for call in (lambda: store.log_metrics("r", 1, {"a": 1.0}), lambda: store.get_run("r"), lambda: store.get_metrics("r")):
            with pytest.raises(gm.StoreError, match="forked"):
                call()
        own = gm.Store(tmp_path / "runs.db")
        own.log_metrics("r", 2, {"a": 2.0})
        store = None  # let go of, not closed
        del own

    assert forked(child) == 0
    store.log_metrics("r", 3, {"a": 3.0})
    assert [m["step"] for m in store.get_metrics("r")] == [2, 3]
    del store
    assert steps_of(tmp_path / "runs.db") == [2, 3]


def test_a_trainers_callback_that_a_child_inherits_says_nothing_of_the_run(tmp_path):
    from types import SimpleNamespace

    from grpo_metrics.trl import GrpoMetricsCallback

    callback = GrpoMetricsCallback(tmp_path / "runs.db", run="r")
    state = SimpleNamespace(global_step=1, is_world_process_zero=True)
    callback.on_train_begin(SimpleNamespace(), state, None)

    def child():
        nonlocal callback
        since = time.monotonic()
        callback.on_log(None, state, None, {"loss": 9.0})
        callback.on_train_end(None, state, None)
        callback = None  # as at the interpreter's end
        return 0 if time.monotonic() - since < 10 else 2

    assert forked(child) == 0
    assert status_of(tmp_path / "runs.db") == "running"
    callback.on_log(None, state, None, {"loss": 0.5})
    callback.on_train_end(None, state, None)
    assert status_of(tmp_path / "runs.db") == "completed"
    assert [m["value"] for m in gm.Store(tmp_path / "runs.db").get_metrics("r")] == [0.5]
