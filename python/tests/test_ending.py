"""How a run stands in the store once its training is over, however that came."""

import json
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
    (SystemExit(143), ("cancelled", "SystemExit: 143")),  # as a handler of SIGTERM says it
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
    engine = gm.Engine(store=path, run="r", resume="allow")
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


def script(tmp_path, body, *, ended=0):
    """Runs a program of its own, and gives what it said on stderr."""
    text = f"""
        import os, signal, sys
        import grpo_metrics as gm
        os.chdir({str(tmp_path)!r})
        def train(engine, steps):
            for step in steps:
                engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
                engine.step(step)
    """
    program = textwrap.dedent(text) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == ended, done.stderr
    return done.stderr


OPTIONS = ["", ", journal='journal'"]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_program_that_exits_without_finish_keeps_its_rows_and_its_run_has_not_ended(tmp_path, options):
    body = f"engine = gm.Engine(store='runs.db', run='r', sinks=['rows.jsonl'], logging_steps=2{options}); train(engine, range(1, 6))"
    said = script(tmp_path, body)
    assert how(tmp_path / "runs.db") == ("running", None)
    assert said.startswith("an engine was not finished: its rows go to its sinks as it goes") and len(said.splitlines()) == 1
    assert steps_of(tmp_path / "runs.db") == [2, 4, 5]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 5]
    script(tmp_path, f"with gm.Engine(store='runs.db', run='r', resume='allow', logging_steps=2{options}) as engine: train(engine, [6])")  # goes on with it
    assert how(tmp_path / "runs.db") == ("completed", None)
    assert steps_of(tmp_path / "runs.db") == [2, 4, 5, 6]


def test_an_error_that_nobody_caught_is_what_an_unfinished_run_failed_of(tmp_path):
    body = "engine = gm.Engine(store='runs.db', run='r'); train(engine, [1]); raise ValueError('no such reward')"
    said = script(tmp_path, body, ended=1)
    assert how(tmp_path / "runs.db") == ("failed", "ValueError: no such reward")
    assert said.rstrip().endswith("ValueError: no such reward") and steps_of(tmp_path / "runs.db") == [1]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_program_that_is_killed_leaves_its_run_running_and_the_next_may_go_on_with_it(tmp_path, options):
    body = f"engine = gm.Engine(store='runs.db', run='r'{options}); train(engine, [1, 2]); os.kill(os.getpid(), signal.SIGKILL)"
    script(tmp_path, body, ended=-signal.SIGKILL)
    assert how(tmp_path / "runs.db") == ("running", None)
    script(tmp_path, f"with gm.Engine(store='runs.db', run='r', resume='must'{options}) as engine: train(engine, [3])")
    assert how(tmp_path / "runs.db") == ("completed", None)
    # A journal loses nothing; without one the rows that were waiting are gone.
    assert steps_of(tmp_path / "runs.db") == [1, 2, 3] or not options


def test_an_engine_that_is_let_go_of_sends_its_rows_and_does_not_complete_its_run(tmp_path):
    class Sink:
        def write(self, row):
            rows.append(row["step"])

    rows = []
    engine = gm.Engine(store=tmp_path / "runs.db", run="r", sinks=[Sink()], logging_steps=2)
    for step in (1, 2, 3):
        engine.observe(**SMALL)
        engine.step(step)
    del engine
    assert rows == [2, 3] == steps_of(tmp_path / "runs.db")
    assert how(tmp_path / "runs.db") == ("running", None)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_run_alone(tmp_path):
    engine = gm.Engine(store=tmp_path / "runs.db", run="r")
    engine.step(1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            status = 0 if engine.finish("failed", "the child's own") == [] else 1
            del engine
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert how(tmp_path / "runs.db") == ("running", None)
    engine.step(2)
    assert engine.finish()[0]["written"] == 2
    assert how(tmp_path / "runs.db") == ("completed", None)


def test_a_training_that_is_started_anew_under_the_same_name_is_a_run_of_its_own_and_says_so(tmp_path, caplog):
    path = tmp_path / "runs.db"
    for expected in ("r", "r-2"):
        with gm.Engine(store=path, run="r", journal=tmp_path / "journal") as engine:
            assert engine.run == expected
            engine.observe(**SMALL)
            engine.step(1)
    said = [record.getMessage() for record in caplog.records if "is there already" in record.getMessage()]
    assert len(said) == 1 and "run `r` is there already, so this one is `r-2`" in said[0]
    assert steps_of(path, "r") == steps_of(path, "r-2") == [1]
    with gm.Engine(store=path) as engine:
        unnamed = engine.run
    assert len(unnamed.split("-")) == 6 and how(path, unnamed) == ("completed", None)
    assert gm.Engine().run is None


def test_a_run_is_gone_on_with_by_the_same_options_alone_and_what_it_writes_again_is_marked(tmp_path):
    path, lines = tmp_path / "runs.db", tmp_path / "rows.jsonl"
    with gm.Engine(store=path, run="r", dialect="trl", sinks=[lines]) as engine:
        for step in (1, 2, 3):
            engine.observe(**SMALL)
            engine.step(step)
    with pytest.raises(gm.StoreError, match="run `r`: expected dialect trl, as it was begun with, found dialect verl"):
        gm.Engine(store=path, run="r", resume="allow", dialect="verl")
    assert how(path) == ("completed", None)
    with pytest.raises(gm.StoreError, match="expected run `s`"):
        gm.Engine(store=path, run="s", resume="must")
    with pytest.raises(gm.OptionError, match="`resume`: .*never allow must.*`perhaps`"):
        gm.Engine(store=path, run="r", resume="perhaps")
    with gm.Engine(store=path, run="r", resume="must", dialect="trl", sinks=[lines]) as engine:
        for step in (3, 4):
            engine.observe(**SMALL)
            engine.step(step)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["step"], row.get("again", False)) for row in rows] == [(1, False), (2, False), (3, False), (3, True), (4, False)]
    assert steps_of(path) == [1, 2, 3, 4]


def seen_at(path, run="r"):
    """As another process sees it: two libraries of SQLite in one process take each other's locks away."""
    query = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT seen_at FROM runs WHERE id = ?', sys.argv[2:]).fetchone()[0])"
    said = subprocess.run([sys.executable, "-c", query, str(path), run], capture_output=True, text=True, check=True).stdout.strip()
    return None if said == "None" else said


def test_a_run_that_is_written_gives_signs_of_life_and_a_forked_child_gives_none(tmp_path):
    path = tmp_path / "runs.db"
    engine = gm.Engine(store=path, run="r")
    assert seen_at(path) is not None
    if (child := os.fork()) == 0:
        threads = os.listdir("/proc/self/task")
        os._exit(len(threads) - 1)  # no heart is among them
    assert os.waitpid(child, 0)[1] == 0
    engine.finish()
    store = gm.Store(path)
    run = store.open_run("s")["id"]
    assert seen_at(path, run) is None and store.touch_run(run) and seen_at(path, run) is not None
