"""What is read of a trainer's objects: a field, a number, an epoch. Nothing here raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def get(holder: Any, name: str) -> Any:
    """A field of an object or of a mapping; `None` where there is none, or where asking for it fails."""
    if holder is None:
        return None
    try:
        found = getattr(holder, name, holder)  # no field of an object is the object
    except Exception:  # a property over an object that is half made
        return None
    if found is not holder:
        return found
    return holder.get(name) if isinstance(holder, Mapping) else None


def value_of(value: Any) -> float | None:
    """A number, which may be NaN or infinite; `None` for what is none. A tensor or array of one cell is its cell."""
    if type(value) is float:
        return value
    try:
        return float(value)
    except Exception:
        return None


def number(value: Any) -> float | None:
    """A finite number, or `None`."""
    read = value_of(value)
    return read if read is not None and math.isfinite(read) else None


def epoch_of(schedule: Any, step: float) -> float:
    """The epoch that a step is in, where the trainer reports none (METRICS.md, "Windows and cadence")."""
    for name in ("steps_per_epoch", "num_generations"):
        divisor = number(get(schedule, name))
        if divisor is not None and divisor > 0:
            return step / divisor
    epochs, steps = number(get(schedule, "num_epochs")), number(get(schedule, "total_training_steps"))
    if epochs is not None and steps is not None and epochs > 0 and steps > 0:
        return step * epochs / steps
    return step


def total_of(cells: Any) -> float | None:
    """The sum of a tensor, an array or a list; `None` where it is no finite number."""
    try:
        if hasattr(cells, "detach"):
            return number(cells.detach().float().sum())
        return number(cells.sum() if hasattr(cells, "sum") else sum(cells))
    except Exception:
        return None
