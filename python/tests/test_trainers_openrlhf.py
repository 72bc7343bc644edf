"""OpenRLHF's trainer, instrumented: a host of its shape, its own methods where it is installed, and a Ray actor where Ray is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from rollouts import EACH, away, own, parameters, rollout, same, status, stored, told, trainer_module

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
        assert row["train/policy_loss"] == 0.5 and logs["generated_samples"] == ["text", 1.0]
        counted = [(a, b) for i in range(made.n) for a, b, m in zip(made.logps[i], made.sampled[i], made.masks[i]) if m]
        assert row["sampling/sampling_logp_difference/mean"] == pytest.approx(np.mean([abs(a - b) for a, b in counted]), rel=1e-4)
        assert logs["grpo_metrics/reward"] == row["reward"]
        assert row["train/rollout/reward_mean"] == pytest.approx(logs["rollout/reward_mean"]) and "rollout/reward_mean" not in row
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
    assert stored(tmp_path / "runs.db")[3] == {"train/policy_loss": 0.5, "train/rollout/reward_mean": 0.25}
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
    print(f"openrlhf: {equal} numbers of ours equal OpenRLHF's; its own {sorted(k for k in rows[1] if k.startswith('train/rollout/'))} stored as they are; {len(rows[1])} keys in all")
    assert rows[2]["train/rollout/num_samples"] == 12


OWN = {f"rollout/{name}" for name in ("reward_mean", "reward_std", "response_length_mean", "truncated_rate", "num_samples")} | {
    "reward",
    "response_length",
    "truncated",
    "vllm_kl",
}
"""What of OpenRLHF's log is ours in the dialect `openrlhf`, less `train/`."""

WITHIN = {"ppo_kl", "ppo_clip_ratio", "entropy_loss"}
"""What the dialect has, too, of a batch that says how policies differ within a step, which the trainer's process does not know."""


def moved(tokens):
    """What the actor that is trained says of the tokens that it once said `logps` of, and its entropies: of each token alone."""
    return -(tokens % 13 + 1) / 10 + (tokens % 5 - 2) / 5, (tokens % 7 + 1) / 8


def own_arguments(made):
    args, more = arguments(), SimpleNamespace
    args.train = more(max_epochs=1, dynamic_batch_enable=False)
    args.critic, args.ds = more(freezing_steps=-1), more(enable_sleep=False, tensor_parallel_size=1)
    args.rollout.batch_size = made.n // EACH
    advantage = more(estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False)
    args.algo = more(advantage=advantage, kl=more(use_loss=False, init_coef=0.0, estimator="k1"))
    args.actor.entropy_coef, args.reward = 0.0, more(clip_range=None)
    return args


