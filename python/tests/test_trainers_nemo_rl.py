"""NeMo-RL's logger: called as its training calls it, and among the loggers of the real `Logger` where NeMo-RL is there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Optional
from unittest.mock import MagicMock

import numpy as np
import pytest
from rollouts import EACH, away, definitions, own, parameters, rollout, status, stored, told, trainer_module

import grpo_metrics as gm
from grpo_metrics.trainers.nemo_rl import GrpoMetricsLogger, attach


class Logger:
    """NeMo-RL's `Logger`: it hands on to its loggers, and writes train data itself."""

    def __init__(self):
        self.loggers, self.written = [], []

    def log_metrics(self, metrics, step, prefix="", step_metric=None, step_finished=False):
        for logger in self.loggers:
            logger.log_metrics(metrics, step, prefix, step_metric, step_finished)

    def log_hyperparams(self, params):
        for logger in self.loggers:
            logger.log_hyperparams(params)

    def log_batched_dict_as_jsonl(self, to_log, filename):
        self.written.append((filename, len(to_log["rewards"])))

    def finish(self):
        for logger in self.loggers:
            logger.finish()


def train_data(made):
    """What `grpo.py` writes: sequences padded on the right, log-probabilities at the place of their token."""
    whole = [prompt + response for prompt, response in zip(made.prompts, made.responses)]
    width = max(map(len, whole))
    of = lambda rows: [[0.0] * len(p) + list(row) + [0.0] * (width - len(p) - len(row)) for p, row in zip(made.prompts, rows)]
    return {
        "content": ["text"] * made.n,
        "rewards": made.rewards,
        "input_lengths": [len(row) for row in whole],
        "token_ids": [row + [0] * (width - len(row)) for row in whole],
        "token_loss_mask": of(made.masks),
        "sample_loss_mask": [1.0] * made.n,
        "advantages": of([[reward - 0.5] * length for reward, length in zip(made.rewards, made.lengths)]),
        "generation_logprobs": of(made.sampled),
        "prev_logprobs": of(made.logps),
    }


def train(logger, steps=2, data=train_data, metrics=lambda step: {"reward": float(np.mean(rollout(step).rewards)), "loss": 0.5, "histogram/gen": [1, 2]}):
    """The calls of `grpo_train`, in its order."""
    logger.log_hyperparams({"grpo": {"num_prompts_per_step": 4}, "logger": {"wandb": {"api_key": "s3cret"}}})
    logger.log_metrics({"accuracy": 0.125}, 0, prefix="validation")
    for step in range(1, steps + 1):
        logger.log_metrics({"node.0.gpu.0.util": 50.0 + step, "ray/ray_step": 17 * step}, step=17 * step, prefix="ray", step_metric="ray/ray_step")
        logger.log_batched_dict_as_jsonl(data(rollout(step)), f"train_data_step{step}.jsonl")
        logger.log_metrics(metrics(step), step, prefix="train")
        logger.log_metrics({"tokens_per_sec": np.float32(3.0)}, step, prefix="performance")
        logger.log_metrics({"total_step_time": 2.0}, step, prefix="timing/train", step_finished=True)
    logger.log_batched_dict_as_jsonl({"rewards": [0.0]}, f"val_data_step{steps}.jsonl")
    logger.finish()


@pytest.mark.parametrize("each", [EACH, None])
def test_each_step_is_a_row_of_its_train_data_beside_what_nemo_logs(tmp_path, each):
    store = tmp_path / "runs.db"
    logger = attach(Logger(), store=store, run="r", dialect="trl", completions_per_prompt=each)
    train(logger)
    rows = stored(store)
    assert rows[0] == {"validation/accuracy": 0.125}
    for step in (1, 2):
        made, row = rollout(step), rows[step]
        assert row["reward"] == pytest.approx(row["train/reward"]) == pytest.approx(np.mean(made.rewards))
        assert row["completions/mean_length"] == pytest.approx(np.mean(made.lengths))
        assert row["frac_reward_zero_std"] == pytest.approx(np.mean(np.array(made.rewards).reshape(-1, EACH).std(axis=1) < 1e-8))
        counted = [(a, b) for i in range(made.n) for a, b, m in zip(made.logps[i], made.sampled[i], made.masks[i]) if m]
        assert row["sampling/sampling_logp_difference/mean"] == pytest.approx(np.mean([abs(a - b) for a, b in counted]), rel=1e-4)
        assert row["ray/node.0.gpu.0.util"] == 50.0 + step and row["performance/tokens_per_sec"] == 3.0 and row["step_time"] == 2.0
        assert not any("histogram" in key or "ray_step" in key for key in row)
    assert sorted(rows) == [0, 1, 2] and status(store) == "completed"
    assert logger.written == [("train_data_step1.jsonl", 12), ("train_data_step2.jsonl", 12), ("val_data_step2.jsonl", 1)]


