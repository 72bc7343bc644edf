"""A sink over what logs dictionaries: a run of W&B, trackio or MLflow, a tracker of accelerate, anything with `log(dict, step=...)`."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from itertools import chain, count
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

_log = logging.getLogger("grpo_metrics")

STEP = "grpo_metrics/step"
"""The metric that W&B draws ours over: its own counter moves with every `log` of whoever logs into the run."""


SAMPLES = "grpo_metrics/samples"
"""The table of samples in W&B and trackio."""


class LoggerSink:
    """Hands each row to a logger, under names that it takes.

    `logger` is what `wandb.init`, `trackio.init` or `mlflow.start_run` gave, a tracker of accelerate, or an object with
    `log(dict, step=...)`. The texts of a run (`run/git_sha`, ...) go to its config or tags, else into the first row. A name
    that the logger refuses or takes for its own is changed, and that is said once. Who made the logger ends it.
    """

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self._target = _target(logger)
        self._names = Names(self._target)

    def write(self, row: Mapping[str, Any]) -> None:
        """Logs one row, as an `Engine` hands it out: `step`, `metrics`, and `run` where it carries texts."""
        metrics, texts = row["metrics"], row.get("run") or {}
        names = self._names.of([*metrics, *texts])
        self._target.log(
            row["step"],
            {names[name]: value for name, value in metrics.items()},
            {names[name]: text for name, text in texts.items()},
        )


    def samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Logs the samples of one step, as `Engine.samples` hands them out, as a table of the logger's own kind."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self._target.table(step, columns, [[row.get(name) for name in columns] for row in rows])


class Target:
    """Anything with `log(dict, step=...)`; it takes every name, and keeps the step it is told."""

    name = "the logger"
    taken = frozenset[str]()
    """Names that are not for metrics."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def fit(self, name: str) -> str:
        """The nearest name that it takes."""
        return name

    def clash(self, name: str, given: Iterable[str]) -> bool:
        """Whether it cannot hold the name beside the others."""
        return False

    def log(self, step: int, metrics: dict[str, float], texts: dict[str, str]) -> None:
        """Takes one row."""
        update = getattr(getattr(self.logger, "config", None), "update", None)
        if texts and callable(update):
            update(texts)
            texts = {}
        self.logger.log({**metrics, **texts}, step=step)

    def table(self, step: int, columns: list[str], data: list[list[Any]]) -> None:
        """Takes a table of samples; one that knows none says so."""
        raise TypeError(f"{type(self.logger).__name__} shows no tables: expected a run of W&B, trackio or MLflow, or an object with `samples(step, rows)`")


class Wandb(Target):
    """A run of W&B, which drops what is logged at a step behind its own counter: our step is a metric, and the counter W&B's."""

    name = "W&B"
    taken = frozenset({STEP})

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._defined: set[str] = set()

    def fit(self, name: str) -> str:
        # Names from "_" on are its own (it overwrites `_step`); `define_metric` takes "*" for a pattern.
        return name.replace("*", "_").lstrip("_") or "metric"

    def log(self, step: int, metrics: dict[str, float], texts: dict[str, str]) -> None:
        if not self._defined:
            self.logger.define_metric(STEP, hidden=True)
        for name in metrics.keys() - self._defined:
            self.logger.define_metric(name, step_metric=STEP)
            self._defined.add(name)
        if texts:
            self.logger.config.update(texts, allow_val_change=True)
        self.logger.log({**metrics, STEP: step})

    def table(self, step: int, columns: list[str], data: list[list[Any]]) -> None:
        import wandb

        # A column has one type in W&B's tables; what is not known has none.
        self.logger.log({SAMPLES: wandb.Table(columns=columns, data=data, allow_mixed_types=True), STEP: step})


class Trackio(Target):
    """A run of trackio, which sends its config with the first log of all, whoever's it is: texts go into a row."""

    name = "trackio"
    RESERVED = frozenset({"project", "run", "timestamp", "step", "time", "metrics"})

    def fit(self, name: str) -> str:
        name = re.sub("^__+", "", name)
        return f"{name}_" if name in self.RESERVED else name

    def log(self, step: int, metrics: dict[str, float], texts: dict[str, str]) -> None:
        self.logger.log({**metrics, **texts}, step=step)


    def table(self, step: int, columns: list[str], data: list[list[Any]]) -> None:
        import pandas
        import trackio

        self.logger.log({SAMPLES: trackio.Table(dataframe=pandas.DataFrame(data, columns=columns))}, step=step)


