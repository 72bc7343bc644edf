"""The logging functions of the MaxEnt trainer, by their names and signatures, over objects with the same attributes.

What is different on purpose:

- Statistics of several ranks are over all their completions, exactly, whatever the layout; gathering works with the real
  accelerate library, whose `Accelerator` has no `gather_object`, and happens on every rank, so that none waits for ever.
- A NaN or an infinity is left out of every statistic and average instead of spreading through it.
- Empty groups count for nothing, instead of as groups of entropy 0; what is undefined is `None`, and its key is left out.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._core import summarize
from ._maxent_keys import DERIVED, QUANTILES, RENAMED_SCALARS, VIEWS, WEIGHTING

_log = logging.getLogger("grpo_metrics")


@dataclass
class LogStepArtifacts:
    """What the optimizer's step left behind."""

    loss_outputs: Any = None
    diagnostics: Any = None
    grad_norm_scalar: float | None = None
    epoch_progress: float | None = None


@dataclass
class RewardView:
    """Rewards of all ranks, summarised; `None` where nothing defines a number."""

    reward_mean: float | None = None
    reward_std: float | None = None
    frac_zero_std: float | None = None
    advantage_mean: float | None = None
    advantage_std: float | None = None
    advantage_count: int = 0
    per_reward: dict[str, Any] = field(default_factory=dict)
    q_entropy_mean: float | None = None
    q_entropy_std: float | None = None
    q_entropy_min: float | None = None
    q_entropy_max: float | None = None
    semantic_entropy_mean: float | None = None
    semantic_entropy_std: float | None = None
    semantic_entropy_min: float | None = None
    semantic_entropy_max: float | None = None
    advantage_scale_mean: float | None = None
    advantage_scale_min: float | None = None
    advantage_scale_max: float | None = None
    seed_alpha_effective: float | None = None
    seed_max_possible_entropy: float | None = None
    reward_quantiles: dict[str, float] = field(default_factory=dict)
    per_reward_quantiles: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class WeightView:
    """Weights of all ranks, summarised."""

    entropy: float | None = None
    entropy_norm: float | None = None
    entropy_min: float | None = None
    entropy_max: float | None = None
    advantage_entropy_mean: float | None = None
    advantage_entropy_std: float | None = None


@dataclass
class MeanStd:
    """Mean and population standard deviation."""

    mean: float
    std: float


@dataclass
class Payload:
    """What `build_training_metrics_dict` names."""

    reward_stats: Any = None
    weight_stats: Any = None
    loss_outputs: Any = None
    diagnostics: Any = None
    length_stats: Any = None
    config: Any = None
    scalars: Any = None
    diversity_metrics: Mapping[str, float] | None = None


@dataclass
class Config:
    """The controller and the schedule of a payload."""

    weighting: Any = None
    schedule: Any = None


@dataclass
class Scalars:
    """Numbers of the step."""

    ref_logp_mean: float | None = None
    avg_completion_tokens: float | None = None
    num_completion_tokens: float | None = None
    num_input_tokens: float | None = None
    current_lr: float | None = None
    grad_norm_scalar: float | None = None
    epoch_progress: float | None = None
    vllm_latency_ms: float | None = None
    policy_entropy: float | None = None
    entropy_bonus_coef: float | None = None
    entropy_bonus_reward_std: float | None = None


def build_training_metrics_dict(payload: Any, global_step: int) -> dict[str, float]:
    """The step's dictionary, from what is summarised already."""
    config = _get(payload, "config")
    scalars = {name: _number(_get(_get(payload, "scalars"), theirs)) for theirs, name in RENAMED_SCALARS.items()}
    losses = _get(payload, "loss_outputs")
    for name in ("total_loss", "policy_loss", "kl_loss", "weighted_kl_loss", "clip_loss"):
        scalars[name] = _number(_get(losses, f"{name}_scalar"))
    weighting = _weighting(_get(config, "weighting"))
    record = {"step": global_step, "scalars": scalars, "weighting": weighting}
    schedule = _get(config, "schedule")
    names = ("steps_per_epoch", "num_generations", "num_epochs", "total_training_steps")
    epoch: dict[str, Any] = {name: _number(_get(schedule, name)) for name in names}
    metrics = summarize(record | {"batch": {"group_sizes": [], "rewards": []}}, mode="full", **epoch)
    metrics |= _of_views(payload)
    if weighting and weighting.get("train_grpo_objective"):
        zero = ("weight_entropy", "weight_entropy_min", "weight_entropy_max", "advantage_entropy_mean", "advantage_entropy_std")
        metrics |= {f"train/{name}": 0.0 for name in zero if f"train/{name}" in metrics}
    for derive in DERIVED:
        metrics |= derive(metrics)
    return metrics


