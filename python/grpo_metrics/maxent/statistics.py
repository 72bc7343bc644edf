"""Rewards and weights of all ranks: read of a rank's objects, gathered, and summarised.

A rank gives records as RECORDING.md has them. Nothing is raised on the way to the gather: a rank whose objects cannot be read
gives the reason in their place, so that none waits for it, and the numbers are over the other ranks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from .._core import Shard
from .keys import QUANTILES, VIEWS
from .reading import get, number, value_of
from .records import RewardComponentStats, RewardLoggingView, WeightLoggingView

_log = logging.getLogger("grpo_metrics")
Record = dict[str, Any]


@dataclass
class Part:
    """What one rank gives: its completions' columns, or why there are none."""

    records: list[Record] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    """Those of the view's mean; the records have them by group."""
    entropy: tuple[float | None, float | None, float | None] | None = None
    """Mean, smallest and largest entropy of the weights by the trainer's account."""
    plain_grpo: bool = False
    """The trainer says that its weights have no entropy, as under the GRPO objective."""
    failure: str | None = None


def part_of(*, rewards: Any = None, weights: Any = None, advantages: bool = False) -> Part:
    """A rank's part of a step, of its reward computation and its weight statistics; it never raises."""
    part = Part()
    try:
        part.records = _records(rewards, weights)
        if advantages:
            samples = get(rewards, "advantage_samples")
            groups = _cells(get(get(rewards, "advantage"), "grouped"))
            part.advantages = [float(x) for x in (chain.from_iterable(groups) if samples is None else _cells(samples))]
        if weights is not None:
            mean, least, most = (value_of(get(weights, f"weight_entropy{of}")) for of in ("", "_min", "_max"))
            part.entropy = mean, least, most
            part.plain_grpo = mean == least == most == 0.0 and len(_cells(get(weights, "advantage_entropy"))) == 0
    except Exception as error:  # whatever the trainer's objects raise
        return Part(failure=f"{type(error).__name__}: {error}")
    return part


def _records(rewards: Any, weights: Any) -> list[Record]:
    """The columns, each beside those that are grouped alike: rewards and what fits to them first."""
    totals = _cells(get(rewards, "total_utils"))
    grouped = {
        "advantages": get(get(rewards, "advantage"), "grouped"),
        "q": get(rewards, "q_grouped"),
        "weights": get(weights, "weights_grouped"),
    }
    columns = {name: (list(map(len, groups)), groups) for name, groups in grouped.items() if groups is not None and len(groups)}
    count = len(totals)
    sizes = next((sizes for sizes, _ in columns.values() if sum(sizes) == count), [count])
    first: Record = {"group_sizes": _sizes(sizes), "rewards": totals, "reward_components": {}}
    records = [first]

    def apart(sizes: list[int], **column: Any) -> None:
        records.append({"group_sizes": _sizes(sizes), "rewards": [None] * sum(sizes), **column})

    for name, values in (get(rewards, "per_reward_values") or {}).items():
        cells = _cells(values)
        if len(cells) == count:
            first["reward_components"][str(name)] = cells
        elif len(cells):
            apart([len(cells)], reward_components={str(name): cells})
    for name, (own, groups) in columns.items():
        cells = list(chain.from_iterable(groups))
        if own == sizes and cells:
            first[name] = cells
        elif cells:
            apart(own, **{name: cells})
    for name in ("semantic_entropies", "advantage_scales"):
        cells = _cells(get(rewards, f"seed_{name}"))
        if len(cells) and len(cells) == len(sizes):
            first[name] = cells
        elif len(cells):
            apart([1] * len(cells), **{name: cells})
    for name in ("seed_alpha_effective", "seed_max_possible_entropy"):
        if (value := number(get(rewards, name))) is not None:
            first[name] = value
    return records


def _sizes(sizes: Sequence[int]) -> Any:
    """As the crate reads them: of a list it would make this array itself, in ten times the time."""
    return np.array(sizes, dtype=np.uint32)


def _cells(column: Any) -> Any:
    """A column that has a length; empty where there is none."""
    if column is None:
        return []
    return column if hasattr(column, "__len__") else list(column)


def gathered(accelerator: Any, own: Part, *, local: bool = False) -> list[Part]:
    """One part a process, in their order; this rank's alone where it is alone, or `local`. Every rank calls it."""
    alone = local or (number(get(accelerator, "num_processes")) or 1) <= 1
    if not alone:
        try:
            own.records = [{name: _plain(column) for name, column in record.items()} for record in own.records]
        except Exception as error:
            own = Part(failure=f"{type(error).__name__}: {error}")
    if own.failure is not None:
        _log.warning("the statistics of this rank are left out: %s", own.failure)
    if alone:
        return [own]
    try:
        gather = get(accelerator, "gather_object")
        if callable(gather):
            parts = gather(own)
        else:
            from accelerate.utils import gather_object  # joins the lists of all processes

            parts = gather_object([own])
    except ImportError:
        return [own]
    except Exception as error:  # of the transport: there is no row over all ranks to be had
        _log.warning("the ranks could not be gathered, the statistics are of this one alone: %s", error)
        return [own]
    if not isinstance(parts, (list, tuple)):
        return [own]
    for rank, part in enumerate(parts):
        if part.failure is not None and part is not own:
            _log.warning("the statistics of rank %d are left out: %s", rank, part.failure)
    return list(parts)


