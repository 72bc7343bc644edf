"""Tunix: a metrax `LoggingBackend` over the store and the sinks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._store import Store, StoreSink

_log = logging.getLogger("grpo_metrics")


class GrpoMetricsBackend:
    """What metrax logs scalar by scalar, as one row a step.

    `store` is a path, or a store object with EvSys's methods (then `run` is the run's id); `sinks` are objects with
    `write(row)`. A row goes out when a scalar of another step comes, and at `close()`. A sink that fails is a log line.
    """

    def __init__(
        self, store: Any = None, *, run: str | None = None, experiment: str | None = None, sinks: Iterable[Any] = ()
    ) -> None:
        self._sinks = list(sinks)
        self._finish: Callable[[], Any] | None = None
        if isinstance(store, (str, os.PathLike)):
            opened = Store(store)
            run_id = opened.open_run(run or "default", experiment=experiment)["id"]
            self._sinks.append(StoreSink(opened, run_id))
            self._finish = lambda: opened.update_run(run_id, {"status": "completed"})
        elif store is not None:
            if run is None:
                raise ValueError("`run` is missing: a store that is an object needs the id of the run")
            self._sinks.append(StoreSink(store, run))
        self._step: int | None = None
        self._metrics: dict[str, float] = {}

    def log_scalar(self, event: str, value: Any, **kwargs: Any) -> None:
        """Takes one scalar of the step `kwargs["step"]` (the step before, where it has none)."""
        step = kwargs.get("step")
        if step is not None and step != self._step:
            self._write()
            self._step = int(step)
        self._metrics[event] = float(value)

    def close(self) -> None:
        """Sends the last row, and closes the sinks; calling it again does nothing."""
        self._write()
        for sink in self._sinks:
            if callable(getattr(sink, "close", None)):
                _shielded(sink.close)
        if self._finish is not None:
            _shielded(self._finish)
        self._sinks, self._finish = [], None

    def _write(self) -> None:
        if self._metrics:
            row = {"step": self._step or 0, "metrics": self._metrics}
            for sink in self._sinks:
                _shielded(sink.write, row)
        self._metrics = {}


def backend_factory(store: Any = None, **options: Any) -> Callable[[], GrpoMetricsBackend]:
    """For `MetricsLoggerOptions(backend_factories=[...])`: makes the backend when the logger is made."""
    return lambda: GrpoMetricsBackend(store, **options)


def _shielded(work: Callable[..., Any], *args: Mapping[str, Any]) -> None:
    try:
        work(*args)
    except Exception as error:  # a metric must not end a training
        _log.warning("a row could not be handed on: %s", error)
