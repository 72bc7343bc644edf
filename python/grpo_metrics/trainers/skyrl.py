"""SkyRL: a `TrainingCallback` that has each step's batch."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._convert import _array
from ..engine import Engine
from ._host import Host, beside, wrapped
from ._rows import advantages, cut, numbered, spans

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options

NAMES = {
    "total_loss": "policy/final_loss",
    "policy_loss": "policy/policy_loss",
    "kl_loss": "policy/policy_kl",
    "grad_norm": "policy/grad_norm",
    "learning_rate": "policy/policy_lr",
    "step_time_sec": "timing/step",
    "epoch": "trainer/epoch",
}
"""Our scalars by SkyRL's names."""

LOSSES = ("cispo", "sapo")
"""SkyRL's losses without a clip range, under the names that the snapshot knows too."""


class GrpoMetricsCallback:
    """Every step's completions and SkyRL's own log in a store.

    Among the `callbacks` of `RayPPOTrainer`, or handed to its `add_callback`. `options` are those of `Engine`, as in `grpo_metrics.trl`;
    an `engine` that is handed in is finished by its owner. The row stands in SkyRL's log, too, as `grpo_metrics/...`.

    What the batch has no more when a step has ended (rewards, uids, why generation stopped, advantages before they are scaled for the
    loss) is read as the trainer makes it, in `convert_to_training_input` and `compute_advantages_and_returns`.
    """

    def __init__(self, *, engine: Engine | None = None, **options: Unpack[Options]) -> None:
        self._host = Host("skyrl", ("skyrl", "verl"), engine, options)
        self._made: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # an event that nothing is done at
            return lambda *args: None
        raise AttributeError(name)

    def on_train_start(self, trainer: Any, callback_input: Any, control: Any) -> None:
        """The training begins: what makes its batches tells of them."""
        self._host.shielded("the configuration", lambda: self._host.configured(_config(trainer)))
        self._host.shielded("the hooks", lambda: self._listen(trainer))

    def _listen(self, trainer: Any) -> None:
        host = self._host

        def rewarded(batch: Any, *_: Any, **__: Any) -> None:
            host.shielded("rewards", lambda: self._rewarded(batch))

        def generated(_: Any, output: Any, *__: Any, **___: Any) -> None:
            host.shielded("what was generated", lambda: self._generated(output))

        if not wrapped(trainer, "compute_advantages_and_returns", rewarded):
            host.lack_all("`compute_advantages_and_returns`, which has the rewards")
        if not wrapped(trainer, "convert_to_training_input", generated):
            host.lack("`convert_to_training_input`", "why generation stopped, and rewards before penalties")
        host.tell()

    def _generated(self, output: Mapping[str, Any]) -> None:
        # A reward is a response's, or each token's; after this the trainer takes its penalty for KL off them.
        given = [float(np.sum(reward)) for reward in output["rewards"]]
        self._made = {"stop_reasons": output.get("stop_reasons"), "given": given}

    def _rewarded(self, batch: Any) -> None:
        metadata = batch.metadata
        self._made |= {
            "rewards": _array(batch["rewards"]).sum(axis=1, dtype=np.float64),
            "uids": list(metadata["uids"]),
            "is_last_step": metadata.get("is_last_step"),
            "advantages": batch["advantages"],
        }

    def on_step_end(self, trainer: Any, callback_input: Any, control: Any) -> None:
        """A step is over: its batch."""
        made, self._made = self._made, {}
        self._host.observe(callback_input.global_step, lambda: self._columns(trainer, callback_input.batch, made), _loss(trainer))

    def _columns(self, trainer: Any, batch: Any, made: Mapping[str, Any]) -> dict[str, Any] | None:
        for key in ("rewards", "uids"):
            if made.get(key) is None:
                self._host.lack_all(f"`{key}` in a batch of `compute_advantages_and_returns`")
                return None
        n = len(made["rewards"]) - int((batch.metadata or {}).get("pad_size", 0))
        penalised = made["rewards"][:n].tolist()
        given = made.get("given", ())
        columns: dict[str, Any] = {"rewards": given if len(given) == n else penalised, "group_ids": numbered(made["uids"][:n])}
        if len(given) == n and _of(trainer, "cfg.trainer.algorithm.use_kl_in_reward"):
            columns["penalised_rewards"] = penalised
        if made["is_last_step"] is not None:  # a trajectory is several rows, of which the last has its reward
            for name in columns.keys() - {"group_ids"}:
                columns[name] = [reward if last else None for reward, last in zip(columns[name], made["is_last_step"])]
        if batch.get("response_mask") is None:
            self._host.lack("`response_mask` in a batch", "tokens, and what is made of them")
            return columns
        at = spans(batch["response_mask"][:n])
        masks = cut(batch.get("loss_mask"), at)
        sequences, width = batch.get("sequences"), batch["response_mask"].shape[1]
        columns |= {
            "completion_lengths": [end - begin for begin, end in at],
            "loss_mask": masks and [mask > 0 for mask in masks],
            "token_ids": cut(None if sequences is None else sequences[:, -width:], at),
            # The policy's as the step begins. How far the updates within it go is known to the workers alone: there is no ratio.
            "token_logps": cut(batch.get("action_log_probs"), at),
            "ref_token_logps": cut(batch.get("base_action_log_probs"), at),
            "sampling_token_logps": cut(batch.get("rollout_logprobs"), at),
            "values": cut(batch.get("values"), at),
            "returns": cut(batch.get("returns"), at),
            "max_completion_length": _of(trainer, "cfg.generator.sampling_params.max_generate_length"),
            **advantages(cut(made["advantages"], at), masks or [np.ones(end - begin) for begin, end in at]),
        }
        if batch.get("attention_mask") is not None:
            whole = _array(batch["attention_mask"][:n]).sum(axis=1)
            columns["prompt_lengths"] = [int(length) - (end - begin) for length, (begin, end) in zip(whole, at)]
        stops = made.get("stop_reasons")
        if stops is not None and len(stops) == n:
            columns |= {"terminated": [stop == "stop" for stop in stops], "stop_conditions": [str(stop) for stop in stops]}
        return columns

    def on_log(self, trainer: Any, callback_input: Any, control: Any) -> None:
        """SkyRL is about to log."""
        logs = callback_input.logs
        row = self._host.logged(callback_input.global_step, logs, NAMES)
        self._host.shielded("the row in the trainer's log", lambda: logs.update(beside(row)))

    def on_train_end(self, trainer: Any, callback_input: Any, control: Any) -> None:
        """The training has come to its end."""
        self._host.finish()


def _of(trainer: Any, place: str) -> Any:
    try:
        return operator.attrgetter(place)(trainer)
    except AttributeError:
        return None


def _loss(trainer: Any) -> dict[str, Any]:
    """What the loss clips against, and its weight of KL, in the snapshot's words."""
    algorithm = _of(trainer, "cfg.trainer.algorithm")
    loss = getattr(algorithm, "policy_loss_type", None)
    words = {
        "clip_range_low": getattr(algorithm, "eps_clip_low", None),
        "clip_range_high": getattr(algorithm, "eps_clip_high", None),
        "beta": getattr(algorithm, "kl_loss_coef", None) if getattr(algorithm, "use_kl_loss", False) else None,
        "importance_sampling_level": "sequence" if loss == "gspo" else None,
        "loss_type": loss if loss in LOSSES else None,
    }
    return {name: word for name, word in words.items() if word is not None}


def _config(trainer: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    config = getattr(trainer, "cfg", None)
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