class Mlflow(Target):
    """A run of MLflow by its id: what is active is so for one thread only, and a journal's rows come from another."""

    name = "MLflow"
    AT_ONCE = 1000
    """Metrics that it takes in one call."""
    LONGEST = 250

    def __init__(self, run: Any) -> None:
        import mlflow

        super().__init__(mlflow.MlflowClient())
        self._run_id = run.info.run_id
        self._in_files = urlsplit(mlflow.get_tracking_uri()).scheme in ("", "file")

    def fit(self, name: str) -> str:
        # Its validation refuses other characters (newer versions take ":", but not on Windows) and paths that are not plain.
        plain = re.sub(r"[^/\w.\- ]", "_", name.replace("@", "_at_"))
        path = "/".join(part for part in plain.split("/") if part not in ("", ".", ".."))
        return (path if len(path) <= self.LONGEST else path[: self.LONGEST - 10]) or "metric"

    def clash(self, name: str, given: Iterable[str]) -> bool:
        # In a folder, each metric is a file: `train/loss` cannot be one beside `train/loss/total`.
        return self._in_files and any(name.startswith(f"{other}/") or other.startswith(f"{name}/") for other in given)

    def log(self, step: int, metrics: dict[str, float], texts: dict[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        values = [Metric(name, value, now, step) for name, value in metrics.items()]
        if texts:
            self.logger.log_batch(self._run_id, tags=[RunTag(name, text) for name, text in texts.items()])
        for first in range(0, len(values), self.AT_ONCE):
            self.logger.log_batch(self._run_id, metrics=values[first : first + self.AT_ONCE])

    def table(self, step: int, columns: list[str], data: list[list[Any]]) -> None:
        cells = {name: [row[nth] for row in data] for nth, name in enumerate(columns)}
        self.logger.log_table(self._run_id, cells, f"samples/step_{step:06}.json")


class Names:
    """The names that a logger gets, by ours: no two of ours become one, and each keeps what it once became."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._theirs: dict[str, str] = {}
        self._given = set(target.taken)

    def of(self, ours: Iterable[str]) -> Mapping[str, str]:
        """Theirs by ours, for these and all before; those that change are said in one line."""
        fits = {name: self._target.fit(name) for name in ours if name not in self._theirs}
        # What can stay as it is stays, whichever comes first; and `a` comes before `a/b`.
        for name in sorted(fits, key=lambda name: (fits[name] != name, name)):
            self._theirs[name] = self._free(fits[name])
            self._given.add(self._theirs[name])
        changed = [f"{name!r} as {self._theirs[name]!r}" for name in fits if self._theirs[name] != name]
        if changed:
            _log.warning("%s cannot hold every name; logged under another: %s", self._target.name, ", ".join(changed))
        return self._theirs

    def _free(self, name: str) -> str:
        while "/" in name and self._target.clash(name, self._given):
            name = ".".join(name.rsplit("/", 1))
        candidates = chain([name], (f"{name}_{n}" for n in count(2)))
        return next(each for each in candidates if each not in self._given and not self._target.clash(each, self._given))


def _target(logger: Any) -> Target:
    """How rows come to this logger; what cannot log is an error before the training."""
    found = type(logger).__name__
    if isinstance(logger, ModuleType):
        raise TypeError(f"expected a run, found the module `{logger.__name__}`: hand over what its `init` or `start_run` gave")
    if _is_of(logger, "accelerate") and hasattr(logger, "trackers"):
        raise TypeError("expected a logger, found an Accelerator: make a sink of each of its `trackers`")
    run = getattr(logger, "tracker", None) if _is_of(logger, "accelerate") else logger
    if callable(getattr(run, "define_metric", None)):
        return Wandb(run)
    if _is_of(run, "mlflow") and hasattr(run, "info"):
        return Mlflow(run)
    if _is_of(run, "trackio"):
        return Trackio(run)
    if not callable(getattr(logger, "log", None)) or isinstance(logger, logging.Logger):
        raise TypeError(
            f"expected a logger with `log(dict, step=...)`, found {found}; of another kind, hand over an object with `write(row)`"
            " in its place, which an engine takes as it is"
        )
    return Target(logger)


def _is_of(thing: Any, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(thing).__mro__)
