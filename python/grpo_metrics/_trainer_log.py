"""What a trainer logs itself: a callback that puts it into a store or an engine's sinks, and what a run says of its training."""

from __future__ import annotations

import functools
import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import _termination
from ._core import CallQueue, normalised
from ._opened import without_secrets
from ._store import Signs, Store, _finite, signs_of
from .engine import Engine

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    try:
        from transformers import TrainerCallback
    except ImportError:  # the callback is called by duck type
        TrainerCallback = object

_log = logging.getLogger("grpo_metrics")

PATIENCE = 60.0
"""Seconds that the end of a training waits for the store."""

HURRY = 10.0
"""Seconds that the end of a process waits for it that was told to end."""


class GrpoMetricsCallback(TrainerCallback):  # type: ignore[misc]
    """Puts what a trainer logs into a store (or an engine's sinks), under the `train/` and `eval/` names of METRICS.md.

    `target` is an `Engine`, a store's path, or a store object with EvSys's methods; `run` names the run (of an object it is the id).
    A log that the target refuses is a log line, never an error.

    Of a path, a training that goes on from a checkpoint goes on with the newest run of that name; any other has a run of its own, whose
    id has a number behind the name where that is taken. `resume` says otherwise: "never", "allow" or "must".

    A run in a store is `running` while the training is, with its arguments, seed and model in its configuration, and `completed`
    at its end; while it is, a thread of the callback's own writes, so that no step waits for the store. No trainer tells its
    callbacks of an exception: a training that did not come to its end is `failed` (after Ctrl-C
    `cancelled`) when the callback is let go of, or the interpreter ends. An engine is its owner's to finish.
    """

    def __init__(
        self, target: Any, *, run: str | None = None, experiment: str | None = None, resume: str | None = None
    ) -> None:
        if resume not in (None, "never", "allow", "must"):
            raise ValueError(f"`resume`: expected never, allow or must, found `{resume}`")
        self.engine: Engine | None = target if isinstance(target, Engine) else None
        self.target, self.run, self.experiment, self.resume = target, run, experiment, resume
        self._name = run
        self._is_open = False
        """Whether `run` is the id of a run that is there, and no name any more."""
        self._trained = False
        """Whether a training has been under way in that run."""
        self._resumes = False
        """Whether the training goes on from a checkpoint."""
        self._signs: Signs | None = None
        self.silent = False
        """Whether somebody else stores the same under the same run."""
        self.theirs: Callable[[str], bool] = lambda name: False
        """Whether a name is another's to store, as it is or as METRICS.md has it."""
        self._store: Any = None
        self._unfinished: weakref.finalize[..., Any] | None = None
        self._waiting: CallQueue | None = None
        """Writes while a training of this callback's is under way."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        """The training begins, or goes on from a checkpoint."""
        if self._is_mine(state) and self.engine is None:
            self.begins(int(getattr(state, "global_step", 0) or 0) > 0)
            shielded(self._begin, args, model)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """The training has come to its end."""
        if self._is_mine(state):
            self._end({"status": "completed"}, PATIENCE)

    def cancelled(self, reason: str) -> None:
        """The process was told to end."""
        self._end({"status": "cancelled", "error_message": reason}, HURRY)

    def _end(self, patch: dict[str, Any], patience: float) -> None:
        if self._unfinished is None or self._waiting is None:
            return
        self._unfinished.detach()
        self._unfinished = None
        _termination.beside.discard(self)
        _termination.let_go()
        if self._waiting.is_inherited:
            return
        self._waiting.attempt(patience)
        if self._signs is not None:
            self._signs.end()
        shielded(self._store.update_run, self.run, patch)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **others: Any) -> None:
        """A trainer has logged `logs`."""
        if not logs or not self._is_mine(state):
            return
        shielded(self._take, state.global_step, logs)

    def stores_as(self, other: GrpoMetricsCallback) -> bool:
        """Whether what this one stores goes where the other's goes."""
        return self._place() == other._place()

    def _place(self) -> tuple[Any, str | None]:
        path = self.target.path if isinstance(self.target, Store) else self.target
        if isinstance(path, (str, os.PathLike)):
            return os.path.realpath(path), self._name
        return id(self.target), self._name

    def _is_mine(self, state: Any) -> bool:
        return not self.silent and self.target is not None and bool(getattr(state, "is_world_process_zero", True))

    def begins(self, resumes: bool) -> None:
        """A training begins: it goes on from a checkpoint, or is one of its own, and then so is its run."""
        if self._trained and not resumes:
            self._is_open = False
        self._trained = True
        self._resumes = resumes

    def adopt(self, run: str) -> None:
        """The run of this id is the training's: what is logged beside it belongs there."""
        self.run, self._is_open = run, True

    @property
    def opened(self) -> str | None:
        """The id of the run, once it is open."""
        return self.run if self._is_open else None

    def _begin(self, args: Any, model: Any) -> None:
        before = self.run
        run = self._run_id(config=facts(args, model), seed=getattr(args, "seed", None))
        running = self._store.update_run(run, {"status": "running"})
        if isinstance(running, Mapping) and running.get("error_message"):
            self._store.update_run(run, {"error_message": ""})  # how it ended before is not how it stands now
        if self._signs is not None:
            self._signs.end()
        self._signs = signs_of(self._store, run)
        if self._unfinished is not None and run != before:
            self._unfinished()  # an earlier training, which never came to its end
        elif self._unfinished is not None:
            self._unfinished.detach()
        self._waiting = self._waiting or CallQueue()
        self._unfinished = weakref.finalize(self, _broke_off, self._waiting, self._store, run, id(_last_error()), self._signs)
        _termination.beside.add(self)
        _termination.listen()

    def _take(self, step: int, logs: Mapping[str, Any]) -> None:
        put = functools.partial(self._put, int(step), of_splits(logs, self.theirs))
        if self._unfinished is None or self._waiting is None:
            put()
        else:
            self._waiting.push([put])

    def _put(self, step: int, splits: Mapping[str, dict[str, float]]) -> None:
        try:
            for split, named in splits.items():
                if self.engine is not None:
                    self.engine.log(step, named)
                else:
                    run = self._run_id()
                    self._store.log_metrics(run_id=run, step=step, metrics=named, split="val" if split == "eval" else "train")
        except Exception as error:  # a metric must not end a training
            _log.warning("step %s could not be stored: %s", step, error)

    def _run_id(self, **said: Any) -> str:
        """The run, opened at the first use, and again where there is something to be `said` of it."""
        if self._store is None:
            self._store = Store(self.target) if isinstance(self.target, (str, os.PathLike)) else self.target
        if isinstance(self._store, Store):
            if not self._is_open:
                resume = self.resume or ("allow" if self._resumes else "never")
                self.adopt(self._store.open_run(self._name, resume=resume, experiment=self.experiment, **said)["id"])
            elif said:
                self._store.open_run(id=self.run, **said)
        if self.run is None:
            raise ValueError("`run` is missing: a store that is an object needs the id of the run")
        return self.run


