"""Arrays that another thread writes to while they are observed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COLUMNS = [
    "completion_lengths",
    "completion_lengths:int64",
    "completion_lengths:array",
    "completion_lengths:bytearray",
    "group_sizes",
    "group_ids",
    "completion_index",
    "prompt_lengths",
    "terminated",
    "rewards",
    "advantages",
    "loss_mask",
    "padding_mask",
    "token_logps",
    "token_ids",
]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_thread_that_changes_a_column_during_observe_makes_no_size_and_no_panic(column):
    worker = Path(__file__).with_name("races_worker.py")
    ended = subprocess.run([sys.executable, worker, column], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr[-2000:]
    assert "panicked" not in ended.stderr
