"""Tables and small plots for a notebook: HTML without a script or a network, readable on dark and on light.

Whatever somebody calls a run or a key is text here, and stays text.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # it is not loaded before there is something to draw
    import numpy as np

    _Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:{align};border-bottom:1px solid rgba(128,128,128,.25);white-space:nowrap"
_QUIET = "opacity:.7;margin:4px 0"

WIDTH, HEIGHT = 160, 22
POINTS = 120
"""A small plot has no room for more; of a longer series it shows the means of equal stretches."""

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Html(str):
    """Text that is HTML already."""


def text(value: object) -> Html:
    """Somebody's text as HTML; a character that is not seen (a bidi mark, a line's end) stands there as its number."""
    plain = "".join(c if c.isprintable() else _ESCAPES.get(c, f"\\u{{{ord(c):x}}}") for c in str(value))
    return Html(html.escape(plain, quote=True))


def number(value: float | None) -> str:
    """A number for the eye; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference for the eye."""
    if value is None or math.isnan(value):
        return ""
    return ("+" if value > 0 else "") + number(value)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: range = range(0)) -> Html:
    """A table; the columns in `numbers` stand to the right."""

    def line(tag: str, cells: Sequence[object]) -> str:
        aligned = ((cell, "right" if nth in numbers else "left") for nth, cell in enumerate(cells))
        return "<tr>" + "".join(f'<{tag} style="{_CELL.format(align=align)}">{_cell(cell)}</{tag}>' for cell, align in aligned) + "</tr>"

    body = "".join(line("td", cells) for cells in rows)
    return Html(f'<table style="{_TABLE}"><thead>{line("th", header)}</thead><tbody>{body}</tbody></table>')


def note(said: object) -> Html:
    """A line beneath a table."""
    return Html(f'<div style="{_QUIET}">{_cell(said)}</div>')


def block(*parts: str) -> str:
    """What a notebook is given."""
    return f"<div>{''.join(parts)}</div>"


def sparkline(values: _Numbers) -> Html:
    """The course of a series as a small plot, in the colour of the text around it; what is no finite number is a gap."""
    import numpy as np

    shown = _stretches(np.asarray(values, dtype=np.float64))
    finite = shown[np.isfinite(shown)]
    if not finite.size:
        return Html("")
    low, high = float(finite.min()), float(finite.max())
    # Halved, so that the widest range there is stays finite.
    span = high / 2 - low / 2
    heights = (shown / 2 - low / 2) / span if span > 0 else np.where(np.isfinite(shown), 0.5, np.nan)
    step = (WIDTH - 4) / max(len(shown) - 1, 1)
    parts: list[list[str]] = [[]]
    for nth, height in enumerate(heights):
        if math.isfinite(height):
            parts[-1].append(f"{2 + nth * step:.1f},{HEIGHT - 3 - height * (HEIGHT - 6):.1f}")
        elif parts[-1]:
            parts.append([])
    drawn = "".join(_line(points) for points in parts if points)
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'style="vertical-align:middle" fill="none" stroke="currentColor" stroke-width="1.5" role="img">{drawn}</svg>'
    )


def _line(points: list[str]) -> str:
    if len(points) > 1:
        return f'<polyline points="{" ".join(points)}"/>'
    x, y = points[0].split(",")
    return f'<circle cx="{x}" cy="{y}" r="1.5" fill="currentColor" stroke="none"/>'


def _stretches(values: _Numbers) -> _Numbers:
    import numpy as np

    if len(values) <= POINTS:
        return values
    ends = np.linspace(0, len(values), POINTS + 1).astype(int)
    # Divided first: the sum of large values may be beyond a double where their mean is not.
    means = [float(np.sum(values[a:b] / (b - a))) for a, b in zip(ends[:-1], ends[1:])]
    return np.array(means)


def _cell(cell: object) -> str:
    return cell if isinstance(cell, Html) else text(cell)
