"""The MaxEnt functions over two processes of the real accelerate library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_trl import port

pytest.importorskip("accelerate")


def test_statistics_are_of_all_processes_on_each_of_them(tmp_path):
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "CUDA_VISIBLE_DEVICES": ""}
    worker = [sys.executable, str(Path(__file__).with_name("accelerate_worker.py")), str(tmp_path)]
    running = [subprocess.Popen(worker, env=os.environ | place | {"RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[2, 2.0]] * 2
