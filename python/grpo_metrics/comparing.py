"""Runs beside each other."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _html
from ._core import OptionError, _compare
from .metrics import label, missing
from .reading import Keys, Run, texts

if TYPE_CHECKING:
    import pandas as _pandas


class Comparison:
    """Runs beside each other: what became of each key, and what was configured differently. `compare` makes one.

    `keys` has an entry a key: `key`, `split`, `better` (higher, lower or None), `constant` (the same number in all), and `runs`, one for each run:
    None where it does not have the key, else `last`, `min`, `max`, `best` and `best_step` (None where neither way is better) and
    `difference` (the last less that of the first run), and `common_steps`, `mean_difference` and `mean_difference_interval`: at how many steps both
    have the key, by how much the run is above the first there, and 95 % for it, if the differences hang together as an AR(1) series
    does (None for the first run, and for fewer than 10 steps). `configs` has the places of the configurations whose values differ, as
    `optimizer.lr`, each with its values, None where there is none.
    """

    def __init__(self, runs: Sequence[Run], keys: list[dict[str, Any]], configs: dict[str, list[Any]], hidden: int) -> None:
        self.runs, self.keys, self.configs, self.hidden = list(runs), keys, configs, hidden

    def __getitem__(self, key: str) -> dict[str, Any]:
        """What became of a key, as in `keys`."""
        for line in self.keys:
            if label(line["key"], line["split"]) == key:
                return line
        raise OptionError(f"expected one of {len(self.keys)} compared keys, found `{key}`: name it in compare(runs, key=...)")

    def to_pandas(self) -> _pandas.DataFrame:
        """A line a key and run; an error names what to install where pandas is missing."""
        try:
            import pandas
        except ImportError:
            raise missing("pandas", "to_pandas()") from None
        numbers = ("last", "min", "max", "best", "best_step", "difference", "common_steps", "mean_difference", "mean_difference_interval")
        lines = [
            {"key": label(line["key"], line["split"]), "run": run.id, **{name: (told or {}).get(name) for name in numbers}}
            for line in self.keys
            for run, told in zip(self.runs, line["runs"])
        ]
        return pandas.DataFrame(lines, columns=["key", "run", *numbers])

    def __repr__(self) -> str:
        return f"<comparison of {', '.join(run.id for run in self.runs)}: {len(self.keys)} keys, {len(self.configs)} differences of configuration>"

    def _repr_html_(self) -> str:
        """A line a key and run, then what was configured differently."""
        rows: list[list[object]] = []
        for line in self.keys:
            if not line["constant"]:
                for nth, (run, told) in enumerate(zip(self.runs, line["runs"])):
                    rows.append([label(line["key"], line["split"]) if nth == 0 else "", run.id, *_outcome(nth, told)])
        parts = [_html.note(f"{run.id}: {run.status}, {run._span()}") for run in self.runs]
        if rows:
            parts.append(_html.table(["key", "run", "last", "best", "difference"], rows, range(2, 5)))
        constant = [line for line in self.keys if line["constant"]]
        if constant:
            said = ", ".join(f"{label(line['key'], line['split'])} {_html.number(line['runs'][0]['last'])}" for line in constant)
            parts.append(_html.note(f"{len(constant)} constant in all: {said}"))
        if self.configs:
            lines: list[list[object]] = []
            for place, values in self.configs.items():
                for nth, (run, value) in enumerate(zip(self.runs, values)):
                    lines.append([place if nth == 0 else "", run.id, "-" if value is None else json.dumps(value)])
            parts.append(_html.table(["configuration", "run", "value"], lines))
        if self.hidden:
            parts.append(_html.note(f"{self.hidden} more keys: compare(runs, all=True)"))
        return _html.block(*parts)


def compare(runs: Iterable[Run], key: Keys = None, *, all: bool = False) -> Comparison:
    """Compares runs with the first of them, as the command's `show RUN RUN...`: the last number of each key, the best where it is known
    which way is better, and where the configurations differ. What is looked at first; the keys that `key` means, if it is given; `all` of them.

    The runs may be of several stores. An OptionError where there is none, or `key` matches nothing.
    """
    runs = list(runs)
    if not runs or not builtins.all(isinstance(run, Run) for run in runs):
        kinds = "none" if not runs else ", ".join(type(run).__name__ for run in runs)
        raise OptionError(f"`runs`: expected runs, as `store.runs()` or `store['name']` gives them, found {kinds}")
    found = _compare([(run._store, run.id) for run in runs], texts(key), all)
    configs = {place: [None if value is None else json.loads(value) for value in values] for place, values in found["configs"]}
    return Comparison(runs, found["keys"], configs, found["hidden"])


def _outcome(nth: int, told: Mapping[str, Any] | None) -> list[str]:
    if told is None:
        return ["-", "", ""]
    best = _html.number(told["best"]) if told["best"] is not None else f"{_html.number(told['min'])}..{_html.number(told['max'])}"
    return [_html.number(told["last"]), best, _html.signed(told["difference"]) if nth else ""]
