"""Torch: its tensors as columns, and its collectives as a gather."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import steps_of
from test_columns import LOGPS, REFS, padded, row
from test_engine import rows

from grpo_metrics import _core

torch = pytest.importorskip("torch")


def test_tensors_of_any_type_are_columns():
    expected = row(token_logps=np.float32(LOGPS), ref_token_logps=np.float32(REFS))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        make = lambda x: torch.tensor(x, dtype=dtype, requires_grad=True)  # noqa: B023, E731
        assert row(token_logps=make(LOGPS), ref_token_logps=make(REFS)) == expected
    tensors = {"token_logps": torch.tensor(padded(LOGPS)), "ref_token_logps": torch.tensor(padded(REFS))}
    assert row(**tensors, completion_lengths=torch.tensor([1, 2, 3, 2]), rewards=torch.tensor([0.0, 1, 2, 3])) == expected


def test_a_tensor_on_the_host_is_borrowed():
    tensor = torch.zeros(8, 16)
    assert _core._address("token_logps", tensor) == tensor.data_ptr()


def ranks(tmp_path, script, *arguments):
    """What each of four processes wrote."""
    worker = Path(__file__).with_name(script)
    init = f"file://{tmp_path}/meet"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(worker.parent), os.environ.get("PYTHONPATH", "")])}
    running = [
        subprocess.Popen([sys.executable, str(worker), str(tmp_path), str(rank), "4", init, *arguments], env=environment)
        for rank in range(4)
    ]
    assert [process.wait(timeout=300) for process in running] == [0] * 4
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(4)]


def test_four_gloo_ranks_give_the_row_of_one_process_with_all_the_data(tmp_path):
    gathered = ranks(tmp_path, "torch_worker.py")
    assert gathered[0] == rows(list(steps_of("trl-4rank-split").values()))
    assert all(row is None for rank in gathered[1:] for row in rank)


@pytest.mark.parametrize("way", ["replica", "data_parallel_group"])
def test_two_by_two_ranks_with_copies_give_the_row_of_one_process_with_all_the_data_once(tmp_path, way):
    gathered = ranks(tmp_path, "torch_replicas.py", way)
    assert gathered[0] == rows(list(steps_of("trl-4rank-split").values()))
    assert all(row is None for rank in gathered[1:] for row in rank)


def test_a_gather_needs_a_process_group():
    from grpo_metrics.torch import TorchGather

    with pytest.raises(ValueError, match="expected torch.distributed to be initialised"):
        TorchGather()
