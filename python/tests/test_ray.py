"""Ray, the real package: shards of actors merged by tasks, engines in actors with a gather, and actors that are killed."""

from __future__ import annotations

import json
import pickle
import random
import time

import pytest

import grpo_metrics as gm

ray = pytest.importorskip("ray")

from ray_workers import Trainer, Worker, engine_options  # noqa: E402

from grpo_metrics.ray import gathers, merge  # noqa: E402

RANKS, STEPS = 8, 3


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", runtime_env={"env_vars": {"PYTHONPATH": _path()}})
    yield
    ray.shutdown()


def _path():
    import os
    import sys

    return os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])


def records(seed=0):
    """By rank and step: groups that are spread over ranks and named by texts."""
    draw = random.Random(seed)
    every = []
    for rank in range(RANKS):
        steps = {}
        for step in range(1, STEPS + 1):
            lengths = [draw.randint(1, 5) for _ in range(4)]
            logps = [-draw.random() for _ in range(sum(lengths))]
            steps[step] = {
                "group_ids": [f"prompt-{step}-{(rank + i) % 6}" for i in range(4)],
                "rewards": [draw.choice([0.0, 0.5, 1.0]) + 1e-9 * draw.random() for _ in range(4)],
                "advantages": [draw.gauss(0, 1) for _ in range(4)],
                "completion_lengths": lengths,
                "token_logps": logps,
                "old_token_logps": [logp + draw.gauss(0, 0.3) for logp in logps],
                "ref_token_logps": [logp + draw.gauss(0, 0.1) for logp in logps],
                "scalars": {"total_loss": draw.random(), "num_completion_tokens": sum(lengths)},
            }
        every.append(steps)
    return every


def alone(every, ranks=range(RANKS), store=None):
    """The rows of one process that has what these ranks have."""
    with gm.Engine(**engine_options(), store=store, run="alone" if store else None) as engine:
        rows = []
        for step in range(1, STEPS + 1):
            for rank in ranks:
                engine.observe(**every[rank][step], rank=rank, micro=0)
            rows.append(engine.step(step))
    return rows


def stored(path, run):
    """The steps and numbers of a run in the store, key by key."""
    store = gm.Store(path, read_only=True)
    return [(each["step"], each["name"], each["value"]) for each in store.get_metrics(run)]


class Texts:
    """Keeps the texts that stand in rows."""

    def __init__(self):
        self.of = {}

    def write(self, row):
        self.of |= row.get("run", {})


def workers(every):
    made = [ray.remote(Worker).options(num_cpus=0).remote(rank, every[rank]) for rank in range(RANKS)]
    ray.get([worker.ready.remote() for worker in made])
    return made


@pytest.mark.parametrize("fan_in", [2, 3, 8])
def test_shards_of_8_actors_give_the_rows_of_one_process_and_they_are_stored(tmp_path, fan_in):
    every = records()
    made = workers(every)
    with gm.Engine(**engine_options(), store=tmp_path / "runs.db", run="actors") as engine:
        rows = []
        for step in range(1, STEPS + 1):
            merged = merge([worker.shard.remote(step) for worker in made], fan_in=fan_in)
            assert merged.missing == {} and merged.shard.ranks == list(range(RANKS))
            engine.join(*merged)
            rows.append(engine.step(step))
    assert rows == alone(every, store=tmp_path / "runs.db")
    assert stored(tmp_path / "runs.db", "actors") == stored(tmp_path / "runs.db", "alone") != []


@pytest.mark.parametrize("way", ["kill", "exit"])
def test_a_worker_that_is_killed_in_the_middle_is_named_and_the_others_are_counted(tmp_path, way):
    every = records(1)
    made = workers(every)
    texts = Texts()
    with gm.Engine(**engine_options(), store=tmp_path / "runs.db", run="killed", sinks=[texts], policy="go_on") as engine:
        engine.join(*merge([worker.shard.remote(1) for worker in made], fan_in=3))
        engine.step(1)
        if way == "kill":
            ray.kill(made[5])
        else:
            made[5].exits.remote()
        merged = merge([worker.shard.remote(2) for worker in made], fan_in=3)
        assert list(merged.missing) == [5] and merged.shard.ranks == [0, 1, 2, 3, 4, 6, 7]
        assert made[5]._actor_id.hex() in merged.missing[5] and "died" in merged.missing[5]
        engine.join(*merged)
        row = engine.step(2)
    expected = alone(every, [0, 1, 2, 3, 4, 6, 7])[1]
    assert row == expected
    assert texts.of["failed/step 2/rank 5"] == merged.missing[5]
    assert {step for step, _, _ in stored(tmp_path / "runs.db", "killed")} == {1, 2}


