"""The MaxEnt trainer's steps: which rows go out, over which steps, to whom, and what becomes of what fails."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace as Obj

import numpy as np
import pytest

from grpo_metrics import maxent


class Run:
    """A training with handles that remember what they were given."""

    def __init__(self, tmp_path, main=True, **args):
        self.rows, self.wandb, self.tracked, self.waits = [], [], [], 0
        given = {"logging_strategy": "steps", "logging_steps": 2, "output_dir": str(tmp_path), **args}
        self.state = Obj(metric_sums={}, metric_counts={}, global_step=0, num_input_tokens_seen=7)
        self.weighting = Obj(tau=0.1, beta=0.2)
        self.accelerator = Obj(num_processes=1, is_main_process=main, log=self.track, wait_for_everyone=self.wait)
        self.ctx = Obj(
            runtime=Obj(accelerator=self.accelerator),
            training_args=Obj(**given),
            scoring=Obj(weighting=self.weighting),
            logging=Obj(step_logger=self.step_logger, wandb_run=Obj(log=lambda row, step: self.wandb.append((step, row)))),
            generation=Obj(use_vllm=True, generation_stats={"vllm_last_latency_ms": 4.0}),
            optimization=Obj(schedule=Obj(steps_per_epoch=2)),
        )
        self.prepared = Obj(
            reward_comp=Obj(
                total_utils=[1.0, 3.0],
                per_reward_values={"accuracy": [1.0, 0.0]},
                advantage_samples=[-0.5, 0.5],
                q_grouped=[[0.25, 0.75]],
                pairs=Obj(prompts=["p", "p"], completions=["a", "b"]),
            ),
            weight_stats=None,
            ref_stats=Obj(ref_logp_mean=-1.0, avg_completion_tokens=2.0),
            num_completion_tokens=4,
            length_stats=None,
            diversity_metrics=None,
            grouped_completions=[["a", "b"]],
        )

    @contextmanager
    def step_logger(self, step, enabled=True):
        yield Obj(log=lambda row: self.rows.append((step, row)))

    def track(self, row, step):
        self.tracked.append((step, row))

    def wait(self):
        self.waits += 1

    def call(self, log, step, loss, **also):
        self.state.global_step = step
        artifacts = maxent.LogStepArtifacts(loss_outputs=Obj(total_loss_scalar=loss))
        log(self.ctx, self.state, self.prepared, artifacts, 1e-6, **also)

    def step(self, step, loss, **also):
        self.call(maxent.log_local_step, step, loss, **also)
        self.call(maxent.log_training_step, step, loss)

    def losses(self):
        return [(step, row["train/loss"]) for step, row in self.rows]


def test_a_loop_logs_averages_every_logging_steps_to_each_receiver(tmp_path):
    run = Run(tmp_path)
    run.step(1, 1.0)
    run.weighting.tau = 0.5
    run.step(2, 3.0)
    [(step, row)] = run.rows
    assert step == 2 and run.wandb == run.tracked == run.rows
    assert (row["train/loss"], row["train/reward"], row["train/epoch"], row["train/global_step"]) == (2.0, 2.0, 1.0, 2.0)
    assert (row["train/vllm_latency_ms"], row["train/num_tokens"]) == (4.0, 7.0)
    assert run.weighting._prev_tau == 0.5 and run.state.metric_sums == run.state.metric_counts == {}


def test_other_processes_log_nothing_and_no_strategy_logs_never(tmp_path):
    for run in (Run(tmp_path, main=False), Run(tmp_path, logging_strategy="no")):
        run.step(2, 1.0)
        assert run.rows == run.wandb == run.tracked == []


def test_log_like_grpo_writes_one_row_a_step_of_averages(tmp_path):
    run = Run(tmp_path, log_like_grpo=True)
    for step, loss in enumerate([1.0, 3.0, 5.0, 9.0], start=1):
        run.step(step, loss)
    assert run.losses() == [(2, 2.0), (4, 7.0)]
    assert run.rows[0][1]["run/method_slug"] == "unknown"


def test_what_is_not_to_be_emitted_is_averaged_all_the_same(tmp_path):
    run = Run(tmp_path, log_like_grpo=True, logging_steps=1)
    run.step(1, 1.0, emit=False)
    assert run.rows == run.wandb == run.tracked == [] and run.state.metric_sums["train/loss"] == 1.0
    run.step(2, 3.0)
    assert run.losses() == [(2, 2.0)]


def test_a_loop_that_adds_no_steps_logs_each_logged_steps_own_numbers(tmp_path):
    run = Run(tmp_path)
    for step in range(1, 6):
        run.call(maxent.log_training_step, step, float(step))
    assert run.losses() == [(2, 2.0), (4, 4.0)] and run.state.metric_sums == {}


def test_windows_of_ten_steps_are_averaged_and_unlogged_steps_gather_once(tmp_path):
    run, gathers = Run(tmp_path, logging_steps=10), []
    run.accelerator.num_processes = 2
    run.accelerator.gather_object = lambda own: gathers.append(own) or [own, own]
    for step in range(1, 21):
        run.step(step, float(step))
    assert run.losses() == [(10, 5.5), (20, 15.5)] and len(gathers) == 20


def test_ranks_that_logged_no_step_gather_as_the_main_process_does(tmp_path):
    for main in (True, False):
        run, gathers = Run(tmp_path, main=main, logging_steps=1), []
        run.accelerator.num_processes = 2
        run.accelerator.gather_object = lambda own: gathers.append(own) or [own, own]  # noqa: B023
        run.step(1, 1.0)
        assert len(gathers) == 1
        run.call(maxent.log_training_step, 2, 1.0)
        assert len(gathers) == 2 and len(run.rows) == (2 if main else 0)


def test_views_that_were_made_before_are_taken_and_nothing_is_gathered(tmp_path):
    run = Run(tmp_path, logging_steps=1)
    run.accelerator.num_processes = 2
    views = {"reward_view": maxent.RewardLoggingView(reward_mean=0.25), "weight_view": maxent.WeightLoggingView(entropy=0.5)}
    run.call(maxent.log_local_step, 1, 1.0, **views)
    run.call(maxent.log_training_step, 1, 1.0, **views)
    assert (run.rows[0][1]["train/reward"], run.rows[0][1]["train/weight_entropy"]) == (0.25, 0.5)


@pytest.mark.parametrize("variable", ["MAXENT_METRICS_MODE", "MAXENT_WANDB_METRICS_MODE"])
def test_the_mode_slim_leaves_out_what_it_does_in_every_dialect(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "slim")
    run = Run(tmp_path, log_like_grpo=True, logging_steps=1)
    run.step(1, 1.0)
    [(_, row)] = run.rows
    assert run.wandb == run.tracked == run.rows and row["run/git_sha"]
    assert {"train/loss", "train/reward_p50", "train/tau"} <= set(row)
    assert not {key for key in row if key.startswith(("train/weighting/", "train/kl_controller/"))}
    assert not {"train/loss/total", "train/reward_p00", "train/kl_coeff", "train/tau_log"} & set(row)


def test_a_word_that_is_no_mode_keeps_everything_and_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MAXENT_METRICS_MODE", "slimmer")
    run = Run(tmp_path, logging_steps=1)
    run.step(1, 1.0)
    assert "train/loss/total" in run.rows[0][1] and "slimmer" in caplog.text


def test_the_writer_of_a_payload_is_flushed_and_wandb_is_left_to_it():
    calls = []
    writer = Obj(log=lambda row, step: calls.append((step, row)), flush=lambda: calls.append("flushed"))
    run = Obj(log=lambda *_: calls.append("wandb"))
    handles = maxent.LoggingHandles(writer, lambda name: None, "steps", 1, run)
    row = maxent.log_training_metrics(handles, 3, maxent.TrainingMetricsPayload())
    assert calls == [(3, row), "flushed"]
    calls.clear()
    with handles.step_logger(4) as logger:
        logger.log({"a": 1.0})
    with handles.step_logger(5, enabled=False) as logger:
        logger.log({"a": 1.0})
    assert calls == [(4, {"a": 1.0}), "flushed"]


def test_handles_without_a_logger_of_the_step_are_given_the_row_themselves(tmp_path):
    run, taken = Run(tmp_path, logging_steps=1), []
    run.ctx.logging = Obj(step_logger=lambda *_, **__: nullcontext(), log_metrics=lambda row, step: taken.append(step), wandb_run=None)
    run.accelerator.log = lambda row: taken.append("no step")
    run.step(1, 1.0)
    assert taken == [1, "no step"]


def test_what_the_scoring_and_the_rewards_know_of_entropy_is_in_the_row(tmp_path):
    run = Run(tmp_path, logging_steps=1)
    run.prepared.scores = Obj(policy_entropy_sum=np.array([1.0, 2.0]), denom_tok_tensor=np.array([2.0, 4.0]))
    run.ctx.scoring.policy_entropy_bonus_coef = 0.125
    run.prepared.reward_comp.entropy_bonus_scale = 0.75
    run.step(1, 1.0)
    names = ("policy_entropy", "entropy_bonus_coef", "entropy_bonus_reward_std")
    assert [run.rows[0][1][f"train/{name}"] for name in names] == [0.5, 0.125, 0.75]
    run.prepared.scores.denom_tok_tensor = np.array([0.0])
    run.step(2, 1.0)
    assert "train/policy_entropy" not in run.rows[1][1]


@pytest.mark.parametrize("step", [2.0, -2, 2**70, math.nan, None])
def test_no_step_of_any_kind_ends_a_training(tmp_path, step):
    for local in (False, True):
        run = Run(tmp_path, logging_steps=1, log_like_grpo=local)
        run.step(step, 1.0)
        [(_, row)] = run.rows
        assert row["train/loss"] == 1.0 and (not isinstance(step, float) or math.isnan(step) or row["train/global_step"] == step)


def test_nothing_that_a_trainer_hands_over_or_a_receiver_does_is_raised(tmp_path, caplog):
    class Awkward:
        def __getattr__(self, name):
            raise RuntimeError(f"no {name} yet")

    for broken in (Awkward(), None, 7, {}):
        run = Run(tmp_path, logging_steps=1)
        run.prepared = broken
        run.step(1, 1.0)
        assert run.losses() == [(1, 1.0)]
    for total in (["x"], [[1.0], [2.0]], Awkward()):
        run = Run(tmp_path, logging_steps=1)
        run.prepared.reward_comp.total_utils = total
        run.step(1, 1.0)
        assert run.losses() == [(1, 1.0)] and "left out" in caplog.text
    maxent.log_local_step(None, None, None, None, 0.0)
    maxent.log_training_step(None, None, None, None, 0.0)
    maxent.log_training_metrics(None, 1, None)

    def fail(*_, **__):
        raise OSError("no network")

    run = Run(tmp_path, logging_steps=1)
    run.ctx.logging.step_logger = run.ctx.logging.wandb_run.log = fail
    run.step(1, 1.0)
    assert len(run.tracked) == 1 and caplog.text.count("no network") == 2


def test_completions_are_written_whole_beside_the_output_by_either_argument(tmp_path):
    for at, args in enumerate([{"rich_log_completions": True}, {"log_completions": True}]):
        run = Run(tmp_path / str(at), rich_log_completions_key="completions", **args)
        run.step(2, 1.0)
        assert run.waits == 1
        path = tmp_path / str(at) / "rich_completions" / "completions_step_000002.json"
        table = json.loads(path.read_text())
        rows = [dict(zip(table["columns"], row)) for row in table["data"]]
        assert [row["completion"] for row in rows] == ["a", "b"] and [row["reward_total"] for row in rows] == [1.0, 3.0]
        assert [row["reward_rank_desc"] for row in rows] == [2, 1] and rows[1]["q_mass"] == 0.75
        assert rows[0] | {"step": 2, "prompt_index": 0, "group_size": 2, "reward/accuracy": 1.0, "advantage": -0.5} == rows[0]
        assert list(path.parent.iterdir()) == [path]
    run = Run(tmp_path / "none", rich_log_completions=False, log_completions=True)
    run.step(2, 1.0)
    assert not (tmp_path / "none").exists() and run.waits == 0


def test_ranks_wait_for_each_other_behind_the_completions_whoever_writes_and_whatever_fails(tmp_path, caplog):
    (tmp_path / "rich_completions").write_text("a file in the way")
    for main, local in ((True, False), (False, False), (True, True), (False, True)):
        run = Run(tmp_path, main=main, rich_log_completions=True, log_like_grpo=local)
        run.step(1, 1.0)
        run.step(2, 1.0)
        assert run.waits == 1
    assert "completions could not be logged" in caplog.text
    run = Run(tmp_path, rich_log_completions=True, rich_log_completions_synchronize_ranks=False)
    run.step(2, 1.0)
    assert run.waits == 0


def test_a_few_completions_go_to_wandb_where_asked_for(tmp_path):
    for wanted in (True, False):
        run = Run(tmp_path, rich_log_completions=True, rich_log_completions_to_wandb=wanted)
        run.prepared.reward_comp.pairs = Obj(prompts=["p"] * 6, completions=list("abcdef"))
        run.step(2, 1.0)
        tables = [row for _, row in run.wandb if "rich_completions" in row]
        assert len(tables) == int(wanted)


def test_an_epoch_strategy_logs_at_the_end_of_each_on_every_rank_alike(tmp_path):
    runs = [Run(tmp_path, main=main, logging_strategy="epoch", rich_log_completions=True) for main in (True, False)]
    for run in runs:
        for step in range(1, 6):
            run.step(step, float(step))
    assert [step for step, _ in runs[0].rows] == [2, 4] and [run.waits for run in runs] == [2, 2]


class Gone:
    """Rewards that cannot be read."""

    def __len__(self):
        raise RuntimeError("the rewards of this rank are gone")


def one_rank(rank, hub, out):
    """A process of the test below: three steps, of which rank 1 fails in two."""
    logging.basicConfig(filename=out / f"{rank}.log")
    run = Run(out, main=rank == 0, logging_steps=1)
    run.accelerator.num_processes = 3
    run.accelerator.gather_object = lambda own: hub.send(own) or hub.recv()
    for step, broken in enumerate([Gone(), ["text", 1.0], [8.0, 8.0]], start=1):
        run.prepared.reward_comp.total_utils = {0: [1.0, 3.0], 1: broken, 2: [8.0, 8.0]}[rank]
        run.step(step, 1.0)
    (out / f"{rank}.json").write_text(json.dumps([row["train/reward"] for _, row in run.rows]))


def test_a_rank_that_fails_says_so_and_all_go_on(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(3)]
    ranks = [spawn.Process(target=one_rank, args=(rank, there, tmp_path)) for rank, (_, there) in enumerate(pipes)]
    for rank, (_, there) in zip(ranks, pipes):
        rank.start()
        there.close()
    try:
        while True:
            told = [here.recv() for here, _ in pipes]
            for here, _ in pipes:
                here.send(told)
    except EOFError:  # a rank is at its end
        for here, _ in pipes:
            here.close()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    means = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert means == [[5.0, 5.0, 6.0], [], []]
    own = (tmp_path / "1.log").read_text()
    assert "gone" in own and "text" in own and (tmp_path / "0.log").read_text().count("rank 1") == 2
