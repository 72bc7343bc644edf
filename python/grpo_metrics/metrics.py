"""Numbers of a run over its steps, as NumPy arrays and as tables of other libraries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _html
from ._core import GrpoMetricsError

if TYPE_CHECKING:  # none of them is loaded with the package
    import numpy as np
    import pandas as _pandas
    import polars as _polars
    import pyarrow as _pyarrow

    _Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Metrics(Mapping[str, "_Array"]):
    """Numbers of a run over its steps: `metrics["train/reward"]`, with `step` and `time` beside, arrays of one length.

    `step` is int64, `time` (when the step ended, UTC) datetime64[ms] with NaT where it is not known, each key float64 with NaN where a
    step has no number. A key that the run has on both splits is there twice, that of val as `key (val)`; one that is called `step` or
    `time` is `step_2`.
    """

    def __init__(self, arrays: dict[str, _Array]) -> None:
        self._arrays = arrays

    @property
    def step(self) -> _Array:
        """The optimizer steps, ascending."""
        return self._arrays["step"]

    @property
    def time(self) -> _Array:
        """When each step ended."""
        return self._arrays["time"]

    def to_pandas(self) -> _pandas.DataFrame:
        """A DataFrame with a column for each; an error names what to install where pandas is missing."""
        try:
            import pandas
        except ImportError:
            raise missing("pandas", "to_pandas()") from None
        return pandas.DataFrame(dict(self._arrays))

    def to_polars(self) -> _polars.DataFrame:
        """A polars DataFrame, null where a step has no number; an error names what to install where polars is missing."""
        try:
            import polars
        except ImportError:
            raise missing("polars", "to_polars()") from None
        return polars.DataFrame(dict(self._arrays), nan_to_null=True)

    def to_arrow(self) -> _pyarrow.Table:
        """An Arrow table, null where a step has no number; an error names what to install where pyarrow is missing."""
        try:
            import pyarrow
        except ImportError:
            raise missing("pyarrow", "to_arrow()") from None
        columns = {name: pyarrow.array(array, from_pandas=True) for name, array in self._arrays.items()}
        return pyarrow.table(columns)

    def __getitem__(self, key: str) -> _Array:
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"<metrics: {len(self.step)} steps, {len(self) - 2} keys>"

    def _repr_html_(self) -> str:
        """A line a key, with its last number and its course."""
        rows = []
        for name, values in self._arrays.items():
            if name not in ("step", "time"):
                known = values[values == values]  # what is not NaN
                last = _html.number(float(known[-1])) if known.size else "-"
                rows.append([name, last, _html.sparkline(values)])
        return _html.block(_html.note(repr(self)[1:-1]), _html.table(["key", "last", "over the steps"], rows, range(1, 2)))


def label(key: str, split: str) -> str:
    return key if split == "train" else f"{key} (val)"


def named(courses: Iterable[tuple[str, str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each with the name that it has among the others."""
    courses = list(courses)
    on_train = {key for key, split, _ in courses if split == "train"}
    taken = {"step", "time"}
    for key, split, values in courses:
        name = label(key, split) if key in on_train else key
        nth = 2
        while name in taken:
            name, nth = f"{key}_{nth}", nth + 1
        taken.add(name)
        yield name, values


def missing(package: str, wanted: str) -> GrpoMetricsError:
    return GrpoMetricsError(f"{wanted} needs {package}, which is not installed here: pip install {package}")
