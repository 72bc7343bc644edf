"""verl's adapter, held against verl's own functions: `compute_data_metrics` and its like on random batches, and its `Tracking`."""

from __future__ import annotations

import json
import logging
import math
import uuid

import numpy as np
import pytest

import grpo_metrics as gm

torch = pytest.importorskip("torch")
pytest.importorskip("verl")

from tensordict import TensorDict  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.trainer.ppo import metric_utils  # noqa: E402
from verl.utils import tracking  # noqa: E402
from verl.utils.debug.metrics import calculate_debug_metrics  # noqa: E402

from grpo_metrics.trainers import verl as adapter  # noqa: E402

PROMPT, RESPONSE = 6, 12

COMPUTED = 42
"""How many keys of verl's a batch gives that we compute, too."""


def batch_of(seed, n=32, aborted=False, penalty=0.0):
    draw = torch.Generator().manual_seed(seed)
    normal = lambda: torch.randn(n, RESPONSE, generator=draw)  # noqa: E731
    lengths = torch.randint(0 if aborted else 1, RESPONSE + 1, (n,), generator=draw)
    if aborted:
        lengths[0] = 0
    prompts = torch.randint(1, PROMPT + 1, (n,), generator=draw)
    places = torch.arange(RESPONSE)
    response = (places < lengths[:, None]).long()
    # Every fourth token is a tool's, and is not trained on.
    mask = response * ((places % 4 != 3) | (places == 0)).long()
    attention = torch.cat([(torch.arange(PROMPT) >= PROMPT - prompts[:, None]).long(), response], dim=1)
    scores = torch.zeros(n, RESPONSE)
    last = (lengths - 1).clamp(min=0)
    scores[torch.arange(n), last] = torch.randint(0, 3, (n,), generator=draw) / 2 + torch.rand(n, generator=draw) * 0.01
    old = -torch.rand(n, RESPONSE, generator=draw) * 3
    tensors = {
        "prompts": torch.randint(1, 100, (n, PROMPT), generator=draw),
        "responses": torch.randint(1, 100, (n, RESPONSE), generator=draw),
        "attention_mask": attention,
        "response_mask": mask,
        "token_level_scores": scores,
        "token_level_rewards": scores - penalty * torch.rand(n, RESPONSE, generator=draw) * mask,
        "advantages": normal() * mask,
        "returns": normal() * mask,
        "values": normal() * mask,
        "old_log_probs": old,
        "ref_log_prob": old + 0.1 * normal(),
        "rollout_log_probs": old + 0.02 * normal(),
    }
    uids = [str(uuid.UUID(int=seed << 32 | i // 4)) for i in range(n)]
    others = {
        "uid": np.array(uids, dtype=object),
        "data_source": np.array(["math" if i % 3 else "code" for i in range(n)], dtype=object),
        "__num_turns__": np.array([2 + i % 5 for i in range(n)], dtype=np.int32),
        "tool_call_counts": np.array([i % 3 for i in range(n)], dtype=np.int32),
        "acc": np.array([float(i % 2) for i in range(n)], dtype=object),
    }
    meta = {"global_token_num": attention.sum(-1).tolist(), "reward_extra_keys": ["acc"]}
    return DataProto(batch=TensorDict(tensors, batch_size=n), non_tensor_batch=others, meta_info=meta)


def verls(batch, use_critic=True):
    """What verl computes of a batch at its driver."""
    timing = {"step": 12.5, "gen": 4.0}
    return {
        **metric_utils.compute_data_metrics(batch=batch, use_critic=use_critic),
        **metric_utils.compute_throughout_metrics(batch=batch, timing_raw=timing, n_gpus=8),
        **metric_utils.compute_timing_metrics(batch=batch, timing_raw=timing),
        **calculate_debug_metrics(batch),
    }


def ours(batch):
    with gm.Engine(dialect="verl", devices=8) as engine:
        engine.observe(**adapter.columns_of(batch))
        return engine.step(1, scalars={"step_time_sec": 12.5})


def apart(batch):
    """The keys that both have, by how far they are apart in relation to their size (of a mean near 0, to 0.1); and those that verl alone has."""
    row, theirs = ours(batch), verls(batch)
    both = {key: abs(row[key] - float(said)) / max(abs(float(said)), 0.1) for key, said in theirs.items() if key in row}
    return both, [key for key in theirs if key not in row]


def table():
    """For docs/TRAINERS.md: the widest that each key was apart in 50 random batches."""
    worst = {}
    for seed in range(50):
        both, alone = apart(batch_of(seed, n=64, penalty=0.05 * (seed % 3)))
        for key, distance in both.items():
            worst[key] = max(worst.get(key, 0.0), distance)
    return worst, alone


def test_every_number_that_both_have_is_verls_to_single_precision():
    for seed in range(20):
        both, alone = apart(batch_of(seed, penalty=0.05 * (seed % 3)))
        assert {key: distance for key, distance in both.items() if distance > 1e-5} == {}, seed
        assert len(both) >= COMPUTED
    # What verl has of its own stands beside ours as verl says it.
    assert all(key.startswith(BESIDE) for key in alone), alone


BESIDE = ("timing_", "training/rollout_probs_diff_valid")


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_aborted_completions_count_in_no_score_as_in_verls(penalty):
    both, _ = apart(batch_of(3, penalty=penalty, aborted=True))
    assert {key: distance for key, distance in both.items() if distance > 1e-5} == {}


def test_a_batch_that_has_lengths_in_the_place_of_an_attention_mask_gives_the_same_row():
    batch = batch_of(4)
    expected = ours(batch)
    attention = batch.batch["attention_mask"]
    batch.batch["prompt_length"], batch.batch["response_length"] = attention[:, :PROMPT].sum(-1), attention[:, PROMPT:].sum(-1).float()
    del batch.batch["attention_mask"]
    assert ours(batch) == expected


class Kept:
    def __init__(self):
        self.logged = []

    def log(self, data, step):
        self.logged.append((step, dict(data)))


def tracked(logger, **names):
    """A `Tracking` with a backend that keeps what it is told."""
    made = tracking.Tracking(names.get("project", "p"), names.get("run", "r"), default_backend=[], config={"trainer": {"x": 1, "api_key": "s"}})
    made.logger["kept"] = Kept()
    return made


def train(steps=3, use_critic=True, logger=None):
    """What verl's trainer does of a step, as far as this sees it; functions are looked up as the trainer's module has them."""
    made = tracked(logger)
    made.log(data={"val-core/math/reward/mean@1": 0.5}, step=0)
    for step in range(1, steps + 1):
        batch = batch_of(step)
        metrics = {"training/global_step": step, "actor/kl_loss": 0.25, "actor/grad_norm": 1.5, "actor/lr": 1e-6, "actor/pg_loss": -0.5}
        metrics.update(verls(batch, use_critic))
        made.log(data=metrics, step=step)
    return made.logger["kept"].logged


def stored(path, run):
    rows = {}
    for each in gm.Store(path, read_only=True).get_metrics(run):
        rows.setdefault(each["step"], {})[each["name"]] = each["value"]
    return rows


def test_a_training_is_stored_with_the_whole_batch_and_the_workers_own_keys_beside(tmp_path):
    before = metric_utils.compute_data_metrics, metric_utils.compute_throughout_metrics, tracking.Tracking.__init__
    plain = train()
    with adapter.install(store=tmp_path / "runs.db", extended=True):
        assert metric_utils.compute_data_metrics is not before[0]
        logged = train()
    assert before == (metric_utils.compute_data_metrics, metric_utils.compute_throughout_metrics, tracking.Tracking.__init__)
    # verl's own log stands as it was, and has ours beside.
    for (_, without), (_, with_ours) in zip(plain, logged):
        assert {key: value for key, value in with_ours.items() if not key.startswith("grpo_metrics/")} == without
    assert logged[1][1]["grpo_metrics/critic/score/mean"] == pytest.approx(plain[1][1]["critic/score/mean"], rel=1e-5)

    rows = stored(tmp_path / "runs.db", "r")
    assert sorted(rows) == [0, 1, 2, 3]
    names = {name.removeprefix("val/") for name in rows[0]}
    assert any("val-core/math/reward/mean@1" in name for name in names), rows[0]
    for step in (1, 2, 3):
        with gm.Engine(dialect="verl", devices=8, extended=True) as engine:
            engine.observe(**adapter.columns_of(batch_of(step)), weighting={"train_grpo_objective": True})
            scalars = {"step_time_sec": 12.5, "grad_norm": 1.5, "learning_rate": 1e-6}
            alone = engine.step(step, scalars=scalars)
        theirs = {key: value for key, value in plain[step][1].items() if key not in alone}
        assert {"actor/kl_loss", "actor/pg_loss", "timing_s/gen"} <= theirs.keys()
        expected = {**alone, **{key: float(value) for key, value in theirs.items()}}
        lasting = {key: value for key, value in rows[step].items() if not key.startswith("health/")}
        # Flags see the steps before, which the engine beside has not.
        assert lasting == {key: value for key, value in expected.items() if not key.startswith("health/")}
        assert any(key.startswith("tags/math/") for key in lasting)
    run = gm.Store(tmp_path / "runs.db", read_only=True).get_run("r")
    assert run["status"] == "completed"
    assert "'s'" not in repr(run), "no secret is kept"


def test_a_batch_that_cannot_be_read_costs_one_warning_and_leaves_what_verl_logs(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "grpo_metrics"), adapter.install(store=tmp_path / "runs.db"):
        made = tracked(None)
        for step in (1, 2, 3):
            batch = batch_of(step)
            metrics = verls(batch)
            del batch.batch["response_mask"]
            made.log(data=metrics, step=step)
    assert len([record for record in caplog.records if "said once" in record.message]) == 1
    rows = stored(tmp_path / "runs.db", "r")
    theirs = {key: value for key, value in verls(batch_of(2)).items() if math.isfinite(value)}
    assert rows[2] == pytest.approx({key: float(value) for key, value in theirs.items()})


def test_a_batch_without_uids_says_so_once_and_is_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "grpo_metrics"), adapter.install(store=tmp_path / "runs.db"):
        made = tracked(None)
        for step in (1, 2):
            batch = batch_of(step)
            batch.non_tensor_batch = {}
            made.log(data=dict(metric_utils.compute_data_metrics(batch=batch)), step=step)
    assert [record.message for record in caplog.records if "`uid` in a batch" in record.message]
    assert stored(tmp_path / "runs.db", "r")[2]["critic/score/mean"] == pytest.approx(verls(batch_of(2))["critic/score/mean"])


def test_a_training_that_fails_goes_on_failing_and_its_run_has_failed(tmp_path):
    with pytest.raises(RuntimeError, match="CUDA"):
        with adapter.install(store=tmp_path / "runs.db"):
            train(1)
            raise RuntimeError("CUDA out of memory")
    run = gm.Store(tmp_path / "runs.db", read_only=True).get_run("r")
    assert run["status"] == "failed" and "CUDA" in json.dumps(run)


def test_the_shards_of_workers_that_have_a_part_each_give_the_numbers_of_the_whole_batch():
    batch = batch_of(9)
    whole = gm.Shard()
    for rank, part in enumerate(batch.chunk(4)):
        whole.merge(gm.Shard.of(**adapter.columns_of(part), rank=rank, dialect="verl"))
    # Within a group places follow the ranks, as they do in the batch.
    assert whole.row(dialect="verl", step=1) == gm.Shard.of(**adapter.columns_of(batch), dialect="verl").row(dialect="verl", step=1)


if __name__ == "__main__":
    worst, alone = table()
    for key, distance in sorted(worst.items()):
        print(f"{key}  {distance:.1e}")
    print(len(worst), "keys of both;", sum(distance == 0 for distance in worst.values()), "to the bit; verl alone:", *alone)
