"""Stores that are objects, EvSys's client say: what tells one from another, which of its errors will come again, and a sink over one."""

from __future__ import annotations

import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ._core import RefusedError, StoreError
from ._store import Row, Signs, Store, signs_of

_log = logging.getLogger("grpo_metrics")


class StoreSink:
    """Writes rows as metrics of one run of a store that is an object: ours, EvSys's, or another with its methods.

    The run is `running` from its first row on, where the store has an `update_run`, until somebody says how it `ended`. Where it is over
    already and only its rows come, as `comes_after` says, it stays as it stands.
    """

    def __init__(self, store: Any, run_id: str, comes_after: bool = False) -> None:
        self.store, self.run_id = store, run_id
        self._begun = comes_after
        self._target = run_id
        self._signs: Signs | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Sends one row."""
        if not self._begun and self._target == self.run_id:
            self._begin()
        parts: dict[str, dict[str, float]] = {}
        for name, value in row["metrics"].items():
            parts.setdefault("val" if name.startswith("eval/") else "train", {})[name] = value
        for split, metrics in parts.items():
            if split == "train" and isinstance(self.store, Store):
                self.store._log_row(self._target, {**row, "metrics": metrics})
            else:
                self.store.log_metrics(run_id=self._target, step=row["step"], metrics=metrics, split=split)

    def turn_to(self, run_id: str) -> None:
        """The rows that come next are of this run: an earlier training's may be in the journal."""
        self._target = run_id

    def ended(self, status: str, error: str | None = None) -> None:
        """The run has ended as `status`: completed, failed or cancelled."""
        self.close()
        self._update({"status": status} | ({} if error is None else {"error_message": error}))

    def close(self) -> None:
        """Nobody writes any more, however the run ended."""
        if self._signs is not None:
            self._signs.end()

    def _begin(self) -> None:
        self._begun = True
        try:
            run = self._update({"status": "running"})
            if isinstance(run, Mapping) and run.get("error_message"):
                self._update({"error_message": ""})  # how it ended before is not how it stands now
            self._signs = signs_of(self.store, self.run_id)
        except Exception as error:  # a row is worth more than the word beside it
            _log.warning("run %s could not be marked as running: %s", self.run_id, error)

    def _update(self, patch: Row) -> Any:
        update = getattr(self.store, "update_run", None)
        return update(run_id=self.run_id, patch=patch) if callable(update) else None


def place_of(store: Any) -> str | None:
    """The file of a store of ours; of any other none is known."""
    return store._place if isinstance(store, Store) and store._is_file else None


def name_of(store: Any) -> str:
    """What tells a store from others, also in the next process."""
    kind = f"{type(store).__module__}.{type(store).__qualname__}"
    for attribute in ("name", "url", "base_url", "path"):
        told = getattr(store, attribute, None)
        if isinstance(told, (str, os.PathLike)) and str(told):
            # A URL may name a user with a password, which is not to be remembered.
            return f"{kind} {str(told).rpartition('@')[2]}"
    with _nameless_lock:
        others = _nameless.setdefault(kind, [])
        known = [number for number, other in enumerate(others) if other() is store]
        if not known:
            known = [len(others)]
            others.append(_reference(store))
    return f"{kind} {known[0]}" if known[0] else kind


_nameless: dict[str, list[Callable[[], Any]]] = {}
"""The stores without a name, by their type, in the order in which they were used."""
_nameless_lock = threading.Lock()


def _reference(store: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(store)
    except TypeError:  # kept, then
        return lambda: store


def is_final(error: BaseException) -> bool:
    """Whether the same call would be refused whenever it was made."""
    # Many a client's error of a connection, or of an answer that is no JSON, is a ValueError as well.
    passing = isinstance(error, (OSError, StoreError, json.JSONDecodeError)) and not isinstance(error, RefusedError)
    return isinstance(error, (TypeError, ValueError, OverflowError)) and not passing
