"""The programs in `examples` run as they stand, and do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpo_metrics as gm
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
PATH = os.pathsep.join([str(Path(gm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])


def run(example, tmp_path):
    environment = os.environ | {"PYTHONPATH": PATH}
    return subprocess.run(
        [sys.executable, example], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=120
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_to_its_end(example, tmp_path):
    done = run(example, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout


def test_the_loops_runs_are_stored_completed(tmp_path):
    [loop] = [example for example in EXAMPLES if example.stem == "training_loop"]
    run(loop, tmp_path)
    store = gm.Store(tmp_path / "runs.db")
    for name in ("slow", "fast"):
        assert store.get_run(name)["status"] == "completed"
        assert len(store.get_metrics(name, "reward")) == 10
