"""NeMo-RL: a `LoggerInterface` among a `Logger`'s loggers, and its train data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._convert import Array
from ..engine import Engine
from ._host import Host, numbers
from ._rows import advantages, numbered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options

NAMES = {
    "total_loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/lr",
    "step_time_sec": "timing/train/total_step_time",
}
"""Our scalars by NeMo-RL's names."""

TRAIN_DATA = re.compile(r"(?:.*/)?train_data_step(\d+)\.jsonl")


def attach(logger: Any, *, completions_per_prompt: int | None = None, engine: Engine | None = None, **options: Unpack[Options]) -> Any:
    """Adds a `GrpoMetricsLogger` to a NeMo-RL `Logger`, and has what that writes as `train_data_step{N}.jsonl` observed before.

    `completions_per_prompt` are the completions of a prompt (`grpo.num_generations_per_prompt`); without it, completions one after the other
    with the same prompt are a group. `options` are those of `Engine`, as in `grpo_metrics.trl`. Gives the logger back.
    """
    ours = GrpoMetricsLogger(completions_per_prompt=completions_per_prompt, engine=engine, **options)
    logger.loggers.append(ours)
    write = getattr(logger, "log_batched_dict_as_jsonl", None)
    if write is None:
        ours.host.lack_all("`log_batched_dict_as_jsonl`, which has the train data")
        ours.host.tell()
        return logger

    def observed(to_log: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
        ours.train_data(to_log, filename)
        return write(to_log, filename, *args, **kwargs)

    logger.log_batched_dict_as_jsonl = observed
    return logger


class GrpoMetricsLogger:
    """What NeMo-RL logs, and the completions of its train data, in a store; a step is one row. It has the methods of a `LoggerInterface`."""

    def __init__(
        self, *, completions_per_prompt: int | None = None, engine: Engine | None = None, **options: Unpack[Options]
    ) -> None:
        self.host = Host("nemo-rl", ("nemo-rl", "verl"), engine, options)
        self.completions_per_prompt = completions_per_prompt
        self._step: int | None = None
        self._beside: dict[str, float] = {}
        """What was logged of the step that is not over."""
        self._apart: dict[str, float] = {}
        """What came last of that which has an axis of its own."""

    def log_metrics(
        self, metrics: dict[str, Any], step: int, prefix: str | None = "", step_metric: str | None = None, step_finished: bool = False
    ) -> None:
        """Takes what NeMo-RL logs. What has an axis of its own (`step_metric`: how GPUs fare) joins the row of the step that is under way."""
        self.host.shielded("what the trainer logs", lambda: self._take(metrics, step, prefix, step_metric, step_finished))

    def _take(self, metrics: Mapping[str, Any], step: int, prefix: str | None, step_metric: str | None, finished: bool) -> None:
        named = {f"{prefix}/{name}" if prefix else name: value for name, value in metrics.items() if name != step_metric}
        if step_metric:
            self._apart |= numbers(named)
            return
        if self._step not in (None, step):
            self._write()
        self._step = step
        self._beside |= numbers(named)
        if finished:
            self._write()

    def _write(self) -> None:
        if any(name.startswith("train/") for name in self._beside):
            self._beside |= self._apart
            self._apart = {}
        if self._step is not None and self._beside:
            self.host.logged(self._step, self._beside, NAMES)
        self._step, self._beside = None, {}

    def train_data(self, to_log: Any, filename: Any) -> None:
        """Takes what NeMo-RL writes to a file, if it is the train data of a step."""
        if named := TRAIN_DATA.fullmatch(str(filename)):
            self.host.observe(int(named[1]), lambda: self._columns(to_log))

    def _columns(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        rewards = data.get("filtered_rewards", data.get("rewards"))
        if rewards is None:
            self.host.lack_all("`rewards` in the train data")
            return None
        n = len(rewards)
        columns: dict[str, Any] = {"rewards": rewards}
        if missing := [name for name in ("token_ids", "token_loss_mask", "input_lengths") if len(data.get(name, ())) != n]:
            self.host.lack(f"`{'`, `'.join(missing)}` in the train data", "tokens, and what is made of them")
            if self.completions_per_prompt is None:
                self.host.lack_all("prompts or `completions_per_prompt`, which tell groups")
                return None
            return columns | {"group_ids": [i // self.completions_per_prompt for i in range(n)]}
        lengths = [int(length) for length in data["input_lengths"]]
        masks = [np.asarray(mask)[:length] for mask, length in zip(data["token_loss_mask"], lengths)]
        begins = [int(np.flatnonzero(mask)[0]) if mask.any() else length for mask, length in zip(masks, lengths)]

        def cut(name: str) -> list[Array] | None:
            rows = data.get(name, ())
            return [np.asarray(row)[begin:end] for row, begin, end in zip(rows, begins, lengths)] if len(rows) == n else None

        logps = cut("prev_logprobs")
        if logps is not None and not any(row.any() for row in logps):
            # NeMo-RL writes zeros where it skips them (`force_on_policy_ratio`).
            self.host.lack("`prev_logprobs` that are not all 0 in the train data", "the policy's log-probabilities, and what is made of them")
            logps = None
        kept = data.get("sample_loss_mask", [1] * n)
        counted = [(mask[begin:] > 0) & bool(keep) for mask, begin, keep in zip(masks, begins, kept)]
        columns |= {
            "group_ids": self._groups(data["token_ids"], begins),
            "completion_lengths": [end - begin for begin, end in zip(begins, lengths)],
            "prompt_lengths": begins,
            "loss_mask": counted,
            "token_ids": cut("token_ids"),
            # The policy's before the update. How far the update goes is known to the workers alone: there is no ratio.
            "token_logps": logps,
            "sampling_token_logps": cut("generation_logprobs"),
            **advantages(cut("advantages"), [mask.astype(np.uint8) for mask in counted]),
        }
        return columns

    def _groups(self, token_ids: Any, begins: list[int]) -> list[int]:
        if self.completions_per_prompt is not None:
            return [i // self.completions_per_prompt for i in range(len(begins))]
        prompts = [tuple(row[:begin]) for row, begin in zip(token_ids, begins)]
        # The same prompt further on is another group's.
        turns = [i > 0 and prompt != prompts[i - 1] for i, prompt in enumerate(prompts)]
        return numbered(np.cumsum(turns).tolist())

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Takes the configuration, for the run."""
        self.host.shielded("the configuration", lambda: self.host.configured(params))

    def log_histogram(self, histogram: list[Any], step: int, name: str) -> None:
        """A histogram is not kept."""

    def log_plot(self, figure: Any, step: int, name: str) -> None:
        """A figure is not kept."""

    def finish(self) -> None:
        """The training is over."""
        self.host.shielded("what the trainer logs", self._write)
        self.host.finish()
