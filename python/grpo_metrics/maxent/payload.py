"""A step's dictionary: what ranks gathered or views say of completions, what the trainer reports, and what follows from both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .keys import DEPENDING, DERIVED, FLAGS, META, META_FLAGS, RENAMED_SCALARS, VIEWS, WEIGHTING
from .reading import epoch_of, get, number, total_of, value_of
from .run import resolve_run_metadata
from .statistics import Part, entropies, merged
from .records import LoggingConfigView, TokenUsageStats, TrainingMetricsPayload, TrainingScalarStats

_LARGEST_STEP = 2.0**53


def build_training_metrics_dict(payload: Any, global_step: int) -> dict[str, Any]:
    """The step's dictionary, from what is summarised already; `run/...` are texts, all else numbers."""
    return resolve_run_metadata() | numbers_of(payload, global_step, [])


def numbers_of(payload: Any, global_step: float, parts: Sequence[Part]) -> dict[str, float]:
    """The dictionary's numbers: of the parts of all ranks, and of the views that the payload has."""
    config = get(payload, "config")
    step = number(global_step)
    scalars = _scalars(payload, epoch_of(get(config, "schedule"), step or 0.0))
    weighting, undefined = _snapshot(get(config, "weighting"))
    # A step is a whole number from 0 on; one that is none is later than the whole ones below it.
    whole = min(max(math.ceil(step or 0.0), 0), int(_LARGEST_STEP))
    row = merged(parts, scalars=scalars, weighting=weighting).row(step=whole, mode="full")
    if step is not None:
        row["train/global_step"] = step
    for key in undefined:
        row.pop(key, None)
    told = entropies(parts, row)
    _set(row, {key: told[name] for name, key in VIEWS["weight_stats"].items()})
    _set(row, _of_views(payload))
    for derive in DERIVED:
        row |= derive(row)
    return row


def _set(row: dict[str, float], named: Mapping[str, Any]) -> None:
    for key, value in named.items():
        if (given := number(value)) is not None:
            row[key] = given


def _scalars(payload: Any, epoch: float) -> dict[str, float | None]:
    reported, losses = get(payload, "scalars"), get(payload, "loss_outputs")
    scalars = {name: number(get(reported, theirs)) for theirs, name in RENAMED_SCALARS.items()}
    if scalars["epoch"] is None:
        scalars["epoch"] = epoch
    for name in ("total_loss", "policy_loss", "kl_loss", "weighted_kl_loss", "clip_loss"):
        loss = number(get(losses, f"{name}_scalar"))
        scalars[name] = number(get(get(losses, "scalars"), name)) if loss is None else loss
    return scalars


def _of_views(payload: Any) -> dict[str, Any]:
    """What stands in the payload's views, under its keys."""
    named: dict[str, Any] = {}
    for view, keys in VIEWS.items():
        holder = get(payload, view)
        if holder is not None:
            named |= {key: get(holder, attribute) for attribute, key in keys.items()}
    rewards, diagnostics = get(payload, "reward_stats"), get(payload, "diagnostics")
    for name, stats in (get(rewards, "per_reward") or {}).items():
        named |= {f"train/rewards/{name}/mean": get(stats, "mean"), f"train/rewards/{name}/std": get(stats, "std")}
    named |= {f"train/reward_{label}": x for label, x in (get(rewards, "reward_quantiles") or {}).items()}
    for name, quantiles in (get(rewards, "per_reward_quantiles") or {}).items():
        named |= {f"train/rewards/{name}/{label}": x for label, x in quantiles.items()}
    tokens = get(diagnostics, "kl_token_count_by_len_bucket") or {}
    for bucket, mean in (get(diagnostics, "kl_per_token_by_len_bucket") or {}).items():
        named |= {f"train/kl_per_token_bucket/{bucket}": mean, f"train/kl_per_token_bucket_tokens/{bucket}": tokens.get(bucket, 0.0)}
    clipped = "train/completions/clipped_frac"
    if (share := number(named.get(clipped))) is not None:
        named[clipped] = min(max(share, 0.0), 1.0)
    diversity = get(payload, "diversity_metrics") or {}
    return named | {f"train/completions/diversity/{name}": x for name, x in diversity.items()}


def _snapshot(weighting: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """The controller as a record's snapshot, and the keys of the numbers in it that are not finite: no 0 stands for those."""
    if weighting is None:
        return None, []
    undefined: list[str] = []
    meta, own = get(weighting, "controller_meta"), {}
    for name, attributes in META.items():
        for attribute in attributes:
            value = get(weighting if attribute[0] == "_" else meta, attribute)
            if value is not None:
                own[name] = bool(value) if name in META_FLAGS else value
                break
    own = _finite(own, "meta/", undefined)
    snapshot: dict[str, Any] = {}
    for name, attribute in WEIGHTING.items():
        value = get(weighting, attribute)
        if value is not None:
            snapshot[name] = bool(value) if name in FLAGS else value
    snapshot = _finite(snapshot, "", undefined)
    if own:
        snapshot["meta"] = own
    if "tau_log" in snapshot:  # the controller has it by itself
        undefined = [key for key in undefined if not key.endswith("tau_log")]
    return snapshot, undefined


def _finite(fields: dict[str, Any], of: str, undefined: list[str]) -> dict[str, Any]:
    """The flags and the finite numbers; the keys of the others go to `undefined`."""
    kept = {}
    for name, value in fields.items():
        read = value if value is True or value is False else value_of(value)
        if read is not None and read - read == 0:
            kept[name] = read
        elif read is not None:
            undefined.extend(DEPENDING[of + name])
    return kept


def payload_of(
    ctx: Any, state: Any, prepared: Any, artifacts: Any, current_lr: float, reward_view: Any, weight_view: Any
) -> TrainingMetricsPayload:
    """What a trainer's objects say of a step; a view is `None` where the ranks' parts have its numbers."""
    scoring, generation, reference = get(ctx, "scoring"), get(ctx, "generation"), get(prepared, "ref_stats")
    scores = get(prepared, "scores")
    entropy, tokens = total_of(get(scores, "policy_entropy_sum")), total_of(get(scores, "denom_tok_tensor"))
    coefficient = get(scoring, "policy_entropy_bonus_coef")
    latency = get(get(generation, "generation_stats") or {}, "vllm_last_latency_ms")
    scalars = TrainingScalarStats(
        ref_logp_mean=get(reference, "ref_logp_mean"),
        tokens=TokenUsageStats(
            get(reference, "avg_completion_tokens"), get(prepared, "num_completion_tokens"), get(state, "num_input_tokens_seen")
        ),
        current_lr=current_lr,
        grad_norm_scalar=get(artifacts, "grad_norm_scalar"),
        epoch_progress=get(artifacts, "epoch_progress"),
        vllm_latency_ms=(0.0 if latency is None else latency) if get(generation, "use_vllm") else None,
        policy_entropy=entropy / tokens if entropy is not None and tokens is not None and tokens > 0 else None,
        entropy_bonus_coef=0.0 if coefficient is None else coefficient,
        entropy_bonus_reward_std=get(get(prepared, "reward_comp"), "entropy_bonus_scale"),
    )
    return TrainingMetricsPayload(
        reward_stats=reward_view,
        weight_stats=weight_view,
        loss_outputs=get(artifacts, "loss_outputs"),
        diagnostics=get(artifacts, "diagnostics"),
        length_stats=get(prepared, "length_stats"),
        config=LoggingConfigView(get(scoring, "weighting"), get(scoring, "clipping"), get(get(ctx, "optimization"), "schedule")),
        scalars=scalars,
        diversity_metrics=get(prepared, "diversity_metrics"),
    )
