"""OpenRLHF's trainer, instrumented: a host of its shape, its own methods where it is installed, and a Ray actor where Ray is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from rollouts import EACH, parameters, rollout, same, status, stored, trainer_module

import grpo_metrics as gm
from grpo_metrics.trainers.openrlhf import instrument

KEYS = {
    "reward": "rollout/reward_mean",
    "reward_std": "rollout/reward_std",
    "completions/mean_length": "rollout/response_length_mean",
    "completions/clipped_ratio": "rollout/truncated_rate",
}
"""What the dialect `trl` and OpenRLHF's rollout statistics both have."""


def padded(rows, fill=0.0):
    width = max(map(len, rows))
    return np.array([list(row) + [fill] * (width - len(row)) for row in rows])


def experience(made, members):
    """One of OpenRLHF's experiences: matrices by action, which is by token but the first, padded on the right."""
    of = lambda rows: padded([[0.0] * (len(made.prompts[i]) - 1) + list(rows[i]) for i in members])
    rewards = np.array([made.rewards[i] for i in members])
    mask = of(made.masks)
    return SimpleNamespace(
        sequences=padded([made.prompts[i] + made.responses[i] for i in members]).astype(int),
        attention_mask=padded([[1] * (len(made.prompts[i]) + made.lengths[i]) for i in members]).astype(int),
        action_mask=mask.astype(bool),
        action_log_probs=of(made.logps),
        base_action_log_probs=of(made.reference),
        rollout_log_probs=of(made.sampled),
        values=None,
        returns=None,
        advantages=(rewards[:, None] - 0.5) * mask,
        response_length=np.array([made.lengths[i] for i in members]),
        truncated=np.array([made.stops[i] == "length" for i in members]),
        index=list(members),
        info={"reward": rewards},
    )


def arguments():
    return SimpleNamespace(
        rollout=SimpleNamespace(n_samples_per_prompt=EACH),
        actor=SimpleNamespace(eps_clip_low_high=(0.2, 0.28)),
        logger=SimpleNamespace(logging_steps=1),
        ckpt=SimpleNamespace(save_steps=float("inf")),
    )


class Trainer:
    """A trainer that runs as OpenRLHF's `PPOTrainer` does."""

    def __init__(self, steps=3, breaks=False):
        self.args, self.kl_ctl, self.logged = arguments(), SimpleNamespace(value=0.01), []
        self.steps, self.breaks = steps, breaks

    def fit(self, global_step=0):
        while global_step < self.steps:
            status, global_step = self.train_step(rollout(global_step + 1), global_step)
            self.save_logs_and_checkpoints(global_step, status, {})
            if global_step == 2:
                self.save_best_checkpoint({"eval_math_pass1": 0.5}, global_step, {})
        if self.breaks:
            raise RuntimeError("out of memory")
        return "done"

    def train_step(self, rollout_samples, global_step):
        # For the balance of tokens, experiences hold completions of any group in any order.
        n = rollout_samples.n
        order = np.random.default_rng(0).permutation(n).tolist()
        experiences = [experience(rollout_samples, order[i : i + 4]) for i in range(0, n, 4)]
        status = {"policy_loss": 0.5, "generated_samples": ["text", 1.0]}
        return {**status, **self._compute_rollout_stats(experiences)}, global_step + 1

    def _compute_rollout_stats(self, experiences):
        rewards = np.concatenate([each.info["reward"] for each in experiences])
        return {
            "rollout/reward_mean": float(rewards.mean()),
            "rollout/reward_std": float(rewards.std(ddof=1)),
            "rollout/response_length_mean": float(np.concatenate([each.response_length for each in experiences]).mean()),
            "rollout/truncated_rate": float(np.concatenate([each.truncated for each in experiences]).mean()),
        }

    def save_logs_and_checkpoints(self, global_step, logs_dict=None, client_states=None):
        self.logged.append(logs_dict)

    def save_best_checkpoint(self, eval_metrics, global_step, client_states=None):
        pass


def test_each_step_is_a_row_of_all_experiences_beside_what_openrlhf_logs(tmp_path):
    store = tmp_path / "runs.db"
    trainer = instrument(Trainer, store=store, run="r", dialect="trl")()
    assert trainer.fit() == "done" and status(store) == "completed"
    rows = stored(store)
    for step in (1, 2, 3):
        made, row, logs = rollout(step), rows[step], trainer.logged[step - 1]
        same(row, logs, KEYS)
        assert row["policy_loss"] == 0.5 and logs["generated_samples"] == ["text", 1.0]
        counted = [(a, b) for i in range(made.n) for a, b, m in zip(made.logps[i], made.sampled[i], made.masks[i]) if m]
        assert row["sampling/sampling_logp_difference/mean"] == pytest.approx(np.mean([abs(a - b) for a, b in counted]), rel=1e-4)
        assert logs["grpo_metrics/reward"] == row["reward"]
    assert rows[2]["eval/eval_math_pass1"] == 0.5


def test_groups_are_found_again_whatever_order_experiences_are_in(tmp_path):
    store = tmp_path / "runs.db"
    instrument(Trainer, store=store, run="r", dialect="trl")().fit()
    for step, row in stored(store).items():
        groups = np.array(rollout(step).rewards).reshape(-1, EACH)
        assert row["frac_reward_zero_std"] == pytest.approx(np.mean(groups.std(axis=1) < 1e-8))


