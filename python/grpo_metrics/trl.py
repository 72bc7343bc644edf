"""TRL: a trainer whose every step gives the full dictionary, and a callback for any trainer's own logs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._audit import LiveAudit
from ._observer import Generated, Observer
from ._opened import opened, without_outputs
from ._parts import argument, is_whole, without
from ._store import _finite
from ._trainer_log import GrpoMetricsCallback as GrpoMetricsCallback
from ._trainer_log import facts, shielded
from .engine import Engine

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .given import Options

_log = logging.getLogger("grpo_metrics")

LOGS_ALONE = "as a GRPO trainer has it: only what the trainer logs itself is stored"

CADENCE = ("logging_strategy", "logging_steps", "logging_first_step")


def instrument(trainer: type, *, engine: Engine | None = None, audit: bool = False, **options: Unpack[Options]) -> type:
    """A subclass of TRL's `GRPOTrainer` whose every optimizer step goes through an engine.

    Use it in place of the trainer. Every rank observes each micro-batch of a step: rewards by function, groups, advantages,
    lengths, terminated, log-probabilities (current, old, reference, sampler), entropies and token ids; rank 0 has the row, which
    goes out when the trainer logs, over the steps that its log is over. In that log it stands beside TRL's keys as
    `grpo_metrics/...`, without `train/`. What the trainer logs and the engine does not compute, evaluations among it, is handed
    to the same sinks under the names of METRICS.md.

    `options` are those of `Engine`, each of which `help(grpo_metrics.Engine)` tells: store, run, resume, experiment, group, config,
    sinks, journal, logging_steps, extended, limits and the others; and `samples`: what `Engine.samples` takes, as a dictionary. `dialect`
    is `trl` unless told otherwise; `kl_bias_correction`, `gather` (a `TorchGather`), `config` and `seed` follow from the trainer's
    arguments where they are not given, and rows from its log unless one of `logging_steps`, `logging_strategy` and
    `logging_first_step` is. A training from a checkpoint goes on with the newest run of its name. The engine is finished when
    `train()` ends, as `failed` where that raises (`cancelled` after Ctrl-C); one that was handed in has its own cadence and is
    finished by its owner.

    With `audit` every key that the trainer logs is held against the engine's at each row. One that differs by more than single precision is
    told once, as a warning in the log: by how much, and, where rank 0's micro-batches of the first rows can tell, by which reduction it came
    about. What they cannot tell, `grpo-metrics audit` tells of a recording (`recorder`). Rows must go out with the trainer's log, and have its
    names (`dialect` trl), as they do unless told otherwise.

    Neither the losses nor the random numbers of the training change, and whatever fails here is a warning. What this stands on (methods,
    attributes, keys of a batch) is looked for by shape, whatever TRL's version: what is missing is named in one warning, with what is
    not counted without it, and all else is counted. Of a trainer that is no GRPO trainer only what it logs itself is stored, and
    a warning says so.
    """
    Engine(**without_outputs(options))  # an option that cannot be is an error here, not in the training
    missing = without(trainer)
    if missing is None:
        return _named_as(_instrumented(_logged(trainer, engine, options), audit), trainer)
    warnings.warn(f"{trainer.__name__} has no `{missing}` {LOGS_ALONE}", stacklevel=2)
    return _named_as(_logged(trainer, engine, options), trainer)


def _named_as(made: type, trainer: type) -> type:
    made.__name__ = made.__qualname__ = trainer.__name__
    return made


def _logged(trainer: type, engine: Engine | None, options: Mapping[str, Any]) -> type:
    """The trainer, and what it logs handed on."""

    class LoggedTrainer(trainer):  # type: ignore[misc]
        _grpo_metrics: Observer | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            target = options.get("store") if engine is None else engine
            self._grpo_metrics_log = GrpoMetricsCallback(
                target, run=options.get("run"), experiment=options.get("experiment"), resume=options.get("resume")
            )
            self.add_callback(self._grpo_metrics_log)

        def train(self, *args: Any, **kwargs: Any) -> Any:
            resumes = bool(kwargs.get("resume_from_checkpoint", args[0] if args else None))
            training = shielded(Training, self, engine, options, resumes)
            raised: BaseException | None = None
            try:
                if training is not None:
                    self._grpo_metrics = shielded(self._grpo_metrics_observer, training)
                return super().train(*args, **kwargs)
            except BaseException as error:
                raised = error
                raise
            finally:
                observer, self._grpo_metrics = self._grpo_metrics, None
                if observer is not None:
                    shielded(observer.finish, raised)
                if training is not None:
                    shielded(training.finish, raised)
                raised = None  # it holds this frame, and so the trainer

        def _grpo_metrics_observer(self, training: Training) -> Observer | None:
            return None

    return LoggedTrainer


def _instrumented(trainer: Any, audit: bool) -> type:
    """The trainer that hands on what it logs, and its completions observed."""

    class InstrumentedTrainer(trainer):  # type: ignore[misc]
        _grpo_metrics_generated: Generated | None = None

        def _grpo_metrics_observer(self, training: Training) -> Observer | None:
            if missing := is_whole(self):
                _log.warning("%s has no `%s` %s", type(self).__name__, missing, LOGS_ALONE)
                return None
            # A batch that an earlier training of this trainer generated may be trained on in this one.
            self._grpo_metrics_generated = self._grpo_metrics_generated or Generated()
            return Observer(training, self._grpo_metrics_generated, shielded(_live_audit, training) if audit else None)

        def _observing(self) -> Observer | None:
            return self._grpo_metrics if self.model.training else None

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
            method = super()._calculate_rewards
            rewards = method(*args, **kwargs)
            if observer := self._observing():
                shielded(lambda: observer.rewarded(rewards, argument("completion_ids_list", method, args, kwargs)))
                shielded(lambda: observer.said(*(argument(name, method, args, kwargs) for name in ("prompts", "completions"))))
            return rewards

        def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
            output = super()._generate_and_score_completions(*args, **kwargs)
            if observer := self._observing():
                shielded(observer.generated_batch, output)
            return output

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            observer, method = self._observing(), super().compute_loss
            if observer:
                observer.computed = None
            loss = method(*args, **kwargs)
            if observer:
                shielded(lambda: observer.observe(argument("inputs", method, args, kwargs)))
            return loss

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
            computed = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            if observer := self._observing():
                observer.computed = computed
            return computed

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if observer := self._grpo_metrics:
                shielded(observer.end_step, None)
            return super().training_step(*args, **kwargs)

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            if observer := self._observing():
                row = shielded(observer.end_step, logs) or {}
                own = {name: value for name, value in row.items() if name not in observer.beside}
                logs.update({f"grpo_metrics/{name.removeprefix('train/')}": value for name, value in own.items()})
            super().log(logs, *args, **kwargs)

    return InstrumentedTrainer


class Training:
    """One `train()`: its engine, and what the trainer logs handed to it."""

    def __init__(self, trainer: Any, engine: Engine | None, options: Mapping[str, Any], resumes: bool) -> None:
        self.trainer = trainer
        self.owns_engine = engine is None
        self.follows_log = self.owns_engine and not any(options.get(name) is not None for name in CADENCE)
        self.log: GrpoMetricsCallback = trainer._grpo_metrics_log
        self.log.begins(resumes)
        self.options = {} if engine else _engine_options(trainer, {**options, **self._run(options, resumes)})
        self.engine = engine or opened(self.options, options.get("resume"))
        if not self.owns_engine:
            self.engine.rewind()  # this training's steps are counted anew
        if self.owns_engine and self.engine.run is not None:
            self.log.adopt(self.engine.run)
        if self.owns_engine and options.get("samples") and trainer.accelerator.is_main_process:
            shielded(lambda: self.engine.samples(**options["samples"]))
        for other in trainer.callback_handler.callbacks:
            twin = isinstance(other, GrpoMetricsCallback) and other is not self.log and not other.silent
            if twin and other.stores_as(self.log):
                other.silent = True
                _log.warning("the instrumented trainer stores what it logs itself: the GrpoMetricsCallback of the same run is silent")
        self.log.engine = self.engine

    def _run(self, options: Mapping[str, Any], resumes: bool) -> dict[str, Any]:
        """The run that the training goes on with: one that what was logged before it has begun, or the checkpoint's."""
        if isinstance(options.get("store"), (str, os.PathLike)):
            if self.log.opened is not None:
                return {"run": self.log.opened, "resume": "must"}
            if resumes and options.get("resume") is None:
                return {"resume": "allow"}
        return {}

    def finish(self, raised: BaseException | None) -> None:
        """The training is over. What is logged later goes to the store itself."""
        self.log.theirs = lambda name: False
        if self.owns_engine:
            self.log.engine = None
            self.engine.__exit__(raised and type(raised), raised, raised and raised.__traceback__)


