"""slime's function for rollouts: called as slime calls it, and by the real `log_rollout_data` where slime is there."""

from __future__ import annotations

import sys
from enum import Enum
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from rollouts import EACH, parameters, rollout, same, status, stored, trainer_module

from grpo_metrics.trainers import slime
from grpo_metrics.trainers.slime import rollout_log

KEYS = {
    "completions/mean_length": "rollout/response_len/mean",
    "completions/max_length": "rollout/response_len/max",
    "completions/min_length": "rollout/response_len/min",
    "completions/clipped_ratio": "rollout/truncated_ratio",
}
"""What the dialect `trl` and slime both have, where no token is masked."""


class Status(Enum):
    COMPLETED = "completed"
    TRUNCATED = "truncated"


def samples(made, masked=True, kind=SimpleNamespace, states=Status):
    return [
        kind(
            group_index=7 + i // EACH,
            index=i,
            tokens=made.prompts[i] + made.responses[i],
            response_length=made.lengths[i],
            response="text",
            prompt="question",
            reward=made.rewards[i],
            loss_mask=made.masks[i] if masked else None,
            rollout_log_probs=made.sampled[i],
            status=states.TRUNCATED if made.stops[i] == "length" else states.COMPLETED,
        )
        for i in range(made.n)
    ]


def arguments(**others):
    return SimpleNamespace(**{"reward_key": None, "rollout_max_response_len": 8, "eps_clip": 0.2, "num_rollout": 3, "eval_interval": None} | others)


def train(log, steps=3, args=None, of=samples, extra=None):
    """slime's `log_rollout_data`, up to where it logs by itself."""
    args = args or arguments()
    for rollout_id in range(steps):
        assert log(rollout_id, args, of(rollout(rollout_id)), dict(extra or {}), 1.5) is False


@pytest.fixture
def no_slime(monkeypatch):
    for name in slime.LOGGING:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_each_rollout_is_a_row_of_its_samples(tmp_path, no_slime):
    store = tmp_path / "runs.db"
    train(rollout_log(store=store, run="r", dialect="trl"), extra={"rollout/dynamic_filter": 0.5})
    rows = stored(store)
    for step in (0, 1, 2):
        made, row = rollout(step), rows[step]
        assert row["reward"] == pytest.approx(np.mean(made.rewards))
        assert row["completions/mean_length"] == pytest.approx(np.mean(made.lengths))
        assert row["completions/clipped_ratio"] == pytest.approx(np.mean([stop == "length" for stop in made.stops]))
        assert row["frac_reward_zero_std"] == pytest.approx(np.mean(np.array(made.rewards).reshape(-1, EACH).std(axis=1) < 1e-8))
        assert row["rollout/dynamic_filter"] == 0.5 and row["step_time"] == 1.5
    assert status(store) == "completed"


def test_what_slime_logs_right_after_is_stored_beside(tmp_path, monkeypatch):
    module = ModuleType(slime.LOGGING[0])
    heard = []
    module.log = lambda args, metrics, step_key: heard.append(step_key)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    log, args, store = rollout_log(store=tmp_path / "runs.db", run="r", dialect="trl"), arguments(), tmp_path / "runs.db"
    for rollout_id in range(3):
        log(rollout_id, args, samples(rollout(rollout_id)), None, 1.5)
        module.log(args, {"rollout/truncated_ratio": 0.25, "perf/rollout_time": 1.5, "rollout/step": rollout_id}, step_key="rollout/step")
    rows = stored(store)
    assert all(rows[step]["rollout/truncated_ratio"] == 0.25 and "reward" in rows[step] for step in range(3))
    assert heard == ["rollout/step"] * 3 and status(store) == "completed"


def test_rewards_of_several_kinds_are_read_by_slime_s_own_key(tmp_path, no_slime):
    def of(made):
        return [SimpleNamespace(**{**vars(each), "reward": {"acc": each.reward, "format": 1.0}}) for each in samples(made)]

    train(rollout_log(store=tmp_path / "runs.db", run="r", dialect="trl"), args=arguments(reward_key="acc"), of=of)
    assert stored(tmp_path / "runs.db")[1]["reward"] == pytest.approx(np.mean(rollout(1).rewards))


def test_samples_without_rewards_give_one_warning_and_slime_s_numbers_alone(tmp_path, no_slime, caplog):
    def of(made):
        return [SimpleNamespace(group_index=0, response_length=3) for _ in range(made.n)]

    train(rollout_log(store=tmp_path / "runs.db", run="r"), of=of, extra={"rollout/dynamic_filter": 0.5})
    assert stored(tmp_path / "runs.db")[1] == {"rollout/dynamic_filter": 0.5}
    assert len([r for r in caplog.records if "is not as known" in r.message]) == 1


def test_garbage_ends_no_training_and_is_told_once_a_place(tmp_path, no_slime, caplog):
    log = rollout_log(store=tmp_path / "runs.db", run="r")
    for rollout_id in range(3):
        assert log(rollout_id, SimpleNamespace(), 5, "no dictionary", None) is False
    said = [r.getMessage() for r in caplog.records]
    assert said and len(said) == len(set(said)) < 4


def test_a_store_that_cannot_be_written_costs_rows_but_no_step(tmp_path, no_slime, caplog):
    (tmp_path / "folder").mkdir()
    train(rollout_log(store=tmp_path / "folder", run="r"))
    assert "rows go to the trainer's log alone" in caplog.text


def test_by_its_path_alone_the_store_is_the_environment_s(tmp_path, no_slime, monkeypatch):
    monkeypatch.setenv("GRPO_METRICS_STORE", str(tmp_path / "env.db"))
    monkeypatch.setenv("GRPO_METRICS_RUN", "r")
    monkeypatch.setattr(slime, "_by_environment", None)
    train(slime.log_rollout_data)
    assert sorted(stored(tmp_path / "env.db")) == [0, 1, 2]


def test_the_real_log_rollout_data_calls_it_and_its_numbers_are_ours(tmp_path):
    metrics, types, logging = trainer_module(
        "SLIME", "slime.observability.rollout_metrics", "slime.utils.types", "slime.observability.logging_utils", engines=("wandb", "sglang")
    )
    assert parameters(metrics.log_rollout_data) == parameters(slime.log_rollout_data)
    logged = {}
    store = tmp_path / "runs.db"
    here = ModuleType("rollout_log_of_this_test")
    here.log = rollout_log(store=store, run="r", dialect="trl")
    sys.modules[here.__name__] = here
    kept = logging.log
    logging.log = lambda args, said, step_key: logged.update({said[step_key]: dict(said)})
    others = {
        "custom_rollout_log_function_path": "rollout_log_of_this_test.log",
        "load_debug_rollout_data": None,
        "advantage_estimator": "grpo",
        "log_reward_category": None,
        "rollout_num_gpus": 1,
        "wandb_always_use_train_step": False,
        "use_wandb": False,
        "use_tensorboard": False,
    }
    try:
        for rollout_id in range(3):
            made = samples(rollout(rollout_id), masked=False, kind=types.Sample, states=types.Sample.Status)
            metrics.log_rollout_data(rollout_id, arguments(**others), made, None, 1.5)
    finally:
        logging.log = kept
    rows = stored(store)
    equal = sum(same(rows[step], logged[step], KEYS) for step in range(3))
    for step in range(3):
        assert {k: v for k, v in rows[step].items() if k in logged[step]} == pytest.approx(logged[step])
    print(f"slime: {equal} numbers of ours equal slime's, {len(logged[1])} keys of its own stored as they are, {len(rows[1])} keys in all")
    assert status(store) == "completed"
