"""EvSys for any store object with its methods: the metrics-file forwarder and the lifecycle callbacks (EVSYS.md)."""

from __future__ import annotations

import functools
import logging
import operator
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._core import CallQueue, _forward
from ._objects import is_final, name_of, place_of
from ._store import Store

_log = logging.getLogger("grpo_metrics")

def forward_step_metrics(
    store: Any, run_id: str | None, run_dir: str | os.PathLike[str] | None, *, metrics_file: str = "metrics.jsonl"
) -> int:
    """Sends what is new in a training's metrics file to a run of `store`; how many rows the store took.

    This is the command's `forward`, with the same memory beside the file: what the one has sent the other does not send
    again. A row is a call: a line whose keys partly begin `val/` is two. What the store refuses is logged and kept beside the
    file; the next call sends both the refused and the new rows, through rotation too. 0 where the store, the run, the folder
    or the file is missing.

    What was sent is remembered by store and run. A store of ours is its file; another object is its type with its `name`,
    `url`, `base_url` or `path`, the first that it has. Of a type without any, the first object of a process counts as one
    store, the second as another, and so on: give it a `name` where several are used.
    """
    if store is None or not run_id or not run_dir:
        return 0
    place = place_of(store)
    return _forward(store if place is None else store._sqlite, place or name_of(store), run_id, run_dir, metrics_file)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for key, value in metrics.items():
        if isinstance(value, (int, float)):
            try:
                numbers[key] = float(value)
            except OverflowError:
                _log.warning("%s: a whole number that no double holds is left out", key)
    return numbers


class Callback:
    """Hooks of a training, which all do nothing here. One that fails is logged, and stops neither the training nor the others."""

    def on_train_start(self, state: Any) -> None:
        """The training begins."""

    def on_train_end(self, state: Any, artifacts: Any) -> None:
        """The training is over."""

    def on_step_end(self, state: Any, step_idx: int, batch: Any, metrics: Mapping[str, Any]) -> None:
        """A step has its row."""

    def on_checkpoint(self, state: Any, row: Mapping[str, Any]) -> None:
        """Weights were written down."""

    def on_eval(self, state: Any, step_idx: int, eval_name: str, metrics: Mapping[str, Any]) -> None:
        """An evaluation within the training is done."""

    def on_experiment_start(self, ctx: Any) -> None:
        """An experiment begins."""

    def on_group_start(self, ctx: Any, group_name: str) -> None:
        """A group of runs begins."""

    def on_run_start(self, ctx: Any) -> None:
        """A run begins."""

    def on_benchmark_eval(self, ctx: Any, eval_result: Any, predictions: Sequence[Any], *, step: int | None = None) -> None:
        """A benchmark is done."""

    def on_run_end(self, ctx: Any, run_result: Any, arm: Any) -> None:
        """A run is over."""

    def on_experiment_end(self, ctx: Any, result: Any) -> None:
        """An experiment is over."""


