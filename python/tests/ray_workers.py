"""Actors of test_ray.py: each has a part of a recording."""

from __future__ import annotations

import os

import grpo_metrics as gm


def engine_options():
    return {"dialect": "trl", "extended": True}


class Worker:
    """Returns shards of its own records."""

    def __init__(self, rank, steps):
        self.rank, self.steps = rank, steps

    def shard(self, step):
        return gm.Shard.of(**self.steps[step], rank=self.rank, **engine_options())

    def wrong(self):
        return {"not": "a shard"}

    def raises(self):
        raise ValueError("no\nbatch")

    def exits(self):
        os._exit(3)

    def ready(self):
        return os.getpid()


class Trainer:
    """Runs an engine of its own, as each rank does."""

    def __init__(self, rank, steps, gather, **options):
        self.rank, self.steps = rank, steps
        self.engine = gm.Engine(gather=gather, **engine_options(), **options)

    def step(self, step):
        self.engine.observe(**self.steps[step])
        return self.engine.step(step)

    def finish(self):
        return self.engine.finish()

    def ready(self):
        return os.getpid()
