"""TRL: a callback for a trainer's own logs, and a trainer whose every step gives the full dictionary."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._core import Engine, SinkError, StoreError, normalised
from ._store import Store

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    try:
        from transformers import TrainerCallback
    except ImportError:  # the callback is called by duck type
        TrainerCallback = object

_log = logging.getLogger("grpo_metrics")

TESTED = ("1.16",)
"""The TRL versions that `instrument` was tested with."""

MARK = "grpo_metrics_row"
"""Which row of the generated batch a completion was: travels with TRL's own columns through shuffles and splits."""


class GrpoMetricsCallback(TrainerCallback):
    """Puts what a trainer logs into a store (or an engine's sinks), under the `train/` and `eval/` names of METRICS.md.

    `target` is an `Engine`, a store's path, or a store object with EvSys's methods; `run` names the run (of a path it is
    created or continued, of an object it is the id). A log that the target refuses is a log line, never an error.
    """

    def __init__(self, target: Any, *, run: str | None = None, experiment: str | None = None) -> None:
        self.engine: Engine | None = target if isinstance(target, Engine) else None
        self.store: Any = None
        if self.engine is None:
            self.store = Store(target) if isinstance(target, (str, os.PathLike)) else target
        self.run, self.experiment = run, experiment
        self._opened = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **others: Any) -> None:
        """A trainer has logged `logs`."""
        if not logs or not getattr(state, "is_world_process_zero", True):
            return
        try:
            self._put(int(state.global_step), logs)
        except Exception as error:  # a metric must not end a training
            _log.warning("step %s could not be stored: %s", getattr(state, "global_step", "?"), error)

    def _put(self, step: int, logs: Mapping[str, Any]) -> None:
        numbers = {key: float(value) for key, value in logs.items() if _is_number(value)}
        val = {key: value for key, value in numbers.items() if key.startswith(("eval_", "eval/"))}
        train = {key: value for key, value in numbers.items() if key not in val}
        for part, split, stored in ((train, "train", "train"), (val, "eval", "val")):
            named = normalised(part, split)
            if named and self.engine is not None:
                self.engine.step(step, scalars=named)
            elif named:
                self.store.log_metrics(run_id=self._run_id(), step=step, metrics=named, split=stored)

    def _run_id(self) -> str:
        if not self._opened and isinstance(self.store, Store):
            self.run = self.store.open_run(self.run or "default", experiment=self.experiment)["id"]
        elif self.run is None:
            raise ValueError("`run` is missing: a store that is an object needs the id of the run")
        self._opened = True
        assert self.run is not None
        return self.run


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def instrument(trainer: type, *, engine: Engine | None = None, **options: Any) -> type:
    """A subclass of TRL's `GRPOTrainer` whose every optimizer step goes through an engine.

    Use it in place of the trainer. Every rank observes each micro-batch of a step: rewards by function, groups, advantages,
    lengths, terminated, log-probabilities (current, old, reference, sampler), entropies and token ids; rank 0 has the row.
    `options` are those of `Engine`; `logging_steps`, `kl_bias_correction`, `gather` (a `TorchGather`) follow from the trainer's
    arguments where they are not given. The engine is finished when `train()` returns, unless it is one that was handed in.
    In the trainer's own log the row stands beside TRL's keys as `grpo_metrics/...`, without `train/`.

    Neither the losses nor the random numbers of the training change, and whatever fails here is a warning. On a TRL version
    that this was not tested with (see `TESTED`), the class logs TRL's own numbers alone (`GrpoMetricsCallback`), with a warning.
    """
    version = _trl_version()
    if not version.startswith(tuple(f"{tested}." for tested in TESTED)):
        warnings.warn(
            f"grpo_metrics.trl was tested with TRL {', '.join(TESTED)}, found {version}: only what the trainer logs itself is stored",
            stacklevel=2,
        )
        return _with_callback(trainer, engine, options)
    Engine(**_without_outputs(options))  # an option that cannot be is an error here, not in the training
    return _instrumented(trainer, engine, options)


def _trl_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trl")
    except PackageNotFoundError:
        return "none"