def of_splits(logs: Mapping[str, Any], theirs: Callable[[str], bool]) -> dict[str, dict[str, float]]:
    """The numbers of a trainer's log by split (train, eval) under METRICS.md's names, but those with a name of another's."""
    parts: dict[str, dict[str, float]] = {"train": {}, "eval": {}}
    for key, value in logs.items():
        if _is_number(value):
            split = "eval" if key.startswith(("eval_", "eval/")) else "train"
            if not any(theirs(name) for name in (key, *normalised({key: 0.0}, split))):
                parts[split][key] = float(value)
    return {split: normalised(numbers, split) for split, numbers in parts.items() if numbers}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def facts(args: Any, model: Any) -> dict[str, Any]:
    """What a run's configuration says of its training: the model's name and the trainer's arguments."""
    name = getattr(getattr(model, "config", None), "_name_or_path", None) or type(model).__name__
    arguments = args.to_dict() if callable(getattr(args, "to_dict", None)) else {}
    return {"model": name, "args": without_secrets(_finite(arguments))}


def _last_error() -> BaseException | None:
    """The exception that nobody caught, where there was one."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def _broke_off(waiting: CallQueue, store: Any, run: str, before: int, signs: Signs | None) -> None:
    """The callback is gone, and its training never said that it had come to its end."""
    if signs is not None:
        signs.end()
    if waiting.is_inherited:
        return
    waiting.attempt(PATIENCE)
    error = _last_error()
    status, text = "failed", "the training did not come to its end"
    if error is not None and id(error) != before:
        status = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    shielded(store.update_run, run, {"status": status, "error_message": text})


def shielded(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` gives, or `None` with a warning: a metric must not end a training."""
    try:
        return work(*args)
    except Exception as error:
        _log.warning("grpo_metrics: %s: %s", type(error).__name__, error)
        return None
