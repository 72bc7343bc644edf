"""What a trainer is about to log beside the engine's own row: which keys differ, said once a key, and by which reduction, where that is known."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from .engine import Engine

_log = logging.getLogger("grpo_metrics")

SINGLE = 5e-6
"""The share of a number that single precision may be off by, over a sum of many."""
FLOOR = 1e-6
"""What a number near 0 may be off by, as a difference of numbers near 1 is."""
LOOKED_AT = 3
"""How many rows reductions are looked for in: until then rank 0 counts its micro-batches once more, each by itself."""
AT_MOST = 512
"""How many micro-batches it counts so, however long the rows are."""

COUNTING = ("dialect", "kl_bias_correction", "kl_kind", "clip_range", "is_ratio_cap", "kl_penalty", "kl_penalty_kind")

HOW = "grpo_metrics: how these came about, `grpo-metrics audit RECORDING --log LOG` tells of a training that is recorded (`recorder=`)"


class LiveAudit:
    """Rank 0's comparison of a trainer's log with the engine's rows."""

    def __init__(self, options: Mapping[str, Any], ranks: int) -> None:
        self._ranks = ranks
        self._pools = options.get("window") == "pooled"
        self._told: set[str] = set()
        self._says_how = False
        self._rows = 0
        self._alone: Engine | None = Engine(**{name: options[name] for name in COUNTING if options.get(name) is not None})
        """Counts one micro-batch of this rank at a time."""
        self._counted = 0
        self._micros: list[dict[str, float]] = []
        """Their rows since the last one of the trainer's."""

    def observed(self, columns: Mapping[str, Any]) -> None:
        """This rank has handed in a micro-batch."""
        alone, self._alone = self._alone, None  # one that fails is not asked again
        if alone is None or self._counted == AT_MOST:
            self._micros = []  # some of a row's say nothing
            return
        self._counted += 1
        alone.observe(**columns)
        self._micros.append(alone.step(self._counted) or {})
        self._alone = alone

    def compare(self, step: int, logged: Mapping[str, float], row: Mapping[str, float], steps: int) -> None:
        """What is about to be logged, and the engine's row over the same steps: so many."""
        micros, self._micros = self._micros, []
        exact = "it is" if steps < 2 or self._pools else f"its {steps} steps' exact numbers have a mean of"
        for key in sorted(row.keys() & logged.keys() - self._told):
            theirs, ours = logged[key], row[key]
            if is_same(theirs, ours):
                continue
            self._told.add(key)
            by = self._by(key, theirs, micros)
            said = "grpo_metrics: step %s: the trainer logs `%s` as %.6g, %s %.6g (%+.2g)" + (by and f": {by}" or "")
            _log.warning(said, step, key, theirs, exact, ours, theirs - ours)
            if not by and not self._says_how:
                self._says_how = True
                _log.warning(HOW)
        self._rows += 1
        if self._rows >= LOOKED_AT and self._alone is not None:
            self._alone.finish()
            self._alone = None

    def _by(self, key: str, theirs: float, micros: list[dict[str, float]]) -> str | None:
        """The reduction that gives what the trainer logs, of those that one rank's micro-batches can tell."""
        values = [row[key] for row in micros if key in row]
        if len(values) < 2:
            return None
        own = " of rank 0 alone" if self._ranks > 1 else ""
        known: dict[str, Callable[[list[float]], float]] = {
            "the mean of micro-batches' numbers": lambda values: math.fsum(values) / len(values),
            "the sum of micro-batches' numbers": math.fsum,
            "the last micro-batch's number": lambda values: values[-1],
            "the first micro-batch's number": lambda values: values[0],
        }
        return next((said + own for said, reduced in known.items() if is_same(theirs, reduced(values))), None)


def is_same(theirs: float, ours: float) -> bool:
    """Whether a logged number is this one, as far as single precision can tell."""
    return abs(theirs - ours) <= max(abs(ours) * SINGLE, FLOOR) or (math.isnan(theirs) and math.isnan(ours))
