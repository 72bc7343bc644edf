"""prime-rl's monitor: called as its orchestrator calls it, with the real traces of verifiers and beside the real monitors where those are."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from rollouts import EACH, away, own, parameters, rollout, status, stored, told, trainer_module

from grpo_metrics.trainers import prime_rl
from grpo_metrics.trainers.prime_rl import GrpoMetricsMonitor


def episodes(made, agent="solver"):
    """An episode a completion, as `verifiers.v1` has them: a trace, whose one branch holds prompt and completion."""
    out = []
    for i in range(made.n):
        prompt, mask = made.prompts[i], [False] * len(made.prompts[i]) + [m == 1 for m in made.masks[i]]
        branch = SimpleNamespace(
            token_ids=prompt + made.responses[i],
            sampled_mask=mask,
            logprobs=[0.0] * len(prompt) + made.sampled[i],
            advantages=[0.0] * len(prompt) + [made.rewards[i] - 0.5] * made.lengths[i],
        )
        trace = SimpleNamespace(
            id=f"t{i}",
            agent=SimpleNamespace(name=agent, trainable=True),
            branches=[branch],
            nodes=[branch],
            rewards={"exact": SimpleNamespace(score=2 * made.rewards[i], value=made.rewards[i]), "judge": None},
            reward=made.rewards[i],
            is_truncated=made.stops[i] == "length",
            num_turns=1 + i % 3,
            metrics={},
            has_error=False,
            stop_condition=made.stops[i],
        )
        env = SimpleNamespace(name="math" if i < 6 else "code", id="x")
        out.append(SimpleNamespace(id=str(i), group=SimpleNamespace(id=made.uids[i]), env=env, traces=[trace]))
    return out


def reward_and_time(step):
    return {"train/agg/effective/solver/reward/mean": float(np.mean(rollout(step).rewards)), "time/step": 2.0, "step": step}


async def orchestrate(log, finalize, steps=3, of=episodes, metrics=reward_and_time):
    """The calls of prime-rl's orchestrator to its monitors, in its order."""
    for step in range(1, steps + 1):
        made = of(rollout(step))
        for episode in made if isinstance(made, list) else []:
            await log([episode], step=step, kind="train", subset="all")
        await log(made, step=step, kind="train", subset="effective")
        await log(metrics(step), step=step)
        await log(made, step=step, kind="eval", subset="effective")
        await log({"eval/aime/avg@1": 0.5}, step=step)
    await finalize()


def run(monitor, **others):
    asyncio.run(orchestrate(monitor.log, monitor.finalize, **others))


def test_each_step_is_a_row_of_its_effective_episodes_beside_what_prime_logs(tmp_path):
    store = tmp_path / "runs.db"
    run(GrpoMetricsMonitor(store=store, run="r", dialect="trl", extended=True))
    rows = stored(store)
    for step in (1, 2, 3):
        made, row = rollout(step), rows[step]
        assert row["reward"] == pytest.approx(row["train/agg/effective/solver/reward/mean"])
        assert row["rewards/exact/mean"] == pytest.approx(2 * np.mean(made.rewards)) and "rewards/judge/mean" not in row
        assert row["completions/mean_length"] == pytest.approx(np.mean(made.lengths))
        assert row["completions/clipped_ratio"] == pytest.approx(np.mean([stop == "length" for stop in made.stops]))
        assert row["frac_reward_zero_std"] == pytest.approx(np.mean(np.array(made.rewards).reshape(-1, EACH).std(axis=1) < 1e-8))
        assert row["tags/math/reward"] == pytest.approx(np.mean(made.rewards[:6]))
        assert row["step_time"] == 2.0 and row["eval/aime/avg@1"] == 0.5
    assert sorted(rows) == [1, 2, 3] and status(store) == "completed"


def test_a_trace_of_two_branches_has_its_reward_once(tmp_path):
    def forked(made):
        out = episodes(made)
        out[0].traces[0].branches *= 2
        return out

    run(GrpoMetricsMonitor(store=tmp_path / "runs.db", run="r", dialect="trl"), of=forked)
    assert stored(tmp_path / "runs.db")[1]["reward"] == pytest.approx(np.mean(rollout(1).rewards))


def test_episodes_that_cannot_be_read_leave_prime_s_numbers_and_one_warning(tmp_path, caplog):
    run(GrpoMetricsMonitor(store=tmp_path / "runs.db", run="r"), of=lambda made: [SimpleNamespace(id="x")])
    assert stored(tmp_path / "runs.db")[2].keys() == {"train/agg/effective/solver/reward/mean", "time/step", "step", "eval/aime/avg@1"}
    assert len([r for r in caplog.records if "left out" in r.message]) == 1


