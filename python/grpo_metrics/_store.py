"""The embedded store under the names that EvSys code calls a store by."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._core import Gateway, Sqlite3

_log = logging.getLogger("grpo_metrics")

Row = dict[str, Any]


class Store:
    """An experiment store in one SQLite file, with the method surface of EvSys's own (EVSYS.md).

    Every write is on the disk when the call returns; several processes may write the same file. Rows come back as
    dictionaries with `id`. Arguments of the gateway that this store keeps no column for are left out, with a log line.
    """

    _is_file = True

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = os.fspath(path)
        self._place = os.path.realpath(path)  # wherever the process goes
        self._sqlite = Sqlite3(path, read_only=read_only)
        self._operations: Sqlite3 | Gateway = self._sqlite

    def __repr__(self) -> str:
        return f"Store({self.path!r})"

    def create_experiment(
        self,
        experiment_name: str | None = None,
        *,
        project_id: str | None = None,
        hypothesis: str | None = None,
        project_goal_id: str | None = None,
        tags: Sequence[str] | None = None,
        status: str | None = None,
        conclusion: str | None = None,
        error_message: str | None = None,
        **others: Any,
    ) -> Row:
        """Creates an experiment."""
        self._leave_out("create_experiment", project_goal_id=project_goal_id, **others)
        return self._row(
            "create_experiment",
            experiment_name=experiment_name or "",
            project_id=project_id,
            hypothesis=hypothesis,
            tags=None if tags is None else list(tags),
            status=status,
            conclusion=conclusion,
            error_message=error_message,
        )

    def update_experiment(self, experiment_id: str, patch: Mapping[str, Any] | None = None, **fields: Any) -> Row:
        """Changes what `patch` (or the keywords) names."""
        return self._row("update_experiment", experiment_id=experiment_id, patch={**(patch or {}), **fields})

    def create_group(self, experiment_id: str, name: str, *, description: str | None = None, **others: Any) -> Row:
        """Creates a group within its experiment."""
        self._leave_out("create_group", **others)
        return self._row("create_group", experiment_id=experiment_id, name=name, description=description)

    def create_run(
        self,
        experiment_id: str,
        *,
        group_id: str | None = None,
        dataset_id: str | None = None,
        seed: int | None = None,
        recipe_kind: str | None = None,
        run_config: Any = None,
        status: str | None = None,
        error_message: str | None = None,
        wandb_run_url: str | None = None,
        **others: Any,
    ) -> Row:
        """Creates a run within its experiment and, where it has one, its group."""
        self._leave_out("create_run", **others)
        return self._row(
            "create_run",
            experiment_id=experiment_id,
            group_id=group_id,
            dataset_id=dataset_id,
            seed=seed,
            recipe_kind=recipe_kind,
            run_config=run_config,
            status=status,
            error_message=error_message,
            wandb_run_url=wandb_run_url,
        )

    def open_run(
        self,
        name: str | None = None,
        *,
        resume: str = "never",
        id: str | None = None,
        experiment: str | None = None,
        group: str | None = None,
        seed: int | None = None,
        config: Any = None,
    ) -> Row:
        """A run of this name, or of one that is made up; its experiment and group are created where they are missing.

        Where a run of the name is there already, `resume` says what becomes of it: with "never" the new one has an id of its own (`r-2`),
        with "allow" the newest of the name is gone on with, with "must" it is an error if there is none. `id` names the very run to go
        on with instead.
        """
        where = {"experiment": experiment, "group": group}
        return self._row("open_run", name=name, resume=resume, id=id, seed=seed, config=config, **where)

    def touch_run(self, run_id: str) -> bool:
        """Notes that the run's writer is alive. One that is `running` and has given no sign for a minute is taken for stopped. False where a
        gateway notes no such thing."""
        return bool(self._call("touch_run", run_id=run_id))

    def update_run(self, run_id: str, patch: Mapping[str, Any] | None = None, **fields: Any) -> Row:
        """Changes what `patch` (or the keywords) names."""
        return self._row("update_run", run_id=run_id, patch={**(patch or {}), **fields})

    def log_metrics(self, run_id: str, step: int, metrics: Mapping[str, float], split: str = "train") -> list[Row]:
        """Writes the numbers of one step, all or none; the rows that were written. A NaN is left out, with a log line."""
        numbers = [(name, float(value)) for name, value in metrics.items()]
        nan = self._operations.log_metrics(run_id, step, numbers, split)
        if nan:
            _log.warning("run %s, step %s: %s NaN left out", run_id, step, nan)
        return [
            {"run_id": run_id, "step": step, "name": name, "value": value, "split": split}
            for name, value in numbers
            if not math.isnan(value)
        ]

    def log_metric(self, run_id: str, step: int, name: str, value: float, split: str = "train") -> Row | None:
        """Writes one number; its row, or none for a NaN."""
        rows = self.log_metrics(run_id, step, {name: value}, split)
        return rows[0] if rows else None

    def get_metrics(self, run_id: str, name: str | None = None, split: str | None = None) -> list[Row]:
        """The numbers of a run by step, split and name; all, or those of one name or split."""
        rows = self._operations.get_metrics(run_id, name, split)
        return [dict(zip(("step", "name", "value", "split"), row)) for row in rows]

    def add_checkpoint(
        self,
        run_id: str,
        uri: str,
        *,
        label: str | None = None,
        step: int | None = None,
        base_model: str | None = None,
        is_final: bool = False,
        **others: Any,
    ) -> Row:
        """Records a checkpoint of a run."""
        self._leave_out("add_checkpoint", **others)
        return self._row(
            "add_checkpoint",
            run_id=run_id,
            uri=uri,
            label=label,
            step=step,
            base_model=base_model,
            is_final=is_final,
        )

    def create_eval(
        self,
        run_id: str,
        benchmark_id: str,
        *,
        checkpoint_id: str | None = None,
        model_ref: str | None = None,
        step: int | None = None,
        metrics: Any = None,
        breakdowns: Any = None,
        sdk_version: str | None = None,
        **others: Any,
    ) -> Row:
        """Records the result of an evaluation."""
        self._leave_out("create_eval", **others)
        return self._row(
            "create_eval",
            run_id=run_id,
            benchmark_id=benchmark_id,
            checkpoint_id=checkpoint_id,
            model_ref=model_ref,
            step=step,
            metrics=metrics,
            breakdowns=breakdowns,
            sdk_version=sdk_version,
        )

    def add_prediction(
        self,
        run_id: str,
        kind: str,
        *,
        eval_id: str | None = None,
        task_id: str | None = None,
        instruction: str | None = None,
        model_output: str | None = None,
        expected: str | None = None,
        reward: float | None = None,
        advantage: float | None = None,
        step: int | None = None,
        sample_idx: int | None = None,
        metadata: Any = None,
        **others: Any,
    ) -> Row:
        """Records one prediction."""
        self._leave_out("add_prediction", **others)
        return self._row(
            "add_prediction",
            run_id=run_id,
            kind=kind,
            eval_id=eval_id,
            task_id=task_id,
            instruction=instruction,
            model_output=model_output,
            expected=expected,
            reward=reward,
            advantage=advantage,
            step=step,
            sample_idx=sample_idx,
            metadata=metadata,
        )

    def log_predictions(self, predictions: Iterable[Mapping[str, Any]], run_id: str | None = None) -> int:
        """Records predictions, all or none; how many there were. `run_id` stands for those that name none."""
        of_run = {} if run_id is None else {"run_id": run_id}
        rows = [{**of_run, **prediction} for prediction in predictions]
        return int(self._call("log_predictions", predictions=rows))

    def get_experiment(self, experiment_id: str) -> Row:
        """The experiment of this id."""
        return self._row("get_experiment", experiment_id=experiment_id)

    def get_run(self, run_id: str) -> Row:
        """The run of this id."""
        return self._row("get_run", run_id=run_id)

    def list_experiments(self) -> list[Row]:
        """All experiments, the oldest first."""
        return self._rows("list_experiments")

    def list_groups(self, experiment_id: str) -> list[Row]:
        """The groups of an experiment, the oldest first."""
        return self._rows("list_groups", experiment_id=experiment_id)

    def list_runs(self, experiment_id: str | None = None, group_id: str | None = None) -> list[Row]:
        """The runs, the oldest first: all, or those of one experiment or group."""
        return self._rows("list_runs", experiment_id=experiment_id, group_id=group_id)

    def list_checkpoints(self, run_id: str) -> list[Row]:
        """The checkpoints of a run, the oldest first."""
        return self._rows("list_checkpoints", run_id=run_id)

    def list_evals(self, run_id: str) -> list[Row]:
        """The evaluations of a run, the oldest first."""
        return self._rows("list_evals", run_id=run_id)

    def list_predictions(self, run_id: str, kind: str | None = None) -> list[Row]:
        """The predictions of a run, the oldest first: all, or those of one kind."""
        return self._rows("list_predictions", run_id=run_id, kind=kind)

    def export(
        self, path: str | os.PathLike[str], runs: Sequence[str] | None = None, *, long: bool = False, force: bool = False
    ) -> int:
        """Writes runs (all where none are named, by their ids) as a table: Parquet, CSV or JSON lines, as the file's name ends. How many lines.

        A line is a row, with a column a key; with `long` it is a number. A file that is there is kept, unless `force` says otherwise.
        """
        return self._sqlite.export(os.fspath(path), None if runs is None else list(runs), long, force)

    get_experiments = list_experiments
    get_groups = list_groups
    get_runs = list_runs
    get_checkpoints = list_checkpoints
    get_evals = list_evals
    get_predictions = list_predictions

    def _log_row(self, run_id: str, row: Mapping[str, Any]) -> None:
        numbers = [(name, float(value)) for name, value in row["metrics"].items()]
        nan = self._operations.log_window(run_id, row["step"], numbers, row.get("steps", 1), row.get("cut", False))
        if nan:
            _log.warning("run %s, step %s: %s NaN left out", run_id, row["step"], nan)

    def _call(self, op: str, **args: Any) -> Any:
        given = {name: _finite(value) for name, value in args.items() if value is not None}
        return json.loads(self._operations.call(op, json.dumps(given, default=_plain)))

    def _row(self, op: str, **args: Any) -> Row:
        row: Row = self._call(op, **args)
        return row

    def _rows(self, op: str, **args: Any) -> list[Row]:
        rows: list[Row] = self._call(op, **args)
        return rows

    def _leave_out(self, op: str, **others: Any) -> None:
        names = [name for name, value in others.items() if value is not None]
        if names:
            _log.warning("%s: the embedded store keeps no %s", op, ", ".join(names))


class Signs:
    """A run's signs of life, on a thread of its own: one every 15 s, until the `end`. A forked child has no such thread."""

    EVERY = 15.0

    def __init__(self, store: Store, run_id: str) -> None:
        self._over = threading.Event()
        store.touch_run(run_id)
        threading.Thread(target=self._give, args=(store, run_id, self._over), name="grpo-heart", daemon=True).start()

    def end(self) -> None:
        """Nobody writes the run any more."""
        self._over.set()

    @staticmethod
    def _give(store: Store, run_id: str, over: threading.Event) -> None:
        while not over.wait(Signs.EVERY):
            try:
                store.touch_run(run_id)
            except Exception as error:  # the next comes soon
                _log.debug("run %s gave no sign of life: %s", run_id, error)


def signs_of(store: Any, run_id: str) -> Signs | None:
    """The signs of a run of an embedded store; another keeps none."""
    return Signs(store, run_id) if isinstance(store, Store) and store._is_file else None


def _finite(value: Any) -> Any:
    """JSON has no word for a non-finite number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _finite(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(member) for member in value]
    return value


def _plain(value: Any) -> Any:
    """A number of another library as Python's, anything else that JSON has no form for as its text."""
    item = getattr(value, "item", None)
    return _finite(item()) if callable(item) and getattr(value, "size", 1) == 1 else str(value)