def _live_audit(training: Training) -> LiveAudit | None:
    """Rank 0's; none where the engine's rows cannot be held against the trainer's log."""
    accelerator = training.trainer.accelerator
    if not accelerator.is_main_process:
        return None
    if not training.follows_log or training.options.get("dialect") != "trl":
        _log.warning("grpo_metrics: no audit: expected rows that go out with the trainer's log, in the dialect trl")
        return None
    return LiveAudit(training.options, accelerator.num_processes)


def _engine_options(trainer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    args, accelerator = trainer.args, trainer.accelerator
    options: dict[str, Any] = {"dialect": "trl", "seed": args.seed}
    if hasattr(args, "use_bias_correction_kl"):
        options["kl_bias_correction"] = bool(args.use_bias_correction_kl)
    if accelerator.num_processes > 1 and given.get("gather") is None:
        from .torch import TorchGather

        options["gather"] = TorchGather()
    options |= {name: value for name, value in given.items() if value is not None}
    options.pop("samples", None)
    config = given.get("config") or {}
    said = {"trainer": type(trainer).__name__, **facts(args, trainer.model)}
    options["config"] = said | _finite(dict(config) if isinstance(config, Mapping) else {"config": config})
    if not accelerator.is_main_process:  # rows are rank 0's; a recording has a file of every rank
        options = {**without_outputs(options), "recorder": options.get("recorder")}
    return options
