"""slime: a function for `--custom-rollout-log-function-path`, which has each rollout's samples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..engine import Engine
from ._host import Host
from ._rows import numbered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options

LOGGING = ("slime.observability.logging_utils", "slime.utils.logging_utils")
"""Where slime logs, today and before."""


def rollout_log(*, engine: Engine | None = None, **options: Unpack[Options]) -> Callable[..., bool]:
    """A function for `--custom-rollout-log-function-path`: each rollout is a row, and slime's own logging goes on.

    `options` are those of `Engine`, as in `grpo_metrics.trl`. What slime logs in the same process is stored beside (`rollout/...`, `perf/...`,
    `eval/...`); what its trainers log is in other processes. The run is completed with the last rollout.
    """
    return _RolloutLog(Host("slime", ("slime", "verl"), engine, options))


class _RolloutLog:
    def __init__(self, host: Host) -> None:
        self.host = host
        self._rollout: int | None = None
        self._listens = False

    def __call__(self, rollout_id: int, args: Any, samples: Any, rollout_extra_metrics: Any, rollout_time: Any) -> bool:
        host = self.host
        host.shielded("slime's own log", self._listen)
        host.shielded("the configuration", lambda: host.configured(vars(args)))
        host.observe(rollout_id, lambda: _columns(args, samples, host), host.shielded("the loss's words", lambda: _loss(args)))
        host.knows(step_time_sec=rollout_time)
        if not self._listens:
            host.logged(rollout_id, rollout_extra_metrics or {})
        self._rollout = rollout_id
        if not self._listens:
            self._finish_after(args)
        return False

    def _listen(self) -> None:
        """slime's own numbers come right after, where it logs."""
        place = next((sys.modules[name] for name in LOGGING if name in sys.modules), None)
        log = getattr(place, "log", None)
        if self._listens or not callable(log):
            return

        def heard(args: Any, metrics: Any, *others: Any, **named: Any) -> Any:
            self.host.shielded("slime's own log", lambda: self._heard(args, metrics))
            return log(args, metrics, *others, **named)

        place.log = heard  # type: ignore[union-attr]
        self._listens = True

    def _heard(self, args: Any, metrics: Mapping[str, Any]) -> None:
        if any(name.startswith("rollout/") for name in metrics) and self._rollout is not None:
            self.host.logged(self._rollout, metrics)
            self._finish_after(args)
        elif "eval/step" in metrics:
            self.host.logged(int(metrics["eval/step"]), metrics, ends=False)

    def _finish_after(self, args: Any) -> None:
        last = getattr(args, "num_rollout", None)
        evaluates = getattr(args, "eval_interval", None)
        if last is not None and self._rollout is not None and self._rollout + 1 >= last and not evaluates:
            self.host.finish()


def _columns(args: Any, samples: Any, host: Host) -> dict[str, Any] | None:
    read = list(samples)
    for part in ("group_index", "response_length", "reward"):
        if any(getattr(sample, part, None) is None for sample in read):
            host.lack_all(f"`{part}` of every sample")
            return None
    lengths = [int(sample.response_length) for sample in read]
    status = [str(getattr(getattr(sample, "status", None), "value", "")) for sample in read]
    tokens = [list(sample.tokens)[len(sample.tokens) - length :] for sample, length in zip(read, lengths)]
    removed = [bool(getattr(sample, "remove_sample", False)) for sample in read]
    masks = [[1] * length if sample.loss_mask is None else list(sample.loss_mask) for sample, length in zip(read, lengths)]

    def by_token(rows: list[Any]) -> list[Any] | None:
        return rows if all(row is not None and len(row) == length for row, length in zip(rows, lengths)) else None

    key = getattr(args, "reward_key", None)
    return {
        "rewards": [float(sample.reward[key] if key else sample.reward) for sample in read],
        "group_ids": numbered(sample.group_index for sample in read),
        "completion_lengths": lengths,
        "prompt_lengths": [max(len(sample.tokens) - length, 0) for sample, length in zip(read, lengths)],
        "max_completion_length": getattr(args, "rollout_max_response_len", None),
        "token_ids": by_token(tokens),
        "loss_mask": by_token([[0] * len(mask) if gone else mask for mask, gone in zip(masks, removed)]),
        "sampling_token_logps": by_token([sample.rollout_log_probs for sample in read]),
        "terminated": [each == "completed" for each in status],
        "aborted": [each == "aborted" for each in status],
        "errors": [each == "failed" for each in status],
        "stop_conditions": status,
        **({"completions": [str(sample.response) for sample in read]} if host.engine.keeps_samples else {}),
        **({"prompts": [str(sample.prompt) for sample in read]} if host.engine.keeps_samples else {}),
    }


def _loss(args: Any) -> dict[str, Any]:
    """What the loss clips against, in the snapshot's words."""
    words = {"clip_range_low": "eps_clip", "clip_range_high": "eps_clip_high", "beta": "kl_loss_coef"}
    return {name: word for name, its in words.items() if (word := getattr(args, its, None)) is not None}


def log_rollout_data(rollout_id: int, args: Any, samples: Any, rollout_extra_metrics: Any, rollout_time: Any) -> bool:
    """`rollout_log` of the store that GRPO_METRICS_STORE names (without it: `runs.db`), for the command line alone."""
    global _by_environment
    if _by_environment is None:
        _by_environment = rollout_log(store=os.environ.get("GRPO_METRICS_STORE", "runs.db"), run=os.environ.get("GRPO_METRICS_RUN"))
    return _by_environment(rollout_id, args, samples, rollout_extra_metrics, rollout_time)


_by_environment: Callable[..., bool] | None = None
