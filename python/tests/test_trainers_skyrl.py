"""SkyRL's callback: called as its trainer calls it, and by the real trainer's own methods where SkyRL is there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from rollouts import EACH, away, own, parameters, rollout, same, status, stored, told, trainer_module

import grpo_metrics as gm
from grpo_metrics.trainers.skyrl import GrpoMetricsCallback

KEYS = {
    "reward": "reward/avg_raw_reward",
    "completions/mean_length": "generate/avg_num_tokens",
    "completions/min_length": "generate/min_num_tokens",
    "completions/max_length": "generate/max_num_tokens",
    "sampling/sampling_logp_difference/mean": "policy/rollout_train_logprobs_abs_diff_mean",
    "sampling/sampling_logp_difference/max": "policy/rollout_train_logprobs_abs_diff_max",
}
"""What the dialect `trl` and SkyRL both have."""

OWN = {*KEYS.values(), "generate/batch_num_seq"}
"""What of SkyRL's log is ours in the dialect `skyrl`."""


class Batch(dict):
    """SkyRL's `TrainingInputBatch`: matrices, right-aligned, and what else is known."""

    metadata: dict


def right_aligned(rows, width):
    out = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        out[i, width - len(row) :] = row
    return out


def config():
    algorithm = SimpleNamespace(eps_clip_low=0.2, eps_clip_high=0.28, policy_loss_type="regular", use_kl_loss=True, kl_loss_coef=0.001)
    generator = SimpleNamespace(sampling_params=SimpleNamespace(max_generate_length=8), n_samples_per_prompt=EACH)
    return SimpleNamespace(trainer=SimpleNamespace(algorithm=algorithm), generator=generator)


class Host:
    """A trainer that makes its batches and calls its callbacks as SkyRL's `RayPPOTrainer.train` does."""

    def __init__(self, callbacks):
        self.cfg, self.callbacks, self.global_step = config(), callbacks, 0

    def fire(self, event, **fields):
        given = SimpleNamespace(**{"global_step": self.global_step, "batch": None, "metrics": None, "logs": None} | fields)
        for callback in self.callbacks:
            getattr(callback, event)(self, given, SimpleNamespace(should_save=False))
        return given

    def convert_to_training_input(self, output, uids):
        width = max(map(len, output["response_ids"]))
        whole = [p + r for p, r in zip(output["prompt_token_ids"], output["response_ids"])]
        longest = max(map(len, whole))
        batch = Batch(
            sequences=right_aligned(whole, longest),
            attention_mask=right_aligned([[1] * len(row) for row in whole], longest),
            response_mask=right_aligned([[1] * len(row) for row in output["response_ids"]], width),
            loss_mask=right_aligned(output["loss_masks"], width),
            rewards=right_aligned(output["rewards"], width),
            rollout_logprobs=right_aligned(output["rollout_logprobs"], width),
        )
        batch.metadata = {"uids": uids, "pad_size": 1}
        for key, matrix in batch.items():  # to an even number for its ranks
            batch[key] = np.vstack([matrix, matrix[:1] * (key != "loss_mask")])
        batch.metadata["uids"] = [*uids, "pad0"]
        return batch

    def compute_advantages_and_returns(self, batch):
        total = batch["rewards"].sum(axis=1, keepdims=True)
        batch["advantages"] = (total - total.mean()) * batch["response_mask"]
        return batch

    def train(self, steps, logs=lambda step: {"policy/final_loss": 0.5 * step, "generate/batch_num_seq": 12}):
        self.fire("on_train_start")
        self.fire("on_log", logs={"eval/all/avg_score": 0.25})
        seen = []
        for self.global_step in range(1, steps + 1):
            made = rollout(self.global_step)
            self.fire("on_step_start")
            batch = self.convert_to_training_input(output(made), made.uids)
            matrices = {"action_log_probs": made.logps, "base_action_log_probs": made.reference}
            for key, rows in matrices.items():
                batch[key] = right_aligned([*rows, rows[0]], batch["response_mask"].shape[1])
            batch = self.compute_advantages_and_returns(batch)
            batch.pop("rewards")
            batch.metadata.pop("uids")
            batch["advantages"] = batch["advantages"] / 7  # scaled for the loss
            self.fire("on_step_end", batch=batch, metrics={})
            seen.append(self.fire("on_log", logs=dict(logs(self.global_step))).logs)
        self.fire("on_train_end")
        return seen


