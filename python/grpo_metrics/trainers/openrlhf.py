"""OpenRLHF: its PPO trainer (GRPO, RLOO, REINFORCE++ too), whose every step's experiences go through an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._convert import _array
from ..engine import Engine
from ._host import Host, beside
from ._rows import advantages, cut, spans

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options

NAMES = {
    "policy_loss": "train/policy_loss",
    "kl_loss": "train/kl",
    "grad_norm": "train/actor_grad_norm",
    "learning_rate": "train/actor_lr",
    "step_time_sec": "train/timing/step_total",
}
"""Our scalars by the names that OpenRLHF's loggers write."""


def instrument(trainer: Any, *, engine: Engine | None = None, **options: Unpack[Options]) -> Any:
    """A subclass of OpenRLHF's trainer (`PPOTrainer`, or `TrainingActor` of the asynchronous one), to be put in its place.

    Of a Ray actor it gives a Ray actor; the store is opened where that runs. `options` are those of `Engine`, as in `grpo_metrics.trl`.
    Each step's experiences are read in `_compute_rollout_stats`, before they are split for the ranks, and each step ends in
    `save_logs_and_checkpoints`: the row stands in OpenRLHF's own log, too, as `grpo_metrics/...`. Evaluations are stored in split `val`.
    """
    host = Host("openrlhf", ("openrlhf", "verl"), engine, options)
    of_ray = getattr(trainer, "__ray_metadata__", None)
    if of_ray is None:
        return _instrumented(trainer, host)
    import ray

    plain = getattr(of_ray.modified_class, "__ray_actor_class__", of_ray.modified_class)
    return ray.remote(_instrumented(plain, host))


def _instrumented(trainer: Any, host: Host) -> type:
    class InstrumentedTrainer(trainer):  # type: ignore[misc]
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            if not hasattr(self, "_compute_rollout_stats"):
                host.lack_all("`_compute_rollout_stats`, which has the experiences")
                host.tell()
            try:
                return super().fit(*args, **kwargs)
            finally:
                host.finish()

        def train_step(self, rollout_samples: Any, global_step: int, *args: Any, **kwargs: Any) -> Any:
            self._grpo_metrics_step = global_step + 1
            return super().train_step(rollout_samples, global_step, *args, **kwargs)

        def _compute_rollout_stats(self, experiences: Any, *args: Any, **kwargs: Any) -> Any:
            step, words = getattr(self, "_grpo_metrics_step", 0), host.shielded("the loss's words", lambda: _loss(self))
            host.observe(step, lambda: _columns(self, experiences, host), words)
            return super()._compute_rollout_stats(experiences, *args, **kwargs)

        def save_logs_and_checkpoints(self, global_step: int, logs_dict: Any = None, *args: Any, **kwargs: Any) -> Any:
            row = host.logged(global_step, _under_train(logs_dict or {}), NAMES)
            if row and isinstance(logs_dict, dict):
                logs_dict = {**logs_dict, **beside(row)}
            return super().save_logs_and_checkpoints(global_step, logs_dict, *args, **kwargs)

        def save_best_checkpoint(self, eval_metrics: Any, global_step: int, *args: Any, **kwargs: Any) -> Any:
            host.logged(global_step, {f"eval/{name}": value for name, value in (eval_metrics or {}).items()}, ends=False)
            return super().save_best_checkpoint(eval_metrics, global_step, *args, **kwargs)

    InstrumentedTrainer.__name__ = InstrumentedTrainer.__qualname__ = trainer.__name__
    return InstrumentedTrainer


def _under_train(status: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenRLHF's loggers call the numbers of its status."""
    return {f"train/{name}": value for name, value in status.items()}


def _columns(trainer: Any, experiences: Any, host: Host) -> dict[str, Any] | None:
    """All experiences of a step as one batch, by their place in the rollout."""
    read: list[dict[str, Any]] = []
    for experience in experiences:
        for part in ("info", "index", "action_mask"):
            if getattr(experience, part, None) is None:
                host.lack_all(f"`{part}` of an experience")
                return None
        if experience.info.get("reward") is None:
            host.lack_all("`info['reward']` of an experience")
            return None
        read.extend(_rows_of(experience))
    each = int(trainer.args.rollout.n_samples_per_prompt)
    columns: dict[str, Any] = {"group_ids": [row["index"] // each for row in read], "completion_index": [row["index"] % each for row in read]}
    for name in dict.fromkeys(name for row in read for name in row if name != "index"):
        if all(name in row for row in read):  # what only some experiences have is in no column
            columns[name] = [row[name] for row in read]
    masks = [mask.astype(np.uint8) for mask in columns["loss_mask"]]
    return columns | advantages(columns.pop("token_advantages", None), masks)


def _rows_of(experience: Any) -> Iterator[dict[str, Any]]:
    at = spans(experience.action_mask)
    sequences = experience.sequences
    tokens = None if sequences is None else sequences[:, 1:]  # a row's action t is its token t + 1
    matrices = {
        "loss_mask": experience.action_mask,
        "token_ids": tokens,
        # The policy's as the experience is made. How far the updates of the step go is known to the actors alone: there is no ratio.
        "token_logps": experience.action_log_probs,
        "ref_token_logps": experience.base_action_log_probs,
        "sampling_token_logps": getattr(experience, "rollout_log_probs", None),
        "values": experience.values,
        "returns": experience.returns if experience.values is not None else None,
        "token_advantages": experience.advantages,
    }
    rows = {name: found for name, matrix in matrices.items() if (found := cut(matrix, at)) is not None}
    rewards, truncated = _array(experience.info["reward"]), getattr(experience, "truncated", None)
    whole = None if experience.attention_mask is None else _array(experience.attention_mask).sum(axis=1)
    for i, (begin, end) in enumerate(at):
        row: dict[str, Any] = {"index": int(experience.index[i]), "rewards": float(rewards[i]), "completion_lengths": end - begin}
        row |= {name: each[i] for name, each in rows.items()}
        if whole is not None:
            row["prompt_lengths"] = max(int(whole[i]) - (end - begin), 0)
        if truncated is not None:
            row["terminated"] = not bool(truncated[i])
        yield row


def _loss(trainer: Any) -> Mapping[str, Any]:
    """What the loss clips against, and its weight of KL, in the snapshot's words."""
    args = trainer.args
    low, high = getattr(args.actor, "eps_clip_low_high", None) or (None, None)
    words = {"clip_range_low": low, "clip_range_high": high, "beta": getattr(trainer.kl_ctl, "value", None)}
    return {name: word for name, word in words.items() if word is not None}