def test_a_step_that_lacks_a_worker_fails_where_nobody_has_said_that_it_goes_on():
    every = records(2)
    made = workers(every)
    ray.kill(made[7])
    with gm.Engine(**engine_options()) as engine:
        engine.join(*merge([worker.shard.remote(1) for worker in made]))
        with pytest.raises(gm.StepError, match="step 1: rank 7: actor .* has died"):
            engine.step(1)


def test_what_is_no_shard_or_raises_or_tarries_is_named_and_a_record_that_comes_twice_is_an_error():
    made = workers(records(3))[:3]
    slow = ray.remote(lambda: time.sleep(600)).options(num_cpus=0).remote()
    refs = {13: slow, 10: made[0].shard.remote(1), 11: made[1].wrong.remote(), 12: made[2].raises.remote()}
    for fan_in in (2, 8):
        shard, missing = merge(refs, fan_in=fan_in, deadline=3)
        assert shard.ranks == [0] and shard.completions == 4
        assert missing[11] == "expected a Shard from its worker, found dict"
        assert missing[12] == "ValueError: no batch"
        assert missing[13].startswith("did not answer within 3")
    twice = [made[0].shard.remote(1), made[1].shard.remote(1), made[0].shard.remote(1)]
    for fan_in in (2, 8):
        with pytest.raises(gm.StepError, match="rank 0, micro-batch 0 is there twice"):
            merge(twice, fan_in=fan_in)
    ray.cancel(slow, force=True)


def test_nothing_to_merge_is_an_empty_shard():
    shard, missing = merge([])
    assert (shard.completions, missing) == (0, {})


def trainers(every, **options):
    made = [
        ray.remote(Trainer).options(num_cpus=0).remote(rank, every[rank], gather, **options)
        for rank, gather in enumerate(gathers(RANKS, deadline=60))
    ]
    ray.get([trainer.ready.remote() for trainer in made])
    return made


def test_engines_in_8_actors_give_the_rows_of_one_process(tmp_path):
    every = records(4)
    made = trainers(every, store=str(tmp_path / "runs.db"), run="ranks")
    rows = [ray.get([trainer.step.remote(step) for trainer in made])[0] for step in range(1, STEPS + 1)]
    ray.get([trainer.finish.remote() for trainer in made])
    assert rows == alone(every, store=tmp_path / "runs.db")
    assert stored(tmp_path / "runs.db", "ranks") == stored(tmp_path / "runs.db", "alone") != []


def test_an_actor_that_is_killed_between_steps_is_named_without_a_wait_for_the_deadline(tmp_path):
    every = records(5)
    said = tmp_path / "rows.jsonl"
    made = trainers(every, policy="go_on", store=str(tmp_path / "runs.db"), run="ranks", sinks=[str(said)])
    ray.get([trainer.step.remote(1) for trainer in made])
    ray.kill(made[3])
    left = [trainer for rank, trainer in enumerate(made) if rank != 3]
    began = time.monotonic()
    rows = [ray.get([trainer.step.remote(step) for trainer in left])[0] for step in (2, 3)]
    assert time.monotonic() - began < 50, "the deadline of 60 s was waited for"
    ray.get([trainer.finish.remote() for trainer in left])
    expected = alone(every, [0, 1, 2, 4, 5, 6, 7])
    for step in (2, 3):
        assert rows[step - 2] == expected[step - 1]
    texts = {key: why for line in said.read_text().splitlines() for key, why in json.loads(line).get("run", {}).items()}
    assert list(texts) == ["failed/step 2/rank 3", "failed/step 3/rank 3"] and all("has died" in why for why in texts.values())
    assert {step for step, _, _ in stored(tmp_path / "runs.db", "ranks")} == {1, 2, 3}


def test_a_shard_crosses_ray_as_small_as_its_bytes():
    shard = gm.Shard.of(**records()[0][1])
    assert len(pickle.dumps(shard)) < len(shard.to_bytes()) + 200
    got = ray.get(ray.put(shard))
    assert type(got) is gm.Shard and got.to_bytes() == shard.to_bytes()
