"""The completions of a logged step, with what they were given: a file a step, and a few rows to W&B where asked for."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .reading import get, value_of

_log = logging.getLogger("grpo_metrics")
_WANDB_ROWS = 4
_COLUMNS = (
    "step prompt_index completion_index group_size reward_rank_desc prompt completion reward_total advantage q_mass "
    "update_weight_raw update_mass_proxy"
).split()


def wants_samples(args: Any) -> bool:
    """Whether the training's arguments want them: by `rich_log_completions`, else by `log_completions`."""
    wanted = get(args, "rich_log_completions")
    return args is None or bool(get(args, "log_completions") if wanted is None else wanted)


def log_samples(ctx: Any, step: Any, prepared: Any, *, main: bool) -> None:
    """Writes the step's completions on the main process. Every rank calls it.

    The ranks wait for each other behind it, unless `rich_log_completions_synchronize_ranks` is false.
    """
    args = get(ctx, "training_args")
    try:
        if main:
            _write(ctx, args, step, prepared)
    except Exception as error:  # a table must not end a training
        _log.warning("step %s: the completions could not be logged: %s: %s", step, type(error).__name__, error)
    finally:
        wait = get(get(get(ctx, "runtime"), "accelerator"), "wait_for_everyone")
        if synchronizes(args) and callable(wait):
            try:
                wait()
            except Exception as error:
                _log.warning("step %s: the ranks could not wait for each other: %s", step, error)


def synchronizes(args: Any) -> bool:
    """Whether ranks wait for each other behind the samples: unless told otherwise."""
    told = get(args, "rich_log_completions_synchronize_ranks")
    return True if told is None else bool(told)


def goes_to_wandb(args: Any) -> bool:
    """Whether a few samples go to W&B: where told so."""
    return bool(get(args, "rich_log_completions_to_wandb"))


def _write(ctx: Any, args: Any, step: Any, prepared: Any) -> None:
    columns, rows = table_of(prepared, step)
    if not rows:
        return
    key = get(args, "rich_log_completions_key")
    key = key.strip() if isinstance(key, str) and key.strip() else "rich_completions"
    folder = str(get(args, "output_dir") or "").strip()
    if folder:
        write_file(Path(folder), key, step, columns, rows)
    run = get(get(ctx, "logging"), "wandb_run")
    if run is not None and goes_to_wandb(args):
        some = rows[:_WANDB_ROWS]
        if "wandb" in sys.modules:
            table = sys.modules["wandb"].Table(columns=columns, data=some)
        else:  # a run of something that is not W&B
            table = {"columns": columns, "rows": some}
        run.log({key: table}, step=step)


def write_file(folder: Path, key: str, step: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Writes all rows to `rich_completions/KEY_step_000002.json` in the folder, whole or not at all; raises an OSError."""
    path = folder / "rich_completions" / f"{key.replace('/', '_')}_step_{int(step):06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partly = path.with_suffix(".json.part")
    partly.write_text(json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, default=str), encoding="utf-8")
    os.replace(partly, path)
    return path


def table_of(prepared: Any, step: Any) -> tuple[list[str], list[list[Any]]]:
    """A row for each completion, in their order; what is not there of one is NaN, its place -1. Empty without any."""
    rewards = get(prepared, "reward_comp")
    pairs = get(rewards, "pairs")
    prompts, completions = get(pairs, "prompts"), get(pairs, "completions")
    components = get(rewards, "per_reward_values") or {}
    names = sorted(components)
    columns = [*_COLUMNS, *(f"reward/{name}" for name in names)]
    if prompts is None or completions is None:
        return columns, []
    weights = get(get(prepared, "weight_stats"), "weights_grouped")
    count = min(len(prompts), len(completions))
    totals = _numbers(get(rewards, "total_utils"))
    places = _places(get(prepared, "grouped_completions"), totals)
    named = [_numbers(components[name]) for name in names]
    measured = [totals, _numbers(get(rewards, "advantage_samples")), _flat(get(rewards, "q_grouped")), _flat(weights)]
    measured += [_masses(weights), *named]
    rows = []
    for at in range(count):
        place = places[at] if at < len(places) else (-1, -1, 0, -1)
        numbers = (column[at] if at < len(column) else math.nan for column in measured)
        rows.append([step, *place, prompts[at], completions[at], *numbers])
    return columns, rows


def _numbers(cells: Any) -> list[float]:
    return [math.nan if (x := value_of(cell)) is None else x for cell in (() if cells is None else cells)]


def _flat(groups: Any) -> list[float]:
    return [x for group in (() if groups is None else groups) for x in _numbers(group)]


def _places(grouped: Any, rewards: Sequence[float]) -> list[tuple[int, int, int, int]]:
    """Of each completion: its prompt, its place there, how many that prompt has, and its rank by reward from 1 on."""
    places: list[tuple[int, int, int, int]] = []
    for prompt, group in enumerate(() if grouped is None else grouped):
        own = list(rewards[len(places) : len(places) + len(group)])
        own += [math.nan] * (len(group) - len(own))
        order = sorted(range(len(group)), key=lambda i: (math.isnan(own[i]), -own[i] if not math.isnan(own[i]) else 0.0, i))
        rank = {at: place for place, at in enumerate(order, start=1)}
        places += [(prompt, at, len(group), rank[at]) for at in range(len(group))]
    return places


def _masses(groups: Any) -> list[float]:
    """Each weight's share of its group: of the positive ones where there are any, else of all by size; NaN where all are 0."""
    masses: list[float] = []
    for group in () if groups is None else groups:
        weights = [0.0 if math.isnan(x) else x for x in _numbers(group)]
        positive = [max(x, 0.0) for x in weights]
        sizes = positive if sum(positive) > 0 else [abs(x) for x in weights]
        total = sum(sizes)
        masses += [x / total if total > 0 else math.nan for x in sizes]
    return masses
