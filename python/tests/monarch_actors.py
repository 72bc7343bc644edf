"""A driver of test_monarch.py: eight actors, of which one exits in the middle and one raises once."""

from __future__ import annotations

import json
import os
import sys

import monarch.actor
from monarch.actor import Actor, current_rank, endpoint, this_host

import grpo_metrics as gm
from grpo_metrics.monarch import merge

RANKS, STEPS = 8, 4


def record(rank, step):
    return {"group_ids": [f"prompt-{rank // 2}"] * 2, "rewards": [rank / 3, step / 7], "scalars": {"total_loss": rank / 9}}


class Worker(Actor):
    def __init__(self):
        self.rank = current_rank().rank

    @endpoint
    def shard(self, step):
        if (self.rank, step) == (5, 3):
            os._exit(3)
        if (self.rank, step) == (2, 2):
            raise ValueError("no batch")
        return gm.Shard.of(**record(self.rank, step), rank=self.rank)


def alone(step, ranks):
    with gm.Engine(dialect="trl", journal=False) as engine:
        for rank in ranks:
            engine.observe(**record(rank, step), rank=rank, micro=0)
        return engine.step(step)


def main(store):
    monarch.actor.unhandled_fault_hook = lambda failure: None
    workers = this_host().spawn_procs(per_host={"gpus": RANKS}).spawn("workers", Worker)
    said = []
    with gm.Engine(dialect="trl", store=store, run="actors", policy="go_on") as engine:
        for step in range(1, STEPS + 1):
            shard, missing = merge({rank: workers.slice(gpus=rank).shard.call_one(step) for rank in range(RANKS)}, deadline=60)
            ranks = shard.ranks
            engine.join(shard, missing)
            said.append({"missing": missing, "ranks": ranks, "equal": engine.step(step) == alone(step, ranks)})
    print(json.dumps(said), flush=True)
    os._exit(0)  # a mesh that has lost an actor does not stop in order


if __name__ == "__main__":
    main(*sys.argv[1:])
