"""What the tests share: the reference data of the crate, and its command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
DATA = TOP / "tests" / "data"

if "PYTHONPATH" in os.environ:  # the programs that tests run are elsewhere
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))


def cases(name: str) -> list[dict[str, Any]]:
    """The reference cases of one file."""
    return [json.loads(line) for line in (DATA / "vectors" / name).read_text().splitlines()]


def steps_of(recording: str) -> dict[int, list[dict[str, Any]]]:
    """The records of a recording by step, each step's by rank and micro-batch."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for path in sorted((DATA / "recordings" / recording).glob("rank*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            steps.setdefault(record["step"], []).append(record)
    for records in steps.values():
        records.sort(key=lambda record: (record["rank"], record.get("micro", 0)))
    return dict(sorted(steps.items()))


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The command `grpo-metrics`: named by GRPO_METRICS_COMMAND, else the package's own."""
    named = os.environ.get("GRPO_METRICS_COMMAND")
    return [named] if named else [sys.executable, "-m", "grpo_metrics"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals of what has no embedded store lie in the current folder."""
    monkeypatch.chdir(tmp_path)
