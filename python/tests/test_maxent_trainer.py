"""What a run says of itself, and the trainer whose log has the controller's numbers."""

from __future__ import annotations

import math
import subprocess
from types import SimpleNamespace as Obj

import pytest

from grpo_metrics import maxent
from grpo_metrics.maxent import run


@pytest.fixture
def unknown_run(monkeypatch):
    monkeypatch.setattr(run, "_known", {})
    for name in ("MAXENT_GIT_SHA", "GRPO_RECIPE_USED", "GRPO_RECIPE"):
        monkeypatch.delenv(name, raising=False)


def test_a_run_is_described_by_its_arguments_the_environment_and_git(unknown_run, monkeypatch, caplog):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Obj(stdout="abc123\n"))
    texts = maxent.resolve_run_metadata()
    assert texts.pop("run/git_sha") == "abc123" and set(texts.values()) == {"unknown"} and len(texts) == 5
    monkeypatch.setenv("GRPO_RECIPE", "recipe.yaml")
    caplog.set_level("INFO")
    texts = maxent.log_run_header(Obj(objective="grpo", loss_type="dr", seed_grpo_enabled="yes"))
    assert texts is maxent.resolve_run_metadata()
    assert (texts["run/recipe_path"], texts["run/method_name"]) == ("recipe.yaml", "SEED-GRPO (Dr.GRPO loss)")
    assert (texts["run/method_slug"], texts["run/method_backend"]) == ("seed_grpo__dr_grpo", "dr_grpo")
    assert "recipe.yaml" in caplog.text
    names = {("grpo", "grpo"): "GRPO", ("grpo", "dr_grpo"): "Dr.GRPO", ("baseline", None): "GRPO (BNPO loss)"}
    names[("listwise", "default")] = "Listwise MaxEnt (BNPO loss)"
    for (objective, loss), name in names.items():
        assert maxent.resolve_run_metadata(Obj(objective=objective, grpo_loss_type=loss))["run/method_name"] == name
    maxent.resolve_run_metadata(Obj(objective="something else", recipe_path="mine.yaml"))
    assert texts["run/method_name"] == name and texts["run/recipe_path"] == "mine.yaml"


