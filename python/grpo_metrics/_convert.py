"""Columns of other libraries as NumPy arrays: borrowed where the memory allows it, else copied once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
Array = np.ndarray[Any, np.dtype[Any]]


def flat(column: Any, dtype: str) -> Array | list[Any]:
    """One value a completion or group, contiguous; a list where some are absent (a masked or an object array's)."""
    array = _array(column)
    if dtype == "uint64" and (array.dtype == object or (array.dtype.kind == "f" and isinstance(column, Sequence))):
        array = _whole(column, array)
    if dtype == "float64" and (isinstance(array, np.ma.MaskedArray) or array.dtype == object):
        cells: list[Any] = array.tolist()
        return cells
    return _cast(array, dtype)


def _whole(column: Any, array: Array) -> Array:
    """Whole numbers as they are: of a list with some above 2**63 NumPy makes doubles, in which neighbours are one and the same."""
    cells = list(column)
    if not all(isinstance(cell, (int, np.integer)) for cell in cells):
        return array
    wrong = next(((at, cell) for at, cell in enumerate(cells) if not 0 <= cell < 2**64), None)
    if wrong is not None:
        raise ValueError(f"expected whole numbers that fit into uint64, found {wrong[1]} at {wrong[0]}")
    return np.array(cells, dtype=np.uint64)


def tokens(column: Any, dtype: str) -> tuple[Array, list[int] | None]:
    """One value a token, contiguous along each row; of a list of rows also how long each row is."""
    if isinstance(column, Sequence) and not isinstance(column, str) and any(map(_is_row, column)):
        rows = [_array(row) for row in column]
        joined = np.concatenate(rows) if rows else np.empty(0)
        return _cast(joined, dtype), [len(row) for row in rows]
    return _cast(_array(column), dtype), None


def _is_row(cell: Any) -> bool:
    return isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) > 0


def _array(column: Any) -> Array:
    if isinstance(column, np.ndarray):
        return column
    if hasattr(column, "detach"):  # a torch tensor; off the CPU, or in bfloat16, it is copied
        tensor = column.detach().cpu()
        return np.asarray((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy())
    if hasattr(column, "__dlpack__") and not hasattr(column, "__array__"):
        return np.asarray(np.from_dlpack(column))
    array = np.asarray(column)
    if array.dtype.kind == "U" and isinstance(column, Sequence):  # a record read from JSON
        array = np.asarray([_WORDS.get(cell, cell) for cell in column])
    return array


def _cast(array: Array, dtype: str) -> Array:
    if array.dtype.kind not in "biufV" or np.ma.is_masked(array):
        wanted = "numbers or texts" if dtype == "uint64" else "numbers"  # groups alone have ids of 64 bits
        raise ValueError(f"expected {wanted}, found {_kind(array)}")
    if array.dtype == bool and dtype == "uint8":
        array = array.view(np.uint8)
    whole = dtype not in ("float32", "float64")
    # Token ids are told apart, not counted with, and padding is often -1 or -100: padded ones are taken modulo 2**32.
    if whole and array.dtype != dtype and not (dtype == "uint32" and array.ndim == 2 and array.dtype.kind in "iu"):
        array = array.copy()  # what is checked is what is converted, whatever another thread writes meanwhile
        _check_whole(array, dtype)
    return np.require(array, dtype, ["C", "A", "E"])


def _check_whole(array: Array, dtype: str) -> None:
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(array.astype(dtype) != array)
    if wrong.size:
        kind = {"bool": "0 or 1", "uint8": "0 or 1"}.get(dtype, f"whole numbers that fit into {dtype}")
        raise ValueError(f"expected {kind}, found {array.flat[wrong[0]]} at {wrong[0]}")


def _kind(array: Array) -> str:
    if array.dtype == object:
        strange = next((cell for cell in array.flat if not isinstance(cell, (int, float))), None)
        return f"{type(strange).__name__} among them"
    return "masked values" if np.ma.is_masked(array) else f"an array of {array.dtype}"
