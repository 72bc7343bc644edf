"""A row of metrics, as it is looked at."""

from __future__ import annotations

from . import _html
from ._core import _in_order

SHOWN = 24
"""Keys that a row shows in a line each where nothing is known of any."""


class Row(dict[str, float]):
    """The metrics of one row by key: a dictionary, which a notebook shows as a table, what is looked at first first."""

    __slots__ = ()

    def __repr__(self) -> str:
        """As a dictionary's, cut to what is looked at first where it is long."""
        if len(self) <= SHOWN:
            return super().__repr__()
        keys = self._first()
        shown = ", ".join(f"{key!r}: {self[key]!r}" for key in keys)
        return f"{{{shown}, ... {len(self) - len(keys)} more}}"

    def _repr_html_(self) -> str:
        """A table of what is looked at first; the rest can be opened beneath it."""
        keys = self._first()
        parts = [_html.table(["key", "value"], ([key, _html.number(self[key])] for key in keys), range(1, 2))]
        ordered, _ = _in_order([str(key) for key in self])
        rest = [key for key in ordered if key in self and key not in set(keys)]
        if rest:
            others = _html.table(["key", "value"], ([key, _html.number(self[key])] for key in rest), range(1, 2))
            parts.append(_html.Html(f"<details><summary>{len(rest)} more</summary>{others}</details>"))
        return _html.block(*parts)

    def _first(self) -> list[str]:
        ordered, first = _in_order([str(key) for key in self])
        return [key for key in ordered if key in self][: first or SHOWN]