def _with_callback(trainer: type, engine: Engine | None, options: dict[str, Any]) -> type:
    class LoggedTrainer(trainer):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            target = engine or options.get("store")
            if target is not None:
                self.add_callback(GrpoMetricsCallback(target, run=options.get("run")))

    return _named_as(LoggedTrainer, trainer)


def _named_as(made: type, trainer: type) -> type:
    made.__name__ = made.__qualname__ = trainer.__name__
    return made


def _instrumented(trainer: type, engine: Engine | None, options: dict[str, Any]) -> type:
    class InstrumentedTrainer(trainer):  # type: ignore[misc]
        _grpo_metrics: Observer | None = None

        def train(self, *args: Any, **kwargs: Any) -> Any:
            self._grpo_metrics = _shielded(Observer, self, engine, options)
            try:
                return super().train(*args, **kwargs)
            finally:
                if self._grpo_metrics is not None:
                    _shielded(self._grpo_metrics.finish)

        def _observing(self) -> Observer | None:
            return self._grpo_metrics if self.model.training else None

        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
            if observer := self._observing():
                _shielded(observer.rewarded, rewards, completion_ids_list)
            return rewards

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            if observer := self._observing():
                _shielded(observer.generated, output)
            return output

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            observer = self._observing()
            if observer:
                observer.computed = None
            loss = super()._compute_loss(model, inputs)
            if observer:
                observer.observe(inputs)
            return loss

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
            computed = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            if observer := self._observing():
                observer.computed = computed
            return computed

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if observer := self._grpo_metrics:
                _shielded(observer.end_step, self.state.global_step, {})
            return super().training_step(*args, **kwargs)

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            if observer := self._observing():
                row = _shielded(observer.end_step, self.state.global_step, logs) or {}
                logs.update({f"grpo_metrics/{key.removeprefix('train/')}": value for key, value in row.items()})
            super().log(logs, *args, **kwargs)

    return _named_as(InstrumentedTrainer, trainer)


