"""What the tests of trainers' adapters share: completions made up, and what is found in a store afterwards."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

import grpo_metrics as gm

PROMPTS, EACH = 4, 3


def rollout(step: int) -> SimpleNamespace:
    """The completions of one step: for each of `PROMPTS` prompts `EACH` of them, by prompt."""
    rng = np.random.default_rng(step)
    n = PROMPTS * EACH
    lengths = rng.integers(2, 9, n).tolist()
    prompts = [rng.integers(1, 90, 2 + i // EACH).tolist() for i in range(n)]
    for i in range(n):
        prompts[i] = prompts[i - i % EACH]
    logps = [(-rng.exponential(1.0, length)).round(4).tolist() for length in lengths]
    return SimpleNamespace(
        n=n,
        prompts=prompts,
        responses=[rng.integers(1, 90, length).tolist() for length in lengths],
        lengths=lengths,
        rewards=rng.choice([0.0, 0.0, 1.0, 0.5], n).tolist(),
        # The last token but one is a tool's.
        masks=[[0 if length > 3 and t == length - 2 else 1 for t in range(length)] for length in lengths],
        logps=logps,
        sampled=[[lp + float(rng.normal(0, 0.01)) for lp in row] for row in logps],
        reference=[[lp + float(rng.normal(0, 0.1)) for lp in row] for row in logps],
        uids=[f"prompt-{step}-{i // EACH}" for i in range(n)],
        stops=["length" if length == 8 else "stop" for length in lengths],
    )


def stored(path: Any, run: str = "r") -> dict[int, dict[str, float]]:
    """The rows of a run, by step."""
    rows: dict[int, dict[str, float]] = {}
    for metric in gm.Store(path, read_only=True).get_metrics(run):
        rows.setdefault(metric["step"], {})[metric["name"]] = metric["value"]
    return rows


def status(path: Any, run: str = "r") -> str:
    """How the run stands."""
    return str(gm.Store(path, read_only=True).get_run(run)["status"])


def trainer_module(name: str, *modules: str, engines: tuple[str, ...] = ()) -> list[Any]:
    """Modules of a trainer, from its checkout where GRPO_METRICS_{NAME}_SOURCE names one, else as installed; a skip without. In the place of
    `engines` that are not there (what computes, and is not called here) the trainer finds something empty to import."""
    for place in reversed(os.environ.get(f"GRPO_METRICS_{name}_SOURCE", "").split(os.pathsep)):
        if place and place not in sys.path:
            sys.path.insert(0, place)
    if sys.version_info < (3, 12):
        # Trainers that are for newer Pythons hand theirs to pydantic, which wants this one before.
        import typing

        import typing_extensions

        typing.TypedDict = typing_extensions.TypedDict
    empty = Empty({engine for engine in engines if engine not in sys.modules and not importlib.util.find_spec(engine)})
    sys.meta_path.append(empty)
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        pytest.skip(f"{modules[0]} cannot be imported: {error}")
    finally:  # nobody else is to take them for what they are not
        sys.meta_path.remove(empty)
        for module in [module for module in sys.modules if module.partition(".")[0] in empty.packages]:
            del sys.modules[module]


def definitions(name: str, place: str, *wanted: str, **given: Any) -> dict[str, Any]:
    """Functions and classes of one file of a trainer's source, as they stand there, where the file itself cannot be imported: in place of
    what it imports they find `given`. A skip without the source."""
    import __future__
    import ast
    from pathlib import Path

    paths = [Path(root) / place for root in os.environ.get(f"GRPO_METRICS_{name}_SOURCE", "").split(os.pathsep) if root]
    found = [path for path in paths if path.exists()]
    if not found:
        pytest.skip(f"GRPO_METRICS_{name}_SOURCE names no folder with {place}")
    tree = ast.parse(found[0].read_text())
    tree.body = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in wanted]
    assert {node.name for node in tree.body} == set(wanted)
    # What is only said of types needs nothing.
    exec(compile(tree, str(found[0]), "exec", __future__.annotations.compiler_flag), given)
    return given


class Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Packages, and all within them, as something empty to import."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.packages else None

    def create_module(self, spec: Any) -> Any:
        return MagicMock(__name__=spec.name, __path__=[])

    def exec_module(self, module: Any) -> None:
        pass


def parameters(function: Any) -> list[str]:
    """The names of what a function takes."""
    import inspect

    return [name for name in inspect.signature(function).parameters if not name.startswith("_ray")]


def same(found: dict[str, float], theirs: dict[str, float], keys: dict[str, str], precision: float = 1e-6) -> int:
    """Asserts that each of our keys has the number that the trainer has under its own; how many there were."""
    for ours, its in keys.items():
        assert found[ours] == pytest.approx(theirs[its], rel=precision, abs=precision), (ours, its)
    return len(keys)


AWAY = 1000.0


def away(theirs: dict[str, float]) -> dict[str, float]:
    """What a trainer logs, each number moved: what of it is stored as the trainer says it shows."""
    return {name: value + AWAY for name, value in theirs.items()}


def own(found: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """In the trainer's own dialect, where it logged `away(theirs)`: how far each number that is ours is from the trainer's, of the number or,
    near 0, of 0.1. All others of `theirs` are found as logged."""
    ours = {name: abs(found[name] - value) / max(abs(value), 0.1) for name, value in theirs.items() if abs(found[name] - value) < AWAY / 2}
    for name in theirs.keys() - ours.keys():
        assert found[name] == pytest.approx(theirs[name] + AWAY), name
    return ours


def told(trainer: str, every: list[dict[str, float]], theirs: dict[str, float]) -> None:
    """Prints what `own` gave for each step."""
    worst = max(far for each in every for far in each.values())
    print(f"{trainer}: in its own dialect {len(every[0])} of its {len(theirs)} keys are ours in {len(every)} steps, within {worst:.1e}: {', '.join(sorted(every[0]))}")
