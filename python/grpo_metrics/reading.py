"""Reading a store: its runs, their metrics as arrays and tables, and runs beside each other.

Nothing here writes. A training may go on writing meanwhile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _html
from ._core import OptionError, Sqlite3, _courses, _glance, _names, _run, _runs
from ._store import Store
from .metrics import Metrics, label, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes as _Axes

    from .metrics import _Array

Keys = str | Sequence[str] | None
"""A key, a pattern such as `train/kl*`, or several of them."""

VARIABLE = "GRPO_METRICS_STORE"
DEFAULT = "runs.db"


def open(path: str | os.PathLike[str] | None = None) -> RunStore:
    """Opens a store of runs for reading.

    `path` is the store's file; without it the one that the variable `GRPO_METRICS_STORE` names, else `runs.db` in the current
    folder, as the command has it. Reading never makes a file: a StoreError says where there is none.
    """
    return RunStore(path if path is not None else os.environ.get(VARIABLE) or DEFAULT)


class RunStore:
    """The runs of a store: `store["seed-0"]` is one, by its id or its name; iterating gives all, the newest first."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._store = Store(path, read_only=True)

    def runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        tag: str | Iterable[str] | None = None,
        since: str | datetime | None = None,
        experiment: str | None = None,
    ) -> RunList:
        """The runs that are meant, the newest first; an empty list where there are none.

        `status` is one or several of pending, running, completed, failed, cancelled, stopped (says it is running, and nobody has
        heard of it for a minute). With `tag`, runs that have it, or each of several. `since` is a time (UTC where it names no other)
        or a text as `2026-01-31`, `12h`, `7d`. An OptionError where one is none of these.
        """
        told = _runs(self._store._sqlite, texts(status), texts(tag), _time(since), experiment)
        return RunList(Run(self, run) for run in json.loads(told))

    def __getitem__(self, name: str) -> Run:
        """The run of this id, else of this name; a StoreError that names the closest where there is none, or several of the name."""
        return Run(self, json.loads(_run(self._store._sqlite, self.path, str(name))))

    def __contains__(self, name: object) -> bool:
        return any(name in (run.id, run.name) for run in self.runs())

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs())

    def __len__(self) -> int:
        return len(self.runs())

    def __repr__(self) -> str:
        return f"<store {self.path}: {len(self)} runs>"

    def _repr_html_(self) -> str:
        return self.runs()._repr_html_()