def test_without_git_the_commit_is_unknown_and_the_environment_goes_first(unknown_run, monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert maxent.resolve_run_metadata()["run/git_sha"] == "unknown"
    run._known.clear()
    monkeypatch.setenv("MAXENT_GIT_SHA", "beef")
    assert maxent.build_training_metrics_dict(maxent.TrainingMetricsPayload(), 1)["run/git_sha"] == "beef"


def test_artifacts_are_a_dictionary_by_their_fields():
    artifacts = maxent.LogStepArtifacts("losses", "diagnostics", 0.5, 1.5)
    fields = {"loss_outputs": "losses", "diagnostics": "diagnostics", "grad_norm_scalar": 0.5, "epoch_progress": 1.5}
    assert artifacts.as_dict() == fields


def test_every_name_that_a_trainer_imports_is_there():
    names = """TrainingMetricsPayload TrainingScalarStats TokenUsageStats RewardLoggingView RewardComponentStats WeightLoggingView
    WeightStats LoggingHandles LoggingConfigView LengthStats BatchDiagnostics RewardComputation MetricState LogStepArtifacts"""
    assert set(names.split()) <= set(maxent.__all__) and all(isinstance(getattr(maxent, name), type) for name in names.split())
    scalars = maxent.TrainingScalarStats(-1.0, maxent.TokenUsageStats(1.0, 2.0, 3.0), 1e-4, None, 0.5, None)
    scalars.num_completion_tokens = 8.0
    assert (scalars.tokens.num_completion_tokens, scalars.avg_completion_tokens, scalars.num_input_tokens) == (8.0, 1.0, 3.0)
    rewards = maxent.RewardComputation(
        [1.0], {}, maxent.AdvantageStats([[0.5]], [0.5]), None, maxent.QDistribution([[1.0]], [1.0]), Obj(mean=1.0, std=0.0)
    )
    view = maxent.summarize_reward_stats(Obj(num_processes=1), rewards)
    assert (view.advantage_mean, view.q_entropy_mean, rewards.train_reward_mean) == (0.5, 0.0, 1.0)


class Trainer:
    def __init__(self, **args):
        self.args = Obj(maxent_tau=0.25, kl_target=0.5, kl_horizon=10, kl_ctl_step_size=0.1, num_generations=4, **args)
        self.state, self.kl_ctl = Obj(global_step=3), Obj(value=0.5)
        self._metrics = {"train": {"completions/clipped_ratio": [-8.0, 0.5], "other": [1.0]}}
        self.callback_handler, self.logged = Obj(callbacks=[]), []

    def add_callback(self, callback):
        self.callback_handler.callbacks.append(callback)

    def compute_loss(self, loss):
        return loss

    def log(self, logs, *more):
        self.logged.append(logs)


def test_a_trainers_log_has_the_controllers_numbers_under_the_names_of_the_dialect():
    kind = maxent.ensure_weighting_logging(Trainer)
    assert maxent.ensure_weighting_logging(kind) is kind and issubclass(kind, Trainer)
    trainer = kind(maxent_objective=True, maxent_target_weight_entropy=1.0)
    trainer.log({"loss": 2.0, "kl": 0.125, "completions/clipped_ratio": -1.0, "note": "text"}, 5.0)
    trainer.kl_ctl.value = 0.75
    trainer.log({})
    first, second = trainer.logged
    wanted = {"tau": 0.25, "beta": 0.5, "weighting/tau": 0.25, "kl": 0.125, "loss/kl": 0.125, "loss/total": 2.0, "note": "text"}
    wanted |= {"delta_beta": 0.0, "grpo_objective": 0.0, "maxent_objective": 1.0, "completions/clipped_frac": 0.0}
    wanted |= {"tau_target_enabled": 1.0, "tau_schedule_active": 1.0, "kl_controller_enabled": 1.0, "meta/enabled": 0.0}
    assert {key: first[f"train/{key}"] for key in wanted} == wanted
    assert all(key.startswith("train/") for key in first) and "train/q_temperature" not in first
    assert math.isclose(second["train/delta_beta"], 0.25) and math.isclose(second["train/weighting/delta_beta_abs"], 0.25)
    assert trainer._last_train_kl_for_alpha == 0.125
    assert trainer._metrics["train"] == {"completions/clipped_ratio": [1.0, 0.5], "other": [1.0]}


def test_every_key_of_the_trainers_log_is_one_of_the_dialect():
    trainer = maxent.ensure_weighting_logging(Trainer)(controller_meta_enabled=True, controller_meta_lr=0.5)
    trainer.log({"reward": 1.0})
    controller = Obj(tau=1.0, beta=1.0, tau_target_entropy=1.0, _tau_entropy_ema=1.0)
    row = maxent.build_training_metrics_dict(Obj(config=Obj(weighting=controller), reward_stats=Obj(reward_mean=1.0)), 3)
    assert set(trainer.logged[0]) <= set(row) and trainer.logged[0]["train/meta/lr"] == 0.5


def test_a_controller_that_is_switched_off_is_shown_as_off():
    for args, shown in (({}, 1.0), ({"grpo_beta_controller_enabled": False}, 0.0), ({"grpo_beta_controller_enabled": True}, 1.0)):
        trainer = maxent.ensure_weighting_logging(Trainer)(**args)
        trainer.log({})
        assert trainer.logged[0]["train/kl_controller_enabled"] == trainer.logged[0]["train/kl_controller/enabled"] == shown


def test_the_loss_before_it_was_rounded_is_in_the_log():
    trainer = maxent.ensure_weighting_logging(Trainer)()
    loss = Obj(mean=lambda: Obj(item=lambda: 1e-6))
    assert trainer.compute_loss((loss, {"policy": 0.5, "kind": "text"}))[0] is loss
    trainer.log({"loss": 0.0})
    row = trainer.logged[0]
    assert (row["train/loss/total"], row["train/loss/total_raw"], row["train/loss/policy"]) == (1e-6, 1e-6, 0.5)


def test_what_is_logged_past_the_trainers_log_is_renamed_by_its_callback():
    trainer = maxent.ensure_weighting_logging(Trainer)()
    [callback] = trainer.callback_handler.callbacks
    logs = {"loss": 1.0, "eval_reward": 2.0, "completions/mean_length": 9.0, "completions/clipped_ratio": -8.0}
    control = object()
    assert callback.on_log(Obj(world_size=16), None, control, logs=logs) is control is callback.on_step_end(None, None, control)
    assert (logs["train/loss/total"], logs["eval/reward"], logs["train/completions/mean_length_sampled"]) == (1.0, 2.0, 9.0)
    assert math.isclose(logs["train/completions/clipped_frac"], 1 - 9 / 16)


def test_a_function_that_makes_trainers_makes_them_with_such_a_log():
    make = maxent.ensure_weighting_logging(lambda **args: Trainer(**args))
    assert maxent.ensure_weighting_logging(make) is make
    trainer = make(maxent_objective=False)
    trainer.log({"loss": 1.0})
    assert trainer.logged[0]["train/grpo_objective"] == 1.0 and trainer.logged[0]["train/loss/total"] == 1.0


def test_a_log_goes_on_where_the_trainer_is_like_none_that_is_known(caplog):
    class Odd:
        args = property(lambda self: 1 / 0)

        def log(self, logs):
            Odd.logged = logs

    trainer = maxent.ensure_weighting_logging(Odd)()
    trainer.log({"loss": 1.0})
    assert Odd.logged["train/loss/total"] == 1.0
    trainer.log({1: 1.0})
    assert Odd.logged == {1: 1.0} and "stays without" in caplog.text
