"""The adapters of trainers whose hook has numbers alone: AReaL, ROLL, torchforge, tinker-cookbook."""

from __future__ import annotations

import asyncio
from enum import Enum
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from rollouts import parameters, status, stored, trainer_module

import grpo_metrics as gm
from grpo_metrics.trainers import areal, roll, tinker_cookbook, torchforge


class StatsLogger:
    """AReaL's `StatsLogger`, without what it logs to."""

    def __init__(self):
        self._last_commit_step, self.committed, self.closed = -1, [], False

    def commit(self, epoch, step, global_step, data):
        data = [data] if isinstance(data, dict) else data
        first = max(global_step, self._last_commit_step + 1)
        for i, item in enumerate(data):
            self.committed.append((first + i, item))
        self._last_commit_step = first + len(data) - 1

    def close(self):
        self.closed = True


def commit(logger):
    logger.commit(0, 0, 0, {"ppo_actor/loss": 0.5, "ppo_actor/n_tokens__count": 3})
    logger.commit(0, 1, 1, [{"ppo_actor/loss": 0.25}, {"ppo_actor/loss": np.float32(0.125)}])
    logger.commit(0, 2, 2, {"ppo_actor/loss": 0.0625, "name": "text"})
    logger.close()


AREAL = {step: {"ppo_actor/loss": 0.5**(step + 1)} for step in range(4)}


def test_areal_s_stats_are_stored_at_the_steps_that_its_own_log_has(tmp_path):
    logger = areal.attach(StatsLogger(), store=tmp_path / "runs.db", run="r")
    commit(logger)
    assert stored(tmp_path / "runs.db") == AREAL and [step for step, _ in logger.committed] == [0, 1, 2, 3]
    assert logger.closed and status(tmp_path / "runs.db") == "completed"


def test_garbage_in_areal_s_logger_ends_no_training(tmp_path, caplog):
    logger = areal.attach(SimpleNamespace(commit=lambda *_: "kept", close=lambda: None), store=tmp_path / "runs.db", run="r")
    for _ in range(3):
        assert logger.commit(0, 0, "x", 3) == "kept"
    logger.close()
    areal.attach(object(), store=tmp_path / "other.db")
    assert len([r for r in caplog.records if "what the trainer logs left out" in r.getMessage()]) == 1


def test_the_real_stats_logger_of_areal(tmp_path, monkeypatch):
    module, arguments = trainer_module("AREAL", "areal.utils.stats_logger", "areal.api.cli_args", engines=("wandb", "swanlab", "trackio", "hydra", "uvloop", "numba", "sglang", "vllm", "megatron", "torchao", "ray"))
    assert parameters(module.StatsLogger.commit) == parameters(StatsLogger.commit)
    for elsewhere in ("wandb", "swanlab"):
        monkeypatch.setattr(module, elsewhere, MagicMock())
    logger = object.__new__(module.StatsLogger)
    logger.ft_spec = SimpleNamespace(total_train_epochs=1, steps_per_epoch=3, total_train_steps=3)
    logger._last_commit_step, logger.summary_writer = -1, None
    logger.start_time = 0.0
    commit(areal.attach(logger, store=tmp_path / "runs.db", run="r"))
    assert stored(tmp_path / "runs.db") == AREAL
    print("areal: 4 rows as its StatsLogger commits them")


ROLL = {1: {"actor/pg_loss": 0.5, "val/acc": 1.0}, 2: {"actor/pg_loss": 0.25}}


def roll_log(tracker):
    tracker.log(values={"actor/pg_loss@sum": 0.5, "val/acc": 1, "text": "x", "nested": {"a": 1.0}}, step=1)
    tracker.log(values={"actor/pg_loss@sum": 0.25}, step=2)
    tracker.finish()


def test_roll_s_tracker_stores_numbers_under_their_clean_names_and_hands_all_to_the_other(tmp_path):
    seen = []
    other = SimpleNamespace(log=lambda values, step, **_: seen.append((values, step)), finish=lambda: seen.append("finished"))
    tracker = roll.GrpoMetricsTracker({"lr": 1e-6}, store=tmp_path / "runs.db", run="r", beside="wandb", beside_kwargs={"project": "p"}, create_tracker=lambda name, config, **kwargs: other)
    roll_log(tracker)
    assert stored(tmp_path / "runs.db") == ROLL and gm.open(tmp_path / "runs.db")["r"].config["lr"] == 1e-6
    assert [each if isinstance(each, str) else each[1] for each in seen] == [1, 2, "finished"]


def test_garbage_in_roll_s_tracker_ends_no_training(tmp_path, caplog):
    tracker = roll.GrpoMetricsTracker(3, store=tmp_path / "runs.db", run="r")
    for _ in range(3):
        tracker.log("nothing", None)
    tracker.finish()
    assert len([r for r in caplog.records if "what the trainer logs" in r.getMessage()]) == 1


def test_the_real_registry_of_roll(tmp_path, monkeypatch):
    monkeypatch.setenv("ROLL_LOG_DIR", str(tmp_path))
    [tracking] = trainer_module("ROLL", "roll.utils.tracking")
    monkeypatch.setattr(tracking, "tracker_registry", dict(tracking.tracker_registry))
    roll.register()
    for name in ("log", "finish"):
        assert parameters(getattr(tracking.BaseTracker, name)) == parameters(getattr(roll.GrpoMetricsTracker, name))
    roll_log(tracking.create_tracker("grpo_metrics", {"lr": 1e-6}, store=str(tmp_path / "runs.db"), run="r", beside="stdout"))
    assert stored(tmp_path / "runs.db") == ROLL
    print("roll: 2 rows through create_tracker, beside its stdout tracker")


