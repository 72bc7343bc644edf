"""TRL: the callback on a trainer's own logs, and an instrumented training of two ranks beside a plain one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import grpo_metrics as gm
from grpo_metrics.trl import GrpoMetricsCallback, instrument

STATE = SimpleNamespace(global_step=3, is_world_process_zero=True)


def log(callback, logs, state=STATE):
    callback.on_log(SimpleNamespace(), state, SimpleNamespace(), logs=logs)


def test_the_callback_puts_a_trainers_logs_into_a_store_under_normalised_names(tmp_path):
    log(GrpoMetricsCallback(tmp_path / "runs.db", run="r"), {"loss": 0.5, "kl": 0.1, "eval_reward": 2.0, "note": "x", "flag": True})
    store = gm.Store(tmp_path / "runs.db", read_only=True)
    stored = {(m["name"], m["split"]): m["value"] for m in store.get_metrics("r")}
    assert stored == {
        ("train/loss/total", "train"): 0.5,
        ("train/kl", "train"): 0.1,
        ("train/loss/kl", "train"): 0.1,
        ("eval/reward", "val"): 2.0,
    }


def test_the_callback_feeds_an_engines_sinks():
    rows = []
    engine = gm.Engine(sinks=[SimpleNamespace(write=rows.append)])
    log(GrpoMetricsCallback(engine), {"loss": 0.5})
    assert [row["metrics"]["train/loss/total"] for row in rows] == [0.5] and rows[0]["step"] == 3


def test_the_callback_never_raises_and_is_silent_on_other_ranks(tmp_path, caplog):
    class Down:
        def log_metrics(self, **_):
            raise ConnectionError("down")

    log(GrpoMetricsCallback(Down(), run="r"), {"loss": 1.0})
    assert "step 3 could not be stored: down" in caplog.text
    caplog.clear()
    log(GrpoMetricsCallback(Down(), run="r"), {"loss": 1.0}, SimpleNamespace(global_step=3, is_world_process_zero=False))
    log(GrpoMetricsCallback(Down(), run="r"), None)
    assert caplog.text == ""


class Trainer:
    """What an untested TRL's trainer has in common with all."""

    def __init__(self):
        self.callbacks = []

    def add_callback(self, callback):
        self.callbacks.append(callback)


def test_on_an_untested_trl_only_the_trainers_own_numbers_are_stored(tmp_path, monkeypatch):
    monkeypatch.setattr("grpo_metrics.trl._trl_version", lambda: "99.0.0")
    with pytest.warns(UserWarning, match=r"tested with TRL 1\.16, found 99\.0\.0"):
        made = instrument(Trainer, store=tmp_path / "runs.db", run="r")
    assert made.__name__ == "Trainer" and issubclass(made, Trainer)
    [callback] = made().callbacks
    assert isinstance(callback, GrpoMetricsCallback) and callback.run == "r"


def test_an_option_that_cannot_be_is_an_error_before_the_training(monkeypatch):
    monkeypatch.setattr("grpo_metrics.trl._trl_version", lambda: "1.16.0")
    with pytest.raises(gm.OptionError, match="unknown option `dialekt`"):
        instrument(Trainer, dialekt="trl")


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def train(folder: Path, kind: str, ranks: int = 2):
    folder.mkdir()
    environment = os.environ | {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    worker = [sys.executable, str(Path(__file__).with_name("trl_worker.py")), str(folder), kind]
    running = [
        subprocess.Popen(
            worker,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [process.communicate(timeout=900)[0] for process in running]
    assert all(process.returncode == 0 for process in running), said
    assert not any("grpo_metrics:" in text for text in said), said
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    for module in ("torch", "trl", "datasets"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("trl")
    return folder, train(folder / "plain", "plain"), train(folder / "instrumented", "instrumented")


def steps(said):
    return [row for row in said["log"] if "loss" in row]


def test_training_is_bitwise_the_same_with_and_without_metrics(trained):
    _, plain, instrumented = trained
    assert len(steps(plain[0])) == 8
    for before, after in zip(plain, instrumented):
        assert [row["loss"] for row in steps(before)] == [row["loss"] for row in steps(after)]
        assert [row["grad_norm"] for row in steps(before)] == [row["grad_norm"] for row in steps(after)]
        assert (before["weights"], before["sum"]) == (after["weights"], after["sum"])


def test_every_steps_row_agrees_with_what_trl_logged(trained):
    _, _, [said, other] = trained
    compared = set()
    for row in steps(said):
        own = {key.removeprefix("grpo_metrics/"): value for key, value in row.items() if key.startswith("grpo_metrics/")}
        theirs = {key: value for key, value in row.items() if key in own}
        assert {"loss", "grad_norm", "entropy", "kl", "clip_ratio/region_mean", "epoch"} <= set(theirs)
        for key, value in theirs.items():
            assert own[key] == pytest.approx(value, rel=1e-6, abs=1e-6), (row["step"], key)
        compared |= set(theirs)
    names = "reward reward_std frac_reward_zero_std rewards/evens/mean rewards/brevity/std completions/mean_length completions/clipped_ratio num_tokens"
    assert set(names.split()) <= compared
    assert not any(key.startswith("grpo_metrics/") for row in other["log"] for key in row)


def test_the_rows_are_in_the_store_and_the_records_replay_to_them(trained):
    folder, _, [said, _] = trained
    store = gm.Store(folder / "instrumented" / "runs.db", read_only=True)
    assert store.get_run("r")["status"] == "completed"
    rewards = [m["value"] for m in store.get_metrics("r", name="reward")]
    assert rewards == [row["grpo_metrics/reward"] for row in steps(said)] and len(rewards) == 8