def _of_views(payload: Any) -> dict[str, float]:
    """The numbers that stand in the payload's views, under their keys."""
    named: dict[str, Any] = {}
    for view, keys in VIEWS.items():
        named |= {key: _get(_get(payload, view), attribute) for attribute, key in keys.items()}
    rewards, diagnostics = _get(payload, "reward_stats"), _get(payload, "diagnostics")
    for name, stats in (_get(rewards, "per_reward") or {}).items():
        named |= {f"train/rewards/{name}/mean": _get(stats, "mean"), f"train/rewards/{name}/std": _get(stats, "std")}
    named |= {f"train/reward_{label}": x for label, x in (_get(rewards, "reward_quantiles") or {}).items()}
    for name, quantiles in (_get(rewards, "per_reward_quantiles") or {}).items():
        named |= {f"train/rewards/{name}/{label}": x for label, x in quantiles.items()}
    for attribute, key in (("kl_per_token_by_len_bucket", "bucket"), ("kl_token_count_by_len_bucket", "bucket_tokens")):
        named |= {f"train/kl_per_token_{key}/{b}": x for b, x in (_get(diagnostics, attribute) or {}).items()}
    diversity = _get(payload, "diversity_metrics") or {}
    named |= {f"train/completions/diversity/{name}": x for name, x in diversity.items()}
    numbers = {key: _number(value) for key, value in named.items()}
    return {key: value for key, value in numbers.items() if value is not None}


def _weighting(weighting: Any) -> dict[str, Any] | None:
    """The controller as a record's snapshot."""
    if weighting is None:
        return None
    snapshot: dict[str, Any] = {}
    for name, attribute in WEIGHTING.items():
        value = _get(weighting, attribute)
        if value is not None:
            snapshot[name] = value if isinstance(value, (bool, str)) else _number(value)
    meta = _get(weighting, "controller_meta")
    if meta is not None:
        fields = ("enabled", "learning_rate", "update_interval", "truncation_steps", "use_hessian")
        own = {name: _get(meta, name) for name in fields}
        private = ("last_tau_grad", "last_beta_grad", "last_loss", "tau_projected", "beta_projected")
        snapshot["meta"] = own | {name: _number(_get(weighting, f"_meta_{name}")) for name in private}
    return snapshot