def test_in_its_own_dialect_which_is_the_default_what_is_ours_equals_the_real_trainer_s_and_actor_s(tmp_path, monkeypatch):
    """The real `train_step`, `compute_advantages_and_returns`, `NaiveReplayBuffer`, `PolicyLoss` and `ppo_train` of the actor; the model is not there."""
    torch = pytest.importorskip("torch")
    driver, actors, maker, losses, buffers, kept = openrlhf(
        "openrlhf.trainer.ppo_trainer",
        "openrlhf.trainer.ray.ppo_actor",
        "openrlhf.trainer.ppo_utils.experience_maker",
        "openrlhf.models.loss",
        "openrlhf.trainer.ppo_utils.replay_buffer",
        "openrlhf.trainer.ppo_utils.experience",
    )
    monkeypatch.setattr(driver, "ray", SimpleNamespace(get=lambda refs: refs))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    made = rollout(1)
    args = own_arguments(made)
    reduced = SimpleNamespace(args=args, ring_attn_group=None, accumulated_gradient=1, is_rank_0=lambda: False, all_reduce=dict)
    for name in ("backward", "optimizer_step"):
        setattr(reduced, name, lambda *_, **__: None)
    reduced.get_grad_norm = lambda model: 0.75

    class Model:
        train = staticmethod(lambda: None)

        def __call__(self, sequences, action_mask, **_):
            logps, entropies = moved(sequences[:, 1:].float())
            return logps, SimpleNamespace(entropy=entropies)

    actor = object.__new__(actors.ActorPPOTrainer)
    actor.strategy, actor.args, actor.actor, actor.max_epochs, actor.dataloader_pin_memory = reduced, args, Model(), 1, False
    actor.actor_loss_fn = losses.PolicyLoss(0.2, 0.28, is_correction_level="token")
    actor.aux_loss, actor.ema_model, actor.actor_optim = False, None, None
    actor.actor_scheduler = SimpleNamespace(get_last_lr=lambda: [1e-6])
    actor.replay_buffer = buffers.NaiveReplayBuffer(3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")

    def group(method_name, experience=(), kl_ctl=None):
        if method_name == "fit":
            return [actor.ppo_train(kl_ctl)]
        for each in experience:
            actor.replay_buffer.append(each)
        return []

    def make(made):
        made.logps = [[-(token % 13 + 1) / 10 for token in response] for response in made.responses]
        made.sampled = [[logp + 0.01 * (at % 3) for at, logp in enumerate(row)] for row in made.logps]
        parts = []
        for i in range(0, made.n, 4):
            fields = vars(experience(made, range(i, i + 4)))
            fields["kl"], fields["rewards"] = np.zeros_like(fields["action_log_probs"]), fields["info"]["reward"]
            fields["total_length"] = fields["attention_mask"].sum(axis=1)
            tensor = lambda value: torch.as_tensor(value, dtype=torch.float32 if value.dtype == np.float64 else None) if isinstance(value, np.ndarray) else value
            fields["info"] = {name: tensor(value) for name, value in fields["info"].items()}
            parts.append(kept.Experience(**{name: tensor(value) for name, value in fields.items()}))
        making = object.__new__(maker.RemoteExperienceMaker)
        making.strategy, making.advantage_estimator, making.kl_ctl = reduced, "group_norm", SimpleNamespace(value=0.0)
        return making.compute_advantages_and_returns(parts)

    class Real(driver.BasePPOTrainer):
        def __init__(self):
            self.args, self.kl_ctl, self.logged = args, SimpleNamespace(value=0.0, update=lambda *_: None), []
            self.wandb_logger, self._latest_eval_metric_value, self.best_eval_metric_key = None, None, ""
            self.tensorboard_logger, self.vllm_engines, self.critic_model_group = None, None, None
            self.experience_maker = SimpleNamespace(make_experience_batch=make)
            self.tokenizer = SimpleNamespace(decode=lambda *_, **__: ["text"])
            self.actor_model_group = SimpleNamespace(async_run_method_batch=group, async_run_method=group)

        def fit(self):
            status, step = self.train_step(rollout(1), 0)
            status.pop("generated_samples")
            self.logged.append(status)
            self.save_logs_and_checkpoints(step, away(status))

    trainer = instrument(Real, store=tmp_path / "runs.db", run="r")()
    trainer.fit()
    [theirs] = trainer.logged
    found = {name.removeprefix("train/"): value for name, value in stored(tmp_path / "runs.db")[1].items()}
    ours = own(found, theirs)
    assert ours.keys() == OWN and max(ours.values()) < 1e-6
    told("openrlhf", [ours], theirs)

    # And what the actor alone knows, of the same completions, with what it says of them once it is trained.
    made = rollout(1)
    parts = make(made)
    columns = {"rewards": made.rewards, "group_sizes": [EACH] * (made.n // EACH), "completion_lengths": made.lengths}
    said = [moved(np.array(response, dtype=np.float32)) for response in made.responses]
    columns |= {"token_logps": [logps for logps, _ in said], "token_entropies": [entropies for _, entropies in said]}
    columns |= {"old_token_logps": made.logps, "sampling_token_logps": made.sampled, "loss_mask": [np.array(mask) > 0 for mask in made.masks]}
    columns["advantages"] = [float(row[mask.bool()][0]) for part in parts for row, mask in zip(part.advantages, part.action_mask)]
    with gm.Engine(dialect="openrlhf") as engine:
        engine.observe(**columns, weighting={"train_grpo_objective": True, "clip_range_low": 0.2, "clip_range_high": 0.28})
        row = engine.step(1)
    far = own({name: row[f"train/{name}"] for name in WITHIN}, {name: theirs[name] for name in WITHIN})
    assert far.keys() == WITHIN and max(far.values()) < 1e-6 and theirs["ppo_clip_ratio"] > 0
    print(f"openrlhf: of a batch with the ratio within a step, too, {', '.join(sorted(far))}, within {max(far.values()):.1e}")


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