def test_the_run_knows_the_configuration_but_no_secret(tmp_path):
    train(attach(Logger(), store=tmp_path / "runs.db", run="r"), 1)
    config = gm.open(tmp_path / "runs.db")["r"].config
    assert config["grpo"] == {"num_prompts_per_step": 4} and "s3cret" not in str(config)


def test_two_groups_of_one_prompt_are_told_apart_where_others_stand_between_them():
    logger = GrpoMetricsLogger()
    assert logger._groups([[1, 2, 9], [1, 2, 8], [5, 2, 9], [1, 2, 7]], [2, 2, 2, 2]) == [0, 0, 1, 2]


def test_a_batch_without_rewards_or_tokens_gives_one_warning_and_the_log_alone(tmp_path, caplog):
    train(attach(Logger(), store=tmp_path / "a.db", run="r", dialect="trl"), 3, lambda made: {"rewards": [], **train_data(made), "token_ids": []})
    assert stored(tmp_path / "a.db")[3].keys() >= {"train/reward"} and "reward" not in stored(tmp_path / "a.db")[3]
    assert len([r for r in caplog.records if "is not as known" in r.message]) == 1
    train(attach(Logger(), store=tmp_path / "b.db", run="r", dialect="trl", completions_per_prompt=EACH), 1, lambda made: {"rewards": made.rewards})
    assert stored(tmp_path / "b.db")[1]["reward"] == pytest.approx(np.mean(rollout(1).rewards))


def test_log_probabilities_that_nemo_skips_and_writes_as_zeros_are_none(tmp_path, caplog):
    def skipped(made):
        data = train_data(made)
        return {**data, "prev_logprobs": np.zeros_like(data["prev_logprobs"]).tolist()}

    metrics = {"reward": 9.0, "gen_kl_error": 0.125}
    train(attach(Logger(), store=tmp_path / "runs.db", run="r"), data=skipped, metrics=lambda step: metrics)
    for step in (1, 2):
        row = stored(tmp_path / "runs.db")[step]
        assert row["train/gen_kl_error"] == 0.125 and "train/token_mult_prob_error" not in row
        assert row["train/reward"] == pytest.approx(np.mean(rollout(step).rewards))
    assert len([r for r in caplog.records if "prev_logprobs" in r.message]) == 1


def test_garbage_ends_no_training_and_is_told_once_a_place(tmp_path, caplog):
    logger = attach(Logger(), store=tmp_path / "runs.db", run="r")
    for step in (1, 2, 3):
        logger.loggers[0].train_data({"rewards": object()}, f"train_data_step{step}.jsonl")
        logger.loggers[0].log_metrics("nothing", step)
        logger.loggers[0].log_hyperparams(3)
        logger.loggers[0].log_histogram([1], step, "x")
    logger.finish()
    said = [r.getMessage() for r in caplog.records]
    assert said and len(said) == len(set(said)) < 4


