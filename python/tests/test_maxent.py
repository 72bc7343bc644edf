"""The MaxEnt trainer's functions on objects like its own, against the reference cases."""

from __future__ import annotations

import math
from types import SimpleNamespace as Obj

import numpy as np
from conftest import cases
from test_engine import differences

from grpo_metrics import maxent
from grpo_metrics.maxent.keys import DEPENDING, FLAGS, VIEWS, WEIGHTING
from grpo_metrics.maxent.statistics import part_of


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
    """As the trainer has them: under the GRPO objective it says that the weights have no entropy."""
    grouped = groups(record["batch"], "weights") if record["batch"].get("weights") else []
    if grouped and (record.get("weighting") or {}).get("train_grpo_objective"):
        return Obj(weights_grouped=grouped, weight_entropy=0.0, weight_entropy_min=0.0, weight_entropy_max=0.0, advantage_entropy=[])
    return Obj(weights_grouped=grouped)


class Accelerator:
    """One of several processes, which gathers what the others would send."""

    is_main_process = True

    def __init__(self, records, part):
        self.num_processes, self.records, self.part = len(records), records, part

    def gather_object(self, own):
        return [self.part(record) for record in self.records]


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
    gather = Accelerator(records, lambda r: part_of(rewards=reward_comp(r), advantages=True))
    rewards = maxent.summarize_reward_stats(gather, reward_comp(records[0]))
    ruling = snapshot(records)
    records = [record | {"weighting": ruling} for record in records]  # every rank's trainer knows its objective
    gather = Accelerator(records, lambda r: part_of(weights=weight_stats(r)))
    weights = maxent.summarize_weight_stats(gather, weight_stats(records[0]))
    view = lambda keys: Obj(**{name: row.get(key) for name, key in keys.items()})  # noqa: E731
    buckets = lambda key: {k.rsplit("/", 1)[1]: v for k, v in row.items() if k.startswith(key)}  # noqa: E731
    diagnostics = view(VIEWS["diagnostics"])
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
        length_stats=view(VIEWS["length_stats"]),
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
        row = {key: x for key, x in row.items() if not key.startswith("run/")}
        if found := differences(row, case["expected"]):
            wrong[case["name"]] = found
    assert wrong == {}


def test_statistics_are_of_all_ranks_or_of_this_one():
    ranks = [Obj(total_utils=[0.0, 1.0]), Obj(total_utils=[5.0])]
    gather = Accelerator(ranks, lambda r: part_of(rewards=r, advantages=True))
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


ALONE = Obj(num_processes=1)


def test_q_is_summarised_by_its_own_groups():
    comp = Obj(total_utils=[1.0, 2.0, 3.0], advantage=Obj(grouped=[[0.0], [1.0, -1.0]]), q_grouped=[[0.5, 0.5], [1.0]])
    view = maxent.summarize_reward_stats(ALONE, comp)
    assert math.isclose(view.q_entropy_max, math.log(2)) and view.q_entropy_min == 0.0 and view.frac_zero_std == 0.5
    other = Obj(total_utils=[1.0], advantage=Obj(grouped=[[0.0], [1.0, -1.0]]), q_grouped=[[0.25] * 4])
    view = maxent.summarize_reward_stats(ALONE, other)
    assert math.isclose(view.q_entropy_mean, math.log(4)) and (view.frac_zero_std, view.reward_mean) == (0.5, 1.0)


def test_a_component_of_another_length_has_its_own_statistics():
    comp = Obj(total_utils=[1.0, 2.0], per_reward_values={"a": [1.0, 2.0, 6.0], "b": [4.0, 5.0], "none": []})
    view = maxent.summarize_reward_stats(ALONE, comp)
    assert (view.per_reward["a"].mean, view.per_reward["b"].mean, view.reward_mean) == (3.0, 4.5, 1.5)
    assert view.per_reward_quantiles["a"]["p100"] == 6.0 and set(view.per_reward) == {"a", "b"}


def test_seed_values_of_any_number_are_averaged():
    comp = Obj(total_utils=[1.0, 2.0], seed_semantic_entropies=[0.0, 1.0, 5.0], seed_advantage_scales=[2.0])
    view = maxent.summarize_reward_stats(ALONE, comp)
    assert (view.semantic_entropy_mean, view.semantic_entropy_max, view.advantage_scale_min) == (2.0, 5.0, 2.0)


def test_columns_may_be_numpy_arrays():
    comp = Obj(
        total_utils=np.array([1.0, 3.0]),
        per_reward_values={"a": np.array([1.0, 5.0])},
        advantage=Obj(grouped=np.array([[0.0, 0.0]])),
        advantage_samples=np.array([1.0, 2.0]),
        q_grouped=np.array([[0.5, 0.5]]),
    )
    view = maxent.summarize_reward_stats(ALONE, comp)
    assert (view.reward_mean, view.per_reward["a"].mean, view.advantage_mean, view.frac_zero_std) == (2.0, 3.0, 1.5, 1.0)


