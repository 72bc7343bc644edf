"""What a step costs in Python, and that a large token matrix is not copied: `python benches/overhead.py`."""

from __future__ import annotations

import time

import numpy as np

import grpo_metrics as gm
from grpo_metrics import _core

STEPS = 2000
BUDGET_US = 150


def observe_and_step() -> float:
    """Median microseconds of `observe` and `step` for 512 completions and three reward components."""
    random = np.random.default_rng(0)
    n = 512
    columns = {
        "group_sizes": np.full(n // 8, 8, dtype=np.uint32),
        "rewards": random.normal(size=n),
        "reward_components": {name: random.normal(size=n) for name in ("accuracy", "format", "length")},
    }
    engine = gm.Engine()
    taken = []
    for step in range(STEPS):
        started = time.perf_counter()
        engine.observe(**columns)
        engine.step(step)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken) * 1e6)


def is_copied() -> bool:
    """Whether a float32 `[1024, 4096]` token matrix lies elsewhere once it is read."""
    tokens = np.zeros((1024, 4096), dtype=np.float32)
    return _core._address("token_logps", tokens) != tokens.ctypes.data


def main() -> int:
    taken, copied = observe_and_step(), is_copied()
    print(f"observe + step, 512 completions x 3 components: {taken:.0f} us (at most {BUDGET_US})")
    print(f"float32 [1024, 4096]: {'copied' if copied else 'not copied'}")
    return int(copied or taken > BUDGET_US)


if __name__ == "__main__":
    raise SystemExit(main())
