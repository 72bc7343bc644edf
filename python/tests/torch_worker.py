"""One rank of test_torch.py: observes its part of a recording and gathers with the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist
from test_engine import clip_range, columns
from conftest import steps_of

import grpo_metrics as gm
from grpo_metrics.torch import TorchGather


def main(out: str, rank: str, world: str, init: str) -> None:
    dist.init_process_group("gloo", init_method=init, rank=int(rank), world_size=int(world))
    steps = list(steps_of("trl-4rank-split").values())
    rows = []
    with gm.Engine(gather=TorchGather(dist.new_group()), clip_range=clip_range(steps[0])) as engine:
        for records in steps:
            for record in (r for r in records if r["rank"] == int(rank)):
                engine.observe(**{**columns(record), "rank": None, "micro": None})
            rows.append(engine.step(records[0]["step"]))
    Path(out, f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
