"""The same work by this package, by vectorised NumPy and by plain Python (and torch for tokens, where it is installed).

    .venv/bin/python benches/compare.py

One process, one thread, the same data for all; each computes METRICS.md's formulas, and all must agree before anything
is timed. Printed are medians as ratios to this package, never times: machines differ, and noise does not cancel.
"""

from __future__ import annotations

import datetime
import math
import os
import platform
import time
from collections.abc import Callable

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import grpo_metrics as gm

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None

GROUP = 8
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
BUCKETS = ("p00", "p05", "p25", "p50", "p75", "p95", "p100")
RELATIVE = 1e-9
CLIP_LOW, CLIP_HIGH = 0.8, 1.2

Row = dict[str, float]


# --- completions -----------------------------------------------------------------------------------------------------


def completions(n: int, components: int) -> dict[str, object]:
    """One step's columns: `n` completions in groups of eight."""
    random = np.random.default_rng(n)
    masses = lambda: (m := random.random((n // GROUP, GROUP))) / m.sum(axis=1, keepdims=True)
    return {
        "group_sizes": np.full(n // GROUP, GROUP, dtype=np.uint32),
        "rewards": random.random(n),
        "reward_components": {f"reward_{c}": random.random(n) for c in range(components)},
        "advantages": random.random(n) - 0.5,
        "q": masses().ravel(),
        "weights": masses().ravel(),
    }


def by_package(columns: dict[str, object]) -> Callable[[], Row]:
    engine = gm.Engine(gather=None)
    steps = iter(range(1, 1 << 40))

    def step() -> Row:
        engine.observe(**columns)
        return engine.step(next(steps))

    return step


def by_numpy(columns: dict[str, object]) -> Callable[[], Row]:
    def described(row: Row, key: str, quantile_key: str, values: np.ndarray, mean_key: str) -> None:
        row[mean_key] = values.mean()
        row[key] = values.std()
        for name, value in zip(BUCKETS, np.percentile(values, QUANTILES)):
            row[f"{quantile_key}{name}"] = value

    def step() -> Row:
        row: Row = {}
        described(row, "train/reward_std", "train/reward_", columns["rewards"], "train/reward")
        for name, values in columns["reward_components"].items():
            base = f"train/rewards/{name}/"
            described(row, f"{base}std", base, values, f"{base}mean")
        advantages = np.abs(columns["advantages"]).reshape(-1, GROUP)
        row["train/frac_reward_zero_std"] = (advantages < 1e-8).all(axis=1).mean()
        m = np.maximum(columns["q"].reshape(-1, GROUP), 1e-12)
        entropy = -(m * np.log(m)).sum(axis=1)
        row["train/q_entropy_mean"], row["train/q_entropy_std"] = entropy.mean(), entropy.std()
        row["train/q_entropy_min"], row["train/q_entropy_max"] = entropy.min(), entropy.max()
        w = columns["weights"].reshape(-1, GROUP)
        floored = np.maximum(w, 1e-12)
        entropy = -(w * np.log(floored)).sum(axis=1)
        row["train/weight_entropy"] = entropy.mean()
        row["train/weight_entropy_min"], row["train/weight_entropy_max"] = entropy.min(), entropy.max()
        p = floored / floored.sum(axis=1, keepdims=True)
        row["train/weight_entropy_norm"] = (-(p * np.log(p)).sum(axis=1) / math.log(GROUP)).mean()
        apart = w - 1 / GROUP
        row["train/advantage_entropy_mean"], row["train/advantage_entropy_std"] = apart.mean(), apart.std()
        return row

    return step


def by_python(columns: dict[str, object]) -> Callable[[], Row]:
    lists = {name: value.tolist() for name, value in columns.items() if isinstance(value, np.ndarray)}
    components = {name: values.tolist() for name, values in columns["reward_components"].items()}

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    def std(values: list[float]) -> float:
        center = mean(values)
        return math.sqrt(sum((x - center) ** 2 for x in values) / len(values))

    def quantile(ordered: list[float], q: int) -> float:
        position = q / 100 * (len(ordered) - 1)
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    def groups(values: list[float]) -> list[list[float]]:
        return [values[at : at + GROUP] for at in range(0, len(values), GROUP)]

    def step() -> Row:
        row: Row = {"train/reward": mean(lists["rewards"]), "train/reward_std": std(lists["rewards"])}
        ordered = sorted(lists["rewards"])
        row.update({f"train/reward_{name}": quantile(ordered, q) for name, q in zip(BUCKETS, QUANTILES)})
        for component, values in components.items():
            base = f"train/rewards/{component}/"
            row[f"{base}mean"], row[f"{base}std"] = mean(values), std(values)
            ordered = sorted(values)
            row.update({f"{base}{name}": quantile(ordered, q) for name, q in zip(BUCKETS, QUANTILES)})
        flat = [all(abs(a) < 1e-8 for a in group) for group in groups(lists["advantages"])]
        row["train/frac_reward_zero_std"] = mean(flat)
        floored = [[max(m, 1e-12) for m in group] for group in groups(lists["q"])]
        entropy = [-sum(m * math.log(m) for m in group) for group in floored]
        row["train/q_entropy_mean"], row["train/q_entropy_std"] = mean(entropy), std(entropy)
        row["train/q_entropy_min"], row["train/q_entropy_max"] = min(entropy), max(entropy)
        weights = groups(lists["weights"])
        entropy = [-sum(w * math.log(max(w, 1e-12)) for w in group) for group in weights]
        row["train/weight_entropy"] = mean(entropy)
        row["train/weight_entropy_min"], row["train/weight_entropy_max"] = min(entropy), max(entropy)
        normed = []
        for group in weights:
            total = sum(max(w, 1e-12) for w in group)
            p = [max(w, 1e-12) / total for w in group]
            normed.append(-sum(x * math.log(x) for x in p) / math.log(len(p)))
        row["train/weight_entropy_norm"] = mean(normed)
        apart = [w - 1 / GROUP for w in lists["weights"]]
        row["train/advantage_entropy_mean"], row["train/advantage_entropy_std"] = mean(apart), std(apart)
        return row

    return step


# --- tokens ----------------------------------------------------------------------------------------------------------


def tokens(n: int, longest: int) -> dict[str, object]:
    """Padded token columns of `n` completions: float32 `[n, longest]`, and how long each completion is."""
    random = np.random.default_rng(n)
    current = random.uniform(-4, 0, (n, longest)).astype(np.float32)
    near = lambda: np.minimum(current + random.uniform(-0.3, 0.3, current.shape), 0).astype(np.float32)
    return {
        "group_sizes": np.full(n // GROUP, GROUP, dtype=np.uint32),
        "rewards": random.random(n),
        "advantages": random.random(n) - 0.5,
        "completion_lengths": random.integers(16, longest + 1, n).astype(np.uint32),
        "token_logps": current,
        "old_token_logps": near(),
        "ref_token_logps": near(),
        "token_entropies": random.uniform(0, 3, current.shape).astype(np.float32),
    }


def tokens_by(columns: dict[str, object], library: object, asarray: Callable[[np.ndarray], object]) -> Callable[[], Row]:
    """KL, clip fractions and entropy over padded matrices and a mask, as trainers write them; in float64, as they must
    agree. `library` is NumPy or torch, which name these functions alike."""
    lengths = columns["completion_lengths"]
    mask = asarray((np.arange(columns["token_logps"].shape[1]) < lengths[:, None]).astype(np.float64))
    names = ("token_logps", "old_token_logps", "ref_token_logps", "token_entropies")
    current, old, reference, entropies = (asarray(columns[name]) for name in names)
    advantages = asarray(columns["advantages"])[:, None]
    wide = (lambda x: x.double()) if library is torch else (lambda x: x.astype(np.float64))

    def step() -> Row:
        c, count = wide(current), mask.sum()
        d = wide(reference) - c
        k3 = library.exp(d) - d - 1
        low, high = -d < math.log(CLIP_LOW), -d > math.log(CLIP_HIGH)
        ratio = library.exp(c - wide(old))
        low_by_old = (ratio < CLIP_LOW) & (advantages < 0)
        high_by_old = (ratio > CLIP_HIGH) & (advantages > 0)
        share = lambda x: float((x * mask).sum() / count)
        # Every trainer counts clipping by the behaviour policy too; `maxent` has no key for it.
        share(low_by_old), share(high_by_old)
        return {
            "train/kl": share(k3),
            "train/clip_ratio/low_mean": share(low),
            "train/clip_ratio/high_mean": share(high),
            "train/policy_entropy": share(wide(entropies)),
        }

    return step


# --- the table -------------------------------------------------------------------------------------------------------


def check(name: str, expected: Row, found: Row) -> None:
    for key, value in found.items():
        if not math.isclose(expected[key], value, rel_tol=RELATIVE, abs_tol=1e-12):
            raise SystemExit(f"{name}: {key} is {value!r}, this package says {expected[key]!r}")


def medians(ways: dict[str, Callable[[], Row]]) -> dict[str, float]:
    """Median seconds of each way, taken in turns so that the machine's moods fall on all."""
    for way in ways.values():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    began = time.perf_counter()
    while time.perf_counter() - began < 4 or len(taken["this package"]) < 5:
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) for name, times in taken.items()}


def main() -> None:
    ways: dict[str, dict[str, Callable[[], Row]]] = {}
    for n, components in ((512, 3), (4096, 4), (65536, 4)):
        columns = completions(n, components)
        ways[f"{n} completions, {components} components"] = {
            "this package": by_package(columns),
            "NumPy": by_numpy(columns),
            "plain Python": by_python(columns),
        }
    columns = tokens(512, 2048)
    ways["512 x 2048 tokens, padded"] = {
        "this package": by_package(columns),
        "NumPy": tokens_by(columns, np, np.asarray),
        **({"torch": tokens_by(columns, torch, torch.from_numpy)} if torch else {}),
    }
    for work, them in ways.items():
        expected = them["this package"]()
        for name in them.keys() - {"this package"}:
            check(f"{work}, {name}", expected, them[name]())

    names = ["this package", "NumPy", "plain Python", "torch"]
    print(f"| {' | '.join(['one step, one thread', *names])} |\n|{' --- |' * 5}")
    for work, them in ways.items():
        times = medians(them)
        ratios = [f"{times[name] / times['this package']:.1f}" if name in times else "" for name in names]
        print(f"| {' | '.join([work, *ratios])} |")
    cpu = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"\n{cpu}, {datetime.date.today()}, Python {platform.python_version()}, NumPy {np.__version__}")


if __name__ == "__main__":
    main()