class Run:
    """One run. What is said of it here is as of when it was asked for (`store[run.id]` asks again); metrics are read when they are asked for."""

    def __init__(self, store: RunStore, told: Mapping[str, Any]) -> None:
        self.store = store
        self.id: str = told["id"]
        """One run's own."""
        self.name: str = told["name"]
        """A label, which several runs may have."""
        self.experiment: str = told["experiment"]
        self.status: str = told["status"]
        """pending, running, completed, failed, cancelled; or `stopped (no sign since 12:03)`, of which nobody hears."""
        self.steps: int = told["steps"]
        """How many of its steps have metrics."""
        self.first_step: int | None = told["first_step"]
        self.last_step: int | None = told["last_step"]
        self.values: int = told["values"]
        """How many numbers it has."""
        self.tags: list[str] = told["tags"]
        self.note: str | None = told["note"]
        self.created_at: datetime | None = _moment(told["created_at"])
        self.seen_at: datetime | None = _moment(told["seen_at"])
        """Its writer's last sign of life."""
        self.ended_at: datetime | None = _moment(told["ended_at"])

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration; empty where it has none. What the package notes of its own is under `grpo_metrics`."""
        config = self._record().get("run_config")
        return config if isinstance(config, dict) else {} if config is None else {"config": config}

    @property
    def seed(self) -> int | None:
        """The run's seed, if it is known."""
        seed: int | None = self._record().get("seed")
        return seed

    @property
    def error(self) -> str | None:
        """Why it failed or was cancelled, if it did."""
        return self._record().get("error_message") or None

    def keys(self, key: Keys = None) -> list[str]:
        """The keys that it has numbers under, those that are looked at first first; those alone that `key` means, if it is given."""
        return [name for name, _ in named((*name, None) for name in _names(self._store, self.id, texts(key)))]

    def metrics(self, key: Keys = None, *, split: str | None = None) -> Metrics:
        """The numbers of the run: `step`, `time` and an array a key, all of one length, NaN where a step has no number.

        `key` is a key or a pattern (`train/kl*`), or several; then steps at which none of them has a number are left out. `split` is train
        or val; without it both. A run without numbers gives empty arrays; a pattern that no key matches is an OptionError.
        """
        found = _courses(self._store, self.id, texts(key), split)
        arrays: dict[str, _Array] = {"step": found["step"], "time": found["time"].view("datetime64[ms]")}
        for name, values in named(found["courses"]):
            arrays[name] = values
        return Metrics(arrays)

    def samples(self, step: int | None = None) -> list[dict[str, Any]]:
        """The completions that were kept of it, as `Engine.samples` has them, by step; of one step where `step` is given."""
        rows = self.store._store.list_predictions(self.id, "train")
        return sorted((row for row in rows if step in (None, row.get("step"))), key=lambda row: (row.get("step", 0), row.get("sample_idx", 0)))

    def plot(
        self,
        key: Keys = None,
        *,
        x: str = "step",
        smooth: int = 1,
        ax: _Axes | None = None,
        **style: Any,
    ) -> _Axes:
        """Draws series with matplotlib, and returns the Axes; an error says what to install where that is missing.

        `key` as in `metrics`; without it the first key that is looked at. `x` is step or time. `smooth` is over how many rows each point
        is a mean; the numbers themselves then stand faintly behind. `style` goes to matplotlib's `plot`.
        """
        from ._plot import plot

        return plot(self, texts(key), x, smooth, ax, style)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.store.path, self.id) == (other.store.path, other.id)

    def __hash__(self) -> int:
        return hash((self.store.path, self.id))

    def __repr__(self) -> str:
        return f"<run {self.id}: {self.status}, {self._span()}>"

    def _repr_html_(self) -> str:
        """Its head, and a table of what is looked at first, each with its course."""
        lines, hidden = _glance(self._store, self.id, [], False)
        rows = [
            [label(line["key"], line["split"]), *map(_html.number, line["numbers"]), _html.sparkline(line["values"])]
            for line in lines
            if not line["constant"]
        ]
        parts = [_html.note(f"{self.id}: {self.status}, {self._span()}")]
        if rows:
            parts.append(_html.table(["key", "last", "mean", "min", "max", "over the steps"], rows, range(1, 5)))
        constant = [f"{label(line['key'], line['split'])} {_html.number(line['numbers'][0])}" for line in lines if line["constant"]]
        if constant:
            parts.append(_html.note(f"{len(constant)} constant: {', '.join(constant)}"))
        if hidden:
            parts.append(_html.note(f"{hidden} more keys: run.keys()"))
        return _html.block(*parts)

    def _span(self) -> str:
        if self.first_step is None:
            return "no metrics"
        gaps = self.last_step is not None and self.steps <= self.last_step - self.first_step
        return f"steps {self.first_step} to {self.last_step}" + (f", {self.steps} of them with metrics" if gaps else "")

    @property
    def _store(self) -> Sqlite3:
        return self.store._store._sqlite

    def _record(self) -> dict[str, Any]:
        return self.store._store.get_run(self.id)


class RunList(list[Run]):
    """Runs in a list, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        """A line a run."""
        if not self:
            return _html.block(_html.note("no runs"))
        header = ["run", "name", "experiment", "status", "steps", "last", "created", "tags", "note"]
        rows = [
            [
                run.id,
                run.name if run.name != run.id else "",
                run.experiment,
                run.status,
                run.steps,
                "-" if run.last_step is None else run.last_step,
                "" if run.created_at is None else f"{run.created_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(run.tags),
                run.note or "",
            ]
            for run in self
        ]
        return _html.block(_html.table(header, rows, range(4, 6)))


def texts(given: str | Iterable[str] | None) -> list[str]:
    """One text or several, as a list; an OptionError for anything else."""
    if given is None:
        return []
    if not isinstance(given, Iterable):
        raise OptionError(f"expected a text or a list of texts, found {type(given).__name__}")
    given = [given] if isinstance(given, str) else list(given)
    for text in given:
        if not isinstance(text, str):
            raise OptionError(f"expected a text or a list of texts, found {type(text).__name__} among them")
    return given


def _time(since: str | datetime | None) -> str | None:
    if isinstance(since, datetime):
        from datetime import timezone

        utc = since if since.tzinfo is None else since.astimezone(timezone.utc)
        return utc.strftime("%Y-%m-%dT%H:%M:%S")
    return since


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:  # another program's
        return None