def output(made):
    rewards = [[0.0] * (len(row) - 1) + [reward] for row, reward in zip(made.responses, made.rewards)]
    return {
        "prompt_token_ids": made.prompts,
        "response_ids": made.responses,
        "rewards": rewards,
        "loss_masks": made.masks,
        "rollout_logprobs": made.sampled,
        "stop_reasons": made.stops,
    }


def test_each_step_is_a_row_of_all_completions_beside_what_skyrl_logs(tmp_path):
    store = tmp_path / "runs.db"
    seen = Host([GrpoMetricsCallback(store=store, run="r", dialect="verl")]).train(3)
    rows = stored(store)
    assert sorted(rows) == [0, 1, 2, 3] and rows[0] == {"eval/all/avg_score": 0.25}
    for step, logs in enumerate(seen, start=1):
        made, row = rollout(step), rows[step]
        assert row["critic/score/mean"] == pytest.approx(np.mean(made.rewards))
        assert row["response_length/mean"] == pytest.approx(np.mean(made.lengths))
        assert row["prompt_length/mean"] == pytest.approx(np.mean([len(prompt) for prompt in made.prompts]))
        counted = [(a, b) for i in range(made.n) for a, b, m in zip(made.logps[i], made.sampled[i], made.masks[i]) if m]
        apart = np.mean([abs(np.exp(a) - np.exp(b)) for a, b in counted])
        assert row["training/rollout_probs_diff_mean"] == pytest.approx(apart, rel=1e-4)
        tokens = [a for i in range(made.n) for a, m in zip([made.rewards[i]] * made.lengths[i], made.masks[i]) if m]
        padded = [*made.rewards, made.rewards[0]]  # the host's mean is over the row that pads, too
        assert row["critic/advantages/mean"] == pytest.approx(np.mean(tokens) - np.mean(padded), rel=1e-5)
        assert row["policy/final_loss"] == 0.5 * step and row["generate/batch_num_seq"] == 12
        assert logs["grpo_metrics/critic/score/mean"] == row["critic/score/mean"]
    assert status(store) == "completed"


def test_a_penalty_for_kl_is_taken_off_no_reward(tmp_path):
    class Penalised(Host):
        def compute_advantages_and_returns(self, batch):
            batch["rewards"] = batch["rewards"] - 0.125 * batch["response_mask"]
            return super().compute_advantages_and_returns(batch)

    host = Penalised([GrpoMetricsCallback(store=tmp_path / "runs.db", run="r", dialect="trl")])
    host.cfg.trainer.algorithm.use_kl_in_reward = True
    host.train(1)
    assert stored(tmp_path / "runs.db")[1]["reward"] == pytest.approx(np.mean(rollout(1).rewards))


def test_stop_reasons_say_which_completions_came_to_their_end(tmp_path):
    store = tmp_path / "runs.db"
    Host([GrpoMetricsCallback(store=store, run="r", dialect="trl")]).train(1)
    assert stored(store)[1]["completions/clipped_ratio"] == pytest.approx(np.mean([s == "length" for s in rollout(1).stops]))


def test_without_rewards_in_the_batch_one_warning_is_given_and_what_skyrl_logs_is_stored(tmp_path, caplog):
    class Other(Host):
        def compute_advantages_and_returns(self, batch):
            kept = batch.pop("rewards")
            super().compute_advantages_and_returns(Batch({**batch, "rewards": kept}))
            batch["advantages"] = batch["response_mask"]
            batch["rewards"] = None
            return batch

    store = tmp_path / "runs.db"
    Other([GrpoMetricsCallback(store=store, run="r")]).train(3)
    rows = stored(store)
    assert [rows[step] for step in (1, 2)] == [{"policy/final_loss": 0.5 * step, "generate/batch_num_seq": 12.0} for step in (1, 2)]
    assert len([r for r in caplog.records if "is not as known" in r.message]) == 1
    assert "only what the trainer logs itself is stored" in caplog.text


def test_a_trainer_without_the_methods_still_has_its_log_stored(tmp_path, caplog):
    callback = GrpoMetricsCallback(store=tmp_path / "runs.db", run="r")
    bare = SimpleNamespace(cfg=None)
    fire = lambda event, **fields: getattr(callback, event)(bare, SimpleNamespace(**{"global_step": 4, "batch": None, "logs": None} | fields), None)
    for event, fields in [("on_train_start", {}), ("on_epoch_start", {}), ("on_step_end", {}), ("on_log", {"logs": {"loss/x": 1}}), ("on_train_end", {})]:
        fire(event, **fields)
    assert stored(tmp_path / "runs.db") == {4: {"loss/x": 1.0}}
    assert len([r for r in caplog.records if "is not as known" in r.message]) == 1


