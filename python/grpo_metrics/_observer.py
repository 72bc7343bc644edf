"""What an instrumented trainer of TRL hands an engine: the completions of each step, and what TRL logs beside its row."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._audit import LiveAudit
from ._parts import COMPONENTS, RATIOS, TOTAL, Parts
from ._trainer_log import of_splits, shielded

if TYPE_CHECKING:
    from .trl import Training

_log = logging.getLogger("grpo_metrics")

MARK = "grpo_metrics_row"
"""Which row of the generated batch a completion was: travels with TRL's own columns through shuffles and splits."""

class Generated:
    """What is known of the generated completions that may yet be trained on, by their marks."""

    def __init__(self) -> None:
        self.generations = 0
        self.rows: dict[int, dict[str, Any]] = {}
        self.at_step: int | None = None
        """The step that the batch was generated at."""


class Observer:
    """What an instrumented trainer knows of the step that is not over."""

    def __init__(self, training: Training, generated: Generated, audit: LiveAudit | None = None) -> None:
        self.training, self.trainer, self.engine = training, training.trainer, training.engine
        self.audit = audit
        self.generated, self.parts = generated, Parts(self.trainer)
        self.computed: Any = None
        self.beside: dict[str, float] = {}
        """What only TRL logs, as it stands in the row that went out last."""
        self._rewarded: dict[str, Any] | None = None
        """What is known of the completions that are being generated: nothing where their rewards could not be read."""
        self._marked = False
        self._began_at: int | None = None
        self._steps = 0
        """How many are over since the last row."""
        self._computes: dict[str, bool] = {}
        self._component_names: list[str] = []
        training.log.theirs = lambda name: name.startswith("grpo_metrics/") or self._is_ours(name) or name in self.beside

    def _is_ours(self, name: str) -> bool:
        if not self.parts.counts:
            return False
        if name not in self._computes:
            self._computes[name] = self.engine.computes(name)
        return self._computes[name]

    def rewarded(self, rewards: Any, completion_ids: list[Any]) -> None:
        """TRL has scored the completions of all ranks; the ids are this rank's own."""
        import torch

        accelerator, parts, n = self.trainer.accelerator, self.parts, len(completion_ids)
        self._rewarded = {}
        names, weights, ends = parts.of("reward_func_names"), parts.of("reward_weights"), self._ends()
        shape = tuple(getattr(rewards, "shape", ()))
        if len(shape) != 2 or shape[0] != n * accelerator.num_processes:
            parts.lack_all("rewards from `_calculate_rewards`, a row for each completion of all ranks")
            return
        first = accelerator.process_index * n
        own = rewards[first : first + n].detach().cpu().double()
        generation, size = self.generated.generations, parts.of("num_generations")
        rewarded: dict[str, Any] = {
            # A generation's groups are its own, and a step may be made of several.
            "group_ids": [(generation << 32) + (first + i) // size for i in range(n)],
            "completion_index": [(first + i) % size for i in range(n)],
            "reward_components": {},
            "completion_lengths": [len(ids) for ids in completion_ids],
        }
        if weights is not None and len(weights) != shape[1]:
            parts.lack("a `reward_weights` a reward function", TOTAL)
        elif weights is not None:
            total = (own * torch.as_tensor(weights).detach().cpu().double()).nansum(dim=1)
            total[own.isnan().all(dim=1)] = math.nan
            rewarded["rewards"] = _cells(total)
        if names is not None and len(names) != shape[1]:
            parts.lack("a `reward_func_names` a reward function", COMPONENTS)
        elif names is not None:
            self._component_names = self._component_names or set_apart(names)
            rewarded["reward_components"] = {name: _cells(own[:, i]) for i, name in enumerate(self._component_names)}
        if ends:
            rewarded["terminated"] = [len(ids) > 0 and int(ids[-1]) in ends for ids in completion_ids]
        self._rewarded = rewarded
        self.generated.generations += 1

    def _ends(self) -> set[int]:
        eos, pad = self.parts.of("eos_token_ids"), self.parts.of("pad_token_id")
        if eos is None or pad is None:
            return set()
        return {*([eos] if isinstance(eos, int) else eos), pad}

    def said(self, prompts: list[Any], completions: list[Any]) -> None:
        """The texts of what was scored, where somebody reads them."""
        if self._rewarded and self.engine.keeps_samples:
            self._rewarded["prompts"] = [_text(prompt) for prompt in prompts]
            self._rewarded["completions"] = [_text(completion) for completion in completions]

    def generated_batch(self, output: dict[str, Any]) -> None:
        """TRL has a batch to train on: its rows are marked, so that they are known again after its shuffles and splits."""
        import torch

        rewarded, self._rewarded = self._rewarded, None
        if rewarded is None:
            self.parts.lack_all("a call of `_calculate_rewards` for what is generated")
        if not rewarded:
            return
        n = len(rewarded["group_ids"])
        first = self.generated.generations << 32
        output[MARK] = torch.arange(first, first + n, device=self.trainer.accelerator.device)
        # A generation may be used by several steps; the one before is over.
        self.generated.rows = {first + i: _row(rewarded, i) for i in range(n)}
        self._marked = True
        self.generated.at_step = self.trainer.state.global_step

    def observe(self, inputs: Mapping[str, Any]) -> None:
        """A micro-batch's loss is known, and so are its log-probabilities. Whatever fails, the step ends on every rank."""
        self._began_at = self.trainer.state.global_step
        try:
            if self.parts.counts and MARK not in inputs:
                self.parts.lack_all(
                    "the rows of a generated batch, each with all its columns, in the batches that are trained on"
                    if self._marked
                    else "a call of `_generate_and_score_completions` for what is trained on"
                )
            if self.parts.counts:
                columns = self._columns(inputs)
                self.engine.observe(**columns)
                if self.audit is not None:
                    shielded(self.audit.observed, columns)
        except Exception as error:
            _log.warning("grpo_metrics: a micro-batch is left out: %s: %s", type(error).__name__, error)
            shielded(self.engine.fail, str(error))
        self.parts.tell()

    def _columns(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        parts, loss = self.parts, loss_of(self.parts)
        rows = [self.generated.rows[mark] for mark in inputs[MARK].tolist()]
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0] if name != "reward_components"}
        names = rows[0]["reward_components"]
        columns["reward_components"] = {name: [row["reward_components"][name] for row in rows] for name in names}
        if "rewards" not in columns:
            columns["rewards"] = [None] * len(rows)
            loss["scale_rewards"] = "other"  # nobody knows which groups have a spread
        columns["max_completion_length"] = parts.of("max_completion_length")
        advantages = parts.key(inputs, "advantages", "advantages")
        if advantages is not None:
            columns["advantages" if advantages.dim() == 1 else "token_advantages"] = advantages
        mask = parts.key(inputs, "completion_mask", "tokens, and their log-probabilities and entropies")
        if mask is not None:
            columns |= self._token_columns(inputs, mask, loss)
        return columns | {"weighting": {"train_grpo_objective": True} | loss}

    def _token_columns(self, inputs: Mapping[str, Any], mask: Any, loss: Mapping[str, Any]) -> dict[str, Any]:
        parts = self.parts
        columns = {
            "loss_mask": (mask * inputs["tool_mask"] if "tool_mask" in inputs else mask).bool(),
            "token_ids": parts.key(inputs, "completion_ids", "tokens by their ids"),
            "old_token_logps": inputs.get("old_per_token_logps"),
            "ref_token_logps": inputs.get("ref_per_token_logps"),
            "sampling_token_logps": inputs.get("sampling_per_token_logps"),
        }
        if loss.get("beta") and columns["ref_token_logps"] is None:
            parts.lack("`ref_per_token_logps` in a batch of a loss with `beta`", "KL")
        known = isinstance(self.computed, (tuple, list)) and len(self.computed) > 1
        logps, entropies = self.computed[:2] if known else (None, None)
        if getattr(logps, "shape", None) != mask.shape:
            parts.lack("what `_get_per_token_logps_and_entropies` gives for a loss", f"log-probabilities, entropies, {RATIOS}")
            return columns
        columns["token_entropies"] = entropies
        # An older policy's log-probabilities are the present one's only within the step that the batch was generated at.
        if columns["old_token_logps"] is None and self.generated.at_step != self._began_at:
            parts.lack("`old_per_token_logps` in a batch of an earlier step", RATIOS)
        elif {"clip_range_low", "clip_range_high", "importance_sampling_level"} <= loss.keys():
            columns["token_logps"] = logps
            if columns["old_token_logps"] is None:
                columns["old_token_logps"] = logps  # as TRL's loss does
        return columns

    def end_step(self, logs: Mapping[str, Any] | None) -> dict[str, float] | None:
        """The optimizer's step is over, if there was one since this was last called: its row, at rank 0. `logs` is what the
        trainer is about to log, if it is.

        Every rank comes here once a step, at the same place: this is the step's collective.
        """
        self.beside = {}
        step = self.trainer.state.global_step
        if self._began_at is None or step <= self._began_at:
            return None
        self._began_at = None
        self._steps += 1
        goes_out = logs is not None if self.training.follows_log else None
        scalars: dict[str, float] = {}
        beside: dict[str, float] = {}
        if self.trainer.accelerator.is_main_process:
            # Whatever fails of these, the other ranks wait for this one's part.
            scalars = shielded(self._scalars, logs or {}) or {}
            beside = (goes_out and shielded(self._only_logged, logs)) or {}
        row = self.engine.step(step, scalars={**scalars, **beside}, goes_out=goes_out)
        self.beside = beside
        if self.audit is not None and row and logs:
            shielded(self.audit.compare, step, {**logs, **self._averages()}, row, self._steps)
        if row is not None:
            self._steps = 0
        return row

    def _only_logged(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """What TRL is about to log and the engine does not compute: it joins the row, over the same steps."""
        said = {"epoch": self.trainer.state.epoch, **logs, **self._averages()}
        return of_splits(said, self._is_ours).get("train", {})

    def _averages(self) -> dict[str, float]:
        """What TRL makes of what it has collected since its last log."""
        known = {key: [value for value in values if not math.isnan(value)] for key, values in self._metrics().items()}
        return {key: sum(values) / len(values) for key, values in known.items() if values}

    def _metrics(self) -> dict[str, list[float]]:
        """What TRL has collected since its last log."""
        return dict(getattr(self.trainer, "_metrics", {}).get("train", {}))

    def _scalars(self, logs: Mapping[str, Any]) -> dict[str, float]:
        names = {"loss": "total_loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "epoch": "epoch"}
        scalars = {ours: float(logs[theirs]) for theirs, ours in names.items() if theirs in logs}
        if "epoch" not in scalars and self.trainer.state.epoch is not None:
            scalars["epoch"] = float(self.trainer.state.epoch)
        scalars["num_input_tokens"] = float(self.trainer.state.num_input_tokens_seen)
        if step_times := self._metrics().get("step_time"):
            scalars["step_time_sec"] = step_times[-1]
        return scalars

    def finish(self, raised: BaseException | None) -> None:
        """The training is over. Of several ranks, one that broke off must not wait for the others, which are elsewhere."""
        if raised is None or self.trainer.accelerator.num_processes == 1:
            self.end_step(None)


def loss_of(parts: Parts) -> dict[str, Any]:
    """What the trainer clips, and by what it scales advantages and KL, in the snapshot's words."""
    trainer = parts.trainer
    scaled = parts.of("scale_rewards")
    if scaled is None or getattr(trainer, "multi_objective_aggregation", None) == "normalize_then_sum":
        scaled = "other"
    words = {
        # The geometric-mean trainer is a class of its own; the loss type of its arguments means nothing to it.
        "loss_type": "gmpo" if any(of.__name__ == "GMPOTrainer" for of in type(trainer).__mro__) else parts.of("loss_type"),
        "beta": parts.of("beta"),
        "clip_range_low": parts.of("epsilon_low"),
        "clip_range_high": parts.of("epsilon_high"),
        "clip_delta": getattr(trainer.args, "delta", None),
        "importance_sampling_level": parts.of("importance_sampling_level"),
        "scale_rewards": scaled,
    }
    return {name: word for name, word in words.items() if word is not None}


def set_apart(names: Sequence[str]) -> list[str]:
    """A name for each, the later ones of one name with a number behind it, said in the log."""
    apart: list[str] = []
    for at, name in enumerate(names):
        own = name
        if name in apart:
            own = next(own for nth in itertools.count(2) if (own := f"{name}_{nth}") not in (*apart, *names[at:]))
            _log.warning("grpo_metrics: two reward functions are named %s: the later one is %s", name, own)
        apart.append(own)
    return apart


def _cells(column: Any) -> list[float | None]:
    return [None if math.isnan(cell) else cell for cell in column.tolist()]


def _text(said: Any) -> str:
    """A prompt or completion as text; of a conversation each message."""
    if isinstance(said, str):
        return said
    if isinstance(said, Mapping):
        content = said.get("content", "")
        if not isinstance(content, str):  # parts, of which some are images
            content = " ".join(str(part.get("text", f"[{part.get('type')}]")) if isinstance(part, Mapping) else str(part) for part in content or ())
        return f"{said.get('role', '')}: {content}"
    if isinstance(said, Sequence):
        return "\n".join(_text(message) for message in said)
    return str(said)


def _row(columns: Mapping[str, Any], i: int) -> dict[str, Any]:
    return {
        name: {part: values[i] for part, values in column.items()} if isinstance(column, dict) else column[i]
        for name, column in columns.items()
    }