def summarize_reward_stats(accelerator: Any, reward_comp: Any, *, log_like_grpo: bool = False) -> RewardView:
    """Rewards, advantages, q and seed statistics of all ranks; of this rank alone with `log_like_grpo`.

    Every rank calls it: it gathers.
    """
    grouped = _get(_get(reward_comp, "advantage"), "grouped") or []
    rewards = [float(x) for x in (_get(reward_comp, "total_utils") or [])]
    sizes = [len(group) for group in grouped] if sum(map(len, grouped)) == len(rewards) else [len(rewards)]
    batch: dict[str, Any] = {
        "group_sizes": sizes,
        "rewards": rewards,
        "reward_components": {name: list(x) for name, x in (_get(reward_comp, "per_reward_values") or {}).items()},
        "advantages": _flat(grouped, len(rewards)),
        "q": _flat(_get(reward_comp, "q_grouped"), len(rewards)),
        "semantic_entropies": _of_groups(_get(reward_comp, "seed_semantic_entropies"), sizes),
        "advantage_scales": _of_groups(_get(reward_comp, "seed_advantage_scales"), sizes),
        "seed_alpha_effective": _number(_get(reward_comp, "seed_alpha_effective")),
        "seed_max_possible_entropy": _number(_get(reward_comp, "seed_max_possible_entropy")),
    }
    samples = _get(reward_comp, "advantage_samples")
    samples = [x for group in grouped for x in group] if samples is None else list(samples)
    ranks = _gathered(accelerator, (batch, samples), log_like_grpo)
    row = _row([of_rank for of_rank, _ in ranks])
    numbers: dict[str, Any] = {name: row.get(key) for name, key in VIEWS["reward_stats"].items()}
    view = RewardView(**numbers)
    named = {name: None for of_rank, _ in ranks for name in of_rank["reward_components"]}
    for name in named:
        key = f"train/rewards/{name}/"
        if key + "mean" in row:
            view.per_reward[name] = MeanStd(row[key + "mean"], row[key + "std"])
            view.per_reward_quantiles[name] = {label: row[key + label] for label in QUANTILES}
    view.reward_quantiles = {label: row[f"train/reward_{label}"] for label in QUANTILES if f"train/reward_{label}" in row}
    pooled = [float(x) for _, of_rank in ranks for x in of_rank]
    advantages = _row([{"group_sizes": [len(pooled)], "rewards": pooled}])
    view.advantage_mean, view.advantage_std = advantages.get("train/reward"), advantages.get("train/reward_std")
    view.advantage_count = sum(map(math.isfinite, pooled))
    return view


def summarize_weight_stats(accelerator: Any, weight_stats: Any, *, log_like_grpo: bool = False) -> WeightView:
    """Entropies of the update weights of all ranks; of this rank alone with `log_like_grpo`. Every rank calls it: it gathers."""
    grouped = [[float(x) for x in group] for group in (_get(weight_stats, "weights_grouped") or [])]
    weights = [x for group in grouped for x in group]
    batch = {"group_sizes": [len(group) for group in grouped], "rewards": [0.0] * len(weights), "weights": weights}
    row = _row(_gathered(accelerator, batch, log_like_grpo))
    view = WeightView(**{name: row.get(key) for name, key in VIEWS["weight_stats"].items()})
    if not weights and view.entropy is None:  # a trainer that keeps no weights gives what it knows of them
        view.entropy = _number(_get(weight_stats, "weight_entropy"))
        view.entropy_min = _number(_get(weight_stats, "weight_entropy_min"))
        view.entropy_max = _number(_get(weight_stats, "weight_entropy_max"))
    return view


def _flat(grouped: Any, completions: int) -> list[float] | None:
    cells = [float(x) for group in (grouped or []) for x in group]
    return cells if cells and len(cells) == completions else None


def _of_groups(values: Any, sizes: Sequence[int]) -> list[float] | None:
    return list(values) if values is not None and len(values) == len(sizes) and len(values) else None