def _shielded(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` gives, or `None` with a warning: a metric must not end a training."""
    try:
        return work(*args)
    except Exception as error:
        _log.warning("grpo_metrics: %s: %s", type(error).__name__, error)
        return None


class Observer:
    """What an instrumented trainer knows of the step that is not over."""

    def __init__(self, trainer: Any, engine: Engine | None, options: Mapping[str, Any]) -> None:
        args, accelerator = trainer.args, trainer.accelerator
        self.trainer = trainer
        self.owns_engine = engine is None
        self.engine = engine or _engine(_engine_options(args, accelerator, options))
        self.computed: Any = None
        self._rewarded: dict[str, Any] = {}
        self._generations = 0
        self._rows: dict[int, dict[str, Any]] = {}
        self._began_at: int | None = None

    def rewarded(self, rewards: Any, completion_ids: list[Any]) -> None:
        """TRL has scored the completions of all ranks; the ids are this rank's own."""
        trainer = self.trainer
        first = trainer.accelerator.process_index * len(completion_ids)
        own = rewards.detach().cpu().double()[first : first + len(completion_ids)]
        weighted = own * trainer.reward_weights.detach().cpu().double()
        total = weighted.nansum(dim=1)
        total[own.isnan().all(dim=1)] = math.nan
        ends = {*trainer.eos_token_ids, trainer._tokenizer.pad_token_id}
        groups = [(first + i) // trainer.num_generations for i in range(len(own))]
        self._rewarded = {
            # A generation's groups are its own, and a step may be made of several.
            "group_ids": [(self._generations << 32) + group for group in groups],
            "completion_index": [(first + i) % trainer.num_generations for i in range(len(own))],
            "rewards": [None if math.isnan(reward) else reward for reward in total.tolist()],
            "reward_components": {
                name: [None if math.isnan(reward) else reward for reward in own[:, i].tolist()]
                for i, name in enumerate(trainer.reward_func_names)
            },
            "completion_lengths": [len(ids) for ids in completion_ids],
            "terminated": [len(ids) > 0 and int(ids[-1]) in ends for ids in completion_ids],
        }
        self._generations += 1

    def generated(self, output: dict[str, Any]) -> None:
        """TRL has a batch to train on: its rows are marked, so that they are known again after its shuffles and splits."""
        import torch

        n = len(self._rewarded["rewards"])
        first = self._generations << 32
        output[MARK] = torch.arange(first, first + n, device=output["completion_ids"].device)
        # A generation may be used by several steps; the one before is over.
        self._rows = {first + i: _row(self._rewarded, i) for i in range(n)}

    def observe(self, inputs: Mapping[str, Any]) -> None:
        """A micro-batch's loss is known, and so are its log-probabilities. Whatever fails, the step ends on every rank."""
        self._began_at = self.trainer.state.global_step
        try:
            self.engine.observe(**self._columns(inputs))
        except Exception as error:
            _log.warning("grpo_metrics: a micro-batch is left out: %s: %s", type(error).__name__, error)
            _shielded(self.engine.fail, str(error))

    def _columns(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        trainer = self.trainer
        rows = [self._rows[mark] for mark in inputs[MARK].tolist()]
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0] if name != "reward_components"}
        names = rows[0]["reward_components"]
        columns["reward_components"] = {name: [row["reward_components"][name] for row in rows] for name in names}
        advantages = inputs["advantages"]
        columns["advantages" if advantages.dim() == 1 else "token_advantages"] = advantages
        if self.computed is not None:
            columns["token_logps"], columns["token_entropies"] = self.computed[0], self.computed[1]
        return columns | {
            "max_completion_length": trainer.max_completion_length,
            "loss_mask": mask.bool(),
            "token_ids": inputs["completion_ids"],
            "old_token_logps": inputs.get("old_per_token_logps"),
            "ref_token_logps": inputs.get("ref_per_token_logps"),
            "sampling_token_logps": inputs.get("sampling_per_token_logps"),
            "weighting": {
                "beta": trainer.beta,
                "clip_range_low": trainer.epsilon_low,
                "clip_range_high": trainer.epsilon_high,
                "loss_type": trainer.loss_type,
                "train_grpo_objective": True,
            },
        }

    def end_step(self, step: int, logs: Mapping[str, Any]) -> dict[str, float] | None:
        """The optimizer's step is over, if there was one since this was last called: its row, at rank 0.

        Every rank comes here once a step, at the same place: this is the step's collective.
        """
        if self._began_at is None or step <= self._began_at:
            return None
        self._began_at = None
        return self.engine.step(step, scalars=self._scalars(logs) if self.trainer.accelerator.is_main_process else None)

    def _scalars(self, logs: Mapping[str, Any]) -> dict[str, float]:
        names = {"loss": "total_loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "epoch": "epoch"}
        scalars = {ours: float(logs[theirs]) for theirs, ours in names.items() if theirs in logs}
        if "epoch" not in scalars and self.trainer.state.epoch is not None:
            scalars["epoch"] = float(self.trainer.state.epoch)
        scalars["num_input_tokens"] = float(self.trainer.state.num_input_tokens_seen)
        step_times = self.trainer._metrics["train"].get("step_time")
        if step_times:
            scalars["step_time_sec"] = step_times[-1]
        return scalars

    def finish(self) -> None:
        """The training is over."""
        self.end_step(self.trainer.state.global_step, {})
        if self.owns_engine:
            self.engine.finish()


def _engine(options: dict[str, Any]) -> Engine:
    """An engine with these options; where a store or sink cannot be opened, one without, for the other ranks wait for its part."""
    try:
        return Engine(**options)
    except (StoreError, SinkError) as error:
        _log.warning("grpo_metrics: rows go to the trainer's log alone: %s", error)
        return Engine(**_without_outputs(options))


def _without_outputs(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("store", "sinks", "journal", "recorder")}


def _row(columns: Mapping[str, Any], i: int) -> dict[str, Any]:
    return {
        name: {part: values[i] for part, values in column.items()} if isinstance(column, dict) else column[i]
        for name, column in columns.items()
    }


def _engine_options(args: Any, accelerator: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "logging_steps": max(1, int(args.logging_steps)) if args.logging_steps >= 1 else 1,
        "kl_bias_correction": bool(args.use_bias_correction_kl),
    }
    if accelerator.num_processes > 1 and given.get("gather") is None:
        from .torch import TorchGather

        options["gather"] = TorchGather()
    options |= given
    if not accelerator.is_main_process:  # rows are rank 0's
        options = _without_outputs(options)
    return options
