"""Tunix: a metrax `LoggingBackend` over the store and the sinks."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import _termination
from .engine import Engine

_log = logging.getLogger("grpo_metrics")


class GrpoMetricsBackend:
    """What metrax logs scalar by scalar, as one row a step.

    `store` is a path, or a store object with EvSys's methods (then `run` is the run's id); `sinks` are objects with
    `write(row)`; `resume` is that of `Engine`: Tunix does not say whether it goes on from a checkpoint. A row goes out when a scalar of
    another step comes, and at `close()`. No scalar waits for the store or a sink, which have journals as an engine's have, and whatever
    fails is a log line.
    """

    def __init__(
        self,
        store: Any = None,
        *,
        run: str | None = None,
        experiment: str | None = None,
        sinks: Iterable[Any] = (),
        resume: str | None = None,
    ) -> None:
        _check(store, run)
        outputs = {"store": store, "run": run, "experiment": experiment, "sinks": list(sinks), "resume": resume}
        self._engine = Engine(**{name: given for name, given in outputs.items() if given is not None})
        self._step = 0
        self._metrics: dict[str, float] = {}
        self._unfit: set[str] = set()
        self._lock = threading.Lock()
        _termination.beside.add(self)

    def log_scalar(self, event: str, value: Any, **kwargs: Any) -> None:
        """Takes one scalar of the step `kwargs["step"]` (the step before, where it has none).

        An array counts as its mean, as in Tunix's own `get_metric`. What JAX and Orbax say of themselves through the same
        channel (`/jax/core/compile/...`, `/jax/orbax/...`) is not the trainer's, and is left out.
        """
        if not event.startswith("/jax/"):
            with self._lock:
                _shielded(self._take, event.lstrip("/"), value, kwargs.get("step"))

    def _take(self, name: str, value: Any, step: Any) -> None:
        if step is not None and int(step) != self._step:
            self._write()
            self._step = int(step)
        try:
            numbers = np.asarray(() if value is None else value, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.size:
            self._metrics[name] = float(numbers.mean())
        elif name not in self._unfit:
            self._unfit.add(name)
            _log.warning("`%s` is left out where it is not a number: %r", name, value)

    def close(self) -> None:
        """Sends the last row, waits for the store, and completes the run; calling it again does nothing."""
        self.flush()
        _termination.beside.discard(self)
        _shielded(self._engine.finish)

    def cancelled(self, reason: str) -> None:
        """The process was told to end: what there is of a row goes out, but where that came into the middle of a scalar."""
        if self._lock.acquire(timeout=1):
            try:
                self._write()
            finally:
                self._lock.release()

    def flush(self) -> None:
        """Sends the row that is not over."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._metrics:
            _shielded(self._engine.log, self._step, self._metrics)
        self._metrics = {}


def with_backend(
    options: Any,
    store: Any = None,
    *,
    run: str | None = None,
    experiment: str | None = None,
    sinks: Iterable[Any] = (),
    resume: str | None = None,
) -> Any:
    """These `MetricsLoggerOptions` of Tunix with a `GrpoMetricsBackend` beside the backends they have, Tunix's defaults or others.

    `store` (a path or an object), `run`, `experiment` and `resume` (texts) and `sinks` (a list) are those of `Engine`, which
    `help(grpo_metrics.Engine)` tells of one by one, with what holds without each.
    """
    before = dataclasses.replace(options)
    own = backend_factory(store, run=run, experiment=experiment, sinks=sinks, resume=resume)
    factories = [lambda: _Together(before.create_backends()), own]
    if hasattr(options, "backend_kwargs"):
        return dataclasses.replace(options, backend_kwargs={**options.backend_kwargs, "custom_backend": factories})
    if hasattr(options, "backend_factories"):  # Tunix 0.1.4 to 0.1.6
        return dataclasses.replace(options, backend_factories=factories)
    raise TypeError(
        "this Tunix takes no backends (0.1.4 and later do); in it, hand `backend_factory(...)().log_scalar` to"
        " `jax.monitoring.register_scalar_listener`"
    )


def backend_factory(
    store: Any = None,
    *,
    run: str | None = None,
    experiment: str | None = None,
    sinks: Iterable[Any] = (),
    resume: str | None = None,
) -> Callable[[], Any]:
    """Makes the backend when a metrax logger is made; loggers with the same factory share one, and no row comes twice.

    A store that cannot be opened then is a log line.
    """
    _check(store, run)
    sinks = list(sinks)

    def opened() -> GrpoMetricsBackend:
        try:
            return GrpoMetricsBackend(store, run=run, experiment=experiment, sinks=sinks, resume=resume)
        except Exception as error:  # a metric must not end a training
            _log.warning("rows go to no store: %s", error)
            return GrpoMetricsBackend(sinks=sinks)

    listeners: list[_Listener] = []  # in a closure, which Tunix's copies of its options share
    return lambda: _Listener(opened, listeners)


class _Listener:
    """The backend of one metrax logger, before the one that all loggers of its factory share.

    JAX's channel is one for the process, so that each of them hears every scalar: the newest passes it on, for a Tunix logger
    that closes makes all before it deaf. The last to close closes the backend.
    """

    def __init__(self, open_backend: Callable[[], GrpoMetricsBackend], listeners: list[_Listener]) -> None:
        self._listeners = listeners
        self._backend: GrpoMetricsBackend = listeners[-1]._backend if listeners else open_backend()
        listeners.append(self)

    def log_scalar(self, event: str, value: Any, **kwargs: Any) -> None:
        if self._listeners and self._listeners[-1] is self:
            self._backend.log_scalar(event, value, **kwargs)

    def close(self) -> None:
        if self not in self._listeners:
            return
        self._listeners.remove(self)
        if self._listeners:
            self._backend.flush()
        else:
            self._backend.close()


class _Together:
    """Several backends of metrax as one."""

    def __init__(self, backends: Iterable[Any]) -> None:
        self._backends = list(backends)

    def log_scalar(self, event: str, value: Any, **kwargs: Any) -> None:
        for backend in self._backends:
            backend.log_scalar(event, value, **kwargs)

    def close(self) -> None:
        for backend in self._backends:
            backend.close()


def _is_path(store: Any) -> bool:
    return isinstance(store, (str, os.PathLike))


def _check(store: Any, run: str | None) -> None:
    if store is not None and run is None and not _is_path(store):
        raise ValueError("`run` is missing: a store that is an object needs the id of the run")


def _shielded(work: Callable[..., Any], *args: Any) -> None:
    try:
        work(*args)
    except Exception as error:  # a metric must not end a training
        _log.warning("a row could not be handed on: %s", error)
