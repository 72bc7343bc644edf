"""The MaxEnt trainer's functions on objects like its own, against the reference cases."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from types import SimpleNamespace as Obj

import pytest
from conftest import cases
from test_engine import differences

from grpo_metrics import maxent
from grpo_metrics._maxent_keys import WEIGHTING


def groups(batch, column):
    sizes, cells, at = batch["group_sizes"], batch.get(column), 0
    grouped = []
    for size in sizes:
        grouped.append(cells[at : at + size] if cells else [])
        at += size
    return grouped


def reward_comp(record):
    batch = record["batch"]
    return Obj(
        total_utils=batch["rewards"],
        per_reward_values=batch.get("reward_components", {}),
        advantage=Obj(grouped=groups(batch, "advantages")),
        advantage_samples=batch.get("advantages"),
        q_grouped=groups(batch, "q") if batch.get("q") else None,
        seed_semantic_entropies=batch.get("semantic_entropies"),
        seed_advantage_scales=batch.get("advantage_scales"),
        seed_alpha_effective=batch.get("seed_alpha_effective"),
        seed_max_possible_entropy=batch.get("seed_max_possible_entropy"),
    )


def weight_stats(record):
    return Obj(weights_grouped=groups(record["batch"], "weights") if record["batch"].get("weights") else [])


class Accelerator:
    """One of several processes, which gathers what the others would send."""

    is_main_process = True

    def __init__(self, records, of):
        self.num_processes, self.records, self.of = len(records), records, of

    def gather_object(self, own):
        caught = []
        local = Obj(num_processes=1)
        for record in self.records:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(maxent, "_gathered", lambda a, x, b: caught.append(x) or [x])
                self.of(local, record)
        return caught


def as_weighting(snapshot):
    if snapshot is None:
        return None
    given = {attribute: snapshot.get(name) for name, attribute in WEIGHTING.items()}
    meta = snapshot.get("meta")
    given["controller_meta"] = None if meta is None else Obj(**meta)
    names = ("last_tau_grad", "last_beta_grad", "last_loss", "tau_projected", "beta_projected")
    return Obj(**given, **{f"_meta_{name}": (meta or {}).get(name) for name in names})


def payload(case):
    """What the trainer would hand over of a case: its views by this module, what it counts itself from the expected row."""
    records, row = case["records"], case["expected"]
    rewards = maxent.summarize_reward_stats(
        Accelerator(records, lambda a, r: maxent.summarize_reward_stats(a, reward_comp(r))), reward_comp(records[0])
    )
    weights = maxent.summarize_weight_stats(
        Accelerator(records, lambda a, r: maxent.summarize_weight_stats(a, weight_stats(r))), weight_stats(records[0])
    )
    view = lambda keys: Obj(**{name: row.get(key) for name, key in keys.items()})  # noqa: E731
    buckets = lambda key: {k.rsplit("/", 1)[1]: v for k, v in row.items() if k.startswith(key)}  # noqa: E731
    diagnostics = view(maxent.VIEWS["diagnostics"])
    diagnostics.kl_per_token_by_len_bucket = buckets("train/kl_per_token_bucket/")
    diagnostics.kl_token_count_by_len_bucket = buckets("train/kl_per_token_bucket_tokens/")
    losses = {"total_loss": "loss", "policy_loss": "loss/policy", "kl_loss": "loss/kl", "weighted_kl_loss": "loss/weighted_kl"}
    losses["clip_loss"] = "loss/clip"
    scalars = {"current_lr": "learning_rate", "grad_norm_scalar": "grad_norm", "epoch_progress": "epoch"}
    scalars |= {"num_input_tokens": "num_tokens"}
    same = ("ref_logp_mean", "avg_completion_tokens", "vllm_latency_ms", "policy_entropy", "entropy_bonus_coef")
    scalars |= {name: name for name in (*same, "entropy_bonus_reward_std")}
    tokens = [r.get("scalars", {}).get("num_completion_tokens") for r in records]
    reporting = [t for t in tokens if t is not None]
    lengths = [x for r in records for x in r["batch"].get("completion_lengths") or []]
    diversity = "train/completions/diversity/"
    return Obj(
        reward_stats=rewards,
        weight_stats=weights,
        loss_outputs=Obj(**{f"{name}_scalar": row.get(f"train/{key}") for name, key in losses.items()}),
        diagnostics=diagnostics,
        length_stats=view(maxent.VIEWS["length_stats"]),
        config=Obj(weighting=as_weighting(snapshot(records)), schedule=None),
        scalars=Obj(
            **{name: row.get(f"train/{key}") for name, key in scalars.items()},
            num_completion_tokens=sum(reporting) if reporting else (sum(lengths) if lengths else None),
        ),
        diversity_metrics={key.removeprefix(diversity): x for key, x in row.items() if key.startswith(diversity)},
    )


def snapshot(records):
    given = [r["weighting"] for r in sorted(records, key=lambda r: r["rank"]) if r.get("weighting")]
    return given[0] if given else None


def test_the_dictionary_of_every_reference_case_comes_out():
    wrong = {}
    for case in cases("maxent.jsonl"):
        row = maxent.build_training_metrics_dict(payload(case), case["records"][0]["step"])
        if found := differences(row, case["expected"]):
            wrong[case["name"]] = found
    assert wrong == {}


def test_statistics_are_of_all_ranks_or_of_this_one():
    ranks = [Obj(total_utils=[0.0, 1.0]), Obj(total_utils=[5.0])]
    gather = Accelerator(ranks, lambda a, r: maxent.summarize_reward_stats(a, r))
    assert maxent.summarize_reward_stats(gather, ranks[0]).reward_mean == 2.0
    assert maxent.summarize_reward_stats(gather, ranks[0], log_like_grpo=True).reward_mean == 0.5


def test_a_nan_is_left_out_and_nothing_is_none():
    view = maxent.summarize_reward_stats(Obj(num_processes=1), Obj(total_utils=[1.0, math.nan], per_reward_values={"a": [2.0, 4.0]}))
    assert (view.reward_mean, view.per_reward["a"].mean) == (1.0, 3.0) and view.q_entropy_mean is None
    assert maxent.summarize_reward_stats(Obj(num_processes=1), Obj(total_utils=[])).reward_mean is None
    assert maxent.summarize_weight_stats(Obj(num_processes=1), Obj(weights_grouped=[])).entropy is None


def test_averages_are_of_finite_numbers_and_begin_anew_after_a_flush():
    state = Obj(metric_sums={}, metric_counts={})
    for value in (1.0, math.nan, 3.0):
        maxent.accumulate_metrics(state, {"train/loss": value, "train/global_step": 9.0, "run/git_sha": "x"})
    assert maxent.flush_metric_averages(state) == {"train/loss": 2.0}
    assert maxent.flush_metric_averages(state) == {}


class Run:
    """A training with handles that remember what they were given."""

    def __init__(self, tmp_path, main=True, **args):
        self.rows, self.wandb = [], []
        given = {"logging_strategy": "steps", "logging_steps": 2, "output_dir": str(tmp_path), **args}
        self.state = Obj(metric_sums={}, metric_counts={}, global_step=0, num_input_tokens_seen=7)
        self.weighting = Obj(tau=0.1, beta=0.2)
        self.ctx = Obj(
            runtime=Obj(accelerator=Obj(num_processes=1, is_main_process=main)),
            training_args=Obj(**given),
            scoring=Obj(weighting=self.weighting),
            logging=Obj(step_logger=self.step_logger, wandb_run=Obj(log=lambda row, step: self.wandb.append(step))),
            generation=Obj(use_vllm=True, generation_stats={"vllm_last_latency_ms": 4.0}),
            optimization=Obj(schedule=Obj(steps_per_epoch=2)),
        )

    @contextmanager
    def step_logger(self, step, enabled=True):
        yield Obj(log=lambda row: self.rows.append((step, row)))

    def step(self, step, loss, both=True):
        self.state.global_step = step
        prepared = Obj(
            reward_comp=Obj(total_utils=[1.0, 3.0]),
            weight_stats=None,
            ref_stats=Obj(ref_logp_mean=-1.0, avg_completion_tokens=2.0),
            num_completion_tokens=4,
            length_stats=None,
            diversity_metrics=None,
            grouped_completions=[["a", "b"]],
        )
        artifacts = maxent.LogStepArtifacts(loss_outputs=Obj(total_loss_scalar=loss))
        maxent.log_local_step(self.ctx, self.state, prepared, artifacts, 1e-6)
        if both:
            maxent.log_training_step(self.ctx, self.state, prepared, artifacts, 1e-6)


def test_a_loop_logs_averages_every_logging_steps(tmp_path):
    run = Run(tmp_path)
    run.step(1, 1.0)
    run.weighting.tau = 0.5
    run.step(2, 3.0)
    [(step, row)] = run.rows
    assert step == 2 and run.wandb == [2]
    assert (row["train/loss"], row["train/reward"], row["train/epoch"], row["train/global_step"]) == (2.0, 2.0, 1.0, 2.0)
    assert (row["train/vllm_latency_ms"], row["train/num_tokens"]) == (4.0, 7.0)
    assert run.weighting._prev_tau == 0.5 and run.state.metric_sums == {}


def test_other_processes_log_nothing_and_no_strategy_logs_never(tmp_path):
    for run in (Run(tmp_path, main=False), Run(tmp_path, logging_strategy="no")):
        run.step(2, 1.0)
        assert run.rows == []


def test_log_like_grpo_logs_with_the_local_step(tmp_path):
    run = Run(tmp_path, log_like_grpo=True)
    run.step(2, 1.0, both=False)
    assert [step for step, _ in run.rows] == [2]


def test_completions_are_written_where_asked_for(tmp_path):
    run = Run(tmp_path, rich_log_completions=True, rich_log_completions_key="train/samples")
    run.step(2, 1.0)
    lines = [json.loads(line) for line in (tmp_path / "train_samples.jsonl").read_text().splitlines()]
    assert [(line["completion"], line["reward"]) for line in lines] == [("a", 1.0), ("b", 3.0)]


def test_a_logger_that_fails_stops_nothing(caplog):
    def broken(metrics, step):
        raise OSError("no network")

    metrics = maxent.log_training_metrics(Obj(log_metrics=broken, wandb_run=None), 3, Obj())
    assert "no network" in caplog.text and metrics["train/global_step"] == 3.0
