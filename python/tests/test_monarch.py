"""Monarch, the real package: shards that actors' endpoints return, and an actor that exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import grpo_metrics as gm

pytest.importorskip("monarch.actor")


def test_shards_of_8_actors_give_the_rows_of_one_process_and_one_that_is_gone_is_named(tmp_path):
    driver = Path(__file__).with_name("monarch_actors.py")
    run = [sys.executable, str(driver), str(tmp_path / "runs.db")]
    ran = subprocess.run(run, env=os.environ, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    steps = json.loads(ran.stdout.splitlines()[-1])
    assert all(step["equal"] for step in steps)
    every = list(range(8))
    gone = [[], [2], [5], [5]]
    assert [sorted(map(int, step["missing"])) for step in steps] == gone
    assert [step["ranks"] for step in steps] == [[rank for rank in every if rank not in missing] for missing in gone]
    assert "no batch" in steps[1]["missing"]["2"] and "Worker" in steps[2]["missing"]["5"]
    stored = gm.Store(tmp_path / "runs.db", read_only=True).get_metrics("actors", "reward")
    assert [each["step"] for each in stored] == [1, 2, 3, 4]
