"""One rank of test_torch.py: tensor and data parallel ranks, of which those that share data are copies of each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist
from conftest import steps_of
from test_engine import clip_range, columns

import grpo_metrics as gm
from grpo_metrics.torch import TorchGather

TENSOR = 2
"""Ranks that share one data parallel rank's data, side by side."""


def main(out: str, rank: str, world: str, init: str, way: str) -> None:
    dist.init_process_group("gloo", init_method=init, rank=int(rank), world_size=int(world))
    mine, copy = divmod(int(rank), TENSOR)
    groups = [dist.new_group(list(range(first, int(world), TENSOR))) for first in range(TENSOR)]
    if way == "data_parallel_group":
        options = {"gather": TorchGather(data_parallel_group=groups[copy])}
    else:
        options = {"gather": TorchGather(), "replica": copy > 0}
    steps = list(steps_of("trl-4rank-split").values())
    rows = []
    with gm.Engine(**options, clip_range=clip_range(steps[0])) as engine:
        for records in steps:
            # The recording's ranks, shared out over the data parallel ones.
            for record in (r for r in records if r["rank"] % (int(world) // TENSOR) == mine):
                engine.observe(**{**columns(record), "rank": record["rank"], "micro": record["micro"]})
            rows.append(engine.step(records[0]["step"]))
    Path(out, f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