def test_a_store_that_cannot_be_written_costs_rows_but_no_step(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    logger = attach(Logger(), store=tmp_path / "folder", run="r")
    train(logger)
    assert len(logger.written) == 3 and "rows go to the trainer's log alone" in caplog.text


ENGINES = ("mlflow", "swanlab", "matplotlib", "tensorboard", "ray", "wandb", "rich", "prometheus_client")


def test_nemo_calls_its_loggers_as_the_host_does():
    [module] = trainer_module("NEMO_RL", "nemo_rl.utils.logger", engines=ENGINES)
    for name in ("log_metrics", "log_hyperparams", "log_histogram", "log_plot"):
        assert parameters(getattr(module.LoggerInterface, name)) == parameters(getattr(GrpoMetricsLogger, name)), name
    assert parameters(module.Logger.log_batched_dict_as_jsonl) == ["self", "to_log", "filename"]


def test_among_the_real_logger_s_loggers(tmp_path):
    [module] = trainer_module("NEMO_RL", "nemo_rl.utils.logger", engines=ENGINES)
    off = dict.fromkeys(("wandb_enabled", "swanlab_enabled", "tensorboard_enabled", "mlflow_enabled", "monitor_gpus"), False)
    logger = attach(module.Logger({"log_dir": str(tmp_path / "log"), **off}), store=tmp_path / "runs.db", run="r", dialect="trl")
    train(logger)
    rows = stored(tmp_path / "runs.db")
    written = [line for line in (tmp_path / "log" / "train_data_step2.jsonl").read_text().splitlines()]
    assert len(written) == 12
    for step in (1, 2):
        assert rows[step]["reward"] == pytest.approx(rows[step]["train/reward"])
    print(f"nemo_rl: reward equals train/reward in 2 steps; {len(rows[1])} keys in a row")


OWN = {
    "train/reward",
    "train/mean_prompt_length",
    "train/total_num_tokens",
    *(f"train/advantages/{name}" for name in ("mean", "max", "min")),
    *(f"train/{name}" for name in ("token_mult_prob_error", "gen_kl_error", "policy_kl_error", "js_divergence_error")),
    *(f"train/{name}_seq_mult_prob_error" for name in ("mean", "max", "min")),
}
"""What of NeMo-RL's log is ours in the dialect `nemo-rl`."""


def as_grpo_logs(made):
    """What `grpo_train` logs of a step under `train`: by NeMo-RL's own loss and its error of sequences; what stands within `grpo_train` itself as it stands there."""
    torch, pydantic = pytest.importorskip("torch"), pytest.importorskip("pydantic")
    helpers = definitions("NEMO_RL", "nemo_rl/algorithms/utils.py", "masked_mean", "calculate_kl", torch=torch)
    kinds = {name: MagicMock() for name in ("LossType", "LossInputType", "MetricNormalizer")}
    given = {"torch": torch, "BaseModel": pydantic.BaseModel, "Optional": Optional, "LossFunction": object, **kinds, **{name: helpers[name] for name in ("masked_mean", "calculate_kl")}}
    loss = definitions("NEMO_RL", "nemo_rl/algorithms/loss/loss_functions.py", "ClippedPGLossConfig", "ClippedPGLossFn", **given)
    driver = definitions("NEMO_RL", "nemo_rl/algorithms/grpo.py", "compute_and_apply_seq_logprob_error_masking", torch=torch)
    data = train_data(made)
    tensor = lambda name: torch.tensor(np.array(data[name], dtype=np.float32))
    batch = {name: tensor(name) for name in ("advantages", "generation_logprobs", "prev_logprobs")}
    batch |= {"token_mask": tensor("token_loss_mask"), "sample_mask": tensor("sample_loss_mask")}
    apart = driver["compute_and_apply_seq_logprob_error_masking"](train_data=batch, rewards=tensor("rewards"), seq_logprob_error_threshold=None)
    loss["ClippedPGLossConfig"].model_rebuild(_types_namespace=loss)
    policy = loss["ClippedPGLossFn"](loss["ClippedPGLossConfig"](reference_policy_kl_penalty=0))
    tokens = (batch["token_mask"][:, 1:] * batch["sample_mask"][:, None]).sum()
    parts = []
    for at in (slice(0, 5), slice(5, made.n)):  # micro-batches, of which no two are of a size
        part = {name: rows[at] for name, rows in batch.items()}
        # The policy has moved on since the log-probabilities from before the step.
        parts.append(policy(part["prev_logprobs"][:, 1:] - 0.05, part, torch.tensor(float(made.n)), tokens)[1])
    micro = {name: sum(part[name] for part in parts) for name in parts[0] if not name.endswith(("_min", "_max"))}
    marked = torch.masked_select(batch["advantages"], batch["token_mask"].bool())
    metrics = {
        "reward": np.mean(np.float32(made.rewards)),
        "mean_prompt_length": np.mean([len(prompt) for prompt in made.prompts]),
        "total_num_tokens": np.sum(data["input_lengths"]),
        **{f"advantages/{name}": getattr(torch, name)(marked) for name in ("mean", "max", "min")},
        **micro,
        **apart,
    }
    return {name: float(value) for name, value in metrics.items()}


def test_in_its_own_dialect_which_is_the_default_what_is_ours_equals_nemo_s_own_loss_and_driver(tmp_path):
    logged = {step: as_grpo_logs(rollout(step)) for step in (1, 2)}
    train(attach(Logger(), store=tmp_path / "runs.db", run="r"), metrics=lambda step: away(logged[step]))
    rows = stored(tmp_path / "runs.db")
    theirs = {step: {f"train/{name}": value for name, value in metrics.items()} for step, metrics in logged.items()}
    every = [own(rows[step], theirs[step]) for step in (1, 2)]
    assert all(each.keys() == OWN and max(each.values()) < 1e-6 for each in every), every
    assert theirs[1]["train/probs_ratio"] == pytest.approx(np.exp(-0.05))  # its loss was at work
    told("nemo_rl", every, theirs[1])