class Role(Enum):
    LOCAL = "local"
    GLOBAL = "global"


def forge_log(backend, role=Role):
    async def whole():
        await backend.init(role=role.GLOBAL, process_name="global_reduce")
        for step in (1, 2):
            await backend.log_batch([SimpleNamespace(key="loss/mean", value=1 / step), SimpleNamespace(key="reward", value=0.5)], step)
        backend.log_stream(SimpleNamespace(key="seconds", value=3.0), 2)
        await backend.log_batch("garbage", 3)
        await backend.finish()

    asyncio.run(whole())


FORGE = {1: {"loss/mean": 1.0, "reward": 0.5}, 2: {"loss/mean": 0.5, "reward": 0.5, "seconds": 3.0}}


def test_torchforge_s_metrics_are_stored_and_garbage_ends_nothing(tmp_path, caplog):
    forge_log(torchforge.GrpoMetricsBackend(logging_mode="global_reduce", store=tmp_path / "runs.db", run="r"))
    assert stored(tmp_path / "runs.db") == FORGE and status(tmp_path / "runs.db") == "completed"
    assert len([r for r in caplog.records if "left out" in r.getMessage()]) == 1


def test_each_rank_of_torchforge_has_a_run_of_its_own(tmp_path):
    async def whole():
        backend = torchforge.GrpoMetricsBackend(logging_mode="per_rank_reduce", store=tmp_path / "runs.db", run="r")
        await backend.init(role=Role.LOCAL, process_name="Trainer_r1")
        await backend.log_batch([SimpleNamespace(key="loss", value=1.0)], 1)
        await backend.finish()

    asyncio.run(whole())
    assert stored(tmp_path / "runs.db", "r-Trainer_r1") == {1: {"loss": 1.0}}


def test_the_real_backends_of_torchforge(tmp_path, monkeypatch):
    metrics, actors = trainer_module("TORCHFORGE", "forge.observability.metrics", "forge.observability.metric_actors", engines=("monarch", "torchtitan", "torchstore", "vllm", "torchx"))
    for name in ("init", "log_batch", "log_stream", "finish", "get_metadata_for_secondary_ranks"):
        assert parameters(getattr(metrics.LoggerBackend, name)) == parameters(getattr(torchforge.GrpoMetricsBackend, name)), name
    for module in (metrics, actors):
        monkeypatch.setattr(module, "get_logger_backend_class", module.get_logger_backend_class)
    torchforge.register()
    made = actors.get_logger_backend_class("grpo_metrics")(logging_mode=metrics.LoggingMode.GLOBAL_REDUCE, store=tmp_path / "runs.db", run="r")
    assert actors.get_logger_backend_class("console") is metrics.ConsoleBackend
    forge_log(made, metrics.BackendRole)
    assert stored(tmp_path / "runs.db") == FORGE
    print("torchforge: 2 rows through its own factory of backends")


TINKER = {0: {"env/all/reward/total": 0.5, "optim/lr": 1e-5}, 1: {"env/all/reward/total": 0.75}}


def tinker_log(logger):
    logger.log_metrics({"env/all/reward/total": 0.5, "optim/lr": 1e-5, "note": "text"}, step=0)
    logger.log_metrics({"env/all/reward/total": 0.75}, step=1)
    logger.log_long_text("sample", "...")
    logger.close()


def test_tinker_s_metrics_are_stored(tmp_path):
    tinker_log(tinker_cookbook.GrpoMetricsLogger(store=tmp_path / "runs.db", run="r"))
    assert stored(tmp_path / "runs.db") == TINKER and status(tmp_path / "runs.db") == "completed"


def test_garbage_in_tinker_s_logger_and_a_store_that_cannot_be_written_end_no_training(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    logger = tinker_cookbook.GrpoMetricsLogger(store=tmp_path / "folder", run="r")
    for _ in range(3):
        logger.log_metrics(None, step="x")
        logger.log_hparams(object())
    tinker_log(logger)
    assert len([r for r in caplog.records if "what the trainer logs left out" in r.getMessage()]) == 1
    assert "rows go to the trainer's log alone" in caplog.text


def test_the_real_loggers_of_tinker_cookbook(tmp_path, monkeypatch):
    [ml_log] = trainer_module("TINKER_COOKBOOK", "tinker_cookbook.utils.ml_log")
    for name in ("log_hparams", "log_metrics", "log_long_text", "close", "sync", "get_logger_url"):
        assert parameters(getattr(ml_log.Logger, name)) == parameters(getattr(tinker_cookbook.GrpoMetricsLogger, name)), name
    monkeypatch.setattr(ml_log, "setup_logging", ml_log.setup_logging)
    tinker_cookbook.install(store=tmp_path / "runs.db", run="r")
    logger = ml_log.setup_logging(str(tmp_path / "log"), config={"model_name": "m", "token": "s3cret"}, do_configure_logging_module=False)
    assert logger.store is not None
    tinker_log(logger)
    assert stored(tmp_path / "runs.db") == TINKER and gm.open(tmp_path / "runs.db")["r"].config["model_name"] == "m"
    assert len((tmp_path / "log" / "metrics.jsonl").read_text().splitlines()) == 2
    print("tinker_cookbook: 2 rows beside its JsonLogger's")
