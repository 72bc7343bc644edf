"""The MaxEnt functions over two processes of the real accelerate library."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_trl import port

from grpo_metrics import maxent

pytest.importorskip("accelerate")


def test_statistics_are_of_all_processes_on_each_of_them(tmp_path):
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "CUDA_VISIBLE_DEVICES": ""}
    worker = [sys.executable, str(Path(__file__).with_name("accelerate_worker.py")), str(tmp_path)]
    running = [subprocess.Popen(worker, env=os.environ | place | {"RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[2, 2.0]] * 2


def test_columns_and_scores_may_be_tensors():
    torch = pytest.importorskip("torch")
    comp = SimpleNamespace(
        total_utils=torch.tensor([1.0, 3.0]),
        per_reward_values={"a": torch.tensor([1.0, 5.0])},
        advantage=SimpleNamespace(grouped=[torch.tensor([0.0, 0.0])]),
        advantage_samples=[torch.tensor(1.0), torch.tensor(2.0)],
        q_grouped=torch.tensor([[0.5, 0.5]]),
    )
    view = maxent.summarize_reward_stats(SimpleNamespace(num_processes=1), comp)
    assert (view.reward_mean, view.per_reward["a"].mean, view.advantage_mean, view.frac_zero_std) == (2.0, 3.0, 1.5, 1.0)
    assert math.isclose(view.q_entropy_mean, math.log(2))
    scores = SimpleNamespace(policy_entropy_sum=torch.tensor([1.0, 2.0]), denom_tok_tensor=torch.tensor([2, 4]))
    state = SimpleNamespace(metric_sums={}, metric_counts={}, global_step=1, num_input_tokens_seen=torch.tensor(7))
    context = SimpleNamespace(runtime=SimpleNamespace(accelerator=SimpleNamespace(num_processes=1, is_main_process=True)))
    prepared = SimpleNamespace(reward_comp=comp, weight_stats=None, scores=scores)
    maxent.log_local_step(context, state, prepared, maxent.LogStepArtifacts(), torch.tensor(0.5))
    assert [state.metric_sums[f"train/{key}"] for key in ("policy_entropy", "num_tokens", "learning_rate")] == [0.5, 7.0, 0.5]