def test_the_weight_view_is_0_where_the_trainer_says_that_there_is_no_entropy():
    stats = maxent.WeightStats([[0.5, -0.5], [1.0, -1.0]], [0.5, -0.5, 1.0, -1.0], 0.0, 0.0, 0.0, [])
    view = maxent.summarize_weight_stats(ALONE, stats)
    assert (view.entropy, view.entropy_min, view.entropy_max, view.advantage_entropy_mean, view.advantage_entropy_std) == (0.0,) * 5
    stats = maxent.WeightStats([[0.5, 0.5]], [0.5, 0.5], math.log(2), math.log(2), math.log(2), [0.0, 0.0])
    assert math.isclose(maxent.summarize_weight_stats(ALONE, stats).entropy, math.log(2))
    kept_none = maxent.WeightStats([], [], 0.25, 0.125, 0.5, [])
    view = maxent.summarize_weight_stats(ALONE, kept_none)
    assert (view.entropy, view.entropy_min, view.entropy_max) == (0.25, 0.125, 0.5)


def controlled(**fields):
    return maxent.build_training_metrics_dict(Obj(config=Obj(weighting=Obj(beta=0.1, **fields))), 3)


def test_a_number_of_the_controller_that_is_none_has_no_key():
    row = controlled(tau=math.nan, kl_target=math.inf, tau_target_entropy=0.5, _meta_last_tau_grad=math.nan, _meta_last_beta_grad=1.0)
    for name in ("tau", "tau_log", "delta_tau", "delta_tau_abs"):
        assert f"train/{name}" not in row and f"train/weighting/{name}" not in row
    for name in ("kl_controller_target", "kl_controller/target", "kl_controller_enabled", "meta/tau_grad", "meta/grad_norm"):
        assert f"train/{name}" not in row
    assert (row["train/beta"], row["train/tau_target_entropy"], row["train/meta/beta_grad"]) == (0.1, 0.5, 1.0)
    assert controlled(tau=math.nan, _tau_log=-2.0)["train/weighting/tau_log"] == -2.0
    for field, attribute in WEIGHTING.items():  # whichever it is
        of = {"beta": math.nan} if attribute == "beta" else {"beta": 0.1, attribute: math.nan}
        row = maxent.build_training_metrics_dict(Obj(config=Obj(weighting=Obj(**of))), 3)
        if field not in FLAGS:
            assert not [key for key in DEPENDING[field] if key in row], field


def test_the_controller_above_may_have_analytic_steps():
    row = controlled(tau=0.5, controller_meta=Obj(enabled=True, analytic_steps=7))
    assert (row["train/meta/truncation_steps"], row["train/meta/enabled"]) == (7.0, 1.0)


def test_a_clipped_share_is_within_0_and_1():
    for given, shown in ((-5.0, 0.0), (0.25, 0.25), (5.0, 1.0)):
        row = maxent.build_training_metrics_dict(Obj(length_stats=Obj(clipped_ratio=given)), 1)
        assert row["train/completions/clipped_frac"] == shown


def test_the_kl_loss_is_the_outputs_own_or_that_of_their_scalars():
    outputs = Obj(total_loss_scalar=1.0, kl_loss_scalar=None, scalars=Obj(kl_loss=0.5))
    scalars = maxent.TrainingScalarStats(tokens=maxent.TokenUsageStats(num_completion_tokens=4.0))
    row = maxent.build_training_metrics_dict(Obj(loss_outputs=outputs, scalars=scalars), 1)
    assert (row["train/kl_per_completion_token"], row["train/loss/kl"], row["train/kl"]) == (0.125, 0.5, 0.5)


def test_a_step_that_is_no_whole_number_or_negative_has_a_row():
    for step, epoch in ((2.5, 1.25), (-3, -1.5), (-0.5, -0.25), (np.int64(4), 2.0)):
        row = maxent.build_training_metrics_dict(Obj(config=Obj(schedule=Obj(steps_per_epoch=2), weighting=Obj(tau=1.0))), step)
        assert (row["train/global_step"], row["train/epoch"]) == (step, epoch)
    for step in (math.nan, None, "seven"):
        assert "train/objective/minimize" in maxent.build_training_metrics_dict(Obj(loss_outputs=Obj(total_loss_scalar=1.0)), step)


def test_the_epoch_follows_the_schedule_that_is_known():
    schedules = ({"num_epochs": 2, "total_training_steps": 8}, 1.0), ({"total_training_steps": 8}, 4.0), ({"num_generations": 8}, 0.5)
    for schedule, epoch in schedules:
        assert maxent.build_training_metrics_dict(Obj(config=Obj(schedule=Obj(**schedule))), 4)["train/epoch"] == epoch
