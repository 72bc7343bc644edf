"""A training that is told to end, breaks off or is interrupted: its rows are delivered and its run stands as it ended, before the process dies."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import grpo_metrics as gm
import pytest

HEAD = """
    import os, signal, sys, threading, time
    import grpo_metrics as gm
    def train(engine, steps):
        for step in steps:
            engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
            engine.step(step)
    def told(number=signal.SIGTERM):
        os.kill(os.getpid(), number)
        time.sleep(60)  # the handler runs before this is over
"""
OPEN = "engine = gm.Engine(store='runs.db', run='r', sinks=['rows.jsonl'], logging_steps=2); train(engine, range(1, 6)); "


def steps_of(path="runs.db", run="r"):
    return sorted({m["step"] for m in gm.Store(path, read_only=True).get_metrics(run)})


def how(path="runs.db", run="r"):
    stored = gm.Store(path, read_only=True).get_run(run)
    return stored["status"], stored.get("error_message")


def program(body, *, ended):
    """Runs a program of its own in the current folder, which has to end so: what it said."""
    text = textwrap.dedent(HEAD) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == ended, (done.returncode, done.stdout, done.stderr)
    return done


WITH = "with gm.Engine(store='runs.db', run='r', sinks=['rows.jsonl'], logging_steps=2) as engine:\n    train(engine, range(1, 6))\n    "
UNCAUGHT = "import signal, sys; sys.excepthook = lambda *_: None\n"


@pytest.mark.parametrize(
    ("body", "ended", "stands"),
    [
        (OPEN + "told()", -signal.SIGTERM, ("cancelled", "SIGTERM")),
        (WITH + "told()", -signal.SIGTERM, ("cancelled", "SIGTERM")),
        (WITH + "told(signal.SIGINT)", -signal.SIGINT, ("cancelled", "KeyboardInterrupt")),
        (OPEN + "told(signal.SIGINT)", -signal.SIGINT, ("cancelled", "KeyboardInterrupt")),
        (WITH + "raise ValueError('no such reward')", 1, ("failed", "ValueError: no such reward")),
        (OPEN + "raise ValueError('no such reward')", 1, ("failed", "ValueError: no such reward")),
        (WITH + "sys.exit(3)", 3, ("failed", "SystemExit: 3")),
        (OPEN + "engine.close()", 0, ("completed", None)),
        (OPEN, 0, ("running", None)),
    ],
)
def test_a_training_that_ends_otherwise_has_its_rows_where_they_belong_and_its_run_says_how(tmp_path, body, ended, stands):
    program(body, ended=ended)
    assert how() == stands and steps_of() == [2, 4, 5]
    assert not (tmp_path / "runs.db.journal").exists()


@pytest.mark.parametrize(("leave", "ended"), [("os._exit(0)", 0), ("told(signal.SIGKILL)", -signal.SIGKILL)])
def test_a_training_that_cannot_say_how_it_ended_leaves_its_run_as_it_stands_and_its_rows_to_the_next(leave, ended):
    program(WITH + leave, ended=ended)
    gm.Engine(store="runs.db", run="s").finish()
    # The steps left over are no row yet.
    assert how() == ("running", None) and steps_of() == [2, 4]


def test_several_engines_end_and_one_that_has_ended_stays_as_it_ended():
    body = """
        ended = gm.Engine(store='runs.db', run='ended')
        ended.finish('failed', 'before')
        engines = [gm.Engine(store='runs.db', run=run) for run in 'ab']
        for engine in engines:
            train(engine, [1])
        told()
    """
    program(body, ended=-signal.SIGTERM)
    assert [how(run=run) for run in ("ended", "a", "b")] == [("failed", "before"), *[("cancelled", "SIGTERM")] * 2]
    assert steps_of(run="a") == steps_of(run="b") == [1]


def test_sigterm_in_the_middle_of_a_step_ends_the_run_when_the_step_is_over():
    body = """
        class Sink:
            def write(self, row):
                if row['step'] == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0.05)
                print(row['step'], flush=True)
            def ended(self, status, error):
                print(status, error, flush=True)
        engine = gm.Engine(sinks=[Sink()], journal=False)
        train(engine, range(1, 10))
    """
    done = program(body, ended=-signal.SIGTERM)
    assert done.stdout.split("\n") == ["1", "2", "3", "cancelled SIGTERM", ""]


def test_a_store_that_hangs_does_not_keep_the_process_and_its_rows_stay():
    body = """
        class Hangs:
            def log_metrics(self, **_):
                threading.Event().wait()
        engine = gm.Engine(store=Hangs(), run='r', sinks=['rows.jsonl'])
        train(engine, range(1, 6))
        told()
    """
    since = time.monotonic()
    program(body, ended=-signal.SIGTERM)
    assert time.monotonic() - since < 40  # 10 s for all sinks, and the interpreter's start
    calls = []

    class Hangs:
        def log_metrics(self, run_id, step, metrics, split):
            calls.append((run_id, step))

        def update_run(self, run_id, patch):
            calls.append((run_id, patch))

    Hangs.__qualname__, Hangs.__module__ = "Hangs", "__main__"
    gm.Engine(store=Hangs(), run="s").finish()
    of_r = [call[1] for call in calls if call[0] == "r"]
    assert of_r == [1, 2, 3, 4, 5, {"status": "cancelled", "error_message": "SIGTERM"}]


def test_a_handler_of_the_programs_own_is_left_alone_whenever_it_was_set():
    before = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    program(before + WITH + "told()", ended=143)
    assert how() == ("cancelled", "SystemExit: 143") and steps_of() == [2, 4, 5]
    for run in ("s", "t"):  # one that calls what was there before, too
        chained = "old = signal.getsignal(signal.SIGTERM); signal.signal(signal.SIGTERM, lambda *a: (print('mine', flush=True), old(*a)))\n"
        body = f"engine = gm.Engine(store='runs.db', run='{run}'); train(engine, [1]); {chained}told()"
        done = program(body, ended=-signal.SIGTERM)
        assert done.stdout == "mine\n" and how(run=run) == ("cancelled", "SIGTERM")
    ignored = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + OPEN.replace("'r'", "'u'") + "os.kill(os.getpid(), 15); engine.finish()"
    program(ignored, ended=0)
    assert how(run="u") == ("completed", None)


def test_there_is_a_handler_only_while_an_engine_is_open():
    body = """
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with gm.Engine() as first:
            ours = signal.getsignal(signal.SIGTERM)
            assert callable(ours)
            second = gm.Engine()
            first.finish()
            assert signal.getsignal(signal.SIGTERM) is ours
        second.finish()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        third = gm.Engine()
        assert signal.getsignal(signal.SIGTERM) is ours
        del third
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        heard = []
        worker = threading.Thread(target=lambda: heard.append(gm.Engine().finish()))
        worker.start()
        worker.join()
        assert heard == [[]] and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        engine = gm.Engine()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is set later stays
        engine.finish()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    """
    program(body, ended=0)


def test_an_engine_of_another_thread_is_ended_as_well_where_one_of_the_main_thread_listens():
    body = """
        def work():
            global engine
            engine = gm.Engine(store='runs.db', run='r')
            train(engine, [1, 2])
            ready.set()
            while True:
                engine.census()
        ready = threading.Event()
        listens = gm.Engine()
        threading.Thread(target=work, daemon=True).start()
        ready.wait(60)
        told()
    """
    program(body, ended=-signal.SIGTERM)
    assert how() == ("cancelled", "SIGTERM") and steps_of() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_worker_that_is_told_to_end_says_nothing_of_its_parents_run():
    body = """
        import multiprocessing
        engine = gm.Engine(store='runs.db', run='r')
        train(engine, [1])
        worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))
        worker.start()
        worker.terminate()
        worker.join(30)
        print(worker.exitcode, gm.Store('runs.db', read_only=True).get_run('r')['status'])
        train(engine, [2])
        engine.finish()
    """
    assert program(body, ended=0).stdout == f"{-signal.SIGTERM} running\n"
    assert how() == ("completed", None) and steps_of() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_is_told_to_end_as_soon_as_it_is_there_ends():
    body = """
        engine = gm.Engine(store='runs.db', run='r')
        ends = []
        for _ in range(100):
            child = os.fork()
            if child == 0:
                time.sleep(0.2)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            ends.append(os.waitpid(child, 0)[1])
        print(set(ends), signal.pthread_sigmask(signal.SIG_BLOCK, []))
        engine.finish()
    """
    assert program(body, ended=0).stdout == f"{{{int(signal.SIGTERM)}}} set()\n"


TRAINER = """
    from types import SimpleNamespace
    from grpo_metrics.trl import GrpoMetricsCallback
    callback = GrpoMetricsCallback('runs.db', run='r')
    state = SimpleNamespace(global_step=1, is_world_process_zero=True)
    callback.on_train_begin(SimpleNamespace(), state, None)
    callback.on_log(None, state, None, {'loss': 0.5})
    told()