def _plain(column: Any) -> Any:
    """A column that another process can read: no tensor of a device of this one."""
    if isinstance(column, Mapping):
        return {name: _plain(cells) for name, cells in column.items()}
    if hasattr(column, "tolist"):
        return column.tolist()
    if isinstance(column, (list, tuple)):
        return [cell if cell is None or isinstance(cell, (int, float)) else float(cell) for cell in column]
    return column


def merged(parts: Sequence[Part], **also: Any) -> Shard:
    """All parts' records as one shard; `also` are columns of the first: its scalars and its snapshot."""
    shard: Shard | None = None
    for rank, part in enumerate(parts):
        for micro, record in enumerate(part.records):
            try:
                read = Shard.of(rank=rank, micro=micro, **record, **(also if shard is None else {}))
            except Exception as error:  # a column that holds no numbers: the record's others cannot be trusted to fit
                _log.warning("statistics of rank %d are left out: %s", rank, error)
                continue
            if shard is None:
                shard = read
            else:
                shard.merge(read)
    return shard or Shard.of(group_sizes=[], rewards=[], **also)


def summarize_reward_stats(accelerator: Any, reward_comp: Any, *, log_like_grpo: bool = False) -> RewardLoggingView:
    """Rewards, advantages, q and seed statistics of all ranks; of this rank alone with `log_like_grpo`.

    Every rank calls it: it gathers. What nothing defines is `None` (`train/seed_grpo/*` have their constants, METRICS.md).
    """
    parts = gathered(accelerator, part_of(rewards=reward_comp, advantages=True), local=log_like_grpo)
    row = merged(parts).row(step=0, mode="full")
    view = RewardLoggingView(**{name: row.get(key) for name, key in VIEWS["reward_stats"].items()})  # type: ignore[arg-type]
    named = dict.fromkeys(name for part in parts for record in part.records for name in record.get("reward_components", ()))
    for name in named:
        key = f"train/rewards/{name}/"
        if key + "mean" in row:
            view.per_reward[name] = RewardComponentStats(row[key + "mean"], row[key + "std"])
            view.per_reward_quantiles[name] = {label: row[key + label] for label in QUANTILES}
    view.reward_quantiles = {label: row[f"train/reward_{label}"] for label in QUANTILES if f"train/reward_{label}" in row}
    pooled = [x for part in parts for x in part.advantages]
    if pooled:
        advantages = Shard.of(group_sizes=[len(pooled)], rewards=pooled).row(step=0, mode="full")
        view.advantage_mean, view.advantage_std = advantages.get("train/reward"), advantages.get("train/reward_std")
        view.advantage_count = sum(map(math.isfinite, pooled))
    return view


def summarize_weight_stats(accelerator: Any, weight_stats: Any, *, log_like_grpo: bool = False) -> WeightLoggingView:
    """Entropies of the update weights of all ranks; of this rank alone with `log_like_grpo`. Every rank calls it: it gathers.

    They are of the weights themselves, except where the trainer says that there is no entropy, as it does under the GRPO
    objective: there they are 0. A trainer that keeps no weights gives what it knows of them.
    """
    parts = gathered(accelerator, part_of(weights=weight_stats), local=log_like_grpo)
    row = merged(parts).row(step=0, mode="full")
    return WeightLoggingView(**entropies(parts, row))


def entropies(parts: Sequence[Part], row: Mapping[str, float]) -> dict[str, float | None]:
    """The fields of a weight view, of the row of all parts."""
    fields: dict[str, float | None] = {name: row.get(key) for name, key in VIEWS["weight_stats"].items()}
    told = [part.entropy for part in parts if part.entropy is not None]
    if told and all(part.plain_grpo for part in parts if part.entropy is not None):
        fields |= {name: 0.0 for name in fields if name != "entropy_norm"}
    elif told and not any("weights" in record for part in parts for record in part.records):
        mean, least, most = ([x for x in values if x is not None and math.isfinite(x)] for values in zip(*told))
        fields["entropy"] = math.fsum(mean) / len(mean) if mean else None
        fields["entropy_min"], fields["entropy_max"] = min(least, default=None), max(most, default=None)
    return fields
