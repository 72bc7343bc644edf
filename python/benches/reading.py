"""How long a stored run takes to come to Python: `python benches/reading.py [STEPS [KEYS [RUNS]]]`, 10,000 steps of 150 keys in 3 runs by default.

Both ways are measured in turn, in one process: ours to NumPy, and `sqlite3` with pandas from the same file, as a join and a pivot.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import grpo_metrics as gm

ROUNDS = 5


def fill(path: Path, steps: int, keys: int, runs: int) -> None:
    store = gm.Store(path)
    for run in range(runs):
        store.open_run(f"run-{run}")
    store.log_metrics("run-0", 1, {"warm": 1.0})
    names = [f"train/family/{key}" for key in range(keys)]
    # Ready-made, as a store that synced each row would take minutes.
    with sqlite3.connect(path) as db:
        db.execute("delete from numbers"), db.execute("delete from rows"), db.execute("delete from series")
        for run in range(runs):
            db.executemany("insert into series values (?, 'train', ?, ?)", ((run + 1, name, key << 2) for key, name in enumerate(names)))
        for step in range(steps):
            # The runs were written at once, each by the four of rows.
            for run in range(runs):
                row = ((step // 4 * runs + run) << 22) | step % 4
                db.execute("insert into rows values (?, ?, ?, 'train', ?, 1, ?, ?)", (row, run + 1, step, 1_700_000_000_000 + step * 1000, keys, step + 1))
                db.executemany("insert into numbers values (?, ?)", ((row + (key << 2), step * 0.5 + key) for key in range(keys)))


def by_pandas(path: Path, run: str) -> object:
    import pandas

    with sqlite3.connect(path) as db:
        table = pandas.read_sql("select step, name, value from metrics where run_id = ?", db, params=(run,))
    return table.pivot(index="step", columns="name", values="value")


def timed(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median of each, in milliseconds, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            times[name].append((time.perf_counter() - begun) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def main(steps: int = 10_000, keys: int = 150, runs: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        fill(path, steps, keys, runs)
        run = gm.open(path)["run-1"]
        metrics = run.metrics()
        assert len(metrics.step) == steps and len(metrics) == keys + 2
        assert np.array_equal(metrics["train/family/7"], np.arange(steps) * 0.5 + 7)
        ways: dict[str, Callable[[], object]] = {
            "a run to NumPy": run.metrics,
            "a run by sqlite3 and pandas": lambda: by_pandas(path, run.id),
            "a series": lambda: run.metrics("train/family/7"),
            "8 series": lambda: run.metrics([f"train/family/{n}" for n in range(8)]),
            f"{runs} runs to NumPy": lambda: [each.metrics() for each in gm.open(path)],
        }
        told = timed(ways)
    print(f"{steps} steps of {keys} keys, median of {ROUNDS}")
    for name, median in told.items():
        print(f"{name:32} {median:9.1f} ms")
    print(f"sqlite3 and pandas take {told['a run by sqlite3 and pandas'] / told['a run to NumPy']:.1f} times as long")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
