"""What a store adds to a step: `python benches/step_with_store.py [FOLDER]`, where the store is made (a folder of the system's by default).

Engines with and without a store take turns, step by step and in no particular order, so that what else the machine does is the same for all of them. Between steps
there is a pause, as a training has one: what waits is delivered meanwhile, and a step that comes while the disk is busy is among those measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import grpo_metrics as gm

STEPS = 3000
COMPLETIONS = 512
PAUSE = 0.002
BUDGET_MS = 0.2


def columns() -> dict[str, Any]:
    random = np.random.default_rng(0)
    n = COMPLETIONS
    return {
        "group_sizes": np.full(n // 8, 8, dtype=np.uint32),
        "rewards": random.normal(size=n),
        "reward_components": {name: random.normal(size=n) for name in ("accuracy", "format", "length")},
    }


def measured(folder: Path) -> dict[str, Any]:
    """Milliseconds of `engine.step`, by what the engine writes."""
    engines = {
        "without a store": gm.Engine(),
        "with a store": gm.Engine(store=folder / "runs.db", run="r"),
        "with a store, journal=False": gm.Engine(store=folder / "synced.db", run="r", journal=False),
    }
    batch, order = columns(), np.random.default_rng(1)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for step in range(STEPS):
        for name in order.permutation(list(engines)):
            engine = engines[name]
            engine.observe(**batch)
            started = time.perf_counter()
            engine.step(step)
            taken[name].append(time.perf_counter() - started)
        time.sleep(PAUSE)
    for engine in engines.values():
        for receipt in engine.finish():
            assert (receipt["written"], receipt["error"]) == (STEPS, None), receipt
    return {name: np.array(times) * 1e3 for name, times in taken.items()}


def main() -> int:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        taken = measured(Path(folder))
    for name, times in taken.items():
        p50, p99 = np.percentile(times, [50, 99])
        print(f"engine.step, {COMPLETIONS} completions, {name:27}: p50 {p50:7.3f} ms, p99 {p99:7.3f} ms")
    added = np.percentile(taken["with a store"], 99) - np.percentile(taken["without a store"], 99)
    print(f"a store adds {added:.3f} ms to the p99 (at most {BUDGET_MS} ms)")
    return int(added > BUDGET_MS)


if __name__ == "__main__":
    raise SystemExit(main())
