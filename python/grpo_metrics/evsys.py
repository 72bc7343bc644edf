"""EvSys for any store object with its methods: the metrics-file forwarder and the lifecycle callbacks (EVSYS.md)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._store import Store
from .background import Worker

_log = logging.getLogger("grpo_metrics")

_NO_METRICS = frozenset(("step", "epoch", "ts", "timestamp", "progress", "metrics"))
_VAL = "val/"

Rows = list[tuple[int, dict[str, float], str | None]]


def forward_step_metrics(
    store: Any, run_id: str | None, run_dir: str | os.PathLike[str] | None, *, metrics_file: str = "metrics.jsonl"
) -> int:
    """Sends what is new in a training's metrics file to a run of `store`; how many rows the store took.

    A row is a call: a line whose keys partly begin `val/` is two. What the store refuses is logged and kept beside the
    file, as is how far the file was read; the next call sends both the refused and the new rows. A file that was cut or
    written anew is read from its start. 0 where the store, the run, the folder or the file is missing.
    """
    file = _metrics_file(run_dir, metrics_file) if run_dir else None
    if store is None or not run_id or file is None:
        return 0
    try:
        memory = _Memory.of(file, run_id)
        pending = memory.refused + _new_rows(file, memory)
        memory.refused = [row for row in pending if not _sent(store, run_id, *row)]
        memory.write()
        return len(pending) - len(memory.refused)
    except OSError as error:
        _log.warning("could not forward %s: %s", file, error)
        return 0


def _metrics_file(run_dir: str | os.PathLike[str], name: str) -> Path | None:
    """At `run_dir/logs/`, else `run_dir/`, else the shallowest anywhere below."""
    folder = Path(run_dir)
    near = [folder / "logs" / name, folder / name]
    below = sorted(folder.rglob(name), key=lambda path: (len(path.parts), path)) if folder.is_dir() else []
    return next((path for path in [*near, *below] if path.is_file()), None)


class _Memory:
    """What is remembered of a file and a run: how far it was read, what its beginning was, and what the store refused."""

    HEAD = 4096

    def __init__(self, file: Path, path: Path) -> None:
        self.file, self.path = file, path
        self.read, self.head = 0, ""
        self.refused: Rows = []

    @classmethod
    def of(cls, file: Path, run_id: str) -> _Memory:
        name = hashlib.sha256(run_id.encode()).hexdigest()[:16]
        memory = cls(file, file.with_name(f".{file.name}.{name}.sent.json"))
        try:
            kept = json.loads(memory.path.read_text())
        except (OSError, ValueError):
            return memory
        memory.refused = [(step, metrics, split) for step, metrics, split in kept["refused"]]
        if kept["read"] <= file.stat().st_size and kept["head"] == memory.hash_of_head(kept["read"]):
            memory.read = kept["read"]
        return memory

    def hash_of_head(self, read: int) -> str:
        with self.file.open("rb") as lines:
            return hashlib.sha256(lines.read(min(read, self.HEAD))).hexdigest()

    def write(self) -> None:
        """Replaces the file at once, so that a crash leaves the old or the new."""
        kept = {"read": self.read, "head": self.hash_of_head(self.read), "refused": self.refused}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(self.path)


def _new_rows(file: Path, memory: _Memory) -> Rows:
    """The rows of the whole lines after what was read; half a line at the end is for the next time."""
    with file.open("rb") as lines:
        lines.seek(memory.read)
        text = lines.read()
    whole = text[: text.rfind(b"\n") + 1]
    memory.read += len(whole)
    return [row for line in whole.splitlines() for row in _rows(line)]


def _rows(line: bytes) -> Rows:
    """The calls of one line; none of one that is not JSON, has no step or no metrics."""
    try:
        row = json.loads(line)
        step = int(row["step"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return []
    nested = row.get("metrics")
    if isinstance(nested, dict) and nested:
        metrics = _numbers(nested)
    else:
        metrics = _numbers({key: value for key, value in row.items() if key not in _NO_METRICS})
    train = {key: value for key, value in metrics.items() if not key.startswith(_VAL)}
    val = {key: value for key, value in metrics.items() if key.startswith(_VAL)}
    return [(step, numbers, split) for numbers, split in ((train, None), (val, "val")) if numbers]


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items() if isinstance(value, (int, float))}


def _sent(store: Any, run_id: str, step: int, metrics: dict[str, float], split: str | None) -> bool:
    try:
        of_split = {} if split is None else {"split": split}
        store.log_metrics(run_id=run_id, step=step, metrics=metrics, **of_split)
    except Exception as error:  # a store may raise anything
        _log.warning("step %s could not be sent: %s", step, error)
        return False
    return True


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
    could not be sent is kept and sent again with the next rows; `on_run_end` and `on_train_end` wait until all is sent.
    """

    def __init__(self, project_id: str | None = None, flush_every: int = 1) -> None:
        self.project_id = project_id or os.environ.get("EVSYS_PROJECT_ID")
        self.flush_every = max(1, flush_every)
        self._store: Any = None
        self._off = False
        self._steps = 0
        self._worker: Worker | None = None

    @property
    def unsent(self) -> int:
        """Rows that the store has not taken yet."""
        return self._worker.pending if self._worker else 0

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
        if self._steps % self.flush_every == 0 and self._worker:
            self._worker.wake()

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
        if self._worker is None:
            self._worker = Worker("evsys")
        store = self._store_of(ctx)
        self._worker.add(_Call(store.log_metrics, run_id=run, step=step, metrics=metrics, split=split))

    def _flush(self) -> None:
        if self._worker and not self._worker.drain():
            _log.warning("%s rows could not be sent: %s", self._worker.pending, self._worker.error)

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


class _Call:
    """A call that is still to be made."""

    def __init__(self, method: Callable[..., Any], **args: Any) -> None:
        self.method, self.args = method, args

    def __call__(self) -> None:
        self.method(**self.args)


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
