"""Without a word about journals: every row that a step has taken is delivered, whoever killed the training, and nothing is left lying about."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import grpo_metrics as gm
import pytest

SMALL = {"group_sizes": [2], "rewards": [0.0, 1.0]}


def train(engine, steps):
    for step in steps:
        engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
        engine.step(step)


def steps_of(path, run="r"):
    return sorted({m["step"] for m in gm.Store(path, read_only=True).get_metrics(run)})


def lines_of(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def how(path, run="r"):
    stored = gm.Store(path, read_only=True).get_run(run)
    return stored["status"], stored.get("error_message")


def program(body, *, ended=0, **options):
    """Runs a program of its own in the current folder: what it said."""
    head = """
        import os, signal, sys, time
        import grpo_metrics as gm
        def train(engine, steps):
            for step in steps:
                engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
                engine.step(step)
        class Away:
            def log_metrics(self, **_):
                raise ConnectionError("the server is away")
            def write(self, row):
                raise ConnectionError("the server is away")
    """
    text = textwrap.dedent(head) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == ended, done.stderr
    return done


def killed(engine, steps="range(1, 301)"):
    """Runs a training that is killed the moment its last step has returned."""
    program(f"engine = gm.Engine({engine}); train(engine, {steps}); os.kill(os.getpid(), signal.SIGKILL)", ended=-signal.SIGKILL)


KEEP = "store='runs.db', run='r', sinks=['rows.jsonl', 'csv:rows.csv']"


def test_what_a_killed_training_had_taken_is_delivered_by_the_next_engine_on_the_store_whatever_its_run(tmp_path, caplog):
    killed(KEEP)
    assert steps_of("runs.db") != list(range(1, 301))  # else this shows nothing
    with gm.Engine(store="runs.db", run="another", sinks=["rows.jsonl"]) as engine:
        assert {entry["journal"] for entry in engine.recovered} >= {str(tmp_path / "runs.db.journal" / "r" / "store")}
        train(engine, [1000])
    assert steps_of("runs.db") == list(range(1, 301)) and steps_of("runs.db", "another") == [1000]
    assert lines_of(tmp_path / "rows.jsonl") == [*range(1, 301), 1000]  # this run's sink first writes what was left for the same file
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 301
    assert how("runs.db") == ("running", None)  # as nobody has said how it ended
    assert not (tmp_path / "runs.db.journal").exists()
    assert "rows that are not delivered yet" in caplog.text


def test_a_training_that_goes_on_with_its_run_delivers_what_the_last_left_before_its_own(tmp_path):
    class Kept:
        def write(self, row):
            with open("kept", "a") as file:
                print(row["step"], file=file)

    killed(f"{KEEP[:-1]}, Away()]")
    # The same program's objects are known by their class.
    Kept.__qualname__, Kept.__module__ = "Away", "__main__"
    with gm.Engine(store="runs.db", run="r", resume="must", sinks=["rows.jsonl", "csv:rows.csv", Kept()]) as engine:
        train(engine, [301])
    assert steps_of("runs.db") == lines_of(tmp_path / "rows.jsonl") == list(range(1, 302))
    assert [int(line) for line in (tmp_path / "kept").read_text().split()] == list(range(1, 302))
    assert how("runs.db") == ("completed", None) and not (tmp_path / "runs.db.journal").exists()


def test_the_command_delivers_a_whole_folder_of_journals_to_where_each_was_meant_to_go(tmp_path, command):
    killed(KEEP)
    done = subprocess.run([*command, "deliver", "runs.db.journal"], capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [f"runs.db.journal/r/{sink}" for sink in ("sink0", "sink1", "store")]
    assert steps_of("runs.db") == lines_of(tmp_path / "rows.jsonl") == list(range(1, 301))
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 301
    assert not (tmp_path / "runs.db.journal").exists()
    again = subprocess.run([*command, "deliver", "runs.db.journal"], capture_output=True, text=True)
    assert again.returncode == 2 and "found nothing" in again.stderr


def test_the_command_and_doctor_say_what_waits_for_an_object_and_bring_it_where_they_are_told(tmp_path, command):
    killed("store='runs.db', run='r', sinks=[Away()]", "[1, 2]")
    found = subprocess.run([*command, "doctor", "--json"], capture_output=True, text=True, check=True)
    journals = {entry["path"]: entry["rows"] for entry in json.loads(found.stdout)["journals"]}
    assert journals["runs.db.journal/r/sink0"] == 2 and "--jsonl FILE" in found.stdout
    done = subprocess.run([*command, "deliver", "runs.db.journal"], capture_output=True, text=True)
    assert done.returncode == 2 and "meant for an object of the training's program (Away)" in done.stderr
    assert steps_of("runs.db") == [1, 2]  # the others are delivered all the same
    done = subprocess.run([*command, "deliver", "runs.db.journal/r/sink0", "--jsonl", "rows.jsonl"], capture_output=True, text=True)
    assert done.returncode == 0 and lines_of(tmp_path / "rows.jsonl") == [1, 2]


def test_what_was_meant_for_an_object_stays_for_that_run_and_the_next_engine_says_so(tmp_path, caplog):
    killed("store='runs.db', run='r', sinks=[Away()]", "[1, 2]")
    rows = []

    class Other:
        def write(self, row):
            rows.append(row["step"])

    with gm.Engine(store="runs.db", run="s", sinks=[Other()]) as engine:
        train(engine, [7])
    assert rows == [7]  # another run's rows are not its own
    assert "meant for an object of that training's program (Away)" in caplog.text and "deliver" in caplog.text
    assert [path.name for path in (tmp_path / "runs.db.journal" / "r").iterdir()] == ["sink0"]


def test_without_a_store_journals_lie_in_a_folder_of_their_own_here_by_run_and_the_next_engine_there_delivers(tmp_path):
    killed("sinks=['rows.jsonl'], run='one/../two'")
    [folder] = (tmp_path / ".grpo-metrics").iterdir()
    assert folder.name == "one%2F..%2Ftwo"  # and nowhere else
    killed("sinks=['rows.jsonl']", "[301]")
    with gm.Engine(sinks=["rows.jsonl"]) as engine:
        train(engine, [302])
    assert sorted(lines_of(tmp_path / "rows.jsonl")) == list(range(1, 303))
    assert not (tmp_path / ".grpo-metrics").exists()


def test_an_orderly_end_leaves_no_folder_and_an_engine_without_outputs_makes_none(tmp_path):
    gm.Engine().finish()
    with gm.Engine(store="runs.db", run="r", sinks=["rows.jsonl"]) as engine:
        train(engine, range(1, 4))
        assert (tmp_path / "runs.db.journal" / "r" / "store").is_dir()
    with gm.Engine(sinks=["jsonl:-"]) as engine:  # the console waits for nothing
        train(engine, [1])
        assert not (tmp_path / ".grpo-metrics").exists()
    assert [path.name for path in tmp_path.iterdir() if "journal" in path.name or path.name.startswith(".")] == []


def test_a_journal_in_use_is_left_to_its_training_and_the_same_run_twice_has_two(tmp_path):
    with gm.Engine(store="runs.db", run="r") as first:
        train(first, range(1, 20))
        with gm.Engine(store="runs.db", run="s") as other, gm.Engine(store="runs.db", run="r", resume="must") as second:
            assert sorted(path.name for path in (tmp_path / "runs.db.journal").iterdir()) == ["r", "r+2", "s"]
            train(second, range(20, 40))
            train(other, [1])
            assert other.recovered == second.recovered == []
        train(first, range(40, 60))
    assert steps_of("runs.db") == list(range(1, 60)) and not (tmp_path / "runs.db.journal").exists()


def test_many_short_trainings_at_once_on_one_store_take_nothing_from_each_other(tmp_path):
    gm.Store("runs.db")
    body = """
        for i in range(12):
            with gm.Engine(store='runs.db', run=f'{sys.argv[1]}-{i}') as engine:
                train(engine, [1, 2])
            assert engine.finish()[0]['written'] == 2
    """
    head = "import sys; import grpo_metrics as gm\n" + textwrap.dedent("""
        def train(engine, steps):
            for step in steps:
                engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
                engine.step(step)
    """)
    text = head + textwrap.dedent(body)
    trainings = [subprocess.Popen([sys.executable, "-c", text, name], stderr=subprocess.PIPE, text=True) for name in "abcd"]
    said = [training.communicate(timeout=240)[1] for training in trainings]
    assert [(training.returncode, words) for training, words in zip(trainings, said)] == [(0, "")] * 4
    for run in gm.Store("runs.db").list_runs():
        assert (run["status"], steps_of("runs.db", run["id"])) == ("completed", [1, 2])
    assert len(gm.Store("runs.db").list_runs()) == 48 and not (tmp_path / "runs.db.journal").exists()


def test_with_journal_false_a_row_is_in_the_store_and_in_the_sinks_when_the_step_returns(tmp_path):
    threads = []

    class Sink:
        def write(self, row):
            threads.append(threading.get_ident())

    with gm.Engine(store="runs.db", run="r", sinks=["rows.jsonl", Sink()], journal=False) as engine:
        for step in range(1, 6):
            train(engine, [step])
            assert steps_of("runs.db") == lines_of(tmp_path / "rows.jsonl") == list(range(1, step + 1))
    assert set(threads) == {threading.get_ident()} and not (tmp_path / "runs.db.journal").exists()
    with pytest.raises(gm.OptionError, match="`journal`: expected the path of a folder, or False, found 3"):
        gm.Engine(store="runs.db", journal=3)


def test_a_python_sink_is_called_from_one_thread_of_the_engines_also_for_what_an_earlier_training_left(tmp_path):
    killed("store=Away(), run='r'", "[1, 2]")
    calls = []

    class Away:
        def log_metrics(self, run_id, step, metrics, split):
            calls.append((threading.get_ident(), run_id, step))

        def update_run(self, run_id, patch):
            calls.append((threading.get_ident(), run_id, patch["status"]))

    Away.__qualname__, Away.__module__ = "Away", "__main__"
    with gm.Engine(store=Away(), run="s") as engine:
        train(engine, [7])
    of_thread = {thread for thread, *_ in calls}
    assert len(of_thread) == 1 and of_thread != {threading.get_ident()}
    # The rows that were left go to their own run, which stays as it stands.
    assert [call[1:] for call in calls] == [("r", 1), ("r", 2), ("s", "running"), ("s", 7), ("s", "completed")]
    assert not (tmp_path / ".grpo-metrics").exists()


def test_in_a_folder_of_ones_own_the_rows_of_an_object_stores_last_run_go_to_that_run(tmp_path):
    killed("store=Away(), run='r', journal='j'", "[1, 2]")
    calls = []

    class Server:
        def log_metrics(self, run_id, step, metrics, split):
            calls.append((run_id, step))

    with gm.Engine(store=Server(), run="s", journal="j") as engine:
        train(engine, [7])
    assert calls == [("r", 1), ("r", 2), ("s", 7)]


def test_a_store_that_is_down_at_the_end_leaves_rows_and_ending_to_the_next_engine(tmp_path):
    holds = "import sqlite3; db = sqlite3.connect('runs.db', isolation_level=None); db.execute('BEGIN EXCLUSIVE'); print('held', flush=True); input()"
    engine = gm.Engine(store="runs.db", run="r")
    with subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        train(engine, [1, 2, 3])
        since = time.monotonic()
        [receipt] = engine.finish("failed", "out of memory")
        assert time.monotonic() - since < 25  # a store waits 30 s for its turn, and nobody waits so long for the store
        other.communicate("let go\n")
    assert (receipt["sink"], receipt["accepted"], receipt["written"] + receipt["pending"], receipt["dropped"]) == ("store", 3, 3, 0)
    until = time.monotonic() + 60
    while (tmp_path / "runs.db.journal" / "r" / "store").exists() and time.monotonic() < until:
        gm.Engine(store="runs.db", run="s", resume="allow").finish()  # the thread of before may have the journal yet
    assert steps_of("runs.db") == [1, 2, 3] and how("runs.db") == ("failed", "out of memory")


def test_a_row_that_an_object_will_never_take_is_dropped_and_counted_and_those_behind_it_go_out():
    rows = []

    class Picky:
        def write(self, row):
            if row["step"] == 2:
                raise TypeError("no such step")
            rows.append(row["step"])

    engine = gm.Engine(sinks=[Picky()])
    train(engine, [1, 2, 3])
    [receipt] = engine.close()
    assert rows == [1, 3] and (receipt["accepted"], receipt["written"], receipt["dropped"]) == (3, 2, 1)
    assert "no such step" in receipt["error"]


def test_where_no_journal_can_be_made_rows_wait_in_memory_and_one_warning_says_so(tmp_path, caplog):
    (tmp_path / "runs.db.journal").write_text("somebody's file")
    with gm.Engine(store="runs.db", run="r", sinks=["rows.jsonl"]) as engine:
        train(engine, [1, 2, 3])
    receipts = engine.finish()
    assert [(receipt["sink"], receipt["written"]) for receipt in receipts] == [("store", 3), ("jsonl", 3)]
    assert steps_of("runs.db") == lines_of(tmp_path / "rows.jsonl") == [1, 2, 3]
    assert caplog.text.count("rows wait in memory instead") == 1


def limited():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond it fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))


def test_on_a_disk_that_is_full_from_the_start_the_training_goes_on_without_a_journal(tmp_path):
    body = """
        class Kept:
            def write(self, row):
                rows.append(row["step"])
        rows = []
        with gm.Engine(sinks=[Kept()]) as engine:
            train(engine, range(1, 51))
        print(rows == list(range(1, 51)), engine.finish()[0]["dropped"])
    """
    done = program(body, preexec_fn=limited)
    assert done.stdout == "True 0\n" and done.stderr.count("rows wait in memory instead") == 1
    assert os.strerror(errno.EFBIG) in done.stderr


def test_on_a_disk_that_fills_up_each_row_is_written_waiting_or_counted_as_dropped(tmp_path):
    body = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        engine = gm.Engine(sinks=[Away()], run="r")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        train(engine, range(1, 201))
        [receipt] = engine.finish()
        print(receipt["accepted"], receipt["written"], receipt["dropped"], receipt["pending"])
    """
    done = program(body)
    accepted, written, dropped, pending = map(int, done.stdout.split())
    assert (accepted, written) == (200, 0) and dropped > 0 and pending > 0 and dropped + pending == 200
    assert "a sink could not take the row" in done.stderr
    rows = []

    class Away:
        def write(self, row):
            rows.append(row["step"])

    Away.__qualname__, Away.__module__ = "Away", "__main__"
    gm.Engine(sinks=[Away()], run="r").finish()
    assert len(rows) == pending and rows == sorted(set(rows))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_delivers_nor_holds_the_journal_and_one_that_exits_removes_nothing(tmp_path):
    folder = tmp_path / "runs.db.journal" / "r" / "store"
    engine = gm.Engine(store="runs.db", run="r")
    train(engine, range(1, 11))
    ready, told = os.pipe()
    if (child := os.fork()) == 0:
        try:
            train(engine, range(1000, 1010))
            engine.finish("failed", "the child's own")
            del engine
            os.write(told, b"x")
            signal.pause()
        finally:
            os._exit(0)
    os.read(ready, 1)
    assert folder.is_dir()
    train(engine, range(11, 21))
    engine.finish()
    assert steps_of("runs.db") == list(range(1, 21)) and how("runs.db") == ("completed", None)
    assert not folder.exists()  # while the child lives
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM  # at once, as no handler is its own


