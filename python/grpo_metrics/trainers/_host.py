"""What every adapter stands on: the training of a trainer that is not ours, its engine fed by hooks, and never ended by them."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .._core import DIALECTS
from .._opened import opened, without_outputs, without_secrets
from .._parts import Lacks
from .._row import Row
from .._store import _finite
from ..engine import Engine
from ..given import Columns, Scalars

_log = logging.getLogger("grpo_metrics")


class Host(Lacks):
    """One training: batches that its hooks `observe`, numbers that it has `logged`, and its end.

    The engine is opened at the first of these, so that a hook can travel to another process before. Whatever fails here is told once
    for each place that it fails at, and the training goes on. Any thread may come; they wait for each other.
    """

    def __init__(self, trainer: str, dialects: Iterable[str], engine: Engine | None, options: Mapping[str, Any]) -> None:
        super().__init__(trainer)
        # The trainer's own dialect, or the nearest that there is.
        options = {"dialect": next(name for name in dialects if name in DIALECTS), **options}
        if engine is None:
            Engine(**without_outputs(options))  # an option that cannot be is an error here, not in the training
        self._engine, self._owns_engine, self._options = engine, engine is None, options
        self._step: int | None = None
        """The step whose batches were observed and that has not ended."""
        self._scalars: dict[str, float] = {}
        self._computes: dict[str, bool] = {}
        self._failed: set[str] = set()
        self._finished = False
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        if self._engine is not None:
            raise TypeError("an engine does not travel to another process: hand over `store` and `run`, not `engine`")
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    @property
    def engine(self) -> Engine:
        """The engine; opened, where it is not yet."""
        with self._lock:
            if self._engine is None:
                options = {name: value for name, value in self._options.items() if name != "samples" and value is not None}
                config = options.get("config") or {}
                said = dict(config) if isinstance(config, Mapping) else {"config": config}
                options["config"] = {"trainer": self._trainer, **_finite(said)}
                self._engine = opened(options, options.get("resume"))
                if samples := self._options.get("samples"):
                    self.shielded("samples", lambda: self.engine.samples(**samples))
            return self._engine

    def configured(self, config: Any) -> None:
        """What the trainer says of its configuration, for the run that is not open yet; what the user said of it stands above."""
        if self._engine is None and isinstance(config, Mapping):
            self._options["config"] = {**without_secrets(_finite(dict(config))), **(self._options.get("config") or {})}

    def shielded(self, place: str, work: Callable[[], Any]) -> Any:
        """What `work` gives, or `None`, with one warning for each place: a metric must not end a training."""
        try:
            with self._lock:
                return work()
        except Exception as error:
            if place not in self._failed:
                self._failed.add(place)
                _log.warning(
                    "grpo_metrics: %s: %s left out, which is said once: %s: %s", self._trainer, place, type(error).__name__, error
                )
            return None

    def observe(self, step: int, columns: Callable[[], Mapping[str, Any] | None], weighting: Mapping[str, Any] | None = None) -> None:
        """A batch of a step, as `columns` reads it: `None`, or an error, where it cannot be read."""
        self.shielded("a batch of completions", lambda: self._observe(step, columns, weighting))

    def _observe(self, step: int, columns: Callable[[], Mapping[str, Any] | None], weighting: Mapping[str, Any] | None) -> None:
        if not self.counts:
            return
        if self._step not in (None, step):
            self._end()
        read = columns()
        self.tell()
        if read is not None and self.counts:
            loss: Any = {"train_grpo_objective": True, **(weighting or {})}
            self.engine.observe(**known(read), weighting=loss)
            self._step = step

    def knows(self, **scalars: Any) -> None:
        """Numbers of the step that is not over, by our names."""
        with self._lock:
            self._scalars |= {name: value for name, value in numbers(scalars).items() if name in Scalars.__annotations__}

    def logged(self, step: int, metrics: Mapping[str, Any], names: Mapping[str, str] | None = None, ends: bool = True) -> dict[str, float]:
        """The trainer has logged `metrics`: they are stored under its names, but those that the engine computes. With that the step whose
        batches were observed `ends`: its row. `names` says which of ours the trainer reports under another."""
        return self.shielded("what the trainer logs", lambda: self._logged(step, metrics, names or {}, ends)) or {}

    def _logged(self, step: int, metrics: Mapping[str, Any], names: Mapping[str, str], ends: bool) -> dict[str, float]:
        said = numbers(metrics)
        self.knows(**{ours: said[theirs] for ours, theirs in names.items() if theirs in said})
        row: dict[str, float] = {}
        counted = self.counts and (bool(self._computes) or self._step is not None)
        if ends and self._step is not None and step >= self._step:
            row = self.shielded("a row", self._end) or {}
        # A number that our row lacks, for want of its columns, stands as the trainer says it.
        beside = {name: value for name, value in said.items() if not (counted and self._is_ours(name)) or (row and name not in row)}
        if beside:
            self.engine.log(step, beside)
        return row

    def _is_ours(self, name: str) -> bool:
        """Whether the engine computes a number of this name: then a key has one owner over the whole run."""
        if name not in self._computes:
            self._computes[name] = self.engine.computes(name)
        return self._computes[name]

    def _end(self) -> dict[str, float]:
        step, scalars, self._step, self._scalars = self._step, self._scalars, None, {}
        return dict((step is not None and self.engine.step(step, scalars=scalars)) or Row())

    def finish(self) -> None:
        """The training is over, as what is being raised says, if anything is."""
        self.shielded("the end of the run", self._finish)

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        self.shielded("a row", self._end)
        if self._owns_engine and self._engine is not None:
            self._engine.__exit__(*sys.exc_info())


def known(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that there are, of those that an engine takes."""
    return {name: column for name, column in columns.items() if column is not None and name in Columns.__annotations__}


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What of a log is a number, be it an array's or a tensor's single one."""
    found = {}
    for name, value in metrics.items():
        item = getattr(value, "item", None)
        if callable(item) and getattr(value, "shape", None) in ((), (1,)):
            value = item()
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            found[str(name)] = float(value)
    return found


def beside(row: Mapping[str, float]) -> dict[str, float]:
    """A row as it stands in the trainer's own log."""
    return {f"grpo_metrics/{name.removeprefix('train/')}": value for name, value in row.items()}


def wrapped(owner: Any, name: str, after: Callable[..., None]) -> bool:
    """Has a method of an object tell `after` what it gave and was given, once it has; whether there is such a method."""
    method = getattr(owner, name, None)
    if not callable(method):
        return False

    def calls(*args: Any, **kwargs: Any) -> Any:
        given = method(*args, **kwargs)
        after(given, *args, **kwargs)
        return given

    setattr(owner, name, calls)
    return True