def test_a_training_that_raises_leaves_a_failed_run(tmp_path):
    store = tmp_path / "runs.db"
    with pytest.raises(RuntimeError, match="out of memory"):
        instrument(Trainer, store=store, run="r")(breaks=True).fit()
    assert status(store) == "failed" and sorted(stored(store)) == [1, 2, 3]


def test_experiences_without_rewards_give_one_warning_and_the_log_alone(tmp_path, caplog):
    class Without(Trainer):
        def train_step(self, made, step):
            status, step = super().train_step(made, step)
            return status, step

        def _compute_rollout_stats(self, experiences):
            return {"rollout/reward_mean": 0.25}

    made = instrument(Without, store=tmp_path / "runs.db", run="r", dialect="trl")

    class Emptied(made):
        def _compute_rollout_stats(self, experiences):
            for each in experiences:
                each.info = {}
            return super()._compute_rollout_stats(experiences)

    Emptied().fit()
    assert stored(tmp_path / "runs.db")[3] == {"policy_loss": 0.5, "rollout/reward_mean": 0.25}
    assert len([r for r in caplog.records if "is not as known" in r.message]) == 1


def test_garbage_ends_no_training_and_is_told_once_a_place(tmp_path, caplog):
    class Garbage(Trainer):
        def train_step(self, made, step):
            self._compute_rollout_stats([SimpleNamespace(info={"reward": "x"}, index=3, action_mask=[1])])
            return {}, step + 1

        def _compute_rollout_stats(self, experiences):
            return {}

        def save_logs_and_checkpoints(self, global_step, logs_dict=None, client_states=None):
            assert logs_dict == {}

    assert instrument(Garbage, store=tmp_path / "runs.db", run="r")().fit() == "done"
    assert len([r for r in caplog.records if "left out" in r.message]) == 1


def test_a_store_that_cannot_be_written_costs_rows_but_no_step(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    trainer = instrument(Trainer, store=tmp_path / "folder", run="r", dialect="trl")()
    assert trainer.fit() == "done" and "grpo_metrics/reward" in trainer.logged[0]
    assert "rows go to the trainer's log alone" in caplog.text


def test_an_option_that_cannot_be_is_an_error_before_the_training():
    with pytest.raises(gm.OptionError):
        instrument(Trainer, store="runs.db", logging_steps=0)


def openrlhf(*modules):
    return trainer_module("OPENRLHF", *modules, engines=("flash_attn", "deepspeed", "vllm", "peft"))


def test_openrlhf_has_the_methods_that_the_host_has():
    [module] = openrlhf("openrlhf.trainer.ppo_trainer")
    base = module.BasePPOTrainer
    for name in ("train_step", "_compute_rollout_stats", "save_logs_and_checkpoints", "save_best_checkpoint"):
        assert parameters(getattr(base, name)) == parameters(getattr(Trainer, name)), name


def test_the_real_trainer_s_rollout_statistics_are_ours(tmp_path):
    """The real `_compute_rollout_stats`, `make_experience_batch`'s own class, and the real `save_logs_and_checkpoints`."""
    torch = pytest.importorskip("torch")
    module, experiences = openrlhf("openrlhf.trainer.ppo_trainer", "openrlhf.trainer.ppo_utils.experience")
    store = tmp_path / "runs.db"

    class Real(module.BasePPOTrainer):
        def __init__(self):
            self.args, self.kl_ctl, self.logged = arguments(), SimpleNamespace(value=0.01), []
            self.wandb_logger = SimpleNamespace(log_train=lambda step, logs: self.logged.append(logs))
            self.tensorboard_logger, self._latest_eval_metric_value, self.best_eval_metric_key = None, None, ""

        def train_step(self, made, step):
            tensor = lambda value: torch.as_tensor(value) if isinstance(value, np.ndarray) else value
            parts = []
            for i in range(0, made.n, 4):
                fields = {name: tensor(value) for name, value in vars(experience(made, range(i, i + 4))).items()}
                fields["info"] = {name: tensor(value) for name, value in fields["info"].items()}
                parts.append(experiences.Experience(**fields))
            return self._compute_rollout_stats(parts), step + 1

        fit = Trainer.fit
        steps, breaks = 2, False

    trainer = instrument(Real, store=store, run="r", dialect="trl")()
    trainer.save_best_checkpoint = lambda *_: None
    trainer.fit()
    rows = stored(store)
    equal = sum(same(rows[step], trainer.logged[step - 1], KEYS) for step in (1, 2))
    print(f"openrlhf: {equal} numbers of ours equal OpenRLHF's; its own {sorted(k for k in rows[1] if k.startswith('rollout/'))} stored as they are; {len(rows[1])} keys in all")
    assert rows[2]["rollout/num_samples"] == 12


def test_a_ray_actor_stays_one_and_opens_the_store_where_it_runs(tmp_path):
    ray = pytest.importorskip("ray")
    store = tmp_path / "runs.db"
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": ":".join(__import__("sys").path)}})
    try:
        made = instrument(ray.remote(Trainer), store=store, run="r", dialect="trl")
        actor = made.remote(steps=2)
        assert ray.get(actor.fit.remote(), timeout=120) == "done"
    finally:
        ray.shutdown()
    assert sorted(stored(store)) == [1, 2] and status(store) == "completed"