def test_garbage_in_every_event_ends_no_training_and_is_told_once_a_place(tmp_path, caplog):
    callback = GrpoMetricsCallback(store=tmp_path / "runs.db", run="r")
    host = Host([callback])
    for _ in range(3):
        for event in ("on_train_start", "on_step_end", "on_log", "on_save", "on_eval_end"):
            host.fire(event, batch="no batch", logs=3, metrics=object())
    host.fire("on_train_end")
    said = [record.getMessage() for record in caplog.records]
    assert said and len(said) == len(set(said)) and len(said) < 5


def test_a_store_that_cannot_be_written_costs_rows_but_no_step(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    seen = Host([GrpoMetricsCallback(store=tmp_path / "folder", run="r", dialect="verl")]).train(2)
    assert [logs["grpo_metrics/critic/score/mean"] for logs in seen] == pytest.approx([np.mean(rollout(s).rewards) for s in (1, 2)])
    assert "rows go to the trainer's log alone" in caplog.text


def test_an_option_that_cannot_be_is_an_error_before_the_training():
    with pytest.raises(gm.OptionError):
        GrpoMetricsCallback(store="runs.db", logging_steps=0)


@pytest.fixture
def skyrl():
    return SimpleNamespace(
        **dict(
            zip(
                ("callbacks", "trainer", "generators", "batch"),
                trainer_module("SKYRL", "skyrl.train.utils.callbacks", "skyrl.train.trainer", "skyrl.train.generators.utils", "skyrl.backends.skyrl_train.training_batch"),
            )
        )
    )


def test_skyrl_calls_its_callbacks_as_the_host_does(skyrl):
    base = skyrl.callbacks.TrainingCallback
    for event in ("on_train_start", "on_step_end", "on_log", "on_train_end"):
        assert parameters(getattr(base, event)) == parameters(getattr(GrpoMetricsCallback, event)), event
    fields = skyrl.callbacks.CallbackInput.__dataclass_fields__
    assert {"global_step", "batch", "logs"} <= fields.keys()
    assert parameters(skyrl.trainer.RayPPOTrainer.convert_to_training_input)[:2] == ["self", "generator_output"]
    assert parameters(skyrl.trainer.RayPPOTrainer.compute_advantages_and_returns)[:2] == ["self", "data"]


def train_for_real(skyrl, store, logged=dict, **options):
    """The real methods of `RayPPOTrainer` make the batch, and log of it, between its real events; its workers are not there. What it logs, by step."""
    import torch

    trainer = object.__new__(skyrl.trainer.RayPPOTrainer)
    trainer.cfg = config()
    trainer.cfg.trainer.critic = SimpleNamespace(model=SimpleNamespace(path=None))
    for name, value in {"train_batch_size": 4, "policy_mini_batch_size": 4}.items():
        setattr(trainer.cfg.trainer, name, value)
    algorithm = {"max_seq_len": None, "advantage_estimator": "grpo", "gamma": 1.0, "lambd": 1.0, "grpo_norm_by_std": True, "zero_variance_filter": False, "use_kl_in_reward": False, "kl_estimator_type": "k3"}
    for name, value in algorithm.items():
        setattr(trainer.cfg.trainer.algorithm, name, value)
    trainer.cfg.trainer.algorithm.off_policy_correction = SimpleNamespace(tis_ratio_type=None, sequence_mask_metric=None)
    trainer.cfg.generator.step_wise_trajectories = trainer.cfg.generator.merge_stepwise_output = False
    trainer.tokenizer = SimpleNamespace(pad_token_id=0)
    trainer.dispatch = SimpleNamespace(get_lcm_dp_size=lambda: 5, empty_cache=lambda *_: None)
    trainer.ref_model, trainer.reward_kl_controller = object(), None
    trainer._current_epoch, trainer.train_dataloader, trainer.total_training_steps = 0, None, 2
    trainer._training_control = skyrl.callbacks.TrainingControl()
    trainer._skip_policy_forward = lambda batch: False
    trainer.all_metrics, trainer.global_step = {}, 0
    trainer._callback_handler = skyrl.callbacks.CallbackHandler([GrpoMetricsCallback(store=store, run="r", **options)])
    trainer._fire("on_train_start")
    theirs = {}
    for trainer.global_step in (1, 2):
        made = rollout(trainer.global_step)
        trainer.all_metrics = dict(skyrl.generators.get_rollout_metrics(made.responses, made.rewards, loss_masks=made.masks))
        generated, uids = trainer.postprocess_generator_output({**output(made), "rewards": made.rewards}, made.uids)
        batch = trainer.convert_to_training_input(generated, uids)
        width = batch["response_mask"].shape[1]
        pad = len(batch["response_mask"]) - made.n
        forward = {"policy": made.logps, "ref": made.reference}
        trainer._execute_forward_pass = lambda model, *_, **__: torch.tensor(
            right_aligned([*forward[model], *[forward[model][0]] * pad], width), dtype=torch.float32
        )
        batch = trainer.compute_advantages_and_returns(trainer.fwd_logprobs_values_reward(batch))
        batch.pop("rewards")
        batch.metadata.pop("uids")
        trainer._fire("on_step_end", batch=batch, metrics={})
        theirs[trainer.global_step] = dict(trainer.all_metrics)
        logs = logged(trainer.all_metrics)
        trainer._fire("on_log", logs=logs)
        assert any(name.startswith("grpo_metrics/") for name in logs)
    trainer._fire("on_train_end")
    return theirs


def test_the_real_trainer_s_numbers_are_ours(skyrl, tmp_path):
    theirs = train_for_real(skyrl, tmp_path / "runs.db", dialect="trl")
    rows = stored(tmp_path / "runs.db")
    equal = sum(same(rows[step], theirs[step], KEYS) for step in (1, 2))
    for step in (1, 2):
        assert {key: rows[step][key] for key in theirs[step]} == pytest.approx(theirs[step])
    print(f"skyrl: {equal} numbers of ours equal SkyRL's, {len(theirs[1])} keys of its own stored as they are, {len(rows[1])} keys in all")
    assert status(tmp_path / "runs.db") == "completed"


def test_in_its_own_dialect_which_is_the_default_what_is_ours_equals_the_real_trainer_s(skyrl, tmp_path):
    theirs = train_for_real(skyrl, tmp_path / "runs.db", logged=away)
    found = stored(tmp_path / "runs.db")
    every = [own(found[step], theirs[step]) for step in (1, 2)]
    assert all(each.keys() == OWN and max(each.values()) < 1e-6 for each in every)
    told("skyrl", every, theirs[1])


def test_the_real_loss_and_entropy_of_its_workers_are_the_dialect_s(skyrl):
    """What the adapter's batches cannot have, of a batch that has it: the ratio within a step, and entropies."""
    import torch

    [losses, means] = trainer_module("SKYRL", "skyrl.backends.skyrl_train.utils.ppo_utils", "skyrl.backends.skyrl_train.utils.torch_utils")
    draw = torch.Generator().manual_seed(0)
    old = -torch.rand(12, 8, generator=draw)
    matrices = {"old_token_logps": old, "token_logps": old + 0.3 * torch.randn(12, 8, generator=draw), "token_entropies": torch.rand(12, 8, generator=draw)}
    mask = (torch.rand(12, 8, generator=draw) < 0.8).float()
    advantages = torch.randn(12, 1, generator=draw).expand(12, 8)
    algorithm = SimpleNamespace(eps_clip_low=0.2, eps_clip_high=0.28, policy_loss_type="regular", clip_ratio_c=3.0, off_policy_correction=SimpleNamespace(tis_ratio_type=None, sequence_mask_metric=None))
    _, metrics = losses.ppo_policy_loss(matrices["token_logps"], old, advantages, config=algorithm, loss_mask=mask)
    with gm.Engine(dialect="skyrl") as engine:
        columns = {name: matrix.reshape(-1) for name, matrix in matrices.items()}
        engine.observe(
            group_sizes=[3] * 4, rewards=[0.0] * 12, completion_lengths=[8] * 12, loss_mask=mask.reshape(-1) > 0, advantages=advantages[:, 0], **columns,
            weighting={"train_grpo_objective": True, "clip_range_low": 0.2, "clip_range_high": 0.28},
        )
        row = engine.step(1)
    assert row["policy/loss_metrics/clip_ratio"] == pytest.approx(metrics["clip_ratio"], rel=1e-6) and metrics["clip_ratio"] > 0
    assert row["policy/policy_entropy"] == pytest.approx(means.masked_mean(matrices["token_entropies"], mask).item(), rel=1e-6)
    print("skyrl: clip_ratio and policy_entropy equal SkyRL's ppo_policy_loss and masked_mean")