def test_garbage_ends_no_training_and_is_told_once_a_place(tmp_path, caplog):
    run(GrpoMetricsMonitor(store=tmp_path / "runs.db", run="r"), of=lambda made: 7)
    said = [r.getMessage() for r in caplog.records]
    assert said and len(said) == len(set(said)) < 4


def test_a_store_that_cannot_be_written_costs_rows_but_no_step(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    run(GrpoMetricsMonitor(store=tmp_path / "folder", run="r"))
    assert "rows go to the trainer's log alone" in caplog.text


def test_with_the_real_traces_of_verifiers(tmp_path):
    [vf] = trainer_module("VERIFIERS", "verifiers.v1")
    trace = vf.Trace
    assert {"branches", "reward", "is_truncated", "num_turns", "has_error"} <= {name for name in dir(trace)} and {"rewards", "stop_condition", "agent"} <= trace.model_fields.keys()
    assert {"token_ids", "sampled_mask", "logprobs", "advantages"} <= {name for name in dir(vf.Branch)}
    assert {"group", "env", "traces", "id"} <= vf.Episode.model_fields.keys()


OWN = {
    *(f"train/agg/effective/agent/{name}/{suffix}" for name in ("reward", "num_turns") for suffix in ("mean", "max", "min")),
    "train/agg/effective/agent/is_truncated/mean",
}
"""What of prime-rl's log is ours in the dialect `prime-rl`."""


def test_in_its_own_dialect_which_is_the_default_what_is_ours_equals_prime_s_own_metrics(tmp_path):
    """The real `TrainEpisodes`, and what it says to W&B as the orchestrator asks it."""
    [metrics] = trainer_module("PRIME_RL", "prime_rl.orchestrator.metrics", engines=("wandb", "wandb_workspaces", "wandb_gql", "prime_sandboxes", "prime_evals", "prime_cli"))
    phase = lambda **parts: SimpleNamespace(duration=0.5, **parts)
    timing = SimpleNamespace(setup=phase(), agent=phase(model=phase(), harness=phase()), finalize=phase(), scoring=phase())

    def named(made):
        made = episodes(made, agent="agent")
        for episode in made:
            [trace] = episode.traces
            tokens = len(trace.branches[0].token_ids)
            vars(trace).update(num_total_tokens=tokens, num_input_tokens=tokens // 2, num_output_tokens=tokens - tokens // 2, num_branches=1)
            vars(trace).update(is_completed=True, last_error=None, timing=timing)
            episode.ok = True
        return made

    def prime_says(step):
        of = named(rollout(step))
        collected = metrics.TrainEpisodes(of, {trace.id for episode in of for trace in episode.traces})
        # Of all that arrived, and of what is trained on, as `ship_train_batch` asks.
        return collected.metrics.to_wandb(prefix="train/agg", subset="all") | collected.effective.metrics.to_wandb(prefix="train/agg", subset="effective")

    run(GrpoMetricsMonitor(store=tmp_path / "runs.db", run="r"), of=named, metrics=lambda step: away(prime_says(step)))
    rows = stored(tmp_path / "runs.db")
    every = [own(rows[step], prime_says(step)) for step in (1, 2, 3)]
    assert all(each.keys() == OWN and max(each.values()) < 1e-6 for each in every), every
    told("prime_rl", every, prime_says(1))


def test_beside_the_real_monitors(tmp_path, monkeypatch):
    [monitors, base] = trainer_module("PRIME_RL", "prime_rl.monitors", "prime_rl.monitors.base", engines=("wandb", "wandb_workspaces", "wandb_gql", "prime_sandboxes", "prime_evals", "prime_cli"))
    for name in ("log", "log_metrics", "log_episodes", "finalize"):
        assert parameters(getattr(base.Monitor, name)) == parameters(getattr(GrpoMetricsMonitor, name)), name
    monkeypatch.setattr(monitors, "setup", monitors.setup)
    monkeypatch.setattr(monitors, "MONITORS", [])
    prime_rl.install(store=tmp_path / "runs.db", run="r", dialect="trl")

    async def whole():
        await monitors.setup(output_dir=tmp_path)
        await orchestrate(monitors.log, monitors.finalize)

    asyncio.run(whole())
    rows = stored(tmp_path / "runs.db")
    assert rows[3]["reward"] == pytest.approx(rows[3]["train/agg/effective/solver/reward/mean"]) and status(tmp_path / "runs.db") == "completed"
    print(f"prime_rl: reward equals prime-rl's in {len(rows)} steps; {len(rows[1])} keys in a row")