def test_a_process_that_calls_os_exit_leaves_its_rows_to_the_next(tmp_path):
    program("engine = gm.Engine(store='runs.db', run='r'); train(engine, range(1, 101)); os._exit(0)")
    assert how("runs.db") == ("running", None)
    gm.Engine(store="runs.db", run="s").finish()
    assert steps_of("runs.db") == list(range(1, 101))


def test_what_an_engine_has_seen_can_be_asked_once_it_is_closed(tmp_path):
    engine = gm.Engine(store="runs.db", run="r")
    engine.observe(group_sizes=[3], rewards=[0.0, float("nan"), 1.0])
    row = engine.step(1)
    before = engine.census()
    assert engine.close() == engine.finish()
    assert engine.census() == before and before["rewards"] == {"seen": 3, "used": 2, "absent": 0, "nonfinite": 1}
    assert (engine.last_row, engine.run, engine.recovered) == (row, "r", [])


def test_a_column_with_nan_is_said_once_with_its_name_and_count_and_its_total_at_the_end(caplog):
    with gm.Engine() as engine:
        for step, bad in enumerate([0, 2, 3, 0, 1], start=1):
            rewards = [float("nan")] * bad + [1.0] * (4 - bad)
            engine.observe(group_sizes=[4], rewards=rewards, reward_components={"accuracy": [0.0] * 4})
            engine.step(step)
    said = [record.getMessage() for record in caplog.records if "NaN" in record.getMessage()]
    assert said == [
        "step 2: `rewards`: 2 of 4 values are NaN or infinite and are left out; later ones are counted, and told of at the end",
        "in all steps: `rewards`: 6 of 20 values were NaN or infinite and were left out",
    ]