"""


def test_a_trainers_callback_ends_its_run_as_well():
    program(TRAINER, ended=-signal.SIGTERM)
    assert how() == ("cancelled", "SIGTERM") and steps_of() == [1]


TUNIX = """
    from grpo_metrics.tunix import backend_factory
    backend = backend_factory('runs.db', run='r')()
    backend.log_scalar('loss', 1.0, step=1)
    backend.log_scalar('loss', 2.0, step=2)
    told()
"""


def test_a_backend_of_tunix_sends_the_row_it_has_begun_and_ends_its_run_as_well():
    program(TUNIX, ended=-signal.SIGTERM)
    assert how() == ("cancelled", "SIGTERM") and steps_of() == [1, 2]


@pytest.mark.parametrize(
    ("ended", "code", "stands"),
    [
        ("SIGTERM", -signal.SIGTERM, ("cancelled", "SIGTERM")),
        ("SIGINT", -signal.SIGINT, ("cancelled", "KeyboardInterrupt")),
        ("error", 1, ("failed", "ValueError: no reward today")),
        ("exit", 0, ("running", None)),
        ("SIGKILL", -signal.SIGKILL, ("running", None)),
    ],
)
def test_an_instrumented_training_of_trl_ends_as_any_other(tmp_path, ended, code, stands):
    for module in ("torch", "trl", "datasets"):
        pytest.importorskip(module)
    worker = [sys.executable, str(Path(__file__).with_name("trl_killed.py")), ended]
    done = subprocess.run(worker, capture_output=True, text=True, timeout=900)
    assert done.returncode == code, done.stderr
    if stands[0] == "running":
        gm.Engine(store="runs.db", run="s").finish()
    assert how() == stands
    store = gm.Store("runs.db", read_only=True)
    assert [m["step"] for m in store.get_metrics("r", name="reward")] == [1, 2]
    assert not (tmp_path / "runs.db.journal").exists()