def _row(batches: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of all ranks' batches; without the values that stand for what was not given."""
    row: dict[str, float] = summarize([{"step": 0, "rank": rank, "batch": batch} for rank, batch in enumerate(batches)], mode="full")
    given = {name for batch in batches for name, column in batch.items() if column is not None}
    for column, part in (("semantic_entropies", "semantic_entropy"), ("advantage_scales", "advantage_scale")):
        if column not in given:
            row = {key: value for key, value in row.items() if not key.startswith(f"train/seed_grpo/{part}")}
    for name in ("alpha_effective", "max_possible_entropy"):
        if f"seed_{name}" not in given:
            row.pop(f"train/seed_grpo/{name}", None)
    return row


def _gathered(accelerator: Any, own: Any, local: bool) -> list[Any]:
    """One entry a process."""
    if local or int(_get(accelerator, "num_processes") or 1) <= 1:
        return [own]
    gather = _get(accelerator, "gather_object")
    if callable(gather):
        return list(gather(own))
    from accelerate.utils import gather_object  # joins the lists of all processes

    return list(gather_object([own]))


def accumulate_metrics(state: Any, metrics: Mapping[str, Any]) -> None:
    """Adds a step's numbers to the running averages; those that say which step it is, and what is no finite number, stay out."""
    for key, value in metrics.items():
        number = _number(value)
        if number is not None and key not in ("train/global_step", "train/epoch"):
            state.metric_sums[key] = state.metric_sums.get(key, 0.0) + number
            state.metric_counts[key] = state.metric_counts.get(key, 0) + 1


def flush_metric_averages(state: Any) -> dict[str, float]:
    """The averages since the last flush, which begin anew."""
    averages = {key: total / max(state.metric_counts.get(key, 1), 1) for key, total in state.metric_sums.items()}
    state.metric_sums.clear()
    state.metric_counts.clear()
    return averages


def log_training_metrics(logging_cfg: Any, global_step: int, payload: Any) -> dict[str, float]:
    """Names a payload's numbers and hands them to `logging_cfg.log_metrics` (and its W&B run); what was logged."""
    metrics = build_training_metrics_dict(payload, global_step)
    _hand_out(logging_cfg, metrics, global_step)
    return metrics


def log_local_step(
    ctx: Any,
    state: Any,
    prepared: Any,
    log_artifacts: Any,
    current_lr: float,
    *,
    reward_view: Any = None,
    weight_view: Any = None,
    emit: bool = True,
) -> None:
    """Adds this step to the running averages of the main process; with `log_like_grpo` also logs them. Every rank calls it."""
    metrics = _metrics_of_step(ctx, state, prepared, log_artifacts, current_lr, reward_view, weight_view)
    if metrics is None:
        return
    accumulate_metrics(state, metrics)
    if emit and _get(_get(ctx, "training_args"), "log_like_grpo"):
        _emit(ctx, state, prepared, metrics)


def log_training_step(
    ctx: Any,
    state: Any,
    prepared: Any,
    log_artifacts: Any,
    current_lr: float,
    *,
    reward_view: Any = None,
    weight_view: Any = None,
) -> None:
    """Logs the averages since the last logged step, if this is one to log, on the main process. Every rank calls it."""
    metrics = _metrics_of_step(ctx, state, prepared, log_artifacts, current_lr, reward_view, weight_view)
    if metrics is None:
        return
    if not state.metric_sums:  # a loop that never called `log_local_step`
        accumulate_metrics(state, metrics)
    _emit(ctx, state, prepared, metrics)


def _metrics_of_step(
    ctx: Any, state: Any, prepared: Any, artifacts: Any, current_lr: float, reward_view: Any, weight_view: Any
) -> dict[str, float] | None:
    """The step's dictionary on the main process; `None` on the others, which have given their part."""
    accelerator = ctx.runtime.accelerator
    local = bool(_get(_get(ctx, "training_args"), "log_like_grpo"))
    if reward_view is None or local:
        reward_view = summarize_reward_stats(accelerator, prepared.reward_comp, log_like_grpo=local)
    if weight_view is None or local:
        weight_view = summarize_weight_stats(accelerator, prepared.weight_stats, log_like_grpo=local)
    if not accelerator.is_main_process:
        return None
    weighting = ctx.scoring.weighting
    generation = _get(ctx, "generation")
    stats = _get(generation, "generation_stats") or {}
    reference = _get(prepared, "ref_stats")
    scalars = Scalars(
        ref_logp_mean=_get(reference, "ref_logp_mean"),
        avg_completion_tokens=_get(reference, "avg_completion_tokens"),
        num_completion_tokens=_get(prepared, "num_completion_tokens"),
        num_input_tokens=_get(state, "num_input_tokens_seen"),
        current_lr=current_lr,
        grad_norm_scalar=_get(artifacts, "grad_norm_scalar"),
        epoch_progress=_get(artifacts, "epoch_progress"),
        vllm_latency_ms=stats.get("vllm_last_latency_ms", 0.0) if _get(generation, "use_vllm") else None,
        policy_entropy=_get(_get(artifacts, "loss_outputs"), "policy_entropy_scalar"),
        entropy_bonus_coef=_get(weighting, "entropy_bonus_coef"),
        entropy_bonus_reward_std=_get(prepared, "entropy_bonus_reward_std"),
    )
    payload = Payload(
        reward_stats=reward_view,
        weight_stats=weight_view,
        loss_outputs=_get(artifacts, "loss_outputs"),
        diagnostics=_get(artifacts, "diagnostics"),
        length_stats=_get(prepared, "length_stats"),
        config=Config(weighting=weighting, schedule=_get(_get(ctx, "optimization"), "schedule")),
        scalars=scalars,
        diversity_metrics=_get(prepared, "diversity_metrics"),
    )
    return build_training_metrics_dict(payload, state.global_step)


def _emit(ctx: Any, state: Any, prepared: Any, metrics: Mapping[str, float]) -> None:
    if not _is_logged(ctx, state.global_step, metrics):
        return
    row = {**metrics, **flush_metric_averages(state)}
    with ctx.logging.step_logger(state.global_step, enabled=True) as logger:
        _hand_out(ctx.logging, row, state.global_step, logger.log)
    weighting = ctx.scoring.weighting
    weighting._prev_tau, weighting._prev_beta = _get(weighting, "tau"), _get(weighting, "beta")
    args = _get(ctx, "training_args")
    if _get(args, "rich_log_completions"):
        _log_completions(ctx, args, state.global_step, prepared)


def _is_logged(ctx: Any, step: int, metrics: Mapping[str, float]) -> bool:
    """Whether this step has a row (METRICS.md, "Windows and cadence")."""
    args = _get(ctx, "training_args")
    strategy = str(_get(args, "logging_strategy") or "steps").lower().rsplit(".", 1)[-1]
    if strategy in ("no", "none", "off"):
        return False
    if strategy in ("epoch", "epochs"):
        epoch, before = math.floor(metrics["train/epoch"]), _get(ctx.logging, "_last_epoch")
        ctx.logging._last_epoch = epoch
        return before is not None and epoch > before
    if step == 0:
        return _get(args, "logging_first_step") is not False
    return step % max(int(_get(args, "logging_steps") or 1), 1) == 0


def _hand_out(
    handles: Any, metrics: dict[str, float], step: int, log: Callable[[dict[str, float]], Any] | None = None
) -> None:
    """To the handle's logger, and to its W&B run: one call each. One that fails does not stop the other."""
    calls: list[tuple[Callable[..., Any], Sequence[Any], MutableMapping[str, Any]]] = []
    calls.append((log, (metrics,), {}) if log else (handles.log_metrics, (metrics, step), {}))
    run = _get(handles, "wandb_run")
    if run is not None:
        calls.append((run.log, (metrics,), {"step": step}))
    for call, args, options in calls:
        try:
            call(*args, **options)
        except Exception as error:  # a metric must not end a training
            _log.warning("step %s could not be logged: %s", step, error)


def _log_completions(ctx: Any, args: Any, step: int, prepared: Any) -> None:
    """The step's completions with their scores: a file of JSON lines, and a table of the W&B run where asked for."""
    grouped = _get(prepared, "grouped_completions") or []
    scores = _get(_get(prepared, "reward_comp"), "total_utils") or []
    texts = [(group, text) for group, texts in enumerate(grouped) for text in texts]
    rows = [{"step": step, "group": g, "completion": text, "reward": r} for (g, text), r in zip(texts, scores)]
    key = _get(args, "rich_log_completions_key") or "completions"
    try:
        folder = Path(_get(args, "output_dir") or ".")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{key.replace('/', '_')}.jsonl").open("a") as file:
            file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
        run = _get(ctx.logging, "wandb_run")
        if run is not None and _get(args, "rich_log_completions_to_wandb") and rows:
            import wandb

            run.log({key: wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])}, step=step)
    except Exception as error:  # a table must not end a training
        _log.warning("step %s: the completions could not be logged: %s", step, error)


def _get(holder: Any, name: str) -> Any:
    """A field of a mapping or of an object; `None` where there is none."""
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _number(value: Any) -> float | None:
    """A finite number, or `None`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