class EvsysLoggerCallback(Callback):
    """Persists everything that happens in a training to a store, through the hooks.

    The store is `_store` where one was put there, else made at the first need: the embedded one at `EVSYS_STORE`, else at
    `evsys.db` in the context's `output_dir`. If `ctx.store` is set, the experiment writes already, and this switches itself off.
    Metrics are buffered, and sent every `flush_every` steps by a thread of their own: a step never waits for the store. What
    could not be sent is kept and tried again; `on_run_end` and `on_train_end` wait until all was tried once more, and so
    does, up to 10 s, an interpreter that exits without them. What would be refused whenever it was sent (a `RefusedError`, a
    `TypeError`, a `ValueError`) is told, counted in `dropped`, and holds up nothing.
    """

    def __init__(self, project_id: str | None = None, flush_every: int = 1) -> None:
        self.project_id = project_id or os.environ.get("EVSYS_PROJECT_ID")
        self.flush_every = max(1, flush_every)
        self._store: Any = None
        self._off = False
        self._steps = 0
        self._bad = 0
        self._buffered: list[Callable[[], Any]] = []
        self._queue: CallQueue | None = None

    @property
    def unsent(self) -> int:
        """Rows that the store has not taken yet."""
        return len(self._buffered) + (self._queue.pending if self._queue else 0)

    @property
    def dropped(self) -> int:
        """Rows that were refused for good."""
        return self._bad + (self._queue.dropped if self._queue else 0)

    def on_experiment_start(self, ctx: Any) -> None:
        if self._switched_off(ctx):
            return
        config = _get(ctx, "config")
        metadata = _get(config, "metadata")
        name = _get(metadata, "experiment_name") or _get(metadata, "name") or _get(config, "name") or "experiment"
        row = self._store_of(ctx).create_experiment(
            project_id=self.project_id,
            experiment_name=name,
            hypothesis=_get(metadata, "hypothesis"),
            tags=_get(metadata, "tags"),
        )
        ctx.ids["experiment_id"] = row["id"]

    def on_group_start(self, ctx: Any, group_name: str) -> None:
        experiment = self._id(ctx, "experiment_id")
        if experiment and not self._switched_off(ctx):
            row = self._store_of(ctx).create_group(experiment_id=experiment, name=group_name)
            ctx.ids[f"group:{group_name}"] = row["id"]

    def on_run_start(self, ctx: Any) -> None:
        if self._switched_off(ctx):
            return
        if not self._id(ctx, "experiment_id"):
            self.on_experiment_start(ctx)
        config = _get(ctx, "run_config")
        row = self._store_of(ctx).create_run(
            experiment_id=ctx.ids["experiment_id"],
            group_id=self._id(ctx, f"group:{_get(ctx, 'group_name')}"),
            seed=_get(config, "seed"),
            recipe_kind=_get(config, "recipe_kind") or _get(_get(config, "recipe"), "kind"),
            run_config=_plain(config),
            status="running",
        )
        ctx.ids["run_id"] = row["id"]
        url = _get(_get(ctx, "extras"), "wandb_url")
        if url:
            self._store_of(ctx).update_run(run_id=row["id"], patch={"wandb_run_url": url})

    def on_step_end(self, state: Any, step_idx: int, batch: Any, metrics: Mapping[str, Any]) -> None:
        self._enqueue(state, step_idx, _numbers(metrics), "train")
        self._steps += 1
        if self._steps % self.flush_every == 0 and self._queue:
            _send(self._queue, self._buffered)

    def on_eval(self, state: Any, step_idx: int, eval_name: str, metrics: Mapping[str, Any]) -> None:
        named = {f"{eval_name}/{key}": value for key, value in _numbers(metrics).items()}
        self._enqueue(state, step_idx, named, "val")

    def on_checkpoint(self, state: Any, row: Mapping[str, Any]) -> None:
        ctx = _get(state, "ctx")
        run, uri = self._id(ctx, "run_id"), _get(row, "sampler_path") or _get(row, "state_path")
        if run and uri and not self._switched_off(ctx):
            self._store_of(ctx).add_checkpoint(
                run_id=run,
                uri=uri,
                label=_get(row, "label") or _get(row, "name"),
                step=_get(row, "step"),
                base_model=_get(row, "base_model"),
                is_final=bool(_get(row, "is_final")),
            )

    def on_benchmark_eval(self, ctx: Any, eval_result: Any, predictions: Sequence[Any], *, step: int | None = None) -> None:
        run = self._id(ctx, "run_id")
        if not run or self._switched_off(ctx):
            return
        store = self._store_of(ctx)
        fields = ("checkpoint_id", "model_ref", "metrics", "breakdowns", "sdk_version")
        given = {name: _plain(_get(eval_result, name)) for name in fields}
        row = store.create_eval(run_id=run, benchmark_id=_get(eval_result, "benchmark_id"), step=step, **given)
        parts = ("task_id", "instruction", "model_output", "expected", "reward", "advantage", "sample_idx", "metadata")
        for prediction in predictions or ():
            given = {name: _plain(_get(prediction, name)) for name in parts}
            store.add_prediction(run_id=run, kind="eval", eval_id=row["id"], step=step, **given)

    def on_run_end(self, ctx: Any, run_result: Any, arm: Any) -> None:
        self._flush()
        run = self._id(ctx, "run_id")
        if run and not self._switched_off(ctx):
            error = _get(run_result, "error") or _get(run_result, "error_message")
            status = _get(run_result, "status") or ("failed" if error else "completed")
            patch = {"status": str(status)} | ({"error_message": str(error)} if error else {})
            self._store_of(ctx).update_run(run_id=run, patch=patch)

    def on_train_end(self, state: Any, artifacts: Any) -> None:
        self._flush()

    def on_experiment_end(self, ctx: Any, result: Any) -> None:
        self._flush()
        experiment = self._id(ctx, "experiment_id")
        if experiment and not self._switched_off(ctx):
            error = _get(result, "error") or _get(result, "error_message")
            patch: dict[str, Any] = {"status": "failed" if error else "completed"}
            patch |= {"error_message": str(error)} if error else {}
            patch |= {"conclusion": _get(result, "conclusion")} if _get(result, "conclusion") else {}
            self._store_of(ctx).update_experiment(experiment_id=experiment, patch=patch)

    def _enqueue(self, state: Any, step: int, metrics: dict[str, float], split: str) -> None:
        ctx = _get(state, "ctx")
        run = self._id(ctx, "run_id")
        if not metrics or not run or self._switched_off(ctx):
            return
        try:
            counted = operator.index(step)
            if not 0 <= counted < 2**63:
                raise ValueError(f"expected a step from 0 to {2**63 - 1}, found {counted}")
        except (TypeError, ValueError) as error:
            self._bad += 1
            _log.warning("a row is dropped: %s", error)
            return
        if self._queue is None:
            self._queue = CallQueue(is_final)
            weakref.finalize(self, _deliver, self._queue, self._buffered)
        log = self._store_of(ctx).log_metrics
        self._buffered.append(functools.partial(log, run_id=run, step=counted, metrics=metrics, split=split))

    def _flush(self) -> None:
        if self._queue:
            _deliver(self._queue, self._buffered, 60.0)

    def _switched_off(self, ctx: Any) -> bool:
        if not self._off and _get(ctx, "store") is not None:
            self._off = True
            _log.warning("the experiment has a store of its own: EvsysLoggerCallback is off")
        return self._off

    def _store_of(self, ctx: Any) -> Any:
        if self._store is None:
            folder = _get(ctx, "output_dir") or "."
            self._store = Store(os.environ.get("EVSYS_STORE") or Path(folder) / "evsys.db")
        return self._store

    @staticmethod
    def _id(ctx: Any, name: str) -> Any:
        return (_get(ctx, "ids") or {}).get(name)


def _send(queue: CallQueue, calls: list[Callable[[], Any]]) -> None:
    queue.push(calls)
    calls.clear()


def _deliver(queue: CallQueue, calls: list[Callable[[], Any]], seconds: float = 10.0) -> None:
    """Sends what waits, and says what is left."""
    if queue.is_inherited:
        return
    _send(queue, calls)
    if not queue.attempt(seconds):
        _log.warning("%s rows could not be sent: %s", queue.pending, queue.error or f"the store took over {seconds:g} s")


def _get(holder: Any, name: str) -> Any:
    """A field of a mapping or of an object; `None` where there is none."""
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _plain(value: Any) -> Any:
    """What JSON can hold, of a dataclass or a pydantic model too."""
    for method in ("model_dump", "to_dict", "_asdict"):
        if callable(getattr(value, method, None)):
            return getattr(value, method)()
    if hasattr(value, "__dict__") and not isinstance(value, (str, Mapping)):
        return {name: _plain(field) for name, field in vars(value).items() if not name.startswith("_")}
    return value
