"""Series drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import GrpoMetricsError, OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as _Axes

    from .metrics import _Array
    from .reading import Run


def plot(run: Run, keys: list[str], x: str, smooth: int, ax: _Axes | None, style: dict[str, Any]) -> _Axes:
    """Draws what `Run.plot` says."""
    if x not in ("step", "time"):
        raise OptionError(f"`x`: expected step or time, found `{x}`")
    if isinstance(smooth, bool) or not isinstance(smooth, int) or smooth < 1:
        raise OptionError(f"`smooth`: expected a number of rows from 1 on, found {smooth!r}")
    try:
        import matplotlib.pyplot as pyplot
    except ImportError:
        raise GrpoMetricsError("plot() needs matplotlib, which is not installed here: pip install matplotlib") from None
    metrics = run.metrics(keys or run.keys()[:1])
    if ax is None:
        _, ax = pyplot.subplots()
    names = [name for name in metrics if name not in ("step", "time")]
    for name in names:
        known = ~np.isnan(metrics[name])
        at, values = metrics[x][known], metrics[name][known]
        label = style.get("label", _plain(f"{name}, {run.id}"))
        if smooth > 1:
            (drawn,) = ax.plot(at, smoothed(values, smooth), **{**style, "label": label})
            ax.plot(at, values, color=drawn.get_color(), alpha=0.25, linewidth=0.8, zorder=drawn.get_zorder() - 1)
        else:
            ax.plot(at, values, **{**style, "label": label})
    ax.set_xlabel(x)
    if len(names) == 1 and not ax.get_ylabel():
        ax.set_ylabel(_plain(names[0]))
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend()
    return ax


def _plain(name: str) -> str:
    """matplotlib leaves a label out that begins with "_", and reads "$" as a formula's."""
    return name.replace("$", r"\$").lstrip("_")


def smoothed(values: _Array, rows: int) -> _Array:
    """The mean of each number and the `rows - 1` before it; of as many as there are at the beginning."""
    if not len(values):
        return values
    finite = np.where(np.isfinite(values), values, 0.0)
    total, count = (np.cumsum(part) for part in (finite, np.isfinite(values).astype(float)))
    total[rows:], count[rows:] = total[rows:] - total[:-rows], count[rows:] - count[:-rows]
    with np.errstate(invalid="ignore"):
        means: _Array = total / count
    return means
