"""The forwarder and the store logger, over stores of our own and of another make."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest

import grpo_metrics as gm
from grpo_metrics.evsys import EvsysLoggerCallback, forward_step_metrics


class Recorded:
    """A store that remembers what it was asked, and refuses the steps it is told to."""

    def __init__(self):
        self.calls, self.refuses = [], set()

    def log_metrics(self, run_id, step, metrics, split=None):
        if step in self.refuses:
            raise ConnectionError("gateway is down")
        self.calls.append((run_id, step, metrics, split))


def write(path, *lines, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def test_both_shapes_of_rows_go_out_and_what_is_none_is_skipped(tmp_path):
    write(
        tmp_path / "metrics.jsonl",
        {"ts": 1.0, "step": 50, "metrics": {"loss": 0.42, "text": "x", "flag": True}},
        {"step": 51, "epoch": 0, "train_mean_nll": 0.42, "time/step": 18.1, "progress": 0.5, "timestamp": 3},
        {"step": 52, "metrics": {"val/acc": 0.5, "loss": 1}},
        {"step": 53, "metrics": {}, "loss": 2},
        {"step": 54, "epoch": 1},
        {"metrics": {"loss": 1}},
        "not json\n",
        "[1]\n",
    )
    store = Recorded()
    assert forward_step_metrics(store, "r", tmp_path) == 5
    assert store.calls == [
        ("r", 50, {"loss": 0.42, "flag": 1.0}, None),
        ("r", 51, {"train_mean_nll": 0.42, "time/step": 18.1}, None),
        ("r", 52, {"loss": 1.0}, None),
        ("r", 52, {"val/acc": 0.5}, "val"),
        ("r", 53, {"loss": 2.0}, None),
    ]


def test_the_file_is_found_in_logs_then_in_the_folder_then_below(tmp_path):
    store = Recorded()
    for step, place in enumerate(["a/b/metrics.jsonl", "c/metrics.jsonl", "metrics.jsonl", "logs/metrics.jsonl"]):
        write(tmp_path / place, {"step": step, "loss": 1.0})
        forward_step_metrics(store, "r", tmp_path)
    assert [step for _, step, _, _ in store.calls] == [0, 1, 2, 3]


@pytest.mark.parametrize("missing", ["store", "run", "folder", "file"])
def test_nothing_is_sent_where_something_is_missing(tmp_path, missing):
    if missing != "file":
        write(tmp_path / "metrics.jsonl", {"step": 1, "loss": 1.0})
    store = None if missing == "store" else Recorded()
    run = None if missing == "run" else "r"
    folder = None if missing == "folder" else tmp_path
    assert forward_step_metrics(store, run, folder) == 0
    assert forward_step_metrics(Recorded(), "r", tmp_path / "none") == 0


def test_a_second_forward_sends_what_is_new_and_what_was_refused(tmp_path, caplog):
    file, store = tmp_path / "metrics.jsonl", Recorded()
    write(file, {"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, '{"step": 3, "lo')
    store.refuses = {1}
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        assert forward_step_metrics(store, "r", tmp_path) == 1
    assert "gateway is down" in caplog.text
    store.refuses = set()
    write(file, 'ss": 3.0}\n', mode="a")
    assert forward_step_metrics(store, "r", tmp_path) == 2
    assert forward_step_metrics(store, "r", tmp_path) == 0
    assert [step for _, step, _, _ in store.calls] == [2, 1, 3]
    assert forward_step_metrics(store, "other run", tmp_path) == 3
    write(file, {"step": 9, "loss": 1.0})
    assert forward_step_metrics(store, "r", tmp_path) == 1


def test_each_of_two_stores_gets_every_row_of_the_same_run(tmp_path):
    write(tmp_path / "metrics.jsonl", *({"step": step, "loss": 1.0} for step in range(10)))
    ours = [gm.Store(tmp_path / name) for name in ("a.db", "b.db")]
    for store in ours:
        store._call("open_run", name="r")
    theirs = [Recorded(), Recorded()]
    named = [SimpleNamespace(name=name, log_metrics=Recorded().log_metrics) for name in ("a", "b")]
    for store in [*ours, *theirs, *named]:
        assert forward_step_metrics(store, "r", tmp_path) == 10
        assert forward_step_metrics(store, "r", tmp_path) == 0
    # The same store by another way, as another process has it.
    (tmp_path / "sub").mkdir()
    again = gm.Store(tmp_path / "sub" / ".." / "a.db")
    assert forward_step_metrics(again, "r", tmp_path) == 0
    for store in ours:
        assert [m["step"] for m in store.get_metrics("r")] == list(range(10))


def test_no_line_stops_the_file(tmp_path, caplog):
    bad = ['{"step": 2, "loss": ' + "9" * 400 + "}\n", '{"step": 3, "a": ' + "[" * 100_000 + "]" * 100_000 + "}\n"]
    write(tmp_path / "metrics.jsonl", {"step": 1, "loss": 1.0}, *bad, {"step": 4, "loss": 1.0})
    store = Recorded()
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        assert forward_step_metrics(store, "r", tmp_path) == 2
    assert [step for _, step, _, _ in store.calls] == [1, 4]
    assert "2 lines of metrics.jsonl are no rows" in caplog.text and "line 2: " in caplog.text


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_memory_is_set_aside_and_the_file_is_read_from_its_start(tmp_path, damage, caplog):
    write(tmp_path / "metrics.jsonl", {"step": 1, "loss": 1.0})
    store = Recorded()
    assert forward_step_metrics(store, "r", tmp_path) == 1
    [memory] = tmp_path.glob(".*.forwarded.json")
    memory.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        assert forward_step_metrics(store, "r", tmp_path) == 1
    assert "read from its start" in caplog.text
    assert memory.with_name(memory.name + ".damaged").read_bytes() == damage
    assert forward_step_metrics(store, "r", tmp_path) == 0


def test_ctrl_c_in_a_store_stops_the_forward_and_loses_no_row(tmp_path):
    class Interrupted(Recorded):
        def log_metrics(self, run_id, step, metrics, split=None):
            super().log_metrics(run_id, step, metrics, split)
            if step == 2:
                raise KeyboardInterrupt

    write(tmp_path / "metrics.jsonl", *({"step": step, "loss": 1.0} for step in range(100)))
    store = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        forward_step_metrics(store, "r", tmp_path)
    assert [step for _, step, _, _ in store.calls] == [0, 1, 2]
    store.log_metrics = Recorded.log_metrics.__get__(store)
    assert forward_step_metrics(store, "r", tmp_path) == 98
    assert {step for _, step, _, _ in store.calls} == set(range(100))


def test_a_rotated_and_gzipped_file_is_read_on(tmp_path):
    file, store = tmp_path / "metrics.jsonl", Recorded()
    write(file, {"step": 1, "loss": 1.0})
    forward_step_metrics(store, "r", tmp_path)
    write(file, {"step": 2, "loss": 1.0}, mode="a")
    with gzip.open(tmp_path / "metrics.jsonl.1.gz", "wb") as rotated:
        rotated.write(file.read_bytes())
    file.unlink()
    write(file, {"step": 3, "loss": 1.0})
    assert forward_step_metrics(store, "r", tmp_path) == 2
    assert [step for _, step, _, _ in store.calls] == [1, 2, 3]


def test_what_the_command_has_sent_is_not_sent_again_and_the_other_way_round(tmp_path, command):
    file, store = tmp_path / "run" / "metrics.jsonl", gm.Store(tmp_path / "runs.db")
    write(file, {"step": 1, "loss": 1.0})
    forward = [*command, "forward", "run", "--run", "r"]
    told = subprocess.run(forward, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "sent 1," in told.stdout
    assert forward_step_metrics(store, "r", tmp_path / "run") == 0
    write(file, {"step": 2, "loss": 1.0}, mode="a")
    assert forward_step_metrics(store, "r", tmp_path / "run") == 1
    told = subprocess.run(forward, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "sent 0," in told.stdout


class Training:
    """What hooks are handed, with a context of its own."""

    def __init__(self, tmp_path, store=None):
        metadata = SimpleNamespace(experiment_name="e", hypothesis="h", tags=["t"])
        self.ctx = SimpleNamespace(
            output_dir=tmp_path,
            config=SimpleNamespace(metadata=metadata),
            store=store,
            run_config={"seed": 3, "recipe_kind": "grpo", "lr": 0.1},
            group_name="g",
            ids={},
            extras={"wandb_url": "https://w"},
        )
        self.state = SimpleNamespace(ctx=self.ctx)

    def begin(self, callback):
        callback.on_experiment_start(self.ctx)
        callback.on_group_start(self.ctx, "g")
        callback.on_run_start(self.ctx)


def test_everything_that_happens_in_a_training_is_in_the_store(tmp_path):
    training, callback = Training(tmp_path), EvsysLoggerCallback(project_id="p", flush_every=2)
    store = callback._store = gm.Store(tmp_path / "x.db")
    training.begin(callback)
    for step in range(3):
        callback.on_step_end(training.state, step, None, {"loss": float(step), "note": "x"})
    callback.on_eval(training.state, 2, "gsm8k", {"acc": 0.5})
    callback.on_checkpoint(training.state, {"state_path": "s3://state", "step": 2, "label": "l"})
    result = {"benchmark_id": "b", "metrics": {"acc": 0.25}}
    callback.on_benchmark_eval(training.ctx, result, [{"task_id": "t", "reward": 1.0}], step=2)
    callback.on_train_end(training.state, None)
    callback.on_run_end(training.ctx, SimpleNamespace(error="oom"), None)
    callback.on_experiment_end(training.ctx, SimpleNamespace(conclusion="c"))
    [experiment] = store.list_experiments()
    assert (experiment["experiment_name"], experiment["project_id"], experiment["conclusion"]) == ("e", "p", "c")
    [run] = store.list_runs(group_id=training.ctx.ids["group:g"])
    assert run["id"] == training.ctx.ids["run_id"] and run["wandb_run_url"] == "https://w" and run["seed"] == 3
    assert (run["status"], run["error_message"]) == ("failed", "oom")
    assert [(m["step"], m["value"]) for m in store.get_metrics(run["id"], name="loss", split="train")] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert store.get_metrics(run["id"], split="val")[0]["name"] == "gsm8k/acc"
    assert store.list_checkpoints(run["id"])[0]["uri"] == "s3://state"
    [evaluation] = store.list_evals(run["id"])
    [prediction] = store.list_predictions(run["id"])
    assert prediction["eval_id"] == evaluation["id"] and prediction["reward"] == 1.0


class Down:
    """A store whose metrics fail until it is up, and which can be made to hang."""

    def __init__(self, store):
        self.store, self.up, self.go_on = store, False, threading.Event()

    def __getattr__(self, name):
        return getattr(self.store, name)

    def log_metrics(self, **args):
        self.go_on.wait(60)
        if not self.up:
            raise ConnectionError("down")
        return self.store.log_metrics(**args)


def test_a_step_does_not_wait_for_the_store_and_loses_nothing_that_it_refused(tmp_path):
    training, callback = Training(tmp_path), EvsysLoggerCallback()
    store = callback._store = Down(gm.Store(tmp_path / "x.db"))
    training.begin(callback)
    for step in range(5):  # returns although the store hangs
        callback.on_step_end(training.state, step, None, {"loss": 1.0})
    store.go_on.set()
    callback.on_train_end(training.state, None)
    assert callback.unsent == 5
    store.up = True
    callback.on_run_end(training.ctx, None, None)
    assert callback.unsent == 0
    stored = store.get_metrics(training.ctx.ids["run_id"])
    assert [m["step"] for m in stored] == [0, 1, 2, 3, 4]


def test_an_experiment_that_writes_itself_switches_the_logger_off(tmp_path, caplog):
    training, callback = Training(tmp_path, store=object()), EvsysLoggerCallback()
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        training.begin(callback)
        callback.on_step_end(training.state, 1, None, {"loss": 1.0})
        callback.on_run_end(training.ctx, None, None)
    assert caplog.text.count("is off") == 1 and training.ctx.ids == {} and not (tmp_path / "evsys.db").exists()


def test_the_store_is_made_at_the_first_need(tmp_path):
    training, callback = Training(tmp_path), EvsysLoggerCallback()
    assert callback._store is None
    training.begin(callback)
    assert [e["experiment_name"] for e in gm.Store(tmp_path / "evsys.db", read_only=True).list_experiments()] == ["e"]


def test_a_call_that_is_refused_for_good_holds_up_no_other(tmp_path, caplog):
    training, callback = Training(tmp_path), EvsysLoggerCallback()
    store = callback._store = gm.Store(tmp_path / "x.db")
    training.begin(callback)
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        for step in (-1, 2**63, "7", None, 1.5):
            callback.on_eval(training.state, step, "gsm8k", {"acc": 0.5})
        callback.on_step_end(training.state, 1, None, {"loss": 10**400, "kl": 1.0})
        lost = dict(training.ctx.ids, run_id="no such run")
        callback.on_step_end(SimpleNamespace(ctx=SimpleNamespace(store=None, ids=lost)), 1, None, {"loss": 1.0})
        for step in range(100):
            callback.on_step_end(training.state, step, None, {"loss": 1.0})
        callback.on_train_end(training.state, None)
    assert (callback.unsent, callback.dropped) == (0, 6)
    assert "expected a step from 0 to" in caplog.text and "no such run" in caplog.text
    stored = store.get_metrics(training.ctx.ids["run_id"], name="loss")
    assert [m["step"] for m in stored] == list(range(100))


@pytest.mark.parametrize(
    ("error", "kept"),
    [(ValueError("a bad name"), 0), (TypeError("no such argument"), 0), (ConnectionError("down"), 1), (SystemExit(1), 1)]
    + [(json.JSONDecodeError("not the gateway", "<html>", 0), 1), (gm.StoreError("locked"), 1), (gm.RefusedError("no"), 0)],
)
def test_what_may_pass_is_sent_again_and_what_may_not_is_dropped(tmp_path, error, kept):
    class Failing(Down):
        def log_metrics(self, **args):
            if not self.up:
                raise error
            return self.store.log_metrics(**args)

    training, callback = Training(tmp_path), EvsysLoggerCallback()
    store = callback._store = Failing(gm.Store(tmp_path / "x.db"))
    training.begin(callback)
    callback.on_step_end(training.state, 1, None, {"loss": 1.0})
    callback.on_train_end(training.state, None)
    assert (callback.unsent, callback.dropped) == (kept, 1 - kept)
    store.up = True
    callback.on_step_end(training.state, 2, None, {"loss": 1.0})
    callback.on_train_end(training.state, None)
    stored = store.get_metrics(training.ctx.ids["run_id"])
    assert [m["step"] for m in stored] == ([1, 2] if kept else [2])


EXITS = """
    import logging, os, sys, threading
    from types import SimpleNamespace as Bag
    import grpo_metrics as gm
    from grpo_metrics.evsys import EvsysLoggerCallback
    import grpo_metrics.evsys

    logging.basicConfig()
    ctx = Bag(output_dir=sys.argv[1], config=None, store=None, run_config={}, group_name=None, ids={}, extras={})
    callback = EvsysLoggerCallback(flush_every=1000)
    callback.on_experiment_start(ctx)
    callback.on_run_start(ctx)
    for step in range(100):
        callback.on_step_end(Bag(ctx=ctx), step, None, {"loss": 1.0})
"""


@pytest.mark.parametrize("way", ["", "raise ValueError('oom')", "sys.exit(3)", "if os.fork() == 0: sys.exit()\nelse: os.wait()"])
def test_an_exit_without_the_end_of_the_training_stores_what_waits(tmp_path, way):
    program = textwrap.dedent(EXITS) + way
    subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60, capture_output=True)
    store = gm.Store(tmp_path / "evsys.db", read_only=True)
    [run] = store.list_runs()
    assert [m["step"] for m in store.get_metrics(run["id"])] == list(range(100))


def test_an_exit_waits_no_longer_than_it_says_for_a_store_that_hangs(tmp_path):
    hangs = "grpo_metrics.evsys._deliver.__defaults__ = (0.5,)\ncallback._buffered.insert(0, threading.Event().wait)"
    program = textwrap.dedent(EXITS) + hangs
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0
    assert "101 rows could not be sent: the store took over 0.5 s" in done.stderr
